"""The parsers of annotation formats as functions of bytes: whatever comes in, only a UserError may come out.

    python tests/fuzz/fuzz_targets.py <name of TARGETS> <folder of the corpus> -max_total_time=60

runs one under atheris (https://github.com/google/atheris), which takes libFuzzer's own options after the folder.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    import atheris

    sys.path.insert(0, str(Path(__file__).parent.parent))
    # Imported under instrumentation, so that atheris sees which inputs reach new branches.
    with atheris.instrument_imports(include=["evensight.data.annotations", "evensight.data.readers"]):
        import evensight.data.annotations.coco_json
        import evensight.data.annotations.cvat_xml
        import evensight.data.annotations.label_studio_images
        import evensight.data.annotations.voc_xml
        import evensight.data.readers.table_files  # noqa: F401

from fuzz_seeds import SEEDS, WORDS

from evensight.data.annotations import coco_json, label_studio_images, label_studio_json, masks
from evensight.data.annotations import cvat_xml as cvat
from evensight.data.annotations import voc_xml as voc
from evensight.data.annotations.bounded import parse_json, parse_xml
from evensight.data.annotations.objects import Mask
from evensight.data.annotations.values import Attributes, Odd
from evensight.data.readers.table_files import read_table
from evensight.errors import UserError

MOST_PIXELS = 10_000  # of a mask that is drawn: more are only slower
_SCRATCH = Path(tempfile.gettempdir())


def _drawn(found: Iterable[Mask | None]) -> int:
    """Draws masks, which may be broken, and returns how many there are."""
    number = 0
    for mask in found:
        if mask is not None:
            number += 1
            try:
                mask.draw()
            except ValueError as error:
                assert type(error) is ValueError, f"{type(error)}: {error}"
    return number


def fuzz_json(content: bytes) -> Any:
    """The reader of JSON finds what Python's own finds."""
    value = parse_json(content, "f")
    assert value == json.loads(content.decode("utf-8-sig"))
    return [value]


def fuzz_xml(content: bytes) -> Any:
    """The reader of XML stays within its bounds."""
    tree = parse_xml(content, "f", most_depth=8, most_elements=100)
    assert sum(1 for _ in tree.iter()) <= 100
    return tree.tag


def fuzz_voc(content: bytes) -> Any:
    """An annotation of Pascal VOC."""
    return voc.parse(parse_xml(content, "f"), "f").objects


def fuzz_cvat(content: bytes) -> Any:
    """A file of CVAT, its small masks drawn."""
    images = cvat.parse(parse_xml(content, "f"), "f").images
    small = [image for image in images if image.size and image.size[0] * image.size[1] <= MOST_PIXELS]
    _drawn(shape.mask for image in small for shape in image.shapes)
    return images


def fuzz_coco(content: bytes) -> Any:
    """A file of COCO, its small masks drawn."""
    wanted = coco_json.Wanted(crowds=True, masks=True, max_pixels=MOST_PIXELS)
    images = coco_json.parse(parse_json(content, "f"), "f", wanted, Odd(coco_json.MESSAGES))
    _drawn(one.mask for image in images for one in image.objects)
    return images


def fuzz_label_studio(content: bytes) -> Any:
    """An export of Label Studio: answers made one, links followed as texts, small masks drawn."""
    odd = Odd(label_studio_images.MESSAGES)
    wanted = label_studio_images.Wanted(masks=True, max_pixels=MOST_PIXELS)
    tasks = label_studio_json.tasks_of(parse_json(content, "f"), "f")
    attributes = Attributes("f", odd)
    for control in [*label_studio_json.controls(tasks), "none"]:
        for task in tasks:
            given = label_studio_json.answers(task, control, "t", odd)
            *_, said, objects = label_studio_images.combined(given, wanted, "t", odd)
            attributes.of(said)
            _drawn(one.mask for one in objects)
            for link in task["data"].values():
                if isinstance(link, str):
                    label_studio_images.links(link)
    return tasks


def fuzz_masks(content: bytes) -> Any:
    """Packed run lengths of COCO and the codes of Label Studio's brush."""
    text = content.decode("latin-1")
    for draw in (
        lambda: masks.decoded({"size": [9, 7], "counts": text}, 9, 7),
        lambda: masks.brush_mask(list(content), 9, 7),
    ):
        try:
            mask = draw()
        except ValueError as error:
            assert type(error) is ValueError, f"{type(error)}: {error}"
        else:
            assert mask is None or mask.shape == (9, 7)
    return content


def fuzz_table(content: bytes) -> Any:
    """Metadata of an image folder: the first byte says whether it is CSV or JSON lines."""
    file = _SCRATCH / f"evensight_fuzz_table{'.csv' if content[:1] < b'a' else '.jsonl'}"
    file.write_bytes(content[1:])
    return read_table(file).columns


TARGETS: dict[str, Callable[[bytes], Any]] = {
    "json": fuzz_json,
    "xml": fuzz_xml,
    "voc": fuzz_voc,
    "cvat": fuzz_cvat,
    "coco": fuzz_coco,
    "label_studio": fuzz_label_studio,
    "masks": fuzz_masks,
    "table": fuzz_table,
}


def one(name: str, content: bytes) -> Any:
    """Gives bytes to a target; returns what it made of them, or the sentence that refuses them."""
    try:
        return TARGETS[name](content)
    except UserError as error:
        assert str(error).isprintable() and str(error)
        return error


def main(name: str, corpus: str, *options: str) -> None:
    """Runs a target under atheris until its time is over or something came out that may not."""
    place = Path(corpus)
    place.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (place / f"seed_{number}").write_bytes(seed)
    words = ["".join(f"\\x{byte:02x}" for byte in word.encode()) for word in WORDS[name]]
    (place.parent / f"{name}.dict").write_text("".join(f'"{word}"\n' for word in words))
    options = (f"-dict={place.parent / f'{name}.dict'}", *options)
    atheris.Setup([sys.argv[0], *options, str(place)], lambda content: one(name, content) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
