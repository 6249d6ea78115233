"""What fuzzing begins with: one document of each format that has all of its parts, and words that others have."""

from __future__ import annotations

import json

from annotated_files import (
    cvat_attribute,
    cvat_image,
    cvat_label,
    cvat_shape,
    cvat_values,
    cvat_xml,
    voc_object,
    voc_xml,
)

_STATED = {"original_width": 8, "original_height": 6, "to_name": "image", "from_name": "kind"}
_BRUSH = [0, 0, 0, 56, 57, 8, 1, 2]


def _result(id: str, type: str, **value: object) -> dict:
    return {"id": id, "type": type, **_STATED, "value": value}


_RECTANGLE = _result("a", "rectanglelabels", x=1, y=2, width=30, height=40, rotation=5, rectanglelabels=["cat"])
_POLYGON = _result("b", "polygonlabels", points=[[1, 2], [50, 2], [50, 60]], polygonlabels=["dog"])
_PAINTED = _result("c", "brushlabels", format="rle", rle=_BRUSH, brushlabels=["cat"])
_CHOICE = {"type": "choices", "from_name": "light", "to_name": "image", "value": {"choices": ["dim"]}}
_ANNOTATIONS = [
    {"id": 1, "completed_by": {"id": 1, "email": "a@x.org"}, "result": [_RECTANGLE, _CHOICE]},
    {"id": 2, "completed_by": 2, "result": [_POLYGON, _PAINTED]},
]
_DATA = {"image": "/data/local-files/?d=a.png", "split": "train"}
_TASKS = [{"id": 1, "data": _DATA, "annotations": _ANNOTATIONS}]


def _object(id: int, **more: object) -> dict:
    return {"id": id, "image_id": 1, "category_id": 2, **more}


_COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 6, "license": 3, "split": "val"}],
    "annotations": [
        _object(1, bbox=[1, 1, 3, 3], iscrowd=0, segmentation=[[1, 1, 4, 1, 4, 4]], attributes={"x": 1}),
        _object(2, iscrowd=1, segmentation={"size": [6, 8], "counts": [10, 30, 8]}),
        _object(3, segmentation={"size": [6, 8], "counts": ":n0"}),
    ],
    "categories": [{"id": 2, "name": "cat", "supercategory": "animal"}],
    "licenses": [{"id": 3, "name": "CC"}],
}
_SHAPES = [
    cvat_shape("box", "cat", cvat_values({"age": "3"}), xtl=1, ytl=1, xbr=5, ybr=4, rotation="30.5", occluded=1),
    cvat_shape("polygon", "cat", points="1,1;5,1;5,4"),
    cvat_shape("mask", "cat", rle="1, 4, 1", left=2, top=2, width=3, height=2),
    cvat_shape("ellipse", "cat", cx=3, cy=3, rx=2, ry=1),
    cvat_shape("tag", "cat"),
]
_LABELS = cvat_label("cat", cvat_attribute("age", "number"))
_CVAT = cvat_xml(cvat_image(0, "a.png", "".join(_SHAPES), (8, 6), subset="Train"), _LABELS)
_VOC = voc_xml("a.png", voc_object("cat", (1, 2, 5, 4), "<difficult>1</difficult><pose>Left</pose>"), (8, 6))

SEEDS: dict[str, list[bytes]] = {
    "json": [b'{"a": [1, -2.5e3, true, null, "\\u00e9\\ud83d\\ude00"]}', b"[[[]]]"],
    "xml": [b'<?xml version="1.0"?><a b="1"><c>&lt;<![CDATA[x]]></c></a>'],
    "voc": [_VOC.encode()],
    "cvat": [_CVAT.encode()],
    "coco": [json.dumps(_COCO).encode()],
    "label_studio": [json.dumps(_TASKS).encode()],
    "masks": [b":n0", bytes(_BRUSH), b"10000"],
    "table": [b"0file_name,label\na.png,cat\n", b'a{"file_name": "a.png", "label": 1}\n'],
}
WORDS: dict[str, tuple[str, ...]] = {
    "json": ("NaN", "1e999", "\\ud800"),
    "xml": ("<!DOCTYPE", "<!ENTITY", "&x;", "encoding="),
    "voc": ("<object>", "</object>", "<bndbox>", "<attributes>", "1e999"),
    "cvat": ("<track", "rotation=", "points=", "rle=", "task_id=", "<project>", "select"),
    "coco": ("iscrowd", "counts", "size", "1e308", "null", "[]", "{}"),
    "label_studio": ("keypointlabels", "ellipselabels", "radiusX", "taxonomy", "null"),
    "masks": ("0", "P", "o"),
    "table": ("\\ud800", '"', "\r\n", "\t"),
}
