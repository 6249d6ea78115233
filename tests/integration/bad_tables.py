"""Tables and arrays that are wrong; what `bad_sets` is for folders."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from bad_sets import Wrong, after, animals, columns, images, lines, stated, tabled
from PIL import Image


def parquet(change: Callable[[pl.DataFrame], pl.DataFrame], cut: float = 1.0) -> Callable[[Path], list[str]]:
    def write(at: Path) -> bytes:
        rows = images(at)
        buffer = io.BytesIO()
        change(pl.DataFrame(rows, schema=["path", "label"], orient="row")).write_parquet(buffer)
        return buffer.getvalue()[: int(len(buffer.getvalue()) * cut)]

    return tabled(write, "t.parquet")


def arrays(names: str = "{train: x.npz}", **members: object) -> Callable[[Path], list[str]]:
    def make(at: Path) -> list[str]:
        given = {"images": np.zeros((6, 4, 4), np.uint8), "labels": np.array([0, 1] * 3), **members}
        np.savez(at / "x.npz", **given)
        return ["experiment=folder", "data=arrays", f"data.root={at}", f"data.files={names}"]

    return make


def array_file(content: Callable[[], bytes]) -> Callable[[Path], list[str]]:
    def make(at: Path) -> list[str]:
        (at / "x.npy").write_bytes(content())
        np.save(at / "y.npy", np.array([0, 1] * 3))
        files = ["data.files={train: x.npy}", "data.label_files={train: y.npy}"]
        return ["experiment=folder", "data=arrays", f"data.root={at}", *files]

    return make


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def bomb(at: Path) -> list[str]:
    """An .npz of a few hundred bytes whose headers promise 16 terabytes of images."""
    side, number = 2**16, 2**12
    header = npy(np.zeros((1, 1, 1), np.uint8))[:-1].replace(
        b"(1, 1, 1), }   ", b"(%d, %d, %d), }" % (number, side, side)
    )
    header = header[:-1].rstrip().ljust(127) + b"\n"
    with zipfile.ZipFile(at / "x.npz", "w") as archive:
        archive.writestr("images.npy", header)
        archive.writestr("labels.npy", npy(np.zeros(number, np.int64)))
        archive.getinfo("images.npy").file_size = len(header) + number * side * side
    return ["experiment=folder", "data=arrays", f"data.root={at}", "data.files={train: x.npz}"]


def no_zip(at: Path) -> list[str]:
    arguments = arrays()(at)
    (at / "x.npz").write_bytes(b"PK no")
    return arguments


def masked(at: Path) -> list[str]:
    rows = images(at)
    Image.new("L", (24, 24)).save(at / "mask.png")
    masks = ["nowhere.png", *["mask.png"] * (len(rows) - 1)]
    return columns(mask=masks)(at)


TABLES = (
    # Tables.
    Wrong(
        "no such table", lambda at: ["experiment=table", f"data.table={at / 'no.csv'}"], 2, "'.*no.csv' does not exist"
    ),
    Wrong("a table of another kind", tabled(lambda at: "", "t.xlsx"), 2, r"no table evensight reads; allowed: \.csv"),
    Wrong("a csv with a mark", tabled(lambda at: b"\xef\xbb\xbf" + lines(at).encode()), 0, ""),
    Wrong("a csv of windows", tabled(lambda at: lines(at).replace("\n", "\r\n")), 0, ""),
    Wrong("a csv in utf-16", tabled(lambda at: lines(at).encode("utf-16")), 2, "is UTF-16 text; save it as UTF-8"),
    Wrong(
        "a csv in latin-1",
        tabled(lambda at: lines(at, "a.png,caf\xe9").encode("latin-1")),
        2,
        r"line 26 is no UTF-8 \(byte 0xe9\)",
    ),
    Wrong("a wrong separator", tabled(lambda at: lines(at).replace(",", ";")), 2, "separated by ';'; allowed: ','"),
    Wrong("a row too long", tabled(lambda at: lines(at, "a.png,cat,train")), 2, "line 26 has 3 values; 2 are needed"),
    Wrong("a row too short", tabled(lambda at: lines(at, "a.png")), 2, "line 26 has 1 values; 2 are needed"),
    Wrong("a column twice", tabled(lambda at: lines(at, head="path,path")), 2, "column 'path' is there twice"),
    Wrong(
        "a missing column", tabled(lambda at: lines(at, head="path,labels")), 2, "'label' is not known.*mean 'labels'"
    ),
    Wrong(
        "a quote without end",
        tabled(lambda at: lines(at, '"a.png,cat')),
        2,
        "cannot be read as a table.*unexpected end",
    ),
    Wrong(
        "a quoted line break in a path",
        tabled(lambda at: lines(at, '"a\nb.png",cat')),
        0,
        r"missing_image: .*a\\nb\.png",
    ),
    Wrong("an empty table", tabled(lambda at: ""), 2, "is empty; a line of column names"),
    Wrong("a header alone", tabled(lambda at: "path,label\n"), 2, "the table has no rows"),
    Wrong("a table of a picture", tabled(lambda at: (at / images(at)[0][0]).read_bytes()), 2, "line 1 is no UTF-8"),
    Wrong("json that is none", tabled(lambda at: '{"path": "a"}\n{oops', "t.jsonl"), 2, "line 2 is not JSON"),
    Wrong("json nested for ever", tabled(lambda at: "[" * 100_000, "t.jsonl"), 2, "line 1 is not JSON"),
    Wrong("a parquet cut short", parquet(lambda rows: rows, 0.7), 2, "t.parquet: cannot be read as a table"),
    Wrong(
        "a parquet of lists",
        parquet(lambda rows: rows.with_columns(pl.lit([1]).alias("x"))),
        2,
        "column 'x' holds List",
    ),
    Wrong(
        "a parquet of nulls",
        parquet(lambda rows: rows.with_columns(path=pl.when(pl.int_range(24) % 5 > 0).then("path"))),
        0,
        "5 x no_path",
    ),
    # Rows.
    Wrong("the same row twice", tabled(lambda at: lines(at, "animals/cat/0.png,cat")), 0, "1 x duplicate_row"),
    Wrong(
        "one path under two labels", tabled(lambda at: lines(at, "animals/cat/0.png,dog")), 0, "2 x contradicting_rows"
    ),
    Wrong(
        "one image under two labels",
        after(lambda at: shutil.copy(at / "cat/0.png", at / "dog/x.png"), animals),
        0,
        "1 x same_pixels_other_label",
    ),
    Wrong(
        "paths out of the folder",
        tabled(lambda at: lines(at, "/etc/hostname,cat", "../x.png,cat", "file:///x.png,cat")),
        0,
        "3 x outside_root.*a URL",
    ),
    Wrong("a NUL in a path", tabled(lambda at: lines(at, "a\0.png,cat")), 0, r"1 x outside_root.*a\\x00\.png"),
    Wrong(
        "a path in other Unicode points",
        after(
            lambda at: (at / "cat/0.png").rename(at / "cat/e\u0301.png"),
            tabled(lambda at: lines(at).replace("e\u0301", "\xe9")),
        ),
        0,
        "1 x missing_image.*of the same letters",
    ),
    Wrong(
        "no image at all",
        tabled(lambda at: "path,label\na.png,cat\nb.png,dog\n"),
        2,
        "no row can be used: 2 x missing_image",
    ),
    Wrong(
        "an array row there is none of",
        tabled(lambda at: lines(at, "x.npy#99999999999999999999,cat")),
        0,
        "1 x missing_image",
    ),
    Wrong(
        "a box of no numbers",
        columns(**dict.fromkeys(("box_x0", "box_y0", "box_x1", "box_y1"), ["left"] * 24)),
        2,
        "wrong kind",
    ),
    Wrong(
        "a box that is not finite",
        columns(box_x0=[0] * 24, box_y0=[0] * 24, box_x1=["nan"] + ["5"] * 23, box_y1=[5] * 24),
        0,
        "1 x unusable_box",
    ),
    Wrong("a missing mask", masked, 0, r"1 x missing_mask: .*\(nowhere\.png\)"),
    # Arrays.
    Wrong("an npz of objects", arrays(labels=np.array([None] * 6)), 2, "holds pickled objects, which are never loaded"),
    Wrong("labels of another length", arrays(labels=np.zeros(5, np.int64)), 2, r"found shape \[5\].*6 images"),
    Wrong(
        "labels that are no names", arrays(labels=np.zeros(6)), 2, "found float64; allowed are whole numbers and text"
    ),
    Wrong(
        "a label out of range", stated(arrays(labels=np.arange(6)), data__label_names="[a,b]"), 2, "holds the label 2"
    ),
    Wrong(
        "images of another type",
        arrays(images=np.zeros((6, 4, 4), np.float32)),
        2,
        r"found float32 \[6, 4, 4\]; images are",
    ),
    Wrong("images of another shape", arrays(images=np.zeros((6, 3, 4, 4), np.uint8)), 2, r"found uint8 \[6, 3, 4, 4\]"),
    Wrong(
        "a member there is none of", stated(arrays(), data__images="image"), 2, "'image' is not known.*mean 'images'"
    ),
    Wrong("a file out of the root", arrays("{train: ../x.npz}"), 2, r"data\.files\.train: '\.\./x\.npz' leads out"),
    Wrong("an npz that is no zip", no_zip, 2, "x.npz: cannot be read as an array file .*not a zip"),
    Wrong("a zip bomb", bomb, 2, r"'images' takes 17,592,186,044,416 bytes and this machine has"),
    Wrong(
        "a class of broken images",
        after(lambda at: [p.write_bytes(b"") for p in (at / "cat").iterdir()], animals),
        2,
        r"no image of class 'cat' that can be decoded, as in cat/0\.png: format: not an image",
    ),
    Wrong(
        "an npy cut short", array_file(lambda: npy(np.zeros((6, 4, 4), np.uint8))[:-9]), 2, "96 bytes, and 87 are there"
    ),
    Wrong(
        "an npy that is a picture",
        array_file(lambda: b"\x89PNG\r\n\x1a\n"),
        2,
        "x.npy: cannot be read as an array file",
    ),
)
