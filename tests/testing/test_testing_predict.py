"""If these fail, a user's own images get another answer than the test gave, or a failed model is used unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import made_artifact
from evensight.errors import UserError
from evensight.records.artifact import Artifact
from evensight.testing.predict import found_images, predict
from evensight.testing.predictions import Batch, Served, from_sources, judged


def probabilities(artifact: Artifact, paths: list[Path], batch_size: int | None = None) -> torch.Tensor:
    served = Served(artifact)
    load, whole = from_sources(paths, 10**6), lambda batch: batch.probs
    return torch.cat(list(judged(served, load, len(paths), whole, {}, batch_size)))


def test_a_folder_and_files(made: made_artifact.Made, copied: Callable[[], Artifact], tmp_path: Path) -> None:
    folder = copied().folder
    table = predict(folder, str(made.manifest.root))
    expected = probabilities(made.artifact, [Path(path) for path in table["path"]], batch_size=7)
    assert table.height == len(made.manifest.frame)
    assert table["path"].to_list() == sorted(table["path"].to_list())
    assert table["probability"].to_numpy() == pytest.approx(expected.max(dim=1).values.numpy(), abs=1e-4)
    labels = [made_artifact.CLASSES[i] for i in expected.argmax(dim=1)]
    assert table["label"].to_list() == labels

    two = [made.manifest.root / "3.png", made.manifest.root / "1.png"]
    assert predict(folder, ",".join(map(str, two)))["label"].to_list() == ["circle", "square"]
    assert predict(folder, str(two[0])).height == 1


def test_a_broken_file_is_a_row_with_its_error(copied: Callable[[], Artifact], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    row = predict(copied().folder, str(tmp_path / "broken.png")).row(0, named=True)
    assert (row["label"], row["probability"]) == (None, None)
    assert row["error"].startswith("format: ")


def test_nothing_there(copied: Callable[[], Artifact], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        predict(copied().folder, str(tmp_path / "empty"))
    with pytest.raises(UserError, match="does not exist"):
        predict(copied().folder, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="artifact: "):
        predict(tmp_path, str(copied().folder / "golden"))


def test_an_artifact_that_failed_is_refused_unless_told(
    copied: Callable[[], Artifact], caplog: pytest.LogCaptureFixture
) -> None:
    artifact = copied()
    artifact.attach("verdict_test", {"verdict": "FAIL"})
    with pytest.raises(UserError, match="accept_failed=true"):
        predict(artifact.folder, str(artifact.folder / "golden"))
    assert predict(artifact.folder, str(artifact.folder / "golden"), accept_failed=True).height == 4
    assert "FAIL" in caplog.text


def test_order_errors_and_progress(made: made_artifact.Made) -> None:
    names = [f"{number}.png" for number in range(20)]
    paths = [made.manifest.root / name for name in names]
    paths[3] = paths[3].with_name("missing.png")
    paths[8:12] = [path.with_name("missing.png") for path in paths[8:12]]  # a whole batch
    errors: dict[int, str] = {}
    told: list[tuple[int, int]] = []

    def positions(batch: Batch) -> list[int]:
        return batch.positions.tolist()

    served = Served(made.artifact)
    batches = list(
        judged(
            served,
            from_sources(paths, 10**6),
            20,
            positions,
            errors,
            batch_size=4,
            progress=lambda what, done, total: told.append((done, total)),
        )
    )
    assert batches == [[0, 1, 2], [4, 5, 6, 7], [12, 13, 14, 15], [16, 17, 18, 19]]
    assert sorted(errors) == [3, 8, 9, 10, 11]
    assert told == [(4, 20), (8, 20), (12, 20), (16, 20), (20, 20)]


def test_decoded_pixels_are_taken_as_they_are(made: made_artifact.Made) -> None:
    pixels = [made_artifact.draw(number, "blue") for number in range(3)]
    pixels[1].flags.writeable = False  # as a row of a mapped file is
    served = Served(made.artifact)
    (probs,) = judged(served, from_sources(pixels, 10**6), 3, lambda batch: batch.probs.numpy(), {})
    assert np.argmax(probs, axis=1).tolist() == [2, 2, 2]


def test_images_that_are_loaded_together_are_those_loaded_one_by_one(made: made_artifact.Made) -> None:
    """And where a batch cannot be loaded, each of its images is, or is named."""
    served, asked = Served(made.artifact), []
    drawn = [made_artifact.draw(number, made_artifact.COLOURS[number % 3]) for number in range(20)]
    load = from_sources([*drawn[:9], made.manifest.root / "missing.png", *drawn[10:]], 10**6)

    def together(positions: range) -> list[torch.Tensor]:
        asked.append(positions)
        return [load(position) for position in positions]

    def probs(batch: Batch) -> torch.Tensor:
        return batch.probs

    errors: tuple[dict[int, str], dict[int, str]] = ({}, {})
    alone = torch.cat(list(judged(served, load, 20, probs, errors[0], batch_size=8)))
    batched = torch.cat(list(judged(served, load, 20, probs, errors[1], batch_size=8, load_batch=together)))
    assert torch.equal(alone, batched)
    assert errors[0] == errors[1]
    assert list(errors[1]) == [9]
    assert sorted(asked, key=lambda one: one.start) == [range(8), range(8, 16), range(16, 20)]


def test_a_folder_is_searched_for_what_training_would_take(tmp_path: Path) -> None:
    """Not for the `._name.jpg` that another system leaves beside each image."""
    for name in ("a.jfif", "b.JPE", "._c.jpg", "d.txt", "e.png"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in found_images(str(tmp_path))] == ["a.jfif", "b.JPE", "e.png"]
