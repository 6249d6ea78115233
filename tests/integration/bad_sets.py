"""Data sets that are wrong as a whole or in a row: what is found, the status, and what the user reads.

Each maker gets a folder that holds `animals/{cat,dog}/*.png`, twelve of each, writes what is wrong, and returns the
arguments of a command. Status 2: `said` is the one line on stderr. Status 0: `said` is in the log.
"""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from PIL import Image


@dataclass(frozen=True)
class Wrong:
    """A kind of data set."""

    name: str
    make: Callable[[Path], list[str]]
    status: int
    said: str


def folder(root: object) -> list[str]:
    return ["experiment=folder", f"data.root={root}"]


def images(at: Path) -> list[tuple[str, str]]:
    """Path and label of every image."""
    paths = sorted(path.relative_to(at).as_posix() for path in (at / "animals").rglob("*.png"))
    return [(path, path.split("/")[1]) for path in paths]


def lines(at: Path, *further: str, head: str = "path,label") -> str:
    return "\n".join([head, *(f"{path},{label}" for path, label in images(at)), *further]) + "\n"


def tabled(write: Callable[[Path], bytes | str], name: str = "t.csv") -> Callable[[Path], list[str]]:
    def make(at: Path) -> list[str]:
        content = write(at)
        (at / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return ["experiment=table", f"data.table={at / name}"]

    return make


def columns(**further: Iterable[object]) -> Callable[[Path], list[str]]:
    """A table with more columns than path and label."""

    def make(at: Path) -> list[str]:
        rows = images(at)
        frame = pl.DataFrame({"path": [path for path, _ in rows], "label": [label for _, label in rows]})
        frame.with_columns(pl.Series(name, list(values)) for name, values in further.items()).write_csv(at / "t.csv")
        return ["experiment=table", f"data.table={at / 't.csv'}"]

    return make


def stated(make: Callable[[Path], list[str]], **keys: str) -> Callable[[Path], list[str]]:
    return lambda at: [*make(at), *(f"{key.replace('__', '.')}={value}" for key, value in keys.items())]


def after(do: Callable[[Path], object], make: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    """Does something to the folder of the animals first."""

    def made(at: Path) -> list[str]:
        do(at / "animals")
        return make(at)

    return made


def animals(at: Path) -> list[str]:
    return folder(at / "animals")


def linked(at: Path) -> None:
    (at / "loop").symlink_to(at)


def linked_classes(at: Path) -> list[str]:
    (at / "set").mkdir()
    for name in ("cat", "dog"):
        (at / "set" / name).symlink_to(at / "animals" / name)
    return folder(at / "set")


def twins(at: Path) -> None:
    for form in ("NFC", "NFD"):
        (at / unicodedata.normalize(form, "é")).mkdir()
        for number in range(4):
            Image.new("RGB", (9, 9), (number, len(form), 9)).save(
                at / unicodedata.normalize(form, "é") / f"{number}.png"
            )


def renamed(old: str, new: str) -> Callable[[Path], object]:
    return lambda at: (at / old).rename(at / new)


def emptied(name: str) -> Callable[[Path], object]:
    def do(at: Path) -> None:
        shutil.rmtree(at / name)
        (at / name).mkdir()

    return do


def split_up(train: Mapping[str, int]) -> Callable[[Path], list[str]]:
    """Split folders: so many of each class's images in training, the others in validation and test."""

    def make(at: Path) -> list[str]:
        for name, number in train.items():
            for place, path in enumerate(sorted((at / "animals" / name).iterdir())):
                split = "train" if place < number else ("validation", "test")[place % 2]
                (at / "split" / split / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, at / "split" / split / name)
        return folder(at / "split")

    return make


COLOUR = {"objective__attributes": "{colour: {levels: [red, blue]}}"}

SETS = (
    # The folder.
    Wrong("no such folder", lambda at: folder(at / "animal"), 2, r"data\.root: '.*animal' does not exist; data\.root"),
    Wrong("a file in place of the folder", lambda at: folder(at / "animals/cat/0.png"), 2, r"data\.root: .* is a file"),
    Wrong("a path through a file", lambda at: folder(at / "animals/cat/0.png/x"), 2, r"data\.root: .*Not a directory"),
    Wrong("a path that is too long", lambda at: folder(at / ("a" * 300)), 2, r"data\.root: .*File name too long"),
    Wrong("a NUL in the path", lambda at: folder(f"'{at}/a\0b'"), 2, r"data\.root: .*\\x00.*null byte"),
    Wrong("a home of nobody", lambda at: folder("'~nobody-at-all/x'"), 2, r"data\.root: .*home directory"),
    Wrong("a dangling link", lambda at: (at / "l").symlink_to(at / "no") or folder(at / "l"), 2, "does not exist"),
    Wrong("a link to itself", lambda at: (at / "l").symlink_to(at / "l") or folder(at / "l"), 2, "Too many levels"),
    Wrong("a pipe in place of the folder", lambda at: os.mkfifo(at / "p") or folder(at / "p"), 2, "is a pipe"),
    Wrong("no class folders", lambda at: folder(at / "animals" / "cat"), 2, "holds no folders; it needs one folder"),
    Wrong("class folders that are links", linked_classes, 2, r"no folders but links \(cat, dog\), which are not"),
    Wrong("a link in a circle", after(linked, animals), 0, r"1 x linked_folders: .*not entered \(loop\)"),
    Wrong(
        "empty class folders", after(lambda at: [emptied(name)(at) for name in ("cat", "dog")], animals), 2, "no image"
    ),
    Wrong(
        "one more class folder, empty",
        after(lambda at: (at / "cow").mkdir(), animals),
        0,
        r"1 x empty_class_folder: .*\(cow\)",
    ),
    Wrong("splits beside classes", after(renamed("cat", "train"), animals), 2, r"\(train\) beside others \('dog'\)"),
    Wrong(
        "images beside the classes",
        after(lambda at: shutil.copy(at / "cat/0.png", at), animals),
        0,
        "image_without_row",
    ),
    # Classes, splits and cells.
    Wrong("a wrong class name", stated(animals, objective__classes="[cat,dogg]"), 2, "'dogg' has no image.*mean 'dog'"),
    Wrong(
        "a label that is no class", stated(after(renamed("dog", "Dog"), animals), objective__classes="[cat,Dog]"), 0, ""
    ),
    Wrong(
        "a class too many",
        stated(columns(label=["cat", "dog"] * 11 + ["cow"] * 2), objective__classes="[cat,dog]"),
        0,
        r"2 x unknown_label: .*'cow' x 2",
    ),
    Wrong(
        "a class absent from training", split_up({"cat": 8, "dog": 0}), 2, "training split has no image of class 'dog'"
    ),
    Wrong(
        "a class absent from validation", split_up({"cat": 8, "dog": 11}), 0, "class_without_images: .*validation.*dog"
    ),
    Wrong(
        "an empty split",
        stated(animals, data__validation_fraction="0"),
        2,
        r"no image is in the validation split.*found 0",
    ),
    Wrong(
        "no split at all for training", split_up({"cat": 0, "dog": 0}), 2, "training split has no image of class 'cat'"
    ),
    Wrong(
        "a cell without an image",
        stated(columns(colour=["red"] * 12 + ["red", "blue"] * 6), **COLOUR),
        0,
        r"cell_without_images: pairs of class and colour without an image in the train split \(cat x blue\)",
    ),
    Wrong(
        "a level nobody stated",
        stated(columns(colour=["red", "blue", "mauve"] * 8), **COLOUR),
        0,
        "8 x unknown_level.*mauve",
    ),
    Wrong(
        "an attribute that is no column",
        stated(columns(color=["red", "blue"] * 12), **COLOUR),
        2,
        "'colour' is no column.*mean 'color'",
    ),
    Wrong("an unknown split", columns(split=["train", "dev"] * 12), 0, "12 x unknown_split.*known are train"),
    Wrong("labels alike", columns(label=["cat", "Cat", "dog"] * 8), 0, r"1 x duplicate_names: .*'Cat' / 'cat'"),
    Wrong("a label with a space at its end", columns(label=["cat", "dog "] * 12), 2, "'dog ' is empty or has spaces"),
    Wrong(
        "a label with a line break", columns(label=["cat", "d\nog"] * 12), 2, r"labels: 'd\\nog' holds what does not"
    ),
    Wrong("Unicode twins", after(twins, animals), 0, r"1 x unicode_twins: .*'e\\u0301' / '\\xe9'"),
    Wrong(
        "a name that cannot be a folder", stated(animals, data__name="'a\tb'"), 2, r"data\.name: .*cannot name a folder"
    ),
    Wrong("a share above one", stated(animals, data__test_fraction="1.5"), 2, r"data\.test_fraction: found 1\.5"),
    # Where it is kept.
    Wrong(
        "a file in place of datasets_dir",
        lambda at: [*animals(at), f"datasets_dir={at / 'animals/cat/0.png'}"],
        2,
        r"datasets_dir: .* cannot be written \(Not a directory\)",
    ),
    Wrong(
        "datasets_dir read only",
        lambda at: [*animals(at), "datasets_dir=/proc/evensight"],
        2,
        "datasets_dir: .* cannot be written",
    ),
)
