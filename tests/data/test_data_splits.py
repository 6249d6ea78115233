"""If these fail, images wander between splits, twins are parted, or a class is missing from a split."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evensight.data.splits import Fractions, place

USUAL = Fractions(validation=0.15, test=0.2)


def many(num, classes="ab"):
    return [f"image{i}" for i in range(num)], [classes[i % len(classes)] for i in range(num)]


def test_each_class_is_divided_by_the_fractions():
    contents, labels = many(2000)
    splits = place(contents, labels, [None] * 2000, USUAL, seed=0).splits
    counts = Counter(zip(labels, splits, strict=True))
    assert counts == {(c, s): n for c in "ab" for s, n in (("test", 200), ("validation", 150), ("train", 650))}


def test_the_smallest_hashes_of_seed_and_content_go_to_test():
    import hashlib

    contents, labels = many(20, "a")
    splits = place(contents, labels, [None] * 20, Fractions(0.0, 0.25), seed=7).splits
    ranked = sorted(contents, key=lambda content: hashlib.sha256(f"7:{content}".encode()).hexdigest())
    assert {c for c, s in zip(contents, splits, strict=True) if s == "test"} == set(ranked[:5])


def test_order_of_rows_is_of_no_account_and_the_seed_is():
    contents, labels = many(200)
    first = dict(zip(contents, place(contents, labels, [None] * 200, USUAL, seed=0).splits, strict=True))
    turned = place(contents[::-1], labels[::-1], [None] * 200, USUAL, seed=0).splits
    assert dict(zip(contents[::-1], turned, strict=True)) == first
    assert place(contents, labels, [None] * 200, USUAL, seed=1).splits != list(first.values())


def test_given_splits_stay_and_the_rest_is_placed():
    contents, labels = many(100, "a")
    before = ["test"] * 10 + ["validation"] * 5 + [None] * 85
    placement = place(contents, labels, before, USUAL, seed=0)
    assert placement.splits[:15] == before[:15]
    assert Counter(placement.splits[15:]) == {"test": 17, "validation": 13, "train": 55}
    assert placement.carved == {}


def test_a_twin_of_a_given_image_joins_it():
    contents, labels = ["x", "x", "y", "z", "w"], ["a"] * 5
    splits = place(contents, labels, ["test", None, None, None, None], USUAL, seed=0).splits
    assert splits[:2] == ["test", "test"]


def test_a_missing_validation_split_is_taken_from_training_alone():
    contents, labels = many(100, "a")
    placement = place(contents, labels, ["train"] * 80 + ["test"] * 20, USUAL, seed=0)
    assert Counter(placement.splits) == {"train": 68, "validation": 12, "test": 20}
    assert placement.splits[80:] == ["test"] * 20
    assert placement.carved == {"validation": 12}


def test_an_image_given_to_training_and_test_is_not_taken_for_validation():
    contents = ["twin", *[f"i{n}" for n in range(9)], "twin"]
    given_splits = ["train"] * 10 + ["test"]
    for seed in range(20):
        splits = place(contents, ["a"] * 11, given_splits, Fractions(0.5, 0.2), seed=seed).splits
        assert (splits[0], splits[10]) == ("train", "test")


def test_nothing_is_taken_where_the_fraction_is_nought():
    placement = place(["x", "y"], ["a", "a"], ["train", "test"], Fractions(0.0, 0.2), seed=0)
    assert placement.splits == ["train", "test"]


def test_known_images_keep_their_split_when_others_come_and_go():
    contents, labels = many(60, "a")
    first = dict(zip(contents, place(contents, labels, [None] * 60, USUAL, seed=0).splits, strict=True))
    grown = [f"new{i}" for i in range(60)] + contents[:50]
    splits = place(grown, ["a"] * 110, [None] * 110, USUAL, seed=0, known=first).splits
    assert all(split == first[content] for content, split in zip(grown, splits, strict=True) if content in first)
    assert Counter(splits)["test"] == 22  # .2 of 110


@pytest.mark.parametrize("num", [1, 2, 3, 4])
def test_small_classes_keep_a_training_image_first(num):
    splits = place([str(i) for i in range(num)], ["a"] * num, [None] * num, USUAL, seed=0).splits
    assert "train" in splits
    assert set(splits) == ({"train", "validation", "test"} if num >= 3 else {"train"})


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from("ab"), st.sampled_from([None, None, "train", "test"])),
        min_size=1,
        max_size=40,
    ),
    seed=st.integers(0, 5),
)
def test_equal_pixels_are_never_parted_by_us(rows, seed):
    contents, labels, before = [str(r[0]) for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    splits = place(contents, labels, before, Fractions(0.3, 0.3), seed=seed).splits
    for content in set(contents):
        stated = {s for c, s in zip(contents, before, strict=True) if c == content and s}
        placed = {s for c, s in zip(contents, splits, strict=True) if c == content}
        assert len(placed) == 1 or (len(stated) > 1 and placed == stated)
