"""If these fail, what was annotated in CVAT is trained on as something else, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from annotated_files import cvat_attribute, cvat_image, cvat_label, cvat_shape, cvat_values, cvat_xml
from evensight.data.annotations.bounded import parse_xml
from evensight.data.annotations.cvat_xml import parse
from evensight.data.checks import usable_rows
from evensight.data.digests import BOX
from evensight.data.readers.cvat import CvatReader
from evensight.data.reading import silent
from evensight.errors import UserError
from evensight.runtime.decode import decode_array

CAT_DOG = cvat_label("cat") + cvat_label("dog")


def codes(findings):
    return {finding.code: finding.count for finding in findings}


def parsed(images: str, labels: str | None = CAT_DOG, **more):
    return parse(parse_xml(cvat_xml(images, labels, **more).encode(), "f.xml"), "f.xml")


def shape_of(shape: str, size=(30, 20)):
    return parsed(cvat_image(0, "a.png", shape, size)).images[0].shapes[0]


# The example of CVAT's documentation (CVAT for image 1.1), shortened.
DOCUMENTED = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>4</id><name>segmentation</name><size>27</size><mode>annotation</mode>
    <labels>
      <label><name>car</name><attributes></attributes></label>
      <label><name>traffic_line</name><attributes/></label>
      <label><name>wheel</name><attributes/></label>
      <label><name>traffic_light</name><attributes><attribute><name>color</name><mutable>False</mutable>
        <input_type>select</input_type><default_value>none</default_value><values>red\ngreen\nnone</values></attribute></attributes></label>
    </labels></task><dumped>2018-09-25 11:34:24.617558+03:00</dumped></meta>
  <image id="0" name="filename000.jpg" width="1600" height="1200">
    <box label="plate" xtl="797.33" ytl="870.92" xbr="965.52" ybr="928.94" occluded="0" z_order="4"></box>
  </image>
</annotations>"""


def test_a_label_that_the_head_does_not_declare_is_refused():
    with pytest.raises(UserError, match=r"label of a box of 'filename000\.jpg': 'plate' is not known; allowed: car, t"):
        parse(parse_xml(DOCUMENTED.encode(), "f"), "f")
    file = parse(parse_xml(DOCUMENTED.replace("plate", "traffic_light").encode(), "f"), "f")
    assert file.labels == ["car", "traffic_line", "wheel", "traffic_light"]
    (image,) = file.images
    (box,) = image.shapes
    assert (image.file, image.size, box.box) == ("filename000.jpg", (1600, 1200), (797.33, 870.92, 965.52, 928.94))
    assert box.attributes == {"occluded": "0"}


def test_boxes_of_shapes():
    assert shape_of(cvat_shape("box", "cat", xtl=1, ytl=2, xbr=5, ybr=4)).box == (1, 2, 5, 4)
    turned = shape_of(cvat_shape("box", "cat", xtl=10, ytl=8, xbr=16, ybr=10, rotation=90)).box
    assert np.allclose(turned, (12, 6, 14, 12))
    assert np.allclose(shape_of(cvat_shape("ellipse", "cat", cx=10, cy=8, rx=3, ry=2)).box, (7, 6, 13, 10))
    cuboid = dict(
        zip(
            [
                "xtl1",
                "ytl1",
                "xbl1",
                "ybl1",
                "xtr1",
                "ytr1",
                "xbr1",
                "ybr1",
                "xtl2",
                "ytl2",
                "xbl2",
                "ybl2",
                "xtr2",
                "ytr2",
                "xbr2",
                "ybr2",
            ],
            range(1, 17),
            strict=True,
        )
    )
    assert shape_of(cvat_shape("cuboid", "cat", **cuboid)).box == (1, 2, 15, 16)
    for kind, keys in (("points", {"points": "1,2"}), ("polyline", {"points": "1,2;3,4"}), ("tag", {})):
        assert shape_of(cvat_shape(kind, "cat", **keys)).box is None
    for keys in ({"xtl": 1, "ytl": 2, "xbr": "x"}, {}):
        assert np.isnan(shape_of(cvat_shape("box", "cat", **keys)).box).any()


def test_a_rotated_box_holds_its_corners():
    x0, y0, x1, y1, degrees = 4.0, 6.0, 14.0, 9.0, 33.0
    centre, angle = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) - centre
    turned = corners @ turn.T + centre
    box = shape_of(cvat_shape("box", "cat", xtl=x0, ytl=y0, xbr=x1, ybr=y1, rotation=degrees)).box
    assert np.allclose(box, [*turned.min(axis=0), *turned.max(axis=0)])


def test_masks_of_polygons_and_brushes():
    polygon = shape_of(cvat_shape("polygon", "cat", points="2,3;8,3;8,9;2,9"))
    assert polygon.box == (2, 3, 8, 9)
    expected = np.zeros((20, 30), bool)
    expected[3:9, 2:8] = True
    assert np.array_equal(polygon.mask.draw() > 0, expected)
    # Row by row from what is outside: .## / ##. in a box of 3 x 2 at 4, 5.
    brush = shape_of(cvat_shape("mask", "cat", rle="1, 4, 1", left=4, top=5, width=3, height=2))
    expected = np.zeros((20, 30), bool)
    expected[5, 5:7] = expected[6, 4:6] = True
    assert brush.box == (4, 5, 7, 7) and np.array_equal(brush.mask.draw() > 0, expected)
    for rle in ("1, 4", "1, 4, 2", "x", "", "-1, 7", "9" * 30):
        with pytest.raises(ValueError, match="run lengths"):
            shape_of(cvat_shape("mask", "cat", rle=rle, left=4, top=5, width=3, height=2)).mask.draw()
    assert shape_of(cvat_shape("mask", "cat", rle="6", left=29, top=5, width=3, height=2)).mask is None
    assert shape_of(cvat_shape("polygon", "cat", points="2,3;8,3;8,9"), size=None).mask is None
    for points in ("", "1", "1,2;x,3", "1,2,3"):
        assert np.isnan(shape_of(cvat_shape("polygon", "cat", points=points)).box).any()


def test_attributes_are_of_their_declared_types():
    kinds = [("kind", "select", ["a", "b"]), ("age", "number", ["0", "9", "1"]), ("wild", "checkbox", ["false"])]
    labels = cvat_label("cat", "".join(cvat_attribute(*kind) for kind in kinds) + cvat_attribute("note"))
    good = {"kind": "b", "age": "3", "wild": "true", "note": "x", "undeclared": "y"}
    bad = {"kind": "c", "age": "old", "wild": "maybe", "note": ""}
    shapes = cvat_shape("tag", "cat", cvat_values(good)) + cvat_shape("tag", "cat", cvat_values(bad))
    file = parsed(cvat_image(0, "a.png", shapes), labels)
    first, second = (shape.attributes for shape in file.images[0].shapes)
    assert first == good and second == dict.fromkeys(bad)
    assert file.wrong_values == ["a.png: 'kind' is 'c'", "a.png: 'age' is 'old'", "a.png: 'wild' is 'maybe'"]


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        (cvat_xml("", CAT_DOG, version="1.0"), "its version is '1.0'; allowed is 1.1"),
        ("<annotations/>", "its version is null; allowed is 1.1"),
        ("<annotation/>", "holds the element 'annotation'; CVAT for images holds 'annotations'"),
        (cvat_xml('<track id="0" label="cat"/>', CAT_DOG), "holds tracks of a video"),
        (cvat_xml("", cvat_label("cat") * 2), "label id 'cat' is used twice"),
        (
            cvat_xml(cvat_image(3, "a.png") + cvat_image(3, "b.png")),
            "image id '3' is used twice, by 'a.png' and 'b.png'",
        ),
        (cvat_xml('<image id="3"/>'), "the image of id '3' has no name"),
        (cvat_xml(cvat_image(3, "a.png", "<box/>")), "a box of 'a.png' has no label"),
        (cvat_xml(cvat_image(3, "a.png", cvat_shape("tag", "cats")), CAT_DOG), "'cats' is not known; .* mean 'cat'"),
    ],
)
def test_files_that_are_refused(xml, said):
    with pytest.raises(UserError, match=said):
        parse(parse_xml(xml.encode(), "f.xml"), "f.xml")


def test_ids_may_return_in_another_task():
    images = cvat_image(0, "a.png", task_id="1") + cvat_image(0, "b.png", task_id="2")
    assert [image.attributes for image in parsed(images).images] == [{"task_id": "1"}, {"task_id": "2"}]


@pytest.fixture
def cvat(tmp_path, write_png):
    """Writes a file, and images of 30 x 20 pixels in a folder beside it, and reads it."""

    def make(images: str, names=("a.png",), labels: str | None = CAT_DOG, classes=("cat", "dog"), **settings):
        for number, name in enumerate(names):
            if not (tmp_path / "images" / name).exists():
                write_png(tmp_path / "images" / name, number, height=20, width=30)
        (tmp_path / "annotations.xml").write_text(cvat_xml(images, labels), encoding="utf-8")
        reader = CvatReader(name="c", annotations=str(tmp_path / "annotations.xml"), **settings)
        return reader.read(tmp_path / "made", classes, silent)

    return make


def test_labels_of_tags_and_shapes_and_splits_of_subsets(cvat):
    images = [
        cvat_image(0, "a.png", cvat_shape("tag", "cat", cvat_values({"night": "true"})), subset="Train"),
        cvat_image(
            1, "b.png", cvat_shape("box", "dog", xtl=1, ytl=2, xbr=9, ybr=8, occluded=1), (30, 20), subset="Validation"
        ),
        cvat_image(2, "c.png", cvat_shape("tag", "cat") + cvat_shape("tag", "dog"), subset="Test"),
        cvat_image(3, "d.png", cvat_shape("tag", "blurred") + cvat_shape("tag", "dog"), subset="default"),
        cvat_image(4, "sub/e.png", cvat_shape("points", "cat", points="1,1"), subset="Test"),
        cvat_image(5, "f.png"),
    ]
    names = ("a.png", "b.png", "c.png", "d.png", "sub/e.png", "f.png", "alone.png")
    reading = cvat("".join(images), names, CAT_DOG + cvat_label("blurred"))
    rows = {row["path"]: row for row in reading.rows.iter_rows(named=True)}
    assert {path: (row["label"], row["split"]) for path, row in rows.items()} == {
        "a.png": ("cat", "Train"), "b.png": ("dog", "Validation"), "d.png": ("dog", None), "sub/e.png": ("cat", "Test"),
        "f.png": (None, None),
    }  # fmt: skip
    assert rows["a.png"]["night"] == "true" and rows["b.png"]["occluded"] == "1"
    assert tuple(rows["b.png"][side] for side in BOX) == (1, 2, 9, 8)
    found = codes(reading.findings)
    assert found == {"several_classes": 1, "image_without_row": 2}, "c.png has a row no more, and alone.png none"
    usable, findings = usable_rows(reading, ("cat", "dog"))
    assert sorted(usable["split"].drop_nulls()) == ["test", "train", "validation"] and codes(findings) == {
        "no_label": 1
    }
    assert "split" not in cvat(images[0], subsets=False).rows.columns


def test_objects_are_cut_out_with_their_masks(cvat, tmp_path):
    polygon = cvat_shape("polygon", "cat", cvat_values({"age": "3"}), points="2,3;8,3;8,9;2,9")
    box = cvat_shape("box", "dog", xtl=10, ytl=2, xbr=20, ybr=8)
    reading = cvat(cvat_image(0, "a.png", polygon + box, (30, 20)), objects="cut", margin=0.5)
    pixels = decode_array(tmp_path / "images" / "a.png")
    first, second = reading.rows.iter_rows(named=True)
    assert np.array_equal(decode_array(reading.root / first["path"]), pixels[0:12, 0:11])
    assert np.array_equal(decode_array(reading.root / second["path"]), pixels[0:13, 5:25])
    mask = np.asarray(Image.open(reading.mask_root / first["mask"])) > 0
    expected = np.zeros((12, 11), bool)
    expected[3:9, 2:8] = True
    assert np.array_equal(mask, expected) and second["mask"] is None
    assert (first["age"], first["source"], second["age"]) == ("3", "a.png", None)
    assert cvat(cvat_image(0, "a.png", polygon, (30, 20)), masks=False).mask_root is None


def test_what_is_odd_in_a_row_is_told(cvat):
    wrong = cvat_label("cat", cvat_attribute("kind", "select", ["a"]))
    shape = cvat_shape("box", "cat", cvat_values({"kind": "b"}), xtl="x", ytl=2, xbr=9, ybr=8)
    reading = cvat(cvat_image(0, "a.png", shape) + cvat_image(1, "../a.png", shape), labels=wrong)
    assert codes(reading.findings) == {"unknown_attribute_value": 2, "unusable_box": 1, "outside_root": 1}
    assert reading.rows.select("path", "label", "kind").rows() == [("a.png", "cat", None)]


def test_a_file_without_a_head_is_taken_as_it_is(cvat):
    reading = cvat(cvat_image(0, "a.png", cvat_shape("tag", "anything")), labels=None, classes=None)
    assert reading.rows["label"].to_list() == ["anything"]
    with pytest.raises(
        UserError, match=r"none of its labels is a class of the objective \(cat, dog\); found: 'anything'"
    ):
        cvat(cvat_image(0, "a.png", cvat_shape("tag", "anything")), labels=None)
