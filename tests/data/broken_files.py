"""Strategies: any bytes, and valid files with bytes changed, cut out, doubled, or put together with another's."""

from __future__ import annotations

import functools
import io
import zipfile

import numpy as np
import polars as pl
from hypothesis import strategies as st
from PIL import Image


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@functools.cache
def image_files() -> tuple[bytes, ...]:
    """A small valid file of every format and of most kinds of pixel."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 24, 4), dtype=np.uint8)
    colour, alpha = Image.fromarray(noise[..., :3]), Image.fromarray(noise)
    wide = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    floats = Image.fromarray((noise[..., 0] / 255).astype(np.float32))
    exif = Image.Exif()
    exif[0x0112] = 6
    several = {"save_all": True, "append_images": [colour.rotate(90), colour.rotate(180)]}
    return (
        _saved(colour, "PNG", exif=exif),
        _saved(alpha, "PNG"),
        _saved(wide, "PNG"),
        _saved(colour.quantize(16), "PNG", transparency=3),
        _saved(colour, "PNG", **several),
        _saved(colour, "JPEG", exif=exif),
        _saved(colour, "JPEG", progressive=True),
        _saved(colour.convert("CMYK"), "JPEG"),
        _saved(colour.convert("L"), "JPEG"),
        _saved(colour, "GIF", **several),
        _saved(colour.quantize(8), "GIF", interlace=1),
        _saved(colour, "WEBP"),
        _saved(alpha, "WEBP", lossless=True, exif=exif),
        _saved(colour, "WEBP", **several),
        _saved(colour, "BMP"),
        _saved(colour.convert("1"), "BMP"),
        _saved(colour, "TIFF"),
        _saved(wide, "TIFF", compression="tiff_lzw"),
        _saved(colour, "TIFF", compression="tiff_adobe_deflate"),
        _saved(colour, "TIFF", compression="jpeg"),
        _saved(floats, "TIFF"),
        _saved(colour.convert("1"), "TIFF", compression="group4"),
        _saved(colour, "PPM"),
        _saved(wide, "PPM"),
        b"P3\n2 2\n255\n1 2 3 4 5 6 7 8 9 10 11 12\n",
    )


@functools.cache
def array_files() -> tuple[bytes, ...]:
    """Arrays of images and of labels as .npy."""
    files = []
    for array in (
        np.zeros((3, 4, 5), np.uint8),
        np.ones((3, 4, 5, 3), np.uint8),
        np.array([0, 1, 2]),
        np.array(list("abc")),
    ):
        buffer = io.BytesIO()
        np.save(buffer, array)
        files.append(buffer.getvalue())
    return tuple(files)


@functools.cache
def archives() -> tuple[bytes, ...]:
    """An .npz, stored and compressed."""
    files = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, images=np.zeros((3, 4, 5), np.uint8), labels=np.array([0, 1, 2]))
        files.append(buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("images.npy", array_files()[0])
        archive.writestr("labels.npy", array_files()[2])
    return (*files, buffer.getvalue())


TABLE = 'path,label,split,box_x0\na.png,cat,train,1\n"b"".png",dog,,2.5\nc d.png,cat,test,\nx.npy#1,dog,val,nan\n'


@functools.cache
def parquets() -> tuple[bytes, ...]:
    """Tables as Parquet."""
    rows = {"path": ["a.png", "b.png", None, "x.npy#1"] * 8, "label": ["cat", "dog"] * 16, "number": list(range(32))}
    files = []
    for options in ({}, {"compression": "uncompressed", "statistics": False}, {"compression": "snappy"}):
        buffer = io.BytesIO()
        pl.DataFrame(rows).write_parquet(buffer, **options)
        files.append(buffer.getvalue())
    return tuple(files)


@st.composite
def mutated(draw: st.DrawFn, files: tuple[bytes, ...]) -> bytes:
    """One of the files after one to four changes."""
    content = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(0, 40))
        change = draw(st.sampled_from(("byte", "bytes", "cut", "end", "twice", "splice", "number")))
        if change == "byte" and content:
            content[place] = draw(st.integers(0, 255))
        elif change == "bytes":
            content[place : place + length] = draw(st.binary(max_size=40))
        elif change == "cut":
            del content[place : place + length]
        elif change == "end":
            del content[place:]
        elif change == "twice":
            content[place:place] = content[place : place + length]
        elif change == "splice":
            other = draw(st.sampled_from(files))
            content[place:] = other[draw(st.integers(0, len(other))) :]
        elif change == "number":
            value = draw(st.sampled_from((0, 1, 0x7F, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)))
            order = draw(st.sampled_from(("little", "big")))
            content[place : place + 4] = value.to_bytes(4, order)
    return bytes(content)


def any_bytes(files: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Changed files, and bytes of no kind at all."""
    return st.one_of(mutated(files), mutated(files), st.binary(max_size=500))
