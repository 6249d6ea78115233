"""If these fail, an annotation file can read what is not its own, or a box lies where its object is not."""

from __future__ import annotations

import json
import logging
import math
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evensight.data.annotations.account import without_row
from evensight.data.annotations.bounded import parse_json, parse_xml, read_json, read_xml
from evensight.data.annotations.names import known, log_mapping, map_classes, names_of
from evensight.data.annotations.paths import trusted
from evensight.data.places import Stamp
from evensight.errors import UserError


def codes(findings):
    return {finding.code: finding.count for finding in findings}


def put(tmp_path: Path, content: bytes | str, name: str) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- JSON and XML that nobody vouches for ---

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def depth_of(value) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_json_is_what_python_reads_and_its_depth_is_counted_exactly(value, ascii_only, indent):
    try:
        content = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:
        return  # half a character, which only escapes can write
    if any("\ud800" <= letter <= "\udfff" for letter in json.dumps(value, ensure_ascii=False)):
        with pytest.raises(UserError, match="half a character"):
            parse_json(content, "f")
        return
    depth = depth_of(value)
    assert parse_json(content, "f", most_depth=depth) == value
    if depth:
        with pytest.raises(UserError, match=f"lie {depth} deep in each other; at most {depth - 1} may"):
            parse_json(content, "f", most_depth=depth - 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"{", "line 1 is not JSON"),
        (b'{"a": 1,\n oops}', "line 2 is not JSON"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b"[NaN]", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[1e999]", "the number '1e999' is too large"),
        (b"[1" + b"0" * 400 + b".5]", "is too large"),
        (b"[1" + b"0" * 5000 + b"]", "is not JSON that can be used: Exceeds the limit"),
        (b'["\\ud800"]', "holds half a character"),
        (b'{"\\uDfff": 1}', "holds half a character"),
        (b'["\xe9"]', "line 1 is no UTF-8"),
        (b'["\xed\xa0\x80"]', "line 1 is no UTF-8"),
        ('["a"]'.encode("utf-16"), "is UTF-16"),
        (b"[" * 100_000, "lie 100000 deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "lie 65 deep in each other; at most 64 may"),
    ],
)
def test_json_that_is_refused(content, said):
    with pytest.raises(UserError, match=said):
        parse_json(content, "file.json")


def test_json_that_is_taken():
    assert parse_json(b'\xef\xbb\xbf{"a": [1.5e10, "\\ud83d\\ude00 [[[[ \\" { \\\\"]}', "f", most_depth=2) == {
        "a": [1.5e10, '\U0001f600 [[[[ " { \\']
    }
    assert math.isclose(parse_json(b"[1e300]", "f")[0], 1e300)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("<a>", "line 1 is not XML"),
        ("<a>\n<b></a>", "line 2 is not XML"),
        ("text", "line 1 is not XML"),
        ("<a/><b/>", "junk after document element"),
        (f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l9;</a>', "DOCTYPE or an entity"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>', "DOCTYPE or an entity"),
        ('<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><a/>', "DOCTYPE or an entity"),
        ('<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/hostname"> %p;]><a/>', "DOCTYPE or an entity"),
        ("<!DOCTYPE a><a/>", "DOCTYPE or an entity"),
        ("<a>&x;</a>", "undefined entity"),
        ("<a>" * 33 + "</a>" * 33, "more than 32 deep"),
        ("<a>" + "<b/>" * 100 + "</a>", "more than 50 elements"),
        ('<?xml version="1.0" encoding="utf-7"?><a/>', "is in the encoding 'utf-7'"),
        ('<?xml version="1.0" encoding="rot13"?><a/>', "is in the encoding 'rot13'"),
        ('<a b="1" b="2"/>', "duplicate attribute"),
        (b"<a>\xff\xfe</a>", "not well-formed"),
        (b"<a>\x00</a>", "not XML"),
    ],
)
def test_xml_that_is_refused(content, said):
    with pytest.raises(UserError, match=said):
        parse_xml(content if isinstance(content, bytes) else content.encode(), "file.xml", most_elements=50)


def test_xml_that_is_taken():
    text = '<?xml version="1.0" encoding="{0}"?><a><b c="&lt;é">&#233;&amp;<![CDATA[<x>]]></b></a>'
    for encoding in ("utf-8", "utf-16", "iso-8859-1"):
        tree = parse_xml(text.format(encoding).encode(encoding), "f")
        assert (tree.find("b").text, tree.find("b").get("c")) == ("é&<x>", "<é")
    assert parse_xml(b"<a>" * 32 + b"</a>" * 32, "f").tag == "a"


@pytest.mark.parametrize("read", [read_json, read_xml])
def test_files_that_are_none_are_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "is a pipe"),
        (Path("/dev/zero"), "is a pipe or a device"),
        (tmp_path, "Is a directory"),
        (tmp_path / "no", "No such file"),
        (tmp_path / "a\0b", "null"),
    ):
        with pytest.raises(UserError, match=said):
            read(path)
    large = put(tmp_path, " " * 101, "large")
    with pytest.raises(UserError, match="has 101 bytes; at most 100 are read"):
        read(large, 100)


# --- names and ids ---


def test_labels_are_mapped_by_name_and_the_table_is_logged(caplog):
    caplog.set_level(logging.INFO)
    composed, apart = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    found, classes = {"cat": 3, apart: 2, "dgo": 1, "Cat": 4}, ("cat", composed, "dog")
    mapping = map_classes(found, classes, "f.json")
    log_mapping(found, mapping, classes, "f.json")
    assert mapping == {"cat": "cat", apart: composed}
    assert "'cat' -> 'cat' (3)" in caplog.text and "'dgo' -> not used (perhaps 'dog') (1)" in caplog.text
    assert map_classes({"a": 1}, None, "f") == {"a": "a"}
    with pytest.raises(UserError, match=r"f: none of its labels is a class of the objective \(cat\); found: 'dog'"):
        map_classes({"dog": 1}, ("cat",), "f")


def test_ids_are_of_one_name_and_known():
    assert names_of([(1, "a"), (2, "b")], "category", "f") == {1: "a", 2: "b"}
    with pytest.raises(UserError, match="f: category id 1 is used twice, for 'a' and 'b'"):
        names_of([(1, "a"), (1, "b")], "category", "f")
    with pytest.raises(UserError, match="category 'e\u0301' has two ids, 1 and 2".replace("\u0301", ".*")):
        names_of([(1, "\xe9"), (2, "e\u0301")], "category", "f")
    known(1, {1: "a"}, "category", "f")
    with pytest.raises(UserError, match="category id 3 is defined nowhere; defined are: 1"):
        known(3, {1: "a"}, "category", "f")


# --- paths ---


def test_only_files_under_the_root_may_be_used(tmp_path, write_png):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for path in (root / "a.png", root / "sub" / "b.png", outside / "c.png"):
        write_png(path, 1)
    (root / "link.png").symlink_to(outside / "c.png")
    (root / "linked").symlink_to(outside)
    bad = [
        "/etc/hostname",
        "../outside/c.png",
        "sub/../../outside/c.png",
        "file:///etc/hostname",
        "http://x/y.png",
        "a\0.png",
        "link.png",
        "linked/c.png",
        "",
    ]
    foreign = ["C:\\x.png", "c:x.png", "sub\\b.png", "..\\outside\\c.png", "\\\\host\\share\\x.png"]
    stamps, findings = trusted(["a.png", "./a.png", "sub/b.png", "no.png", "sub", *bad, *foreign], root, "f")
    assert set(stamps) == {"a.png", "./a.png", "sub/b.png"}
    assert stamps["a.png"] == Stamp.of((root / "a.png").stat())
    assert codes(findings) == {"outside_root": len(bad), "foreign_path": len(foreign), "missing_image": 2}
    with pytest.raises(UserError, match=r"f: none of its images can be used below .*: 1 x outside_root: .*link\.png"):
        trusted(["link.png"], root, "f")
    with pytest.raises(UserError, match="f: names no image"):
        trusted([], root, "f")


def test_names_that_are_one_on_other_systems_are_reported(tmp_path, write_png):
    names = ["x.png", "X.png", "\xe9.png", "e\u0301.png", "other.png"]
    for number, name in enumerate(names[:4]):
        write_png(tmp_path / name, number)
    os.link(tmp_path / "x.png", tmp_path / "Other.png")
    os.link(tmp_path / "x.png", tmp_path / "other.png")
    stamps, findings = trusted([*names, "Other.png"], tmp_path, "f")
    assert set(stamps) == set(names[:4])
    assert codes(findings) == {"name_twins": 3, "same_file": 2}
    (twins,) = (finding for finding in findings if finding.code == "name_twins")
    assert "'\\xe9.png' / 'e\\u0301.png'" in twins.examples


def test_images_beside_listed_ones_are_told(tmp_path, write_png):
    for name in ("a/1.png", "a/2.png", "b/3.png", "c/4.png"):
        write_png(tmp_path / "root" / name, 1)
    write_png(tmp_path / "out" / "5.png", 1)
    (tmp_path / "root" / "o").symlink_to(tmp_path / "out")
    (found,) = without_row(tmp_path / "root", ["a/1.png", "../out/x.png", "/etc/x", "o/y.png"], ["b"])
    assert (found.code, found.examples) == ("image_without_row", ["a/2.png", "b/3.png"])
