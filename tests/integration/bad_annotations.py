"""Annotation files that are wrong as a whole: what is wrong, and what the user reads. Each ends a command with 2.

A maker gets an empty folder that holds `root/{0..11}.png`, six cats and six dogs, and beside it `outside`, which no
command may open: a picture, a table, a document, each by a name that says so. It writes what is wrong into `root`, and
returns the arguments of a command.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from annotated_files import (
    cvat_image,
    cvat_label,
    cvat_shape,
    cvat_xml,
    voc_object,
    voc_xml,
)

NUM_IMAGES = 12
NAMES = ("cat", "dog")
Maker = Callable[[Path], list[str]]


class Bad(NamedTuple):
    """A maker, and a regular expression that the sentence must match."""

    make: Maker
    said: str


def label_of(number: int) -> str:
    return NAMES[number % 2]


def secret(at: Path, name: str = "secret.png") -> Path:
    """A file that no command may open."""
    return at / "outside" / name


# --- imagefolder ---


def imagefolder(content: str | bytes | None = None, name: str = "metadata.jsonl", **settings: str) -> Maker:
    def make(at: Path) -> list[str]:
        if content is not None:
            (at / "root" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        keys = [f"data.{key}={value}" for key, value in settings.items()]
        return ["experiment=folder", "data=imagefolder", f"data.root={at / 'root'}", *keys]

    return make


def rows(**change: object) -> str:
    """A line an image, with some values in place of its own."""
    lines = [{"file_name": f"{number}.png", "label": label_of(number)} | change for number in range(NUM_IMAGES)]
    return "".join(json.dumps(line) + "\n" for line in lines)


def linked_metadata(at: Path) -> list[str]:
    (at / "root" / "metadata.csv").symlink_to(secret(at, "secret.csv"))
    return imagefolder()(at)


def piped_metadata(at: Path) -> list[str]:
    os.mkfifo(at / "root" / "metadata.csv")
    return imagefolder()(at)


def two_tables(at: Path) -> list[str]:
    (at / "root" / "metadata.csv").write_text("file_name,label\n0.png,cat\n")
    return imagefolder(rows())(at)


def listed_table(at: Path) -> list[str]:
    pl.DataFrame({"file_name": ["0.png"], "label": [["cat"]]}).write_parquet(at / "root" / "metadata.parquet")
    return imagefolder()(at)


IMAGEFOLDER = {
    "imagefolder: metadata without file names": Bad(
        imagefolder(rows().replace("file_name", "name")), "'file_name' is not known; allowed: label, name"
    ),
    "imagefolder: metadata without labels": Bad(
        imagefolder(rows(), label_column="class"),
        r"data\.label_column: .*'class' is not known; allowed: file_name, label",
    ),
    "imagefolder: metadata that is no JSON": Bad(imagefolder(rows() + "{oops"), "line 13 is not JSON"),
    "imagefolder: JSON nested for ever": Bad(imagefolder('{"a":' * 100_000), "line 1 is not JSON"),
    "imagefolder: a label that is a list": Bad(imagefolder(rows(label=["cat"])), "'label': found a list or an object"),
    "imagefolder: a number without a name": Bad(
        imagefolder(rows(label=7), label_names="[cat,dog]"), r"holds the label '7'; 2 names are given, for 0 to 1"
    ),
    "imagefolder: two files of metadata": Bad(
        two_tables, r"several files of metadata \(metadata\.csv, metadata\.jsonl\)"
    ),
    "imagefolder: metadata that is a link out": Bad(linked_metadata, r"metadata\.csv: is a link that leads out"),
    "imagefolder: metadata that is a pipe": Bad(piped_metadata, "cannot be read as metadata; it is not a file"),
    "imagefolder: every path leads out": Bad(
        lambda at: imagefolder(rows(file_name="../outside/secret.png"))(at),
        "none of its images can be used below .*: 1 x outside_root",
    ),
    "imagefolder: a column of lists": Bad(listed_table, "column 'label' holds List"),
}


# --- Pascal VOC ---


def voc(change: Callable[[str, int], str | bytes] = lambda xml, number: xml, **settings: str) -> Maker:
    """An annotation an image, changed by `change` from the text that it would have and its number."""

    def make(at: Path) -> list[str]:
        (at / "root" / "Annotations").mkdir()
        for number in range(NUM_IMAGES):
            xml = change(voc_xml(f"{number}.png", voc_object(label_of(number), (2, 3, 9, 8)), (12, 10)), number)
            content = xml if isinstance(xml, bytes) else xml.encode()
            (at / "root" / "Annotations" / f"{number}.xml").write_bytes(content)
        keys = [f"data.{key}={value}" for key, value in {"images": ".", **settings}.items()]
        return ["experiment=folder", "data=voc", f"data.root={at / 'root'}", *keys]

    return make


def last(xml: str | bytes) -> Callable[[str, int], str | bytes]:
    """Puts another text in the place of the last annotation."""
    return lambda own, number: xml if number == NUM_IMAGES - 1 else own


def named(file: str) -> Callable[[str, int], str]:
    """Puts another file name into every annotation."""
    return lambda xml, number: xml.replace(f"{number}.png", file)


def entity(at: Path) -> list[str]:
    doctype = f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "file://{secret(at, "secret.txt")}">]>'
    return voc(lambda xml, _: doctype + xml.replace("cat", "&x;"))(at)


def parameter_entity(at: Path) -> list[str]:
    doctype = f'<!DOCTYPE annotation [<!ENTITY % p SYSTEM "{secret(at, "secret.txt")}"> %p;]>'
    return voc(lambda xml, _: doctype + xml)(at)


def included(at: Path) -> list[str]:
    """XInclude is no entity, and an element like any other."""
    link = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{secret(at, "secret.txt")}" parse="text"/>'
    return voc(lambda xml, _: xml.replace(">cat<", f">{link}<").replace(">dog<", f">{link}<"))(at)


def linked_images(at: Path) -> list[str]:
    for number in range(NUM_IMAGES):
        (at / "root" / f"link{number}.png").symlink_to(secret(at))
    return voc(lambda xml, number: xml.replace(f"{number}.png", f"link{number}.png"))(at)


def linked_folder(at: Path) -> list[str]:
    (at / "root" / "JPEGImages").symlink_to(at / "outside")
    return voc(named("secret.png"), images="JPEGImages")(at)


def linked_annotations(at: Path) -> list[str]:
    (at / "root" / "Annotations").symlink_to(at / "outside")
    return ["experiment=folder", "data=voc", f"data.root={at / 'root'}", "data.images=."]


def linked_list(at: Path) -> list[str]:
    (at / "root" / "ImageSets" / "Main").mkdir(parents=True)
    (at / "root" / "ImageSets" / "Main" / "train.txt").symlink_to(secret(at, "secret.txt"))
    return voc()(at)


def binary_list(at: Path) -> list[str]:
    (at / "root" / "ImageSets" / "Main").mkdir(parents=True)
    (at / "root" / "ImageSets" / "Main" / "val.txt").write_bytes(b"0\n\xff\xfe")
    return voc()(at)


def piped_annotation(at: Path) -> list[str]:
    arguments = voc()(at)
    os.mkfifo(at / "root" / "Annotations" / "pipe.xml")
    return arguments


def no_annotation(at: Path) -> list[str]:
    (at / "root" / "empty").mkdir()
    return voc(annotations="empty")(at)


def case_twins(at: Path) -> list[str]:
    """On a system that takes no heed of case, A.png and a.png are one file; hard links stand for it here."""
    os.link(at / "root" / "0.png", at / "root" / "a.png")
    os.link(at / "root" / "0.png", at / "root" / "A.png")
    return voc(lambda xml, number: xml.replace(f"{number}.png", "aA"[number % 2] + ".png"))(at)


LAUGHS = "".join(f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 12))
VOC = {
    "voc: XML that is none": Bad(
        voc(last("<annotation><object></annotation>")), r"11\.xml: line 1 is not XML \(mismatched tag\)"
    ),
    "voc: XML cut short": Bad(
        voc(lambda xml, number: xml[:-20]), r"0\.xml: line 1 is not XML .*; 11 more files cannot be used either"
    ),
    "voc: an empty file": Bad(voc(last("")), r"11\.xml: is empty; XML is needed"),
    "voc: bytes that are no text": Bad(
        voc(last(b"<annotation>\xff\xfe</annotation>")), r"11\.xml: line 1 is not XML \(not well-formed"
    ),
    "voc: another element": Bad(
        voc(last("<annotations/>")), r"holds the element 'annotations'; .* holds an 'annotation'"
    ),
    "voc: a file read by an entity": Bad(entity, "has a DOCTYPE or an entity, which are never read"),
    "voc: a file read by a parameter entity": Bad(parameter_entity, "has a DOCTYPE or an entity"),
    "voc: a billion laughs": Bad(
        voc(last(f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><annotation>&l11;</annotation>')),
        "has a DOCTYPE or an entity",
    ),
    "voc: a DOCTYPE of the web": Bad(
        voc(last('<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><annotation/>')), "has a DOCTYPE"
    ),
    "voc: XInclude": Bad(included, "12 x no_label"),
    "voc: elements nested for ever": Bad(
        voc(last("<annotation>" + "<object>" * 5000)), "its elements lie more than 32 deep"
    ),
    "voc: another encoding": Bad(
        voc(last('<?xml version="1.0" encoding="utf-7"?><annotation/>')), "is in the encoding 'utf-7'; save it as UTF-8"
    ),
    "voc: an annotation that is a pipe": Bad(piped_annotation, r"pipe\.xml: is a pipe or a device"),
    "voc: absolute paths": Bad(lambda at: voc(named(str(secret(at))))(at), "1 x outside_root"),
    "voc: paths that climb out": Bad(voc(named("../outside/secret.png")), "1 x outside_root"),
    "voc: links": Bad(voc(named("https://localhost/secret.png")), "1 x outside_root"),
    "voc: paths of another system": Bad(
        voc(named("..\\outside\\secret.png")), "1 x foreign_path: paths with a backslash"
    ),
    "voc: images that are links out": Bad(linked_images, "12 x outside_root"),
    "voc: a folder of images that is a link out": Bad(linked_folder, r"data\.images: 'JPEGImages' leads out"),
    "voc: a folder of annotations that is a link out": Bad(
        linked_annotations, r"data\.annotations: 'Annotations' leads out"
    ),
    "voc: a list that is a link out": Bad(linked_list, r"data\.sets: 'ImageSets/Main/train\.txt' leads out"),
    "voc: a list that is no text": Bad(binary_list, r"val\.txt: is no UTF-8 text \(byte 0xff\)"),
    "voc: no annotation": Bad(no_annotation, r"empty: holds no \.xml file; name the folder that does"),
    "voc: labels that are no class": Bad(
        lambda at: [*voc()(at), "objective.classes=[bird,fish]"],
        r"none of its labels is a class of the objective \(bird, fish\); found: 'cat', 'dog'",
    ),
    "voc: images in case twins": Bad(case_twins, "2 x same_file"),
}


# --- CVAT ---


def cvat(
    images: Callable[[int], str] | None = None, labels: str | None = None, version: str = "1.1", **more: str
) -> Maker:
    """An image each with a box, or what `images` makes of its number."""
    head = cvat_label("cat") + cvat_label("dog") if labels is None else labels

    def own(number: int) -> str:
        return cvat_image(number, f"{number}.png", box(label_of(number)), (12, 10))

    def make(at: Path) -> list[str]:
        text = cvat_xml("".join((images or own)(number) for number in range(NUM_IMAGES)), head, version)
        return cvat_file(text)(at) + [f"data.{key}={value}" for key, value in more.items()]

    return make


def cvat_file(content: str | bytes) -> Maker:
    def make(at: Path) -> list[str]:
        (at / "root" / "annotations.xml").write_bytes(content if isinstance(content, bytes) else content.encode())
        return ["experiment=folder", "data=cvat", f"data.annotations={at / 'root' / 'annotations.xml'}"]

    return make


def box(label: str, **more: object) -> str:
    return cvat_shape("box", label, **{"xtl": 1, "ytl": 1, "xbr": 9, "ybr": 8, **more})


def cvat_entity(at: Path) -> list[str]:
    doctype = f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret(at, "secret.txt")}">]>'
    return cvat_file(f'<?xml version="1.0"?>{doctype}<annotations><version>&x;</version></annotations>')(at)


CVAT = {
    "cvat: no such file": Bad(
        lambda at: ["experiment=folder", "data=cvat", f"data.annotations={at / 'root' / 'no.xml'}"],
        r"data\.annotations: .*no\.xml' does not exist",
    ),
    "cvat: a folder in place of the file": Bad(
        lambda at: ["experiment=folder", "data=cvat", f"data.annotations={at / 'root'}"],
        r"data\.annotations: .* is a folder",
    ),
    "cvat: another version": Bad(cvat(version="1.0"), r"its version is '1\.0'; allowed is 1\.1"),
    "cvat: tracks of a video": Bad(
        cvat_file(cvat_xml('<track id="0" label="cat"/>')), "holds tracks of a video; export it"
    ),
    "cvat: a file of Pascal VOC": Bad(
        cvat_file(voc_xml("0.png", voc_object("cat"))), "holds the element 'annotation'; CVAT for images holds"
    ),
    "cvat: a reused image id": Bad(
        cvat(lambda number: cvat_image(7, f"{number}.png")), r"image id '7' is used twice, by '0\.png' and '1\.png'"
    ),
    "cvat: a label declared twice": Bad(cvat(labels=cvat_label("cat") * 2), "label id 'cat' is used twice"),
    "cvat: a label that is not declared": Bad(
        cvat(labels=cvat_label("cats") + cvat_label("dog")),
        "'cat' is not known; allowed: cats, dog. Did you mean 'cats'",
    ),
    "cvat: a label in other Unicode points": Bad(
        cvat(labels=cvat_label("e\u0301") + cvat_label("\xe9")), "has two ids"
    ),
    "cvat: an image without a name": Bad(
        cvat(lambda number: f'<image id="{number}"/>'), "the image of id '0' has no name"
    ),
    "cvat: no image at all": Bad(cvat(lambda number: ""), "names no image"),
    "cvat: a file read by an entity": Bad(cvat_entity, "has a DOCTYPE or an entity"),
    "cvat: a bomb of elements": Bad(cvat_file("<annotations>" + "<a>" * 40), "its elements lie more than 32 deep"),
    "cvat: JSON": Bad(cvat_file("{}"), r"line 1 is not XML"),
    "cvat: paths out": Bad(
        cvat(
            lambda number: cvat_image(
                number, ("../outside/secret.png", "/etc/hostname", "file:///etc/hostname")[number % 3]
            )
        ),
        "3 x outside_root",
    ),
    "cvat: boxes out of their images": Bad(
        cvat(lambda number: cvat_image(number, f"{number}.png", box("cat", xtl=50, xbr=60), (12, 10)), objects="cut"),
        "no object can be cut out: 12 x unusable_box",
    ),
    "cvat: boxes of another size of the image": Bad(
        cvat(lambda number: cvat_image(number, f"{number}.png", box("cat"), (24, 20)), objects="cut"),
        "no object can be cut out: 12 x other_size",
    ),
    "cvat: attributes without end": Bad(
        cvat(
            lambda number: cvat_image(
                number,
                f"{number}.png",
                cvat_shape(
                    "tag", "cat", "".join(f'<attribute name="n{number}_{each}">1</attribute>' for each in range(30))
                ),
            )
        ),
        "has more than 256 attributes",
    ),
    "cvat: classes that exclude each other": Bad(
        cvat(lambda number: cvat_image(number, f"{number}.png", box("cat") + box("dog"), (12, 10))),
        "no image can be used: 12 x several_classes",
    ),
}

ANNOTATIONS: dict[str, Bad] = {**IMAGEFOLDER, **VOC, **CVAT}
