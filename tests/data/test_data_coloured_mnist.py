"""Coloured MNIST: the published protocol, drawn alike everywhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from evensight.data.datasets import roots
from evensight.data.datasets.coloured_mnist import MEAN_COLOURS, SIGMA, ColouredMnistReader, quantiles
from evensight.data.reading import silent
from evensight.errors import UserError

# "Learning from Failure": the means as published, in 1/255.
PUBLISHED = {0: "#fb502b", 1: "#fdea5a", 4: "#16c6fa", 6: "#063cc2", 9: "#d53444"}


@pytest.fixture(autouse=True)
def no_shared_images(monkeypatch):
    monkeypatch.delenv("EVENSIGHT_DATA", raising=False)
    monkeypatch.setattr(roots, "_BESIDE", Path("/nowhere"))


@pytest.fixture
def mnist(tmp_path):
    """A folder like MNIST's: 4,000 + 1,000 random images, classes of uneven size, their numbers as bits in row 1."""
    for seed, (name, count) in enumerate((("train", 4000), ("test", 1000))):
        images = np.random.PCG64(seed).random_raw(count * 98).astype("<u8").view(np.uint8).reshape(count, 28, 28)
        images[:, 0, 0] = 255
        images[:, 1, :12] = 255 * (np.arange(count)[:, None] >> np.arange(12) & 1)
        labels = np.arange(count) ** 2 // 7 % 10
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels.astype(np.uint8))
    return tmp_path


def read(mnist, tmp_path, **settings):
    reader = ColouredMnistReader(root=str(mnist), num_validation=500, **settings)
    folder = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
    return reader.read(folder, None, silent)


def pixels(reading, split):
    rows = reading.rows.filter(pl.col("split") == split)
    images = np.load(reading.root / f"images/{split}.npy")
    assert rows["path"].to_list() == [f"images/{split}.npy#{row}" for row in range(len(images))]
    label = rows["label"].cast(pl.Int64).to_numpy()
    colour = rows["colour"].str.slice(1).cast(pl.Int64).to_numpy()
    return images, label, colour


def test_mean_colours_are_the_published_ones():
    for digit, code in PUBLISHED.items():
        expected = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        np.testing.assert_allclose(MEAN_COLOURS[digit], expected, atol=0.012)


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.3])
def test_conflicting_images_are_the_stated_share_of_every_class(mnist, tmp_path, ratio):
    reading = read(mnist, tmp_path, conflict_ratio=ratio)
    for split in ("train", "validation"):
        _, label, colour = pixels(reading, split)
        for digit in range(10):
            n = (label == digit).sum()
            assert abs(((label == digit) & (colour != digit)).sum() - ratio * n) <= 0.5 + 1e-9
    _, label, colour = pixels(reading, "train")
    if ratio == 0.3:
        # The others alike: each of the nine is a share 1/9 of the conflicting, here within four standard errors.
        away = (colour - label)[colour != label] % 10
        counts = np.bincount(away, minlength=10)
        assert counts[0] == 0
        n = counts.sum()
        assert np.abs(counts[1:] - n / 9).max() < 4 * np.sqrt(n / 9 * 8 / 9)


def test_colour_says_nothing_in_the_test_split(mnist, tmp_path):
    _, label, colour = pixels(read(mnist, tmp_path, conflict_ratio=0.0), "test")
    cells = np.zeros((10, 10), int)
    np.add.at(cells, (label, colour), 1)
    assert (np.ptp(cells, axis=1) <= 1).all()


def test_validation_is_held_out_of_training_class_by_class(mnist, tmp_path):
    reading = read(mnist, tmp_path)
    source = np.load(mnist / "train.npz")["labels"]
    numbers = []
    for split, count in (("train", 3500), ("validation", 500)):
        images, label, _ = pixels(reading, split)
        number = (images[:, 1, :12].max(axis=-1) > 50) @ (1 << np.arange(12))
        np.testing.assert_array_equal(label, source[number])
        np.testing.assert_allclose(np.bincount(label), np.bincount(source) * count / 4000, atol=1)
        numbers += number.tolist()
    assert sorted(numbers) == list(range(4000))


@pytest.mark.parametrize("severity", SIGMA)
def test_pixels_are_the_tint_times_grey(mnist, tmp_path, severity):
    reading = read(mnist, tmp_path, severity=severity)
    images, _, colour = pixels(reading, "test")
    grey = np.load(mnist / "test.npz")["images"].astype(float)
    tint = images[:, 0, 0].astype(float) / 255  # grey is 255 there
    expected = tint[:, None, None] * grey[..., None]
    assert np.abs(images - expected).max() <= 1.0
    off = tint - np.asarray(MEAN_COLOURS)[colour]
    inner = ((np.asarray(MEAN_COLOURS) > 0.2) & (np.asarray(MEAN_COLOURS) < 0.8))[colour]  # not clipped
    assert off[inner].std() == pytest.approx(np.sqrt(SIGMA[severity] ** 2 + (1 / 255) ** 2 / 12), rel=0.06)
    assert abs(off[inner].mean()) < 0.002 + 4 * SIGMA[severity] / np.sqrt(inner.sum())


def test_pixels_are_the_same_on_every_machine(mnist, tmp_path):
    reading = read(mnist, tmp_path, severity=2, conflict_ratio=0.1, seed=3)
    digest = hashlib.sha256()
    for split in ("train", "validation", "test"):
        images, label, colour = pixels(reading, split)
        digest.update(images.tobytes() + label.astype("<i8").tobytes() + colour.astype("<i8").tobytes())
    assert digest.hexdigest() == "3ed5d53085cbb03e016ca750d1716cb16fd927b0b1d256e6afab4056d0ed1cba"


def test_drawn_once(mnist, tmp_path):
    reader = ColouredMnistReader(root=str(mnist), num_validation=500)
    first = reader.read(tmp_path / "out", None, silent)
    second = reader.read(tmp_path / "out", None, lambda *_: pytest.fail("drew again"))
    assert first.rows.equals(second.rows)
    assert second.usual == {"colour": {str(digit): f"c{digit}" for digit in range(10)}}


def test_quantiles_by_sorting():
    generator = np.random.Generator(np.random.PCG64(1))
    word = generator.integers(0, 2**63, 300).astype(np.uint64)
    label = generator.integers(0, 4, 300)
    expected = [((word[label == label[i]] < word[i]).sum() + 0.5) / (label == label[i]).sum() for i in range(300)]
    np.testing.assert_allclose(quantiles(word, label), expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"conflict_ratio": -0.1}, r"data\.conflict_ratio: -0\.1"),
        ({"severity": 6}, r"data\.severity: 6.*1, 2, 3, 4, 5"),
        ({"num_validation": 0}, r"data\.num_validation: 0"),
        ({"num_validation": 4000}, r"data\.num_validation: 4000.*less than 4000"),
        ({"seed": -1}, r"data\.seed"),
        ({"root": "/no/such/folder"}, r"data\.root"),
        ({"root": None}, r"data\.root is not set.*EVENSIGHT_DATA"),
    ],
)
def test_what_is_wrong_is_named(mnist, tmp_path, settings, words):
    with pytest.raises(UserError, match=words):
        ColouredMnistReader(**{"root": str(mnist), **settings}).read(tmp_path / "out", None, silent)


def test_a_broken_file_is_named(mnist, tmp_path):
    (mnist / "test.npz").write_bytes(b"PK broken")
    with pytest.raises(UserError, match=r"test\.npz"):
        read(mnist, tmp_path)
    (mnist / "test.npz").unlink()
    with pytest.raises(UserError, match=r"has no test\.npz.*data\.root"):
        read(mnist, tmp_path)


def test_found_by_the_environment(mnist, tmp_path, monkeypatch):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "mnist").symlink_to(mnist)
    monkeypatch.setenv("EVENSIGHT_DATA", str(tmp_path / "all"))
    reading = ColouredMnistReader(num_validation=500).read(tmp_path / "out", None, silent)
    assert reading.rows.height == 5000
