"""The shapes data set: what is drawn, that it is drawn alike everywhere, and that only what should tells the class."""

from __future__ import annotations

import colorsys
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

from evensight.compose import compose
from evensight.data.datasets import draws, shapes_outlines
from evensight.data.datasets import shapes as shapes_module
from evensight.data.datasets import shapes_draw as drawing
from evensight.data.datasets.shapes import ShapesReader, contents_of, scenes_of
from evensight.data.digests import recipe_digest
from evensight.data.reading import silent
from evensight.errors import UserError


def small(**settings):
    return ShapesReader(**{"num_train": 150, "num_validation": 40, "num_test": 64, **settings})


def images(reader, split, count):
    return drawing.draw(scenes_of(reader, split, np.arange(count)))


def test_words_are_splitmix64():
    # The generator's published test vector for seed 1234567.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert draws.words(np.asarray([1234567], np.uint64), 5)[0].tolist() == expected
    assert draws.words(np.asarray([1234567], np.uint64), 2, first=3)[0].tolist() == expected[3:]


def test_draws_have_their_moments():
    key = draws.keys(3, np.arange(2000))
    normal = draws.normal(key, 4).ravel()
    uniform = draws.uniform(draws.words(key, 4, first=100)).ravel()
    assert abs(normal.mean()) < 4 / np.sqrt(8000)
    assert abs(normal.std() - 1) < 0.04
    assert abs(uniform.mean() - 0.5) < 4 * 0.2887 / np.sqrt(8000)
    assert (draws.chance(draws.words(key, 1), 0.0)).sum() == 0
    assert (draws.chance(draws.words(key, 1), 1.0)).all()
    assert np.bincount(draws.below(draws.words(key, 4).ravel(), 8), minlength=8).min() > 850


def test_keys_depend_on_every_part_and_its_place():
    assert len({int(draws.keys(*parts)) for parts in [(0, 1, 2), (1, 0, 2), (0, 2, 1), (0, 1), (0, 1, 2, 0)]}) == 5


def test_sines_are_sines():
    turn = np.linspace(0, 1, 1001)[:-1]
    cosine, sine = shapes_outlines.turns(turn)
    np.testing.assert_allclose(cosine, np.cos(2 * np.pi * turn), atol=1e-10)
    np.testing.assert_allclose(sine, np.sin(2 * np.pi * turn), atol=1e-10)


@pytest.mark.parametrize("name", drawing.SHAPES)
def test_distances_are_those_of_opencv(name):
    side, reach = 25, 1.25
    points = shapes_outlines.outline(name)
    assert np.hypot(*points.T).max() <= 1.0 + 1e-9
    table = shapes_outlines.distances(name, side, reach)
    contour = points.astype(np.float32)[:, None]
    at = np.linspace(-reach, reach, side)
    expected = [[-cv2.pointPolygonTest(contour, (float(x), float(y)), True) for x in at] for y in at]
    np.testing.assert_allclose(table, expected, atol=2e-6)


def test_pixels_are_the_same_on_every_machine():
    expected = {
        ("even", "train"): "9461d7832cf2ec4163ac0ace7c1bf5b231725199e09d0b7cce1140c9e46d8c42",
        ("vivid", "test"): "ab0551dce35c25e9f4aa2079c857c5379547904d5d316335253f50968228c03f",
    }
    found = {}
    for palette, split in expected:
        picture, cover = images(ShapesReader(palette=palette, seed=7), split, 72)
        found[palette, split] = hashlib.sha256(picture.tobytes() + cover.tobytes()).hexdigest()
    assert found == expected


def test_files_hold_the_same_pixels_at_any_number_of_threads(tmp_path, monkeypatch):
    digests = []
    for workers in (1, 3):
        monkeypatch.setattr(shapes_module.os, "cpu_count", lambda workers=workers: workers)
        reading = small().read(tmp_path / str(workers), None, silent)
        digest = hashlib.sha256()
        for path, mask in reading.rows.select("path", "mask").iter_rows():
            digest.update(np.asarray(Image.open(reading.root / path)).tobytes())
            file, row = mask.split("#")
            digest.update(np.load(reading.root / file, mmap_mode="r")[int(row)].tobytes())
        digests.append(digest.hexdigest())
    assert digests == ["02f2e5e75c162377d59db8a7bb0a320cbac2561fa29f9da78626bf446db4a225"] * 2


def test_an_image_does_not_depend_on_the_others_drawn_with_it():
    reader = small()
    together, _ = images(reader, "train", 20)
    alone, _ = drawing.draw(scenes_of(reader, "train", np.asarray([13])))
    np.testing.assert_array_equal(alone[0], together[13])


def test_drawn_once(tmp_path):
    calls = []
    small().read(tmp_path, None, lambda what, done, total: calls.append((what, done, total)))
    assert calls[-1][1:] == (254, 254)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert len(before) == 254
    small().read(tmp_path, None, lambda *_: pytest.fail("drew again"))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == before
    (tmp_path / "drawn.json").unlink()  # as if interrupted
    small().read(tmp_path, None, silent)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} != before


def test_reading_lists_every_file(tmp_path):
    reading = small().read(tmp_path, ("circle",), silent)
    rows = reading.rows
    assert rows["split"].value_counts(sort=True).rows() == [("train", 150), ("test", 64), ("validation", 40)]
    assert rows["path"].n_unique() == rows.height
    assert all((tmp_path / path).is_file() for path in rows["path"])
    assert set(rows.columns) == {"path", "split", "mask", "label", "colour", "background", "size"}
    assert reading.usual == {"colour": dict(zip(drawing.SHAPES, drawing.COLOURS, strict=True))}
    assert not small().sealed


def test_data_sets_that_are_kept_keep_their_folders():
    # As version 1 of the reader had them, before it had data.label.
    expected = {
        "bbc0335dc08f2c0753770e1b13540025c5bb12eaa41ecf8be5a2f04d2e166217": ShapesReader(),
        "7a07b7078f0040b08d1787627d0a685226e22efc316323753528b806dfc4f3b0": ShapesReader(
            correlation=0.99, palette="vivid"
        ),
    }
    assert {recipe_digest(reader): reader for reader in expected.values()} == expected
    assert recipe_digest(ShapesReader(label="colour")) not in expected


def test_the_colour_as_class_is_the_same_images_with_the_names_swapped(tmp_path):
    shapes = small().read(tmp_path / "shape", None, silent)
    colours = small(label="colour").read(tmp_path / "colour", None, silent)
    swapped = colours.rows.rename({"label": "colour", "shape": "label"})
    assert swapped.select(shapes.rows.columns).equals(shapes.rows)
    assert colours.usual == {"shape": dict(zip(drawing.COLOURS, drawing.SHAPES, strict=True))}
    for path in shapes.rows["path"]:
        assert (tmp_path / "colour" / path).read_bytes() == (tmp_path / "shape" / path).read_bytes()


@pytest.mark.parametrize("label", ["shape", "colour"])
def test_the_objective_for_the_label_is_named_where_the_other_was_chosen(label, tmp_path):
    of = {
        "shape": (drawing.SHAPES, r"choose objective=shapes, or data\.label=colour\."),
        "colour": (drawing.COLOURS, r"choose objective=shapes_by_colour, or data\.label=shape\."),
    }
    wrong = of["colour" if label == "shape" else "shape"][0]
    with pytest.raises(UserError, match=of[label][1]):
        small(label=label).read(tmp_path, wrong, silent)
    assert not list(Path(tmp_path).iterdir())
    with pytest.raises(UserError, match=r"cat, dog.*choose objective=shapes\w*\.$"):
        small(label=label).read(tmp_path, ("cat", "dog"), silent)
    config = compose(["experiment=shapes", f"data.label={label}", of[label][1].split()[1].rstrip(",.\\")])
    assert tuple(config.objective.classes) == of[label][0]
    assert set(config.objective.attributes) == {"colour", "shape", "background", "size"} - {label}
    assert config.objective.essential_cues == []


def test_the_class_itself_is_not_redrawn():
    row = {"path": "images/test/000003.png"}
    with pytest.raises(UserError, match=r"data\.label=colour: 'colour' cannot be redrawn"):
        small(label="colour").redraw(row, "colour", "red")


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_colour_agrees_with_the_class_as_often_as_stated(correlation, split):
    content = contents_of(ShapesReader(correlation=correlation), split)
    agree, n = int((content["colour"] == content["shape"]).sum()), len(content["shape"])
    low, high = binom.interval(0.9999, n, correlation + (1 - correlation) / 8)
    assert low <= agree <= high
    assert np.bincount(content["shape"]).tolist() == [n // 8] * 8


def test_test_split_is_balanced_and_knows_no_correlation():
    content = contents_of(ShapesReader(correlation=1.0), "test")
    cells = np.zeros((8, 8), int)
    np.add.at(cells, (content["shape"], content["colour"]), 1)
    assert (cells == 94).all()
    within = np.zeros((64, 3, 3), int)
    np.add.at(within, (content["shape"] * 8 + content["colour"], content["background"], content["size"]), 1)
    assert within.min() == 10
    assert within.max() == 11
    assert np.ptp(np.bincount(content["background"])) <= 64
    other = contents_of(ShapesReader(correlation=0.0), "test")
    assert all((content[name] == other[name]).all() for name in content)


def test_covers_have_the_area_of_their_polygon():
    reader = small()
    count = 64
    scenes = scenes_of(reader, "test", np.arange(count))
    _, cover = drawing.draw(scenes)
    for i in range(count):
        points = shapes_outlines.outline(drawing.SHAPES[scenes.shape[i]]).astype(np.float32)
        area = cv2.contourArea(points) * float(scenes.radius[i]) ** 2
        assert cover[i].sum() / 255 == pytest.approx(area, rel=0.05)
        # All of the shape is on the image.
        assert max(cover[i][0].max(), cover[i][-1].max(), cover[i][:, 0].max(), cover[i][:, -1].max()) == 0


def test_sizes_are_told_by_the_radius():
    reader = ShapesReader()
    scenes = scenes_of(reader, "test", np.arange(1200))
    edges = np.digitize(scenes.radius, [14.5, 19.0])
    np.testing.assert_array_equal(edges, scenes.size)
    assert 10 <= scenes.radius.min() < scenes.radius.max() <= 24


@pytest.mark.parametrize("palette", drawing.PALETTES)
def test_shapes_exist_in_grey(palette):
    reader = ShapesReader(palette=palette)
    count = 400
    scenes = scenes_of(reader, "test", np.arange(count))
    contrast = np.abs(drawing.luma(scenes.fill) - drawing.luma(scenes.ground))
    assert contrast.min() >= 40 - 0.01
    picture, cover = drawing.draw(scenes)
    grey = np.stack([np.asarray(Image.fromarray(p).convert("L"), float) for p in picture])
    for i in np.flatnonzero(scenes.outline_width == 0):
        measured = abs(grey[i][cover[i] == 255].mean() - grey[i][cover[i] == 0].mean())
        assert measured == pytest.approx(contrast[i], abs=8)
    assert 0.4 < (scenes.outline_width > 0).mean() < 0.6


@pytest.mark.parametrize("palette", drawing.PALETTES)
def test_redraw_changes_the_colour_and_nothing_else(palette, tmp_path):
    reader = small(palette=palette)
    reading = reader.read(tmp_path, None, silent)
    rows = reading.rows.filter(reading.rows["split"] == "test").rows(named=True)
    hues = np.asarray([0.0, 31.0, 54.0, 125.0, 183.0, 227.0, 271.0, 325.0])  # what people call these
    for row in rows[::7]:
        original = np.asarray(Image.open(tmp_path / row["path"]))
        file, at = row["mask"].split("#")
        cover = np.load(tmp_path / file)[int(at)]
        np.testing.assert_array_equal(reader.redraw(row, "colour", row["colour"]), original)
        for index, colour in enumerate(drawing.COLOURS):
            redrawn = reader.redraw(row, "colour", colour)
            np.testing.assert_array_equal(redrawn[cover == 0], original[cover == 0])
            # The outline and the ground are nearly grey; the fill is what has chroma.
            chromatic = np.ptp(redrawn.astype(int), axis=-1) > 50
            assert not chromatic[cover == 0].any()
            red, green, blue = np.median(redrawn[chromatic], axis=0) / 255
            hue = 360 * colorsys.rgb_to_hsv(red, green, blue)[0]
            away = np.abs((hues - hue + 180) % 360 - 180)
            assert away.argmin() == index, (colour, hue)
            if palette == "even":
                grey = [
                    np.asarray(Image.fromarray(p).convert("L"), float)[chromatic].mean() for p in (redrawn, original)
                ]
                assert abs(grey[0] - grey[1]) < 1.0


def test_images_redrawn_together_are_those_redrawn_one_by_one():
    reader = small(palette="vivid")
    rows = [{"path": f"images/{split}/{i:06d}.png"} for i in (5, 2, 40) for split in ("test", "train", "validation")]
    levels = [drawing.COLOURS[number % 8] for number in range(len(rows))]
    expected = [reader.redraw(row, "colour", level) for row, level in zip(rows, levels, strict=True)]
    np.testing.assert_array_equal(reader.redraw_batch(rows, "colour", levels), expected)
    with pytest.raises(UserError, match=r"purpel.*purple"):
        reader.redraw_batch(rows, "colour", [*levels[:-1], "purpel"])


def test_redraw_refuses_what_it_cannot_draw():
    row = {"path": "images/test/000003.png"}
    with pytest.raises(UserError, match="size"):
        small().redraw(row, "size", "small")
    with pytest.raises(UserError, match=r"purpel.*purple"):
        small().redraw(row, "colour", "purpel")


def grey_accuracy(palette):
    """How often a classifier that sees the brightness of the shape's pixels alone names the colour."""
    reader = ShapesReader(palette=palette, correlation=0.0)
    features, colours = [], []
    for split, count in (("train", 4000), ("test", 2048)):
        picture, cover = images(reader, split, count)
        grey = [np.asarray(Image.fromarray(p).convert("L")) for p in picture]
        histograms = [
            np.histogram(g[c > 200], bins=64, range=(0, 256))[0] / (c > 200).sum()
            for g, c in zip(grey, cover, strict=True)
        ]
        whole = [np.histogram(g, bins=64, range=(0, 256))[0] / g.size for g in grey]
        features.append(np.concatenate([histograms, whole], axis=1))
        colours.append(contents_of(reader, split)["colour"][:count])
    models = [KNeighborsClassifier(15), RandomForestClassifier(60, min_samples_leaf=5, random_state=0)]
    return [model.fit(features[0], colours[0]).score(features[1], colours[1]) for model in models]


def test_grey_gives_the_colour_away_in_the_vivid_palette_only():
    # Chance is .125, its standard error at 2,048 images .0073.
    assert max(grey_accuracy("even")) < 0.125 + 4 * 0.0073
    assert min(grey_accuracy("vivid")) > 0.3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"correlation": 1.2}, r"data\.correlation: 1\.2"),
        ({"label": "color"}, r"data\.label.*colour"),
        ({"palette": "vivd"}, r"data\.palette.*vivid"),
        ({"num_test": 6000}, r"data\.num_test: 6000.*6016"),
        ({"num_train": 0}, r"data\.num_train: 0"),
        ({"seed": -1}, r"data\.seed: -1"),
    ],
)
def test_settings_out_of_range_are_named(settings, words, tmp_path):
    with pytest.raises(UserError, match=words):
        ShapesReader(**settings).read(tmp_path, None, silent)
    assert not list(Path(tmp_path).iterdir())
