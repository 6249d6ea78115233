"""What configuration may name, and the sentence for what it may not."""

import sys
import types

import pytest
import torch

from evensight.errors import UserError
from evensight.instantiate import instantiate


def test_builds_nested_nodes() -> None:
    node = {
        "_target_": "torch.nn.Sequential",
        "_partial_": True,
    }
    assert instantiate(node)() is not None
    found = instantiate({"a": [{"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}], "b": 1})
    assert found["a"][0].out_features == 3 and found["b"] == 1
    one_of = {
        "_target_": "albumentations.OneOf",
        "transforms": [{"_target_": "albumentations.Blur", "p": 1.0}, {"_target_": "albumentations.ToGray"}],
        "p": 0.5,
    }
    assert len(instantiate(one_of).transforms) == 2


def test_further_arguments_go_to_the_outermost() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    found = instantiate({"_target_": "torch.optim.RMSprop", "lr": 0.5}, key="optimizer", params=[parameter])
    assert found.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"_target_": "os.system", "command": "true"}, "allow_targets"),
        ({"_target_": "torch.os.system"}, "not in a package"),
        ({"_target_": "torch.nn._VF"}, "private"),
        ({"_target_": "torch.load", "f": "x"}, "only classes"),
        ({"_target_": "torch.hub.load", "repo_or_dir": "x"}, "only classes"),
        ({"_target_": "torchother.Thing"}, "not in a package"),
        ({"_target_": "torch.nn"}, "a class or a function"),
        ({"_target_": "torch"}, "dotted name"),
        ({"_target_": 3}, "dotted name"),
        ({"_target_": "albumentations.HorizontalFlop"}, "Did you mean 'albumentations.HorizontalFlip'"),
        ({"_target_": "albumentations.HorizontalFlip", "q": 0.5}, "'q' is not known"),
        ({"_target_": "albumentations.HorizontalFlip", "p": 5}, "less than or equal to 1"),
        ({"_target_": "torch.nn.Linear", "in_features": 2}, "out_features"),
        ({"_target_": "evensight.nothing.Thing"}, "is not known"),
    ],
)
def test_mistakes_are_one_sentence(node: dict, said: str) -> None:
    with pytest.raises(UserError) as caught:
        instantiate(node, key="callbacks.mine")
    message = str(caught.value)
    assert message.startswith("callbacks.mine") and said in message and "\n" not in message


def test_a_users_own_package_by_allow_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_package")

    class Mine:
        def __init__(self, x: int) -> None:
            self.x = x

    Mine.__module__, Mine.__qualname__ = "my_package", "Mine"
    module.Mine = Mine
    monkeypatch.setitem(sys.modules, "my_package", module)
    node = {"_target_": "my_package.Mine", "x": 3}
    with pytest.raises(UserError, match=r"allow_targets=\[my_package\]"):
        instantiate(node)
    assert instantiate(node, ["my_package"]).x == 3
