"""Integrity: a broken or odd image that is not named, or a sound one that is, fails here."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from PIL import Image
from scipy import stats

from evensight.audit.broken import CODES, refined
from evensight.audit.chapter import Chapter
from evensight.audit.data import AuditData, Scores
from evensight.audit.integrity import chapter, unevenness
from evensight.audit.odd import KINDS, odd
from evensight.audit.properties import COLUMNS, image_properties, table
from evensight.config import AuditConfig
from evensight.data.prepare import prepare
from evensight.data.readers.folder import FolderReader
from evensight.objective.objective import Objective
from evensight.progress import silent
from evensight.runtime.decode import DecodeError, decode_array

sys.path.append(str(Path(__file__).parent.parent / "integration"))
from bad_images import IMAGES, encoded, png, whole_jpeg

OBJECTIVE = Objective.from_config({"name": "o", "purpose": "p"})


def photograph(seed: int = 0, height: int = 96, width: int = 128) -> np.ndarray:
    """Something with large and small structure, dark and bright parts, as photographs have."""
    generator = np.random.default_rng(seed)
    coarse = cv2.resize(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8), (width, height))
    fine = generator.integers(-40, 41, (height, width, 1))
    return np.clip(coarse + fine, 0, 255).astype(np.uint8)


def pool(
    images: list[np.ndarray | None],
    labels: list[int] | None = None,
    groups: list[int] | None = None,
    splits: list[str] | None = None,
) -> AuditData:
    """A draw without files."""
    num = len(images)
    rows = [
        image_properties(image, image, f"x.npy#{i}") if image is not None else None for i, image in enumerate(images)
    ]
    return drawn(table(rows), np.array([image is not None for image in images]), labels or [0] * num, groups, splits)


def drawn(
    properties: pl.DataFrame,
    measured: np.ndarray,
    labels: Any,
    groups: Any = None,
    splits: Any = None,
) -> AuditData:
    num = len(measured)
    nothing = np.zeros((num, 1), np.uint64)
    scores = Scores(properties, nothing, np.zeros((num, 2, 2), np.uint8), {}, measured)
    attributes = {} if groups is None else {"camera": np.asarray(groups, np.int64)}
    return AuditData(
        classes=("cat", "dog"),
        levels=dict.fromkeys(attributes, ("old", "new")),
        splits=np.array(["train"] * num if splits is None else splits),
        labels=np.asarray(labels, np.int64),
        attributes=attributes,
        scores=scores,
        objective=OBJECTIVE,
        open_test=False,
        counts={},
        row_ids=[f"row-{i}" for i in range(num)],
        paths=[f"x.npy#{i}" for i in range(num)],
    )


def audited(data: AuditData) -> Chapter:
    return chapter(data, AuditConfig(), silent)


def codes(data: AuditData) -> dict[str, list[int]]:
    return {finding.code: sorted(finding.rows) for finding in audited(data).findings}


def test_sound_photographs_have_no_finding() -> None:
    data = pool([photograph(seed) for seed in range(60)])
    found = audited(data)
    assert found.findings == []
    assert found.figures == {"unreadable": {"x": 0, "n": 60}}
    assert found.tables["quarantine_integrity"].height == 0


@pytest.mark.parametrize(
    ("code", "image"),
    [
        ("blank", np.full((96, 128, 3), 255, np.uint8)),
        ("blank", np.full((96, 128, 3), (10, 20, 30), np.uint8)),
        ("under_exposed", (photograph(99) * 0.1).astype(np.uint8)),
        ("over_exposed", (255 - photograph(99) * 0.1).astype(np.uint8)),
        ("blurred", cv2.GaussianBlur(photograph(99), (0, 0), 5)),
        ("tiny", photograph(99)[:20, :20]),
        ("huge", cv2.resize(photograph(99), (2400, 2000))),
        ("long", photograph(99, 96, 400)),
    ],
)
def test_an_odd_image_among_sound_ones(code: str, image: np.ndarray) -> None:
    images = [photograph(seed) for seed in range(60)]
    images[17] = image
    found = codes(pool(images))
    assert found[code] == [17]
    assert set(found) <= {code, "blurred" if code == "huge" else code}  # enlarged twenty times, it is blurred too


def test_blank_images_are_put_in_quarantine() -> None:
    images: list[np.ndarray | None] = [photograph(seed) for seed in range(9)]
    images[4], images[6] = np.zeros((96, 128, 3), np.uint8), None
    quarantine = audited(pool(images)).tables["quarantine_integrity"]
    assert quarantine.select("row_id", "code").rows() == [("row-4", "blank"), ("row-6", "unreadable")]
    assert all(quarantine["reason"])


@pytest.mark.parametrize("make", ["digits", "inverted", "shapes", "night", "snow", "soft"])
def test_what_all_images_are_is_not_odd(make: str) -> None:
    """Sparse white on black and its inverse, flat shapes, and photographs that are all dark, light or soft."""
    generator = np.random.default_rng(3)
    images = []
    for seed in range(80):
        image = np.zeros((28, 28, 3), np.uint8)
        if make in ("digits", "inverted"):
            x, y = generator.integers(6, 22, 2).tolist()
            cv2.line(image, (x, 4), (28 - x, y), (255, 255, 255), int(generator.integers(1, 4)))
            image = 255 - image if make == "inverted" else image
        elif make == "shapes":
            image = np.full((64, 64, 3), generator.integers(0, 256, 3), np.uint8)
            cv2.circle(image, (30, 34), int(generator.integers(8, 24)), generator.integers(0, 256, 3).tolist(), -1)
        else:
            image = photograph(seed)
            scaled = image * generator.uniform(0.05, 0.15)
            soft = cv2.GaussianBlur(image, (0, 0), generator.uniform(4, 6))
            image = {"night": scaled, "snow": 255 - scaled, "soft": soft}[make].astype(np.uint8)
        images.append(image)
    assert codes(pool(images)) == {}


def test_modes_and_names_are_told_from_the_files() -> None:
    images = [encoded(Image.fromarray(photograph(seed)), "PNG") for seed in range(20)]
    images[3] = encoded(Image.fromarray(photograph(3)).convert("CMYK"), "JPEG")
    images[5] = encoded(Image.fromarray(photograph(5)).convert("RGBA"), "PNG")
    images[7] = encoded(Image.fromarray(photograph(7)).quantize(16), "PNG")
    images[9] = encoded(Image.fromarray(photograph(9)[..., 0].astype(np.uint16) * 200), "PNG")
    images[11] = encoded(
        Image.fromarray(photograph(11)), "GIF", save_all=True, append_images=[Image.new("RGB", (9, 9))]
    )
    rows = [image_properties(image, decode_array(image), "a.png") for image in images]
    found = odd(table(rows), np.ones(20, bool))
    there = {code: np.flatnonzero(mask).tolist() for code, mask in found.items() if mask.any()}
    assert there == {
        "mode_cmyk": [3],
        "mode_alpha": [5],
        "mode_palette": [7, 11],
        "mode_16_bit": [9],
        "several_frames": [11],
        "wrong_extension": [3, 11],
    }


def test_a_data_set_of_one_odd_mode_is_not_odd() -> None:
    images = [encoded(Image.fromarray(photograph(seed)).convert("RGBA"), "PNG") for seed in range(5)]
    rows = [image_properties(image, decode_array(image), "a.png") for image in images]
    assert not any(mask.any() for mask in odd(table(rows), np.ones(5, bool)).values())


# What `bad_images.IMAGES` holds that never decodes, by the code it should have; the rest is in `MORE`.
BROKEN = {
    "truncated jpeg": "truncated",
    "truncated png": "truncated",
    "zero bytes": "empty",
    "html": "not_an_image",
    "text": "not_an_image",
    "eps": "not_an_image",
    "pdf": "not_an_image",
    "svg": "not_an_image",
    "bomb": "bomb",
    "larger than max_pixels": "bomb",
    "no width": "corrupt",
    "thousands of scans": "bomb",
    "broken checksum": "corrupt",
    "50 megabytes of text": "bomb",
    "32-bit integers": "mode",
    "floats up to 7": "range",
}


def _flipped(whole: bytes, start: int) -> bytes:
    return whole[:start] + bytes(255 - value for value in whole[start : start + 60]) + whole[start + 60 :]


def more() -> dict[str, tuple[str, bytes]]:
    """Further kinds of broken file: name -> code, bytes."""
    image = Image.fromarray(photograph())
    webp, gif, bmp = (encoded(image, kind) for kind in ("WEBP", "GIF", "BMP"))
    return {
        "cut.webp": ("truncated", webp[: len(webp) // 2]),
        "cut.gif": ("truncated", gif[: len(gif) // 2]),
        "cut.bmp": ("truncated", bmp[: len(bmp) // 2]),
        "head.jpg": ("truncated", whole_jpeg()[:20]),
        "zip.jpg": ("not_an_image", b"PK\x03\x04" + bytes(200)),
        "phone.jpg": ("unsupported_format", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)),
        "layers.png": ("unsupported_format", b"8BPS\0\x01" + bytes(100)),
        "zeros.jpg": ("not_an_image", bytes(1000)),
        "sound.jpg": ("not_an_image", b"RIFF\x24\0\0\0WAVEfmt " + bytes(100)),
        "damaged.png": ("corrupt", _flipped(encoded(image, "PNG"), 200)),
    }


@pytest.fixture(scope="module")
def broken_data(tmp_path_factory: pytest.TempPathFactory) -> AuditData:
    """A folder of photographs and of 26 kinds of broken file, prepared and measured as the audit does."""
    folder = tmp_path_factory.mktemp("broken")
    for i in range(30):
        place = folder / "images" / ("cat" if i % 2 else "dog") / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(i)).save(place)
    makers = {strange.name: strange for strange in IMAGES}
    for name in BROKEN:
        makers[name].make(folder / "images" / "cat" / f"{name}{makers[name].ending}")
    for name, (_, whole) in more().items():
        (folder / "images" / "cat" / name).write_bytes(whole)
    manifest, _ = prepare(FolderReader(root=str(folder / "images"), name="b"), OBJECTIVE, folder / "sets", silent)
    rows = [_properties(manifest.root / path, path) for path in manifest.frame["path"].to_list()]
    labels = [manifest.classes.index(name) for name in manifest.frame["label"].to_list()]
    data = drawn(
        table(rows), np.array([row is not None for row in rows]), labels, None, manifest.frame["split"].to_list()
    )
    changes = {"manifest": manifest, "paths": manifest.frame["path"].to_list(), "classes": manifest.classes}
    return AuditData(**{**{name: getattr(data, name) for name in data.__dataclass_fields__}, **changes})


def _properties(path: Path, name: str) -> dict[str, Any] | None:
    try:
        whole = path.read_bytes()
        return image_properties(whole, decode_array(whole), name)
    except DecodeError:
        return None


def test_each_kind_of_broken_file_has_its_code(broken_data: AuditData) -> None:
    wanted = {**{f"{name}": code for name, code in BROKEN.items()}, **{Path(n).name: c for n, (c, _) in more().items()}}
    assert len(wanted) >= 20
    found = {}
    for finding in audited(broken_data).findings:
        if finding.code in CODES:
            found |= {Path(broken_data.paths[row]).name: finding.code for row in finding.rows}
    names = {strange.name: f"{strange.name}{strange.ending}" for strange in IMAGES}
    assert found == {names.get(name, name): code for name, code in wanted.items()}
    assert set(found.values()) >= {"truncated", "empty", "bomb", "not_an_image", "corrupt", "mode", "range"}


def test_broken_files_are_counted_listed_and_in_quarantine(broken_data: AuditData) -> None:
    found = audited(broken_data)
    num = len(BROKEN) + len(more())
    assert found.figures == {"unreadable": {"x": num, "n": num + 30}}
    quarantine = found.tables["quarantine_integrity"]
    assert quarantine.height == num
    assert quarantine.schema == {"row_id": pl.String, "code": pl.String, "reason": pl.String}
    told = Counter(quarantine["code"].to_list())
    assert told == Counter([*BROKEN.values(), *(code for code, _ in more().values())])


def test_broken_files_of_one_class_alone_are_an_alarm(broken_data: AuditData) -> None:
    (uneven,) = [finding for finding in audited(broken_data).findings if finding.code == "uneven_unreadable"]
    assert (uneven.severity, uneven.evidence["attribute"], uneven.evidence["level"]) == ("alarm", "label", "cat")


def test_files_that_went_away_are_missing(tmp_path: Path) -> None:
    assert refined(tmp_path, ["gone.png", "x.npy#9"], ["unreadable: No such file or directory", "unreadable: x"]) == [
        ("missing", "No such file or directory"),
        ("unreadable", "x"),
    ]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert refined(tmp_path, ["a.png"], ["format: is a pipe"]) == [("not_an_image", "is a pipe")]


def test_a_large_honest_image_is_no_bomb(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(7000, 7000, np.random.default_rng(0).bytes(500_000)))
    told = refined(tmp_path, ["a.png"], ["too_large: 7000 x 7000 pixels are more than 40,000,000"])
    assert told[0][0] == "too_large"


def test_reasons_print_on_one_line(tmp_path: Path) -> None:
    ((_, reason),) = refined(tmp_path, ["a.png"], ["corrupt: \x1b[31mbad\nline" + "x" * 1000])
    assert reason.startswith("\\x1b[31mbad\\nline")
    assert len(reason) == 200


def test_unevenness_is_fishers_exact_test() -> None:
    generator = np.random.default_rng(5)
    measured, labels, groups = (
        generator.random(300) > 0.2,
        generator.integers(0, 2, 300),
        generator.integers(-1, 2, 300),
    )
    splits = generator.choice(["train", "validation", "test"], 300)
    data = drawn(table([None] * 300), measured, labels, groups, splits)
    nothing = {code: np.zeros(300, bool) for code in KINDS}
    tested = unevenness(data, nothing)
    assert len(tested) == 4
    for one in tested:
        values, level = (labels, ("cat", "dog")) if one.attribute == "label" else (groups, ("old", "new"))
        known, here = (values >= 0) & (splits != "test"), values == level.index(one.level)
        counted = [[int((known & mine & lost).sum()) for lost in (~measured, measured)] for mine in (here, ~here)]
        assert one.p == pytest.approx(stats.fisher_exact(counted, alternative="greater").pvalue, rel=1e-9)


def test_damage_at_random_rarely_goes_with_a_class() -> None:
    """400 draws at level 2.5 %: the upper 99.9 % limit of a true rate of 2.5 % is 20."""
    generator = np.random.default_rng(7)
    alarms = 0
    for _ in range(400):
        data = drawn(table([None] * 200), generator.random(200) > 0.1, *generator.integers(0, 2, (2, 200)))
        alarms += any(finding.code == "uneven_unreadable" for finding in audited(data).findings)
    assert alarms <= 20


def test_labels_of_a_closed_test_split_play_no_part() -> None:
    measured = np.arange(200) % 4 > 0
    splits = ["train"] * 100 + ["test"] * 100
    data = drawn(table([None] * 200), measured, [0, 1] * 50 + [-1] * 100, None, splits)
    assert all(one.all_n == 100 for one in unevenness(data, {code: np.zeros(200, bool) for code in KINDS}))


def test_a_million_rows_take_seconds() -> None:
    num = 1_000_000
    generator = np.random.default_rng(0)
    columns = {name: generator.random(num) for name in ("detail", "luma_low", "luma_high", "span")}
    whole = {name: generator.integers(1, 9, num) for name in ("width", "height", "frames")}
    properties = pl.DataFrame({**columns, **whole}).select(
        [pl.col(n) if n in (*columns, *whole) else pl.lit(None, kind).alias(n) for n, kind in COLUMNS.items()]
    )
    found = odd(properties, generator.random(num) > 0.01)
    assert found["several_frames"].sum() > 0.8 * num


def test_same_result_every_time(broken_data: AuditData) -> None:
    first, second = audited(broken_data), audited(broken_data)
    assert first.findings == second.findings
    assert first.tables["quarantine_integrity"].equals(second.tables["quarantine_integrity"])


def test_encoded_noise_is_left_alone() -> None:
    """JPEG of the lowest quality is no reason to call an image blank."""
    whole = encoded(Image.fromarray(photograph()), "JPEG", quality=5)
    row = image_properties(whole, decode_array(whole), "a.jpg")
    assert not odd(table([row]), np.ones(1, bool))["blank"].any()
