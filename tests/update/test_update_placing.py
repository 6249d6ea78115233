"""Where answered images go. If this fails, picked images are tested on, or a test image is trained on."""

from __future__ import annotations

import pytest

from evensight.update.placing import Addition, Fractions, Known, control_split, placed

ALL_TEST, NO_TEST = Fractions(1.0, 0.0), Fractions(0.0, 0.0)


def addition(number: int, reason: str = "control", label: str = "a", **keys) -> Addition:
    return Addition(
        **{"id": f"i{number}", "reason": reason, "label": label, "pixels": f"p{number}", "alike": number, **keys}
    )


def test_only_the_control_sample_is_held_out_by_a_hash_of_its_content() -> None:
    additions = [addition(at, ("control", "cell", "cue_conflict", "uncertain")[at % 4]) for at in range(4000)]
    found = placed(additions, {}, Fractions(0.5, 0.2), 0)
    assert {found.splits[one.id] for one in additions if one.reason != "control"} == {"train"}
    own = [found.splits[one.id] for one in additions if one.reason == "control"]
    # 1,000 images at .5 and .2: four standard deviations
    assert abs(own.count("test") - 500) < 64
    assert abs(own.count("validation") - 200) < 51
    shuffled = placed(additions[::-1], {}, Fractions(0.5, 0.2), 0)
    assert shuffled.splits == found.splits
    assert control_split("p0", Fractions(0.5, 0.2), 0) == found.splits["i0"]
    assert placed(additions, {}, Fractions(0.5, 0.2), 1).splits != found.splits


def test_near_duplicates_share_a_split_and_none_is_trained_on_beside_a_test() -> None:
    twins = [addition(at, alike=7) for at in range(6)]
    assert len(set(placed(twins, {}, Fractions(0.5, 0.2), 0).splits.values())) == 1
    both = [addition(0, "uncertain", alike=7), addition(1, "control", alike=7), addition(2, "uncertain", alike=8)]
    found = placed(both, {}, ALL_TEST, 0)
    assert found.splits == {"i1": "test", "i2": "train"}
    assert "control sample" in found.left_out["i0"]
    assert placed(both, {}, NO_TEST, 0).splits == dict.fromkeys(("i0", "i1", "i2"), "train")


def test_equal_pixels_count_once_and_not_at_all_under_two_labels() -> None:
    same = [addition(0, "uncertain", pixels="p", alike=0), addition(1, "control", pixels="p", alike=0)]
    found = placed(same, {}, NO_TEST, 0)
    assert found.splits == {"i1": "train"}
    assert "already" in found.left_out["i0"]
    disputed = [addition(0, pixels="p", alike=0), addition(1, pixels="p", alike=0, label="b")]
    assert placed(disputed, {}, NO_TEST, 0).splits == {}


@pytest.mark.parametrize("reason", ["control", "uncertain"])
@pytest.mark.parametrize("near", [False, True])
def test_a_test_image_that_would_be_trained_on_is_a_leak(reason: str, near: bool) -> None:
    old = {"p0": Known("test", "a", "test/0.png"), "p1": Known("train", "a", "train/1.png")}
    one = addition(5, reason, near_test="test/0.png") if near else addition(0, reason)
    found = placed([one, addition(1, reason)], old, NO_TEST, 0)
    assert found.leaks == {one.id: "test/0.png"}
    assert set(found.left_out) == {one.id, "i1"}  # the other is in training already
    held_out = placed([one], old, ALL_TEST, 0)
    assert bool(held_out.leaks) == (reason == "uncertain")
    assert bool(held_out.splits) == (reason == "control" and near)  # an equal one is there already
