"""Writes small data sets in the formats of annotation tools, each by hand and not by the code under test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr


class Note(NamedTuple):
    """What is known of one image; the box in pixels from 0, edges."""

    path: str
    label: str
    split: str | None = None
    attributes: Mapping[str, str] = {}
    box: tuple[int, int, int, int] | None = None
    size: tuple[int, int] | None = None


def voc_xml(file: str, objects: str = "", size: tuple[int, int] | None = None, more: str = "") -> str:
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return f"<annotation><filename>{escape(file)}</filename>{stated}{more}{objects}</annotation>"


def voc_object(name: str, box: Sequence[Any] | None = None, more: str = "") -> str:
    """An object whose sides are written as they are given: 1-based and inclusive."""
    sides = "".join(
        f"<{key}>{side}</{key}>" for key, side in zip(("xmin", "ymin", "xmax", "ymax"), box or (), strict=False)
    )
    return f"<object><name>{escape(name)}</name>{more}{f'<bndbox>{sides}</bndbox>' if box else ''}</object>"


def write_voc(root: Path, notes: Sequence[Note]) -> None:
    """Images lie in ``root/JPEGImages``; paths are relative to that."""
    lists: dict[str, list[str]] = {}
    (root / "Annotations").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for note in notes:
        box = note.box and (note.box[0] + 1, note.box[1] + 1, note.box[2], note.box[3])
        more = "".join(
            f"<attribute><name>{name}</name><value>{escape(value)}</value></attribute>"
            for name, value in note.attributes.items()
        )
        stem = Path(note.path).stem
        body = voc_object(note.label, box, f"<attributes>{more}</attributes>")
        (root / "Annotations" / f"{stem}.xml").write_text(voc_xml(note.path, body, note.size), encoding="utf-8")
        if note.split:
            lists.setdefault({"validation": "val"}.get(note.split, note.split), []).append(stem)
    for name, stems in lists.items():
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))


def cvat_label(name: str, attributes: str = "") -> str:
    return f"<label><name>{escape(name)}</name><attributes>{attributes}</attributes></label>"


def cvat_attribute(name: str, kind: str = "text", values: Sequence[str] = ()) -> str:
    lines = escape("\n".join(values))
    kinds = f"<mutable>False</mutable><input_type>{kind}</input_type>"
    return f"<attribute><name>{name}</name>{kinds}<values>{lines}</values></attribute>"


def cvat_xml(images: str, labels: str | None = None, version: str = "1.1") -> str:
    head = "" if labels is None else f"<meta><task><name>t</name><labels>{labels}</labels></task></meta>"
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>{version}</version>{head}{images}</annotations>'
    )


def cvat_image(id: int, name: str, shapes: str = "", size: tuple[int, int] | None = None, **more: str) -> str:
    stated = {"width": str(size[0]), "height": str(size[1])} if size else {}
    keys = {"id": str(id), "name": name, **stated, **more}
    return f"<image {' '.join(f'{key}={quoteattr(value)}' for key, value in keys.items())}>{shapes}</image>"


def cvat_shape(kind: str, label: str, inner: str = "", **keys: Any) -> str:
    written = " ".join(f"{key}={quoteattr(str(value))}" for key, value in {"label": label, **keys}.items())
    return f"<{kind} {written}>{inner}</{kind}>"


def cvat_values(attributes: Mapping[str, str]) -> str:
    return "".join(
        f"<attribute name={quoteattr(name)}>{escape(value)}</attribute>" for name, value in attributes.items()
    )


def write_cvat(file: Path, notes: Sequence[Note]) -> None:
    images = []
    for number, note in enumerate(notes):
        keys = {} if note.box is None else dict(zip(("xtl", "ytl", "xbr", "ybr"), note.box, strict=True))
        shape = cvat_shape("tag" if note.box is None else "box", note.label, cvat_values(note.attributes), **keys)
        more = {"subset": note.split.capitalize()} if note.split else {}
        images.append(cvat_image(number, note.path, shape, note.size, **more))
    labels = "".join(cvat_label(name) for name in sorted({note.label for note in notes}))
    file.write_text(cvat_xml("".join(images), labels), encoding="utf-8")


def write_imagefolder(file: Path, notes: Sequence[Note]) -> None:
    rows = [
        {
            "file_name": note.path,
            "label": note.label,
            **({"split": note.split} if note.split else {}),
            **note.attributes,
        }
        for note in notes
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
