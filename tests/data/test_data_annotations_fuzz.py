"""If these fail, an annotation file can end a command with a traceback, or have a file opened that is not its own.

Random documents of the formats' own grammar, and their bytes with some changed: only a UserError may come out.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest
from annotation_documents import read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from annotated_files import cvat_label, cvat_xml
from evensight.data.annotations.bounded import parse_json, parse_xml
from evensight.data.readers.cvat import CvatReader
from evensight.data.readers.imagefolder import ImageFolderReader
from evensight.data.readers.voc import VocReader
from evensight.errors import UserError
from opened_files import outside, watched

SECRET = "secret.png"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with images, and links that lead out of it to a secret."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "root" / "JPEGImages").mkdir(parents=True)
    Image.new("RGB", (30, 20)).save(folder / SECRET)
    exif = Image.Exif()
    exif[0x0112] = 6
    for below in ("root", "root/JPEGImages"):
        for name in ("a.png", "A.png", "\xe9.png", "e\u0301.png"):
            Image.new("RGB", (30, 20)).save(folder / below / name, exif=exif if name == "A.png" else None)
        (folder / below / "text.png").write_text("no image")
        (folder / below / "link.png").symlink_to(folder / SECRET)
        (folder / below / "linked").symlink_to(folder)
        (folder / below / "loop").symlink_to(folder / below / "loop")
        os.mkfifo(folder / below / "pipe.png")
    return folder


NAMES = st.sampled_from(
    [
        *("a.png", "A.png", "\xe9.png", "e\u0301.png", "./a.png", "JPEGImages/a.png", "text.png", "lost.png", "linked"),
        *("link.png", "linked/secret.png", "loop/a.png", "pipe.png", "../secret.png", "../../secret.png"),
        *("/etc/hostname", "file:///etc/hostname", "C:\\a.png", "a.png#1", "x.npy#0", "", "a" * 300),
    ]
)
FIGURES = ("1", "0", "-5", "1e999", "nan", "3.5", "true", "30", "20", "1,2;3,4;9,9", "1, 4, 1")
WORDS = ("cat", "dog", "Cat", "\x85", *FIGURES)
TEXTS = st.one_of(
    NAMES,
    st.sampled_from(WORDS),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=6),
)


def mostly(usual: st.SearchStrategy[str], odd: st.SearchStrategy[str] = TEXTS) -> st.SearchStrategy[str]:
    return st.integers(0, 9).flatmap(lambda draw: usual if draw else odd)


FILES = mostly(st.sampled_from(("a.png", "A.png", "\xe9.png", "e\u0301.png")), NAMES)
LABELS = mostly(st.sampled_from(("cat", "dog")))
LOW, HIGH = (mostly(st.integers(*ends).map(str)) for ends in ((0, 9), (9, 30)))
SIZES = {"width": mostly(st.just("30")), "height": mostly(st.just("20"))}


@st.composite
def voc_documents(draw: st.DrawFn) -> str:
    """An annotation whose parts are missing, repeated or of other kinds now and then."""

    def part(tag: str, inner: st.SearchStrategy[str]) -> str:
        times = draw(st.integers(0, 30))  # 0, 2, else 1
        return "".join(f"<{tag}>{draw(inner)}</{tag}>" for _ in range(times if times in (0, 2) else 1))

    def text(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return values.map(escape)

    def thing() -> str:
        sides = {"xmin": LOW, "ymin": LOW, "xmax": HIGH, "ymax": HIGH}
        box = "".join(part(side, text(values)) for side, values in sides.items())
        attribute = f"<attribute>{part('name', text(TEXTS))}</attribute>"
        more = part("difficult", text(TEXTS)) + part("attributes", st.just(attribute))
        return part("object", st.just(part("name", text(LABELS)) + more + part("bndbox", st.just(box))))

    objects = "".join(thing() for _ in range(draw(st.integers(0, 3))))
    size = part("size", st.just("".join(part(side, text(values)) for side, values in SIZES.items())))
    return f"<annotation>{part('filename', text(FILES))}{size}{objects}</annotation>"


@st.composite
def cvat_documents(draw: st.DrawFn) -> str:
    kinds = ("tag", "box", "polygon", "ellipse", "cuboid", "mask", "points", "polyline", "skeleton", "other")
    low, high = ("xtl", "ytl", "left", "top", "width", "height", "rx", "ry"), ("xbr", "ybr", "cx", "cy")
    corners = st.lists(st.tuples(LOW, HIGH).map(",".join), min_size=1, max_size=4).map(";".join)
    keys = {**dict.fromkeys(low, LOW), **dict.fromkeys(high, HIGH), "points": corners, "occluded": TEXTS}
    keys["rle"] = mostly(st.just("1, 4, 1"))

    def written(keys: dict[str, st.SearchStrategy[str]], **given: str) -> str:
        chosen = {key: draw(values) for key, values in keys.items() if draw(st.integers(0, 15))} | given
        return " ".join(f"{key}={quoteattr(value)}" for key, value in chosen.items())

    def shape() -> str:
        kind, label = draw(st.sampled_from(kinds)), draw(mostly(st.sampled_from(("cat", "dog")), st.just("cow")))
        attribute = f"<attribute {written({'name': TEXTS})}>{escape(draw(TEXTS))}</attribute>"
        return f"<{kind} {written(keys, label=label)}>{attribute}</{kind}>"

    images = []
    for number in range(draw(st.integers(0, 4))):
        shapes = "".join(shape() for _ in range(draw(st.integers(0, 3))))
        given_keys = {"id": str(number if draw(st.integers(0, 9)) else 0), "name": draw(FILES)}
        images.append(f"<image {written(SIZES | {'subset': TEXTS}, **given_keys)}>{shapes}</image>")
    labels = draw(st.sampled_from((None, cvat_label("cat") + cvat_label("dog") + cvat_label("cow"), cvat_label("cat"))))
    return cvat_xml("".join(images), labels)


@st.composite
def mutated(draw: st.DrawFn, documents: st.SearchStrategy[str]) -> bytes:
    """A document's bytes, of which up to three places are cut out, doubled or replaced, or none."""
    content = draw(documents).encode()
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 3)))):
        start = draw(st.integers(0, len(content)))
        end = min(start + draw(st.integers(0, 40)), len(content))
        new = draw(st.one_of(st.just(b""), st.just(content[start:end] * 2), st.binary(max_size=4)))
        content = content[:start] + new + content[end:]
    return content


CLASSES = st.sampled_from((None, ("cat", "dog")))
OBJECTS = st.sampled_from(("image", "cut"))


@given(content=mutated(voc_documents()), lists=TEXTS, classes=CLASSES, objects=OBJECTS, several=st.booleans())
def test_any_voc_is_read_or_refused_within_its_root(place, content, lists, classes, objects, several):
    root = place / "root"
    files = {"Annotations/a.xml": content, "ImageSets/Main/train.txt": lists.encode("utf-8", "replace")}
    for name, written in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(written)
    reader = VocReader(name="v", root=str(root), objects=objects, several="largest" if several else "refuse")
    shutil.rmtree(place / "made", ignore_errors=True)
    with watched() as opened:
        read_or_refused(reader, place / "made", classes)
    assert outside(opened, [root, place / "made"]) == []


@given(content=mutated(cvat_documents()), classes=CLASSES, objects=OBJECTS, margin=st.sampled_from((0.0, 0.1, 10.0)))
def test_any_cvat_is_read_or_refused_within_its_root(place, content, classes, objects, margin):
    (place / "cvat.xml").write_bytes(content)
    keys = {"annotations": str(place / "cvat.xml"), "root": str(place / "root")}
    reader = CvatReader(name="c", objects=objects, margin=margin, **keys)
    shutil.rmtree(place / "made", ignore_errors=True)
    with watched() as opened:
        read_or_refused(reader, place / "made", classes)
    assert set(outside(opened, [place / "root", place / "made"])) <= {str(place / "cvat.xml")}


ROW = st.fixed_dictionaries({"file_name": TEXTS, "label": TEXTS}, optional={"mask_file_name": NAMES, "x": TEXTS})


@given(rows=st.lists(ROW, max_size=6), cut=st.integers(0, 20), classes=CLASSES)
def test_any_imagefolder_is_read_or_refused_within_its_root(place, rows, cut, classes):
    root = place / "folder"
    if not root.exists():
        shutil.copytree(place / "root" / "JPEGImages", root, symlinks=True, ignore=shutil.ignore_patterns("pipe*"))
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (root / "metadata.jsonl").write_bytes(content[: len(content) - cut] if cut else content)
    shutil.rmtree(place / "made", ignore_errors=True)  # of the tests before
    with watched() as opened:
        read_or_refused(ImageFolderReader(name="i", root=str(root)), place / "made", classes)
    assert outside(opened, [root]) == []


JSON = st.sampled_from(('{"a": [1, 2.5e3, "\\u00e9\\ud83d\\ude00"]}', "[[[]]]", '"x"'))


@given(st.one_of(st.binary(max_size=40), mutated(JSON)))
def test_any_bytes_are_json_as_python_reads_it_or_refused(content):
    try:
        value = parse_json(content, "f")
    except UserError as error:
        assert str(error).isprintable()
        return
    assert value == json.loads(content.decode("utf-8-sig"))


@given(st.one_of(st.binary(max_size=40), mutated(voc_documents()), mutated(cvat_documents())))
def test_any_bytes_are_xml_or_refused(content):
    with watched() as opened:
        try:
            tree = parse_xml(content, "f")
        except UserError as error:
            assert str(error).isprintable()
        else:
            assert sum(1 for _ in tree.iter()) >= 1
    assert opened == []


def test_the_watch_hears_what_leaves_the_root(place):
    with watched() as opened:
        (place / "root" / "link.png").read_bytes()
        list((place / "root" / "linked").iterdir())
        (place / "root" / "a.png").read_bytes()
    assert outside(opened, [place / "root"]) == [str(place / "root" / name) for name in ("link.png", "linked")]
