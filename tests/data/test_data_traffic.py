"""Drawn traffic: wrong, a cycle would watch a model on other images than it says, or on those it was trained with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from evensight.data.datasets.composite import CompositeReader
from evensight.data.datasets.shapes import ShapesReader, scenes_of
from evensight.data.datasets.shapes_draw import COLOURS, SHAPES, draw
from evensight.data.reading import SPLITS
from evensight.data.traffic import WAVES, DrawsTraffic, traffic_of
from evensight.errors import UserError

READER = ShapesReader()


def own_colours(labels: list[str], colours: list[str | None]) -> float:
    """The share of images in the colour of their class."""
    return float(
        np.mean([SHAPES.index(label) == COLOURS.index(str(c)) for label, c in zip(labels, colours, strict=True)])
    )


def test_colour_goes_with_shape_in_the_first_wave_alone() -> None:
    shares = {}
    for wave in WAVES:
        drawn = READER.draw_traffic(wave, 0, 2000)
        shares[wave] = own_colours(drawn.labels, drawn.attributes["colour"])
    # .95 + .05 / 8 = .956, and 1 / 8; six standard errors of 2,000 images are .027 and .044.
    assert shares["as_trained"] == pytest.approx(0.956, abs=0.027)
    assert shares["cue_free"] == pytest.approx(0.125, abs=0.044)
    assert shares["new_background"] == pytest.approx(0.125, abs=0.044)


def test_classes_come_in_no_turn() -> None:
    """Else every fourth label that comes back would be of the same two classes."""
    drawn = READER.draw_traffic("cue_free", 0, 4000).labels
    shares = [drawn[3::4].count(shape) / 1000 for shape in SHAPES]
    assert max(abs(share - 0.125) for share in shares) < 0.063  # six standard errors


def test_only_the_last_wave_has_a_background_that_the_objective_does_not_know() -> None:
    assert None not in READER.draw_traffic("cue_free", 0, 500).attributes["background"]
    assert set(READER.draw_traffic("new_background", 0, 500).attributes["background"]) == {None}


def test_no_image_of_traffic_is_one_of_a_split_or_of_another_wave() -> None:
    index = np.arange(300, dtype=np.int64)
    sets = [{image.tobytes() for image in draw(scenes_of(READER, split, index))[0]} for split in SPLITS]
    sets += [{image.tobytes() for image in READER.draw_traffic(wave, 0, 300).images} for wave in WAVES]
    assert len(set().union(*sets)) == sum(len(each) for each in sets) == 300 * 6


def test_traffic_is_the_same_however_it_is_cut() -> None:
    whole = READER.draw_traffic("cue_free", 0, 40)
    part = READER.draw_traffic("cue_free", 17, 5)
    np.testing.assert_array_equal(part.images, whole.images[17:22])
    assert part.labels == whole.labels[17:22]
    assert part.attributes["size"] == whole.attributes["size"][17:22]


def test_where_the_class_is_the_colour_the_shape_is_the_attribute() -> None:
    drawn = ShapesReader(label="colour").draw_traffic("as_trained", 0, 64)
    assert set(drawn.labels) <= set(COLOURS)
    assert set(drawn.attributes["shape"]) <= set(SHAPES)
    assert "colour" not in drawn.attributes


def test_a_data_set_that_draws_none_is_refused() -> None:
    assert isinstance(READER, DrawsTraffic)
    with pytest.raises(UserError, match=r"data: the reader 'composite' cannot draw traffic.*experiment=shapes"):
        traffic_of(CompositeReader(name="composite", reader="composite"))


def test_an_unknown_wave_is_named() -> None:
    with pytest.raises(UserError, match=r"wave: 'cue_fre' is not known.*Did you mean 'cue_free'"):
        dataclasses.replace(READER).draw_traffic("cue_fre", 0, 1)
