"""The composite data set: figures over photographs, what is behind them kept, and only the place tied to the class."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from scipy.ndimage import affine_transform, maximum_filter
from scipy.stats import binom

from evensight.data.datasets import composite as composite_module
from evensight.data.datasets import composite_draw as drawing
from evensight.data.datasets import composite_photos, draws, roots, shapes_draw
from evensight.data.datasets.composite import CompositeReader, contents_of
from evensight.data.prepare import prepare
from evensight.data.reading import silent
from evensight.errors import UserError

PLACES = ("beach", "forest", "street")
PER_PLACE = 20


def photograph(place: int, number: int) -> np.ndarray:
    """A photograph 60 x 80 whose red says its place and whose green its number."""
    pixels = np.full((60, 80, 3), (60 + 60 * place, 5 + 10 * number, 0), np.uint8)
    pixels[:, :, 2] = np.linspace(0, 250, 80)
    return pixels


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for place, name in enumerate(PLACES):
        (root / name).mkdir(parents=True)
        for number in range(PER_PLACE):
            Image.fromarray(photograph(place, number)).save(root / name / f"{number}.png")
    return root


def small(folder, **settings):
    given = {"photos": str(folder), "num_train": 150, "num_validation": 60, "num_test": 90, **settings}
    return CompositeReader(**given)


def drawn(reader, folder):
    """Rows, images, masks and what is behind them, in the order of the rows."""
    reading = reader.read(folder, None, silent)
    images = np.stack([np.asarray(Image.open(folder / path)) for path in reading.rows["path"]])
    masks, behind = (
        np.concatenate([np.load(folder / kind / f"{split}.npy") for split in ("train", "validation", "test")])
        for kind in ("masks", "photos")
    )
    return reading, images, masks, behind


def test_reading_lists_every_file(photos, tmp_path):
    reading = small(photos).read(tmp_path / "out", None, silent)
    rows = reading.rows
    assert rows["split"].value_counts(sort=True).rows() == [("train", 150), ("test", 90), ("validation", 60)]
    assert rows["path"].n_unique() == rows.height
    assert all((tmp_path / "out" / path).is_file() for path in rows["path"])
    assert {"mask", "place", "colour", "size", "source", "box_x0", "box_y1"} <= set(rows.columns)
    assert reading.usual == {"place": dict(zip(shapes_draw.SHAPES[:3], PLACES, strict=True))}
    assert set(rows["label"]) == set(shapes_draw.SHAPES[:3])


def test_what_is_behind_a_figure_is_its_photograph(photos, tmp_path):
    reading, images, masks, behind = drawn(small(photos), tmp_path / "out")
    bare = masks == 0
    np.testing.assert_array_equal(images[bare], behind[bare])
    assert not (images == behind)[masks == 255].all(axis=-1).mean() > 0.01
    for row, ground in zip(reading.rows.iter_rows(named=True), behind, strict=True):
        place, number = row["source"].split("/")
        assert place == row["place"]
        colour = photograph(PLACES.index(place), int(number.removesuffix(".png")))[0, 0, :2]
        np.testing.assert_array_equal(ground[..., :2], np.broadcast_to(colour, (64, 64, 2)))


def test_no_photograph_is_behind_two_splits(photos, tmp_path):
    rows = small(photos).read(tmp_path / "out", None, silent).rows
    assert rows.group_by("source").agg(pl.col("split").n_unique())["split"].max() == 1
    listed = small(photos).photographs()
    for place in range(3):
        counts = [len(listed.paths[split][place]) for split in ("train", "validation", "test")]
        assert counts == [12, 3, 5]


def test_another_photograph_moves_no_other(photos, tmp_path):
    before = small(photos).photographs().paths["train"][0]
    Image.fromarray(photograph(0, 3)).save(photos / "beach" / "new.png")
    after = small(photos).photographs().paths["train"][0]
    assert [path for path in after if path in before] == [path for path in before if path in after]
    assert len(set(before) - set(after)) <= 1


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_place_agrees_with_the_class_as_often_as_stated(photos, correlation, split):
    reader = small(photos, correlation=correlation, num_train=6000, num_validation=3000)
    content = contents_of(reader, reader.photographs(), split)
    n = len(content["label"])
    low, high = binom.interval(0.9999, n, correlation + (1 - correlation) / 3)
    assert low <= (content["place"] == content["label"]).sum() <= high
    for name, levels in (("colour", 8), ("size", 3)):  # independent of the class: so often alike as chance has it
        low, high = binom.interval(0.9999, n, 1 / levels)
        assert low <= (content[name] == content["label"]).sum() <= high


def test_the_test_split_is_balanced_and_knows_no_correlation(photos):
    reader = small(photos, correlation=1.0, num_test=2160)
    content = contents_of(reader, reader.photographs(), "test")
    cells = np.zeros((3, 3, 8, 3), int)
    np.add.at(cells, tuple(content[name] for name in ("label", "place", "colour", "size")), 1)
    assert (cells == 10).all()


def test_boxes_hold_the_figure_and_touch_it(photos, tmp_path):
    reading, _, masks, _ = drawn(small(photos), tmp_path / "out")
    sides = reading.rows.select("box_x0", "box_y0", "box_x1", "box_y1").to_numpy()
    for mask, (x0, y0, x1, y1) in zip(masks, sides, strict=True):
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        assert [x0, y0, x1, y1] == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_figures_stand_out_of_any_grey():
    key = draws.keys(1, np.arange(200))
    colour = np.arange(200) % 8
    figures = drawing.shapes(key, np.arange(200) % 8, colour, np.arange(200) % 3)
    for level in (0, 60, 120, 180, 255):
        image = drawing.laid_over(figures, np.full((200, 64, 64, 3), level, np.uint8))
        grey = np.stack([np.asarray(Image.fromarray(pixels).convert("L"), float) for pixels in image])
        away = np.where(figures.cover > 250, np.abs(grey - level), 0).reshape(200, -1)
        # Fifty pixels at least differ by 30 grey levels or more, be it the fill or the outline.
        assert np.sort(away, axis=1)[:, -50].min() >= 30


def test_digits_are_those_of_scipy():
    glyph = np.zeros((1, 28, 28), np.uint8)
    glyph[0, 6:22, 9:19] = np.random.default_rng(0).integers(0, 256, (16, 10))
    key = draws.keys(5, np.arange(1))
    cover = drawing.digits(key, glyph, np.asarray([2]), np.asarray([1])).cover[0]
    # The same map by scipy: the padded digit, each pixel its largest neighbour, turned, scaled and moved.
    u = draws.uniform(draws.words(key, 6))[0]
    side, tilt = 35 + 7 * u[0], 2 * np.pi * (2 * u[1] - 1) * drawing.TILT
    cosine, sine = np.cos(tilt), np.sin(tilt)
    reach = side * (cosine + abs(sine)) / 2 + 1
    centre = reach + u[2:4] * (64 - 2 * reach) - 0.5
    matrix = np.asarray([[cosine, -sine], [sine, cosine]]) * 28 / side
    wide = maximum_filter(np.pad(glyph[0], 2).astype(float), 3)
    expected = affine_transform(wide, matrix, np.full(2, 15.5) - matrix @ centre, (64, 64), order=1)
    np.testing.assert_allclose(cover.astype(float), expected, atol=0.51)


def test_a_photograph_is_cropped_and_half_of_them_mirrored(photos):
    image = composite_photos.opened(photos, "beach/3.png")
    key = draws.keys(9, np.arange(400))
    cut = drawing.crops(image, key, mirror=True)[..., 2].astype(float)
    rising = cut[:, 32, -1] > cut[:, 32, 0]
    low, high = binom.interval(0.9999, 400, 0.5)
    assert low <= rising.sum() <= high
    plain = drawing.crops(image, key, mirror=False)[..., 2].astype(float)
    assert (plain[:, 32, -1] > plain[:, 32, 0]).all()
    np.testing.assert_array_equal(cut[~rising], plain[~rising][:, :, ::-1])
    # Blue climbs 250 over 80 pixels: a crop of .6 to 1 of the shorter side, 60, shows 36 to 60 of them.
    shown = (plain[:, 32, -1] - plain[:, 32, 0]) / (250 / 79) * 64 / 63
    assert 35 < shown.min() < 40
    assert 56 < shown.max() < 61


@pytest.mark.parametrize("attribute", ["place", "colour"])
def test_redraw_changes_what_is_asked_and_nothing_else(photos, tmp_path, attribute):
    reader = small(photos)
    reading, images, masks, behind = drawn(reader, tmp_path / "out")
    fresh = small(photos)  # one that never drew
    levels = {"place": PLACES, "colour": shapes_draw.COLOURS}[attribute]
    of_split = {split: set(rows["source"]) for (split,), rows in reading.rows.group_by("split")}
    for at in range(0, reading.rows.height, 29):
        row = reading.rows.row(at, named=True)
        np.testing.assert_array_equal(fresh.redraw(row, attribute, row[attribute]), images[at])
        for index, level in enumerate(levels):
            pixels = fresh.redraw(row, attribute, level)
            bare, full = masks[at] == 0, masks[at] == 255
            if attribute == "colour":
                np.testing.assert_array_equal(pixels[bare], behind[at][bare])
                continue
            np.testing.assert_array_equal(pixels[full], images[at][full])
            red, green = np.unique(pixels[bare][:, :2], axis=0)[0]
            assert red == 60 + 60 * index
            name = f"{level}/{(int(green) - 5) // 10}.png"
            others = set().union(*(sources for split, sources in of_split.items() if split != row["split"]))
            assert name not in others


@pytest.mark.parametrize("attribute", ["place", "colour"])
def test_images_redrawn_together_are_those_redrawn_one_by_one(photos, attribute):
    reader = small(photos)
    rows = [{"path": f"images/{split}/{i:06d}.png"} for i in (3, 1, 7) for split in ("test", "train", "validation")]
    all_levels = {"place": PLACES, "colour": shapes_draw.COLOURS}[attribute]
    levels = [all_levels[number % len(all_levels)] for number in range(len(rows))]
    expected = [reader.redraw(row, attribute, level) for row, level in zip(rows, levels, strict=True)]
    np.testing.assert_array_equal(reader.redraw_batch(rows, attribute, levels), expected)


def test_redraw_refuses_what_it_cannot_draw(photos):
    row = {"path": "images/test/000003.png"}
    with pytest.raises(UserError, match="size"):
        small(photos).redraw(row, "size", "small")
    with pytest.raises(UserError, match=r"beech.*beach"):
        small(photos).redraw(row, "place", "beech")


def test_files_hold_the_same_pixels_at_any_number_of_threads(photos, tmp_path, monkeypatch):
    digests = []
    for workers in (1, 3):
        monkeypatch.setattr(composite_module.os, "cpu_count", lambda workers=workers: workers)
        _, images, masks, behind = drawn(small(photos, seed=4), tmp_path / str(workers))
        digests.append(hashlib.sha256(images.tobytes() + masks.tobytes() + behind.tobytes()).hexdigest())
    assert digests[0] == digests[1]


def test_figures_are_the_same_on_every_machine():
    key = draws.keys(7, np.arange(48))
    number = np.arange(48)
    glyph = (draws.words(key, 784) >> np.uint64(56)).astype(np.uint8).reshape(48, 28, 28)
    shapes = drawing.shapes(key, number % 8, number % 7 % 8, number % 3)
    digits = drawing.digits(key, glyph, number % 8, number % 3)
    digest = hashlib.sha256()
    for figures in (shapes, digits):
        digest.update(figures.light.tobytes() + figures.cover.tobytes())
    assert digest.hexdigest() == "4766e7371685799902a3651c0a3e0cc85bcfe1ab68b1008c3029f05b38617e79"


def test_drawn_once_and_again_where_the_photographs_are_others(photos, tmp_path):
    folder = tmp_path / "out"
    calls = []
    small(photos).read(folder, None, lambda what, done, total: calls.append((done, total)))
    assert calls[-1] == (300, 300)
    small(photos).read(folder, None, lambda *_: pytest.fail("drew again"))
    Image.fromarray(photograph(1, 9)).save(photos / "forest" / "another.png")
    calls.clear()
    small(photos).read(folder, None, lambda what, done, total: calls.append((done, total)))
    assert calls[-1] == (300, 300)


def test_digits_of_no_split_are_in_another(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "digits", lambda key, glyph, colour, size: (seen.append(glyph), shown(key))[1])
    seen = []

    def shown(key):
        nothing = np.zeros((len(key), 64, 64), np.uint8)
        nothing[:, 30, 30] = 255
        return drawing.Figures(np.zeros((len(key), 64, 64, 3), np.uint8), nothing)

    for name, count, offset in (("train", 600, 0), ("test", 300, 128)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1], images[:, 0, 2] = offset, np.arange(count) // 256, np.arange(count) % 256
        np.savez(tmp_path / f"{name}.npz", images=images, labels=(np.arange(count) % 10).astype(np.uint8))
    reader = small(photos, figures="digits", mnist=str(tmp_path))
    monkeypatch.setattr(composite_module.os, "cpu_count", lambda: 1)
    numbers = {}
    for split, count in (("train", 150), ("validation", 60), ("test", 90)):
        seen.clear()
        content = contents_of(reader, reader.photographs(), split)
        reader._figures(split, np.arange(count), content)
        code = seen[0][:, 0, :3].astype(int) @ [65536, 256, 1]
        np.testing.assert_array_equal(code % 65536 % 10, content["label"])  # of the digit that the row names
        numbers[split] = set(code.tolist())
    assert not numbers["train"] & numbers["validation"]
    assert not numbers["train"] & numbers["test"]
    assert len(numbers["train"]) > 80


def test_photographs_may_lie_in_one_folder(photos, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photos.rglob("*.png"):
        path.rename(flat / f"{path.parent.name} side_{path.name}")
    assert small(flat).photographs().places == tuple(f"{place} side" for place in PLACES)


def test_the_places_with_most_photographs_are_used(photos, monkeypatch):
    monkeypatch.setitem(composite_module.FIGURES, "shapes", ("circle", "square"))
    for number in range(4):
        (photos / "forest" / f"{number}.png").unlink()
    assert small(photos).photographs().places == ("beach", "street")


def test_prepared(photos, tmp_path, make_objective):
    objective = make_objective(attributes={"place": {"levels": "from_data"}})
    manifest, _ = prepare(small(photos), objective, tmp_path / "datasets", silent)
    assert manifest.usual == {"place": (0, 2, 1)}  # classes in code-point order: circle, square, triangle
    assert manifest.frame["error"].null_count() == 300
    assert manifest.frame["mask"].null_count() == 0


def test_a_sample_keeps_the_place(photos, tmp_path, make_objective):
    objective = make_objective(attributes={"place": {"levels": "from_data"}})
    manifest, _ = prepare(small(photos, limit=45), objective, tmp_path / "datasets", silent)
    assert manifest.levels == {"place": PLACES}
    assert manifest.frame["split"].value_counts().sort("split")["count"].to_list() == [45, 45, 45]
    assert manifest.frame["place"].null_count() == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"correlation": 1.2}, r"data\.correlation: 1\.2"),
        ({"figures": "shape"}, r"data\.figures.*shapes"),
        ({"num_test": 100}, r"data\.num_test: 100.*9 equal cells.*99"),
        ({"num_train": 0}, r"data\.num_train: 0"),
        ({"seed": -1}, r"data\.seed: -1"),
        ({"photos": "/no/such/folder"}, r"data\.photos"),
        ({"photos": None}, r"data\.photos is not set.*EVENSIGHT_DATA"),
        ({"figures": "digits"}, r"data\.mnist is not set.*EVENSIGHT_DATA"),
    ],
)
def test_what_is_wrong_is_named(photos, tmp_path, settings, words, monkeypatch):
    monkeypatch.delenv("EVENSIGHT_DATA", raising=False)
    monkeypatch.setattr(roots, "_BESIDE", Path("/nowhere"))
    with pytest.raises(UserError, match=words):
        small(photos, **settings).read(tmp_path / "out", None, silent)


def test_a_broken_photograph_and_too_few_are_named(photos, tmp_path):
    (photos / "beach" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"data\.photos: .*0\.png"):
        small(photos).read(tmp_path / "out", None, silent)
    for path in [*photos.rglob("*.png")]:
        if path.parent.name != "beach":
            path.unlink()
    with pytest.raises(UserError, match=r"data\.photos: .* has 1 kinds of place"):
        small(photos).read(tmp_path / "out", None, silent)


@pytest.mark.realdata
def test_places_of_bar(real_data, tmp_path, monkeypatch):
    if not (real_data / "bar").is_dir():
        pytest.skip(f"no photographs at {real_data}")
    monkeypatch.setenv("EVENSIGHT_DATA", str(real_data))
    reader = CompositeReader(num_train=60, num_validation=36, num_test=36)
    _, images, masks, behind = drawn(reader, tmp_path / "out")
    assert reader.photographs().places == ("climbing", "diving", "fishing", "pole vaulting", "racing", "throwing")
    np.testing.assert_array_equal(images[masks == 0], behind[masks == 0])
