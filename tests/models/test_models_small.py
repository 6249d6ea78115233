"""If these fail, an output with GroupNorm depends on the rest of its batch, and ranks cannot equal one process."""

import pytest
import torch

from evensight.models.small import SmallCNN


def images(num: int) -> torch.Tensor:
    return torch.rand(num, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("norm", "alone"), [("group", True), ("batch", False)])
def test_only_group_norm_sees_each_image_by_itself(norm: str, alone: bool) -> None:
    network = SmallCNN(16, channels=(8, 12), num_strided=1, norm=norm).train()
    x = images(6)
    assert torch.allclose(network(x)[:3], network(x[:3]), atol=1e-6) == alone


def test_group_norm_has_at_most_eight_groups_that_share_the_channels() -> None:
    norms = [module for module in SmallCNN(16, channels=(12, 64), norm="group", num_strided=1).modules()
             if isinstance(module, torch.nn.GroupNorm)]  # fmt: skip
    assert [norm.num_groups for norm in norms] == [4, 8]


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"norm: 'layer' is not known; allowed: batch, group"):
        SmallCNN(16, norm="layer")
