"""If these fail, a data set of Pascal VOC trains on other boxes, splits or labels than were annotated."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from annotated_files import voc_object, voc_xml
from evensight.data.annotations.bounded import parse_xml
from evensight.data.annotations.voc_xml import parse
from evensight.data.checks import usable_rows
from evensight.data.digests import BOX
from evensight.data.readers.voc import VocReader
from evensight.data.reading import silent
from evensight.errors import UserError
from evensight.runtime.decode import decode_array

# The development kit's own example, with a part that is not ours to read.
KIT = """<annotation>
  <folder>VOC2012</folder><filename>2007_000027.jpg</filename>
  <source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation><image>flickr</image></source>
  <size><width>486</width><height>500</height><depth>3</depth></size>
  <segmented>0</segmented>
  <object><name>person</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin>174</xmin><ymin>101</ymin><xmax>349</xmax><ymax>351</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>169</xmin><ymin>104</ymin><xmax>209</xmax><ymax>146</ymax></bndbox></part>
  </object>
</annotation>"""


def codes(findings):
    return {finding.code: finding.count for finding in findings}


def test_the_example_of_the_development_kit():
    image = parse(parse_xml(KIT.encode(), "f"), "f")
    assert (image.file, image.size, image.attributes) == (
        "2007_000027.jpg",
        (486, 500),
        {"database": "The VOC2007 Database"},
    )
    (person,) = image.objects
    # 349 - 174 + 1 columns, beginning at the 174th.
    assert (person.label, person.box) == ("person", (173, 100, 349, 351))
    assert person.attributes == {"truncated": "0", "difficult": "0", "pose": "Unspecified"}
    (person,) = parse(parse_xml(KIT.encode(), "f"), "f", one_based=False).objects
    assert person.box == (174, 101, 349, 351)


@pytest.mark.parametrize("side", ["", "x", "nan", "inf", "1e999", "1_0", "0x10", "\u0664", "1" * 70])
def test_sides_that_are_no_numbers(side):
    (thing,) = parse(parse_xml(voc_xml("a", voc_object("cat", (1, 1, side, 4))).encode(), "f"), "f").objects
    assert np.isnan(thing.box[2]) and thing.box[3] == 4


@pytest.fixture
def voc(tmp_path, write_png):
    """Writes images with their annotations, and reads them."""

    def make(files: dict[str, str], lists: dict[str, str] | None = None, **settings):
        root = tmp_path / "voc"
        for number, (name, xml) in enumerate(files.items()):
            path = root / "Annotations" / f"{name}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(xml, encoding="utf-8")
            if not (root / "JPEGImages" / f"{name}.png").exists():
                write_png(root / "JPEGImages" / f"{name}.png", number, height=20, width=30)
        for name, content in (lists or {}).items():
            (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
            (root / "ImageSets" / "Main" / f"{name}.txt").write_text(content, encoding="utf-8")
        reader = VocReader(name="v", root=str(root), **settings)
        return reader.read(tmp_path / "made", ("cat", "dog"), silent)

    return make


def simple(name: str, label: str = "cat", **more) -> str:
    return voc_xml(f"{name}.png", voc_object(label, (2, 3, 10, 12)), (30, 20), **more)


def test_splits_are_those_of_the_lists(voc):
    names = ["a", "b", "c", "d", "e", "f", "g 1"]
    lists = {
        "train": "\ufeffa\n\n  b  1\nf\ng 1\n",
        "val": "c -1\nf\n",
        "test": "d\nlost\n",
        "trainval": "a\nb\nc\ne\nf\n",
        "cat_train": "c 1\n",
    }
    reading = voc({name: simple(name) for name in names}, lists)
    splits = dict(reading.rows.select("path", "split").iter_rows())
    assert {path.removeprefix("JPEGImages/").removesuffix(".png"): split for path, split in splits.items()} == {
        "a": "train", "b": "train", "c": "validation", "d": "test", "e": "train", "g 1": "train"
    }  # fmt: skip
    # The image of f is there and has no row, since two lists contradict each other about it.
    assert codes(reading.findings) == {"several_splits": 1, "listed_without_annotation": 1, "image_without_row": 1}
    assert "split" not in voc({name: simple(name) for name in names}, sets="Lists").rows.columns


def test_annotations_in_no_list_are_told(voc):
    reading = voc({"a": simple("a"), "b": simple("b")}, {"train": "a\n"})
    assert codes(reading.findings) == {"unlisted": 1} and reading.rows["split"].to_list() == ["train", None]


def test_objects_and_their_attributes(voc):
    objects = voc_object("cat", (2, 3, 10, 12), "<difficult>1</difficult><pose>Left</pose>")
    objects += voc_object("dog", (1, 1, 30, 20), "<difficult>0</difficult>") + "<object><pose>x</pose></object>"
    image = {"a": voc_xml("a.png", objects, (30, 20))}
    kept = voc(image, objects="cut", margin=0.0)
    assert kept.rows.select("label", "difficult", "pose").rows() == [("cat", "1", "Left"), ("dog", "0", None)]
    assert [decode_array(kept.root / path).shape for path in kept.rows["path"]] == [(10, 9, 3), (20, 30, 3)]
    left = voc(image, difficult="leave_out")
    assert left.rows.select("label", *BOX).rows() == [("dog", 0.0, 0.0, 30.0, 20.0)]
    assert codes(left.findings) == {"object_without_label": 1, "difficult_object": 1}


def test_files_are_accounted_for_both_ways(voc, tmp_path, write_png):
    write_png(tmp_path / "voc" / "JPEGImages" / "alone.png", 7)
    reading = voc({"a": simple("a"), "b": simple("lost"), "sub/c": simple("c"), "d": voc_xml("d", voc_object("dog"))})
    assert sorted(reading.rows["path"]) == ["JPEGImages/a.png", "JPEGImages/d.png", "JPEGImages/sub/c.png"]
    assert codes(reading.findings) == {"missing_image": 1, "image_without_row": 2}
    named = [finding.examples for finding in reading.findings]
    assert ["JPEGImages/lost.png"] in named and ["JPEGImages/alone.png", "JPEGImages/b.png"] in named


def test_masks_are_those_of_the_objects(voc, tmp_path):
    indices = np.zeros((20, 30), np.uint8)
    indices[2:12, 1:10], indices[5:8, 12:20], indices[0] = 1, 2, 255
    (tmp_path / "voc" / "SegmentationObject").mkdir(parents=True)
    image = Image.fromarray(indices)
    image.putpalette(list(range(256)) * 3)
    assert image.mode == "P"
    image.save(tmp_path / "voc" / "SegmentationObject" / "a.png")
    (tmp_path / "voc" / "SegmentationObject" / "b.png").write_bytes(b"no image")
    objects = voc_object("cat", (2, 3, 10, 12)) + voc_object("dog", (13, 6, 20, 8))
    both = {"a": voc_xml("a.png", objects, (30, 20)), "b": simple("b"), "c": simple("c")}
    cut = voc(both, objects="cut", margin=0.0)
    masks = [np.asarray(Image.open(cut.mask_root / name)) if name else None for name in cut.rows["mask"].to_list()]
    assert (
        (masks[0] == 255).all() and masks[0].shape == (10, 9) and (masks[1] == 255).all() and masks[2:] == [None, None]
    )
    assert codes(cut.findings) == {"broken_mask": 1}
    whole = voc({"a": voc_xml("a.png", voc_object("cat", (2, 3, 10, 12)), (30, 20))})
    assert np.array_equal(np.asarray(Image.open(whole.mask_root / whole.rows["mask"][0])) == 255, indices == 1)
    assert whole.mask_root is not None and voc(both, masks=False, several="largest").mask_root is None


def test_a_turned_photograph(voc, tmp_path):
    # Red where the object is, in the stored rows; 30 x 20 stored, 20 x 30 upright.
    pixels = np.full((20, 30, 3), 90, np.uint8)
    pixels[2:12, 1:10] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 8
    (tmp_path / "voc" / "JPEGImages").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "voc" / "JPEGImages" / "a.png", exif=exif)
    cut = voc({"a": simple("a")}, objects="cut", margin=0.0)
    assert (decode_array(cut.root / cut.rows["path"][0]) == (255, 0, 0)).all()
    assert decode_array(cut.root / cut.rows["path"][0]).shape == (9, 10, 3)


def test_links_that_lead_out_are_not_opened(voc, tmp_path):
    (tmp_path / "secret.xml").write_text("<annotation><!DOCTYPE")
    (tmp_path / "voc" / "Annotations").mkdir(parents=True)
    (tmp_path / "voc" / "Annotations" / "link.xml").symlink_to(tmp_path / "secret.xml")
    reading = voc({"a": simple("a")})
    assert codes(reading.findings) == {"outside_root": 1} and len(reading.rows) == 1
    (tmp_path / "voc" / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "voc" / "ImageSets" / "Main" / "train.txt").symlink_to(tmp_path / "secret.xml")
    with pytest.raises(UserError, match=r"'ImageSets/Main/train\.txt' leads out of the data's folder"):
        voc({"a": simple("a")})


def test_boxes_from_zero_are_told(voc):
    zero = voc_xml("a.png", voc_object("cat", (0, 3, 10, 12)), (30, 20))
    assert codes(voc({"a": zero}).findings) == {"zero_based_box": 1, "clipped_box": 1}
    reading = voc({"a": zero}, one_based=False)
    assert reading.findings == [] and reading.rows.select(BOX).row(0) == (0, 3, 10, 12)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"annotations": "../out"}, r"data.annotations: '../out' leads out"),
        ({"annotations": "/etc"}, "data.annotations: '/etc' leads out"),
        ({"images": "Images"}, "data.images: .*Images is no folder"),
        ({"sets": "../.."}, "data.sets: .* leads out"),
        ({"difficult": "drop"}, "data.difficult: 'drop' is not known; allowed: keep, leave_out"),
        ({"annotations": "JPEGImages"}, "holds no .xml file"),
    ],
)
def test_settings_that_cannot_be_right(voc, settings, said):
    with pytest.raises(UserError, match=said):
        voc({"a": simple("a")}, **settings)


def test_every_file_that_is_wrong_is_counted(voc):
    bad = {"a": "<annotation>", "b": simple("b"), "c": "<annotations/>", "d": "<annotation><!DOCTYPE x></annotation>"}
    with pytest.raises(
        UserError, match=r"a\.xml: line 1 is not XML \(no element found\); 2 more files cannot be used either"
    ):
        voc(bad)


def test_only_files_that_can_be_used_are_given_on(voc):
    odd = {
        "a": voc_xml("../../x.png", voc_object("cat")),
        "b": voc_xml("/etc/hostname", voc_object("cat")),
        "c": voc_xml("C:\\images\\c.png", voc_object("cat")),
        "d": simple("d"),
    }
    reading = voc(odd)
    rows, findings = usable_rows(reading, ("cat", "dog"))
    assert rows["path"].to_list() == ["JPEGImages/d.png"] and findings == []
    assert codes(reading.findings) == {"outside_root": 2, "foreign_path": 1, "image_without_row": 3}
