"""Which parts learn: the parameters that a phase names, and the modules that are left as they are."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence

from torch import nn


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Returns whether a name fits one of the `fnmatch` patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def freeze(module: nn.Module, trainable: Sequence[str]) -> None:
    """Has the parameters with the names of a phase learn, and no others."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(matches(name, trainable))


def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Yields the modules that have parameters of their own, none of which learns."""
    for part in module.modules():
        own = list(part.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            yield part
