"""JSON and XML that nobody vouches for: bounded in size, depth and number before anything is built of them.

The standard library's parsers are enough once the bounds are set: expat with every DOCTYPE refused has no entities to
expand or to open. (defusedxml does the same by wrapping them, and has not been maintained since 2021.)
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from evensight.errors import UserError, first_line, shown

MOST_JSON_BYTES = 2 * 2**30  # instances_train2017.json of COCO has 0.45 GB
MOST_XML_BYTES = 2**30
MOST_ELEMENTS = 20_000_000
_CHUNK = 2**24
_BYTES_A_VALUE = 100  # of memory, a number or a short text in a list in CPython

_ENCODINGS = ("utf-8", "utf-16", "us-ascii", "iso-8859-1")  # expat's own; any other would be a codec's to decode
_STEPS = np.zeros(256, np.int8)  # of the depth at a letter
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1
# Numbers that may be beyond the largest float have an exponent of three digits, or 300 digits.
_FAR = re.compile(rb"[eE]\+?[0-9]{3}")
_LONG, _SAME = b"0" * 300, bytes.maketrans(b"123456789", b"0" * 9)
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """Returns a file's bytes. Opened without blocking: a pipe would be waited for, a device read for ever.

    Raises:
        UserError: It cannot be opened, is no file, or is too large, which is seen before anything is read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{path}: is a pipe or a device; an annotation file is needed.")
            if status.st_size > most_bytes:
                raise UserError(f"{path}: has {status.st_size:,} bytes; at most {most_bytes:,} are read.")
            # One more than is allowed: the file may grow meanwhile.
            content = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if len(content) > most_bytes:
        raise UserError(f"{path}: has more than {most_bytes:,} bytes, which are all that are read.")
    return content


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES, most_depth: int = 64) -> Any:
    """Reads a JSON file (RFC 8259, UTF-8 with or without a mark).

    Args:
        path: The file.
        most_bytes: Its size; also refused is what would not fit into this machine's memory.
        most_depth: Lists and objects within each other; counted before the parser sees the text.

    Raises:
        UserError: It cannot be read or is too large or too deep, is no JSON, names a key twice in one object, or holds
            a number that is not finite or a text with half a character.
    """
    return parse_json(read_bytes(path, most_bytes), str(path), most_depth)


def parse_json(content: bytes, where: str, most_depth: int = 64) -> Any:
    """As `read_json`, for bytes that have been read; `where` names them in sentences."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{where}: is UTF-16 text; save it as UTF-8.")
    if not content.strip():
        raise UserError(f"{where}: is empty; JSON is needed.")
    depth, values = _measured(content)
    if depth > most_depth:
        raise UserError(f"{where}: its lists and objects lie {depth} deep in each other; at most {most_depth} may.")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if values * _BYTES_A_VALUE > memory:
        raise UserError(f"{where}: its {values:,} values do not fit into this machine's memory of {memory:,} bytes.")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}: line {line} is no UTF-8 (byte 0x{content[error.start]:02x}).") from error
    # A function called for each number takes three times as long; few files have such numbers.
    far = _FAR.search(content) or content.translate(_SAME).find(_LONG) >= 0
    number = _finite if far else None
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=number)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: line {error.lineno} is not JSON ({error.msg}).") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is not JSON that can be used: {first_line(error)}.") from error
    if _HALF.search(content):
        _check_texts(value, where)
    return value


def _measured(content: bytes) -> tuple[int, int]:
    """Returns how deep brackets lie outside of texts, and how many values there may be."""
    depth = deepest = values = odd = 0
    if b"\\" in content:
        # Blanked from the left, pair by pair, so that the quotes left are those that begin and end a text.
        content = content.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    for start in range(0, len(content), _CHUNK):
        letters = np.frombuffer(content, np.uint8, min(_CHUNK, len(content) - start), start)
        # Whether the number of quotes so far is even outlives that the sum wraps at 256.
        quotes = np.cumsum(letters == ord('"'), dtype=np.uint8) + np.uint8(odd)
        odd = int(quotes[-1]) % 2
        outside = letters[quotes & 1 == 0]
        steps = _STEPS[outside]
        depths = depth + np.cumsum(steps[steps != 0], dtype=np.int64)
        if len(depths):
            deepest, depth = max(deepest, int(depths.max())), int(depths[-1])
        values += int(np.count_nonzero(steps > 0)) + int(np.count_nonzero(outside == ord(",")))
    return deepest, values


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shown(twice)} is there twice in one object")
    return value


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {shown(text)} is too large")
    return value


def _check_texts(value: Any, where: str) -> None:
    for text in _texts(value):
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise UserError(f"{where}: {shown(text)} is no text; it holds half a character.")


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            waiting += [*part, *part.values()]
        elif isinstance(part, list):
            waiting += part


def read_xml(
    path: Path, most_bytes: int = MOST_XML_BYTES, most_depth: int = 32, most_elements: int = MOST_ELEMENTS
) -> Element:
    """Reads an XML file; nothing else is ever opened, whatever it says.

    Args:
        path: The file.
        most_bytes: Its size.
        most_depth: Elements within each other.
        most_elements: In the file.

    Raises:
        UserError: It cannot be read or is beyond a bound, is no XML, or has a DOCTYPE or entities of its own.
    """
    return parse_xml(read_bytes(path, most_bytes), str(path), most_depth, most_elements)


def parse_xml(content: bytes, where: str, most_depth: int = 32, most_elements: int = MOST_ELEMENTS) -> Element:
    """As `read_xml`, for bytes that have been read; `where` names them in sentences."""
    if not content.strip():
        raise UserError(f"{where}: is empty; XML is needed.")
    building = _Building(where, most_depth, most_elements)
    try:
        building.parser.Parse(content, True)
        return building.tree.close()
    except UserError:
        raise
    except expat.ExpatError as error:
        raise UserError(f"{where}: line {error.lineno} is not XML ({expat.ErrorString(error.code)}).") from error
    except (ValueError, LookupError, AssertionError) as error:
        raise UserError(f"{where}: is not XML ({first_line(error)}).") from error


class _Building:
    """Builds a tree and counts what it builds."""

    def __init__(self, where: str, most_depth: int, most_elements: int) -> None:
        self.where, self.most_depth, self.most_elements = where, most_depth, most_elements
        self.depth = self.elements = 0
        self.tree = TreeBuilder()
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self.parser.XmlDeclHandler = self.declared
        self.parser.StartDoctypeDeclHandler = self.doctype
        self.parser.EntityDeclHandler = self.doctype
        self.parser.ExternalEntityRefHandler = self.doctype
        self.parser.SkippedEntityHandler = self.doctype
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.tree.data

    def declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise self.refused(f"is in the encoding {shown(encoding)}; save it as UTF-8")

    def doctype(self, *_: Any) -> NoReturn:
        raise self.refused("has a DOCTYPE or an entity, which are never read; take it out")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        self.elements += 1
        if self.depth > self.most_depth:
            raise self.refused(f"its elements lie more than {self.most_depth} deep in each other")
        if self.elements > self.most_elements:
            raise self.refused(f"has more than {self.most_elements:,} elements")
        self.tree.start(name, attributes)

    def end(self, name: str) -> None:
        self.depth -= 1
        self.tree.end(name)

    def refused(self, what: str) -> UserError:
        return UserError(f"{self.where}: line {self.parser.CurrentLineNumber} {what}.")
