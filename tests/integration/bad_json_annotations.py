"""What `bad_annotations` is, for COCO and Label Studio; and rows that are wrong in files that are right.

A row that is wrong is set aside and counted: the command ends with status 0 and says so in its log.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bad_annotations import NUM_IMAGES, Bad, Maker, label_of, secret

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def written(reader: str, content: str | bytes, at: Path, **settings: str) -> list[str]:
    file = at / "root" / f"{reader}.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    keys = [f"data.{key}={value}" for key, value in settings.items()]
    return ["experiment=folder", f"data={reader}", f"data.root={at / 'root'}", f"data.annotations={file}", *keys]


# --- COCO ---


def coco_text(content: str | bytes) -> Maker:
    return lambda at: written("coco", content, at)


def instances() -> dict[str, Any]:
    """An object in each image."""
    images = [{"id": n, "file_name": f"{n}.png", "width": 12, "height": 10} for n in range(NUM_IMAGES)]
    objects = [{"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": [2, 2, 7, 6]} for n in range(NUM_IMAGES)]
    return {"images": images, "annotations": objects, "categories": list(CATEGORIES)}


def coco(change: Callable[[dict[str, Any]], object], **settings: str) -> Maker:
    def make(at: Path) -> list[str]:
        value = instances()
        change(value)
        return written("coco", json.dumps(value), at, **settings)

    return make


def first(key: str, **change: Any) -> Maker:
    """Something else is said of the first image or annotation."""
    return coco(lambda value: value[key][0].update(change))


def every(key: str, **change: Any) -> Callable[[dict[str, Any]], object]:
    return lambda value: [entry.update(change) for entry in value[key]]


def added(key: str, **entry: Any) -> Maker:
    return coco(lambda value: value[key].append(entry))


def of_size(num_bytes: int) -> Maker:
    def make(at: Path) -> list[str]:
        arguments = written("coco", "{}", at)
        os.truncate(at / "root" / "coco.json", num_bytes)
        return arguments

    return make


def piped(at: Path) -> list[str]:
    os.mkfifo(at / "root" / "pipe.json")
    return ["experiment=folder", "data=coco", f"data.root={at / 'root'}", f"data.annotations={at}/root/pipe.json"]


def linked_images(at: Path) -> list[str]:
    for number in range(NUM_IMAGES):
        (at / "root" / f"link{number}.png").symlink_to(secret(at))
    return coco(lambda value: [each.update(file_name=f"link{each['id']}.png") for each in value["images"]])(at)


def folder_of_links(at: Path) -> list[str]:
    (at / "root" / "photos").symlink_to(at / "outside")
    return coco(lambda value: None, folders="{all: photos}")(at)


COCO = {
    "coco: a key twice": Bad(
        coco_text('{"images": [], "images": []}'), "the key 'images' is there twice in one object"
    ),
    "coco: no JSON": Bad(coco_text('{"images": [1,]}'), r"coco\.json: line 1 is not JSON"),
    "coco: JSON cut short": Bad(coco_text(json.dumps(instances())[:-50]), r"coco\.json: line 1 is not JSON"),
    "coco: nested for ever": Bad(coco_text("[" * 100_000), "lie 100000 deep in each other; at most 64 may"),
    "coco: an empty file": Bad(coco_text(""), r"coco\.json: is empty; JSON is needed"),
    "coco: five gigabytes of nothing": Bad(
        of_size(5 * 2**30), r"has 5,368,709,120 bytes; at most 2,147,483,648 are read"
    ),
    "coco: a pipe": Bad(piped, r"data\.annotations: .* is a pipe or a device"),
    "coco: UTF-16": Bad(coco_text(json.dumps(instances()).encode("utf-16")), "is UTF-16 text; save it as UTF-8"),
    "coco: Latin-1": Bad(coco_text('{"caf\xe9": 1}'.encode("latin-1")), r"line 1 is no UTF-8 \(byte 0xe9\)"),
    "coco: half a letter": Bad(coco_text(r'{"images": "\ud800"}'), "is no text; it holds half a character"),
    "coco: a box of NaN": Bad(first("annotations", bbox=[1, 1, float("nan"), 2]), "NaN is no number of JSON"),
    "coco: a number beyond all": Bad(coco_text('{"images": [1e999]}'), "the number '1e999' is too large"),
    "coco: a file of results": Bad(coco_text('[{"image_id": 1}]'), "holds a list; COCO is an object with images"),
    "coco: no annotations": Bad(
        coco(lambda value: value.pop("annotations")), "'annotations' is not known; allowed: categories, images"
    ),
    "coco: images that are no list": Bad(
        coco(lambda value: value.update(images={})), "images is an object; a list of objects is needed"
    ),
    "coco: an id that is no number": Bad(first("images", id=True), r"images\[0\]: its id is true; a whole number"),
    "coco: a category id twice": Bad(
        added("categories", id=2, name="cow"), "category id 2 is used twice, for 'dog' and 'cow'"
    ),
    "coco: two categories of one name": Bad(
        added("categories", id=3, name="dog"), "category 'dog' has two ids, 2 and 3"
    ),
    "coco: an image id twice": Bad(first("images", id=5), "image id 5 is used twice"),
    "coco: an annotation id twice": Bad(first("annotations", id=5), "annotation id 5 is used twice"),
    "coco: an unknown category": Bad(
        first("annotations", category_id=7), r"annotations\[0\]: category id 7 is defined nowhere; defined are: 1, 2"
    ),
    "coco: an unknown image": Bad(
        first("annotations", image_id=77), r"annotations\[0\]: image id 77 is defined nowhere"
    ),
    "coco: classes of another objective": Bad(
        lambda at: [*first("images")(at), "objective.classes=[cow,hen]"],
        r"none of its labels is a class of the objective \(cow, hen\)",
    ),
    "coco: attributes without end": Bad(
        first("images", **{f"n{number}": 1 for number in range(300)}), "has more than 256 attributes"
    ),
    "coco: paths that climb out": Bad(coco(every("images", file_name="../outside/secret.png")), "1 x outside_root"),
    "coco: absolute paths": Bad(lambda at: coco(every("images", file_name=str(secret(at))))(at), "1 x outside_root"),
    "coco: images of the web": Bad(coco(every("images", file_name="https://localhost/a.png")), "1 x outside_root"),
    "coco: images that are links out": Bad(linked_images, "12 x outside_root"),
    "coco: a folder that is a link out": Bad(folder_of_links, r"data\.folders\.all: 'photos' leads out"),
    "coco: boxes of negative sides": Bad(
        coco(every("annotations", bbox=[5, 5, -3, 2]), objects="cut"), "12 x object_without_box"
    ),
}


# --- Label Studio ---


def tasks() -> list[dict[str, Any]]:
    """A choice for each image."""
    results = [
        [{"from_name": "kind", "type": "choices", "value": {"choices": [label_of(n)]}}] for n in range(NUM_IMAGES)
    ]
    return [
        {
            "id": number,
            "data": {"image": f"/data/local-files/?d={number}.png"},
            "annotations": [{"id": 100 + number, "completed_by": 1, "result": result}],
        }
        for number, result in enumerate(results)
    ]


def label_studio(change: Callable[[list[dict[str, Any]]], object] = lambda value: None, **settings: str) -> Maker:
    def make(at: Path) -> list[str]:
        value = tasks()
        change(value)
        return written("label_studio", json.dumps(value), at, **settings)

    return make


def export(value: Any) -> Maker:
    return lambda at: written("label_studio", json.dumps(value), at)


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """The first annotation of a task."""
    said: dict[str, Any] = task["annotations"][0]
    return said


def data(**change: Any) -> Callable[[list[dict[str, Any]]], object]:
    return lambda value: [task["data"].update(change) for task in value]


def beyond(value: list[dict[str, Any]]) -> None:
    """A rectangle that leads over its image's edge."""
    place = {"x": 50, "y": 50, "width": 80, "height": 20, "rotation": 0, "rectanglelabels": ["cat"]}
    stated = {"original_width": 12, "original_height": 10, "from_name": "kind"}
    answer(value[0])["result"] = [{"type": "rectanglelabels", "value": place, **stated}]


MINIMAL = [{"image": "0.png", "annotator": 1, "annotation_id": 1, "kind": "cat"}]
LABEL_STUDIO = {
    "label studio: no list": Bad(export({"tasks": tasks()}), "holds an object; Label Studio's JSON export is a list"),
    "label studio: JSON-MIN": Bad(export(MINIMAL), "is an export of Label Studio's as JSON-MIN; export as JSON"),
    "label studio: a task without data": Bad(
        label_studio(lambda value: value[3].pop("data")), r"task \[3\]: its data is null"
    ),
    "label studio: a task without annotations": Bad(
        label_studio(lambda value: value[3].pop("annotations")), r"task \[3\]: its annotations are null"
    ),
    "label studio: results that are no list": Bad(
        label_studio(lambda value: answer(value[3]).update(result={})), r"task \[3\]: annotation \[0\] has no list"
    ),
    "label studio: a task id twice": Bad(label_studio(lambda value: value[3].update(id=2)), "task id 2 is used twice"),
    "label studio: an annotation id twice": Bad(
        label_studio(lambda value: answer(value[3]).update(id=100)), "annotation id 100 is used twice"
    ),
    "label studio: choices that are no list": Bad(
        label_studio(lambda value: [answer(task)["result"][0].update(value={"choices": {}}) for task in value]),
        "12 x no_label",
    ),
    "label studio: two keys of images": Bad(
        label_studio(data(thumbnail="0.png")),
        r"data\.image_key: is not set.*several look like images: 'image', 'thumbnail'",
    ),
    "label studio: no key of images": Bad(
        label_studio(data(image="text")), r"data\.image_key: is not set.* none looks like an image"
    ),
    "label studio: two controls": Bad(
        label_studio(lambda value: answer(value[3])["result"][0].update(from_name="sort")),
        r"data\.from_name: is not set.*'kind' \(choices\), 'sort' \(choices\)",
    ),
    "label studio: no annotation at all": Bad(
        label_studio(lambda value: [task.update(annotations=[]) for task in value]), "no annotation names a class"
    ),
    "label studio: images of the web": Bad(label_studio(data(image="https://localhost/a.png")), "1 x outside_root"),
    "label studio: images of a bucket": Bad(label_studio(data(image="s3://bucket/a.png")), "1 x outside_root"),
    "label studio: links that climb out": Bad(
        label_studio(data(image="/data/local-files/?d=../outside/secret.png")), "1 x outside_root"
    ),
    "label studio: uploads that climb out": Bad(
        label_studio(data(image="/data/upload/../../outside/secret.png")), "1 x (outside_root|missing_image)"
    ),
}

JSON_ANNOTATIONS: dict[str, Bad] = {**COCO, **LABEL_STUDIO}

# What one wrong row is told as.
ROWS: dict[str, Bad] = {
    "coco: an absolute path": Bad(lambda at: first("images", file_name=str(secret(at)))(at), "1 x outside_root"),
    "coco: a NUL in a path": Bad(first("images", file_name="a\0.png"), "1 x outside_root"),
    "coco: a path of Windows": Bad(first("images", file_name=r"C:\images\a.png"), "1 x foreign_path"),
    "coco: an image that is not there": Bad(first("images", file_name="no.png"), "1 x missing_image"),
    "coco: an image without a name": Bad(first("images", file_name=None), "1 x no_path"),
    "coco: a box of a negative width": Bad(first("annotations", bbox=[5, 5, -3, 2]), "1 x unusable_box"),
    "coco: an image of another size": Bad(first("images", width=24), "1 x other_size"),
    "coco: a mask of another size": Bad(
        first("annotations", segmentation={"size": [9, 9], "counts": [81]}), r"1 x broken_mask: .*its size is \[9, 9\]"
    ),
    "coco: a crowd": Bad(added("annotations", image_id=0, category_id=2, iscrowd=1), "1 x crowd"),
    "coco: an image of two classes": Bad(added("annotations", image_id=0, category_id=2), "1 x several_classes"),
    "label studio: nobody's annotation": Bad(
        label_studio(lambda value: answer(value[0]).pop("completed_by")), "1 x no_annotator"
    ),
    "label studio: a rectangle beyond a hundred percent": Bad(label_studio(beyond), "1 x clipped_box"),
    "label studio: a task nobody answered": Bad(
        label_studio(lambda value: value[0].update(annotations=[])), "1 x no_label"
    ),
    "label studio: an answer that was skipped": Bad(
        label_studio(lambda value: answer(value[0]).update(was_cancelled=True)), "1 x skipped_annotation"
    ),
    "label studio: a picture in the file": Bad(
        label_studio(lambda value: value[0]["data"].update(image="data:image/png;base64,AA")), "1 x embedded_image"
    ),
    "label studio: predictions": Bad(
        label_studio(lambda value: value[0].update(predictions=[{"result": []}])), "1 x predictions"
    ),
}
