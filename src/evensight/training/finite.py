"""What is not finite, found and undone on the device: a healthy step never makes the host wait for it.

Pure functions and three small holders of tensors; `callbacks/finite_guard.py` puts them together.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Types whose values the kernel of `mark` gives back as they were: it goes through float32.
_EXACT = (torch.float32, torch.float16)


@torch.no_grad()
def mark(tensors: Iterable[Tensor], flag: Tensor) -> None:
    """Sets `flag` to 1 if a value is NaN or infinite, and leaves it as it is otherwise.

    One pass of the kernel that torch's GradScaler looks for overflows with; a maximum of each tensor takes 20 times as
    long (277 us against 14 us for the 17 gradients of small_cnn on one CPU core).

    Args:
        tensors: Floating, all on the device of `flag`.
        flag: float32, 0-dimensional.
    """
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for dtype, group in by_type.items():
        if dtype not in _EXACT:
            # The kernel has no bfloat16 on CUDA, and would round float64.
            group = [torch.nn.utils.get_total_norm(group, math.inf).float()]
        torch._amp_foreach_non_finite_check_and_unscale_(group, flag, torch.ones_like(flag))


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Returns whether every value of floating tensors is finite. Waits for the device."""
    floating = [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
    return bool(torch.nn.utils.get_total_norm(floating, math.inf).isfinite()) if floating else True


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yields the tensors in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)


class KeptBuffers:
    """The buffers of a module before a step, to be put back if the step turns out to be bad.

    A forward pass changes them before its loss is known: the running statistics of a norm, per-image state of a method.
    Buffers are looked up by name each time, since a method may put a new tensor, of the same shape, in the place of an
    old one.

    Args:
        module: Whose buffers are kept, all on one device.
    """

    def __init__(self, module: nn.Module) -> None:
        places: dict[torch.dtype, list[tuple[nn.Module, str]]] = {}
        for part in module.modules():
            for name, value in part._buffers.items():
                if value is not None:
                    places.setdefault(value.dtype, []).append((part, name))
        self._groups = [_Buffers(found) for found in places.values()]

    @torch.no_grad()
    def keep(self) -> None:
        """Copies the values: one kernel for all buffers of a type."""
        for group in self._groups:
            torch.cat(group.flat(), out=group.kept)

    @torch.no_grad()
    def put_back(self, flag: Tensor) -> None:
        """Where `flag` is 1 the kept values come back, where it is 0 nothing changes; three kernels a type."""
        bad = flag.bool()
        for group in self._groups:
            torch.where(bad, group.kept, torch.cat(group.flat()), out=group.chosen)
            torch._foreach_copy_(group.buffers(), group.pieces)

    def floating(self) -> list[Tensor]:
        """Returns the buffers that can hold a NaN."""
        return [buffer for group in self._groups if group.kept.is_floating_point() for buffer in group.buffers()]


class _Buffers:
    """Buffers of one type: where they are, and their values in a row. Views are made once, since they cost most."""

    def __init__(self, places: list[tuple[nn.Module, str]]) -> None:
        self._places = [(part._buffers, name) for part, name in places]
        buffers = self.buffers()
        self.kept = torch.cat(self.flat())
        self.chosen = self.kept.clone()
        parts = torch.split_with_sizes(self.chosen, [buffer.numel() for buffer in buffers])
        self.pieces = [part.view(buffer.shape) for part, buffer in zip(parts, buffers, strict=True)]

    def buffers(self) -> list[Tensor]:
        return [buffer for held, name in self._places if (buffer := held[name]) is not None]

    def flat(self) -> list[Tensor]:
        return [buffer.flatten() for buffer in self.buffers()]


class Delayed:
    """Values of a small tensor on the device, which the host reads a fixed number of steps later without waiting.

    The copy goes to pinned memory behind an event; by the time the value is asked for, the device is long past it. The
    lag is the same on every device, so that what follows from a value happens at the same step everywhere.

    Args:
        like: A tensor of the shape, type and device of the values.
        lag: Steps.
    """

    def __init__(self, like: Tensor, lag: int) -> None:
        cuda = like.device.type == "cuda"
        self._host = torch.zeros((lag + 1, *like.shape), dtype=like.dtype, pin_memory=cuda)
        self._values = self._host.numpy()
        self._events = [torch.cuda.Event() for _ in range(lag + 1)] if cuda else None  # type: ignore[no-untyped-call]
        self._waiting: deque[tuple[int, Any]] = deque()
        self._lag, self._pushed = lag, 0

    def push(self, value: Tensor, about: Any) -> tuple[list[float], Any] | None:
        """Adds a value; returns the one of `lag` steps ago and what it was about, None while there is none."""
        slot = self._pushed % (self._lag + 1)
        self._pushed += 1
        self._host[slot].copy_(value, non_blocking=True)
        if self._events is not None:
            self._events[slot].record()
        self._waiting.append((slot, about))
        return self._next() if len(self._waiting) > self._lag else None

    def rest(self) -> Iterator[tuple[list[float], Any]]:
        """Yields what has not been read yet, oldest first; waits for the device."""
        while self._waiting:
            yield self._next()

    def _next(self) -> tuple[list[float], Any]:
        slot, about = self._waiting.popleft()
        if self._events is not None:
            self._events[slot].synchronize()
        return self._values[slot].tolist(), about


class Activations:
    """The largest output of every layer of a module, in the order in which they run.

    Args:
        module: Whose layers are watched; those without layers of their own count.

    Attributes:
        largest: (name of the layer with its type, largest absolute output, whether its inputs were finite).
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.largest: list[tuple[str, float, bool]] = []

    def run(self, call: Callable[[], Any]) -> None:
        """Calls what sends a batch through the module. Waits for the device at each layer."""
        hooks = [
            part.register_forward_hook(self._hook(f"{name} ({type(part).__name__})"))
            for name, part in self.module.named_modules()
            if name and not any(True for _ in part.children())
        ]
        try:
            # Hooks in compiled code would have it compiled again.
            with torch.no_grad(), torch.compiler.set_stance("force_eager"):
                call()
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def finite(self) -> bool:
        """Whether every output was."""
        return all(math.isfinite(value) for _, value, _ in self.largest)

    def sentence(self) -> str:
        """Names the first layer whose output is not finite, else the one with the largest."""
        for name, value, fed_finite in self.largest:
            if not math.isfinite(value):
                fed = "" if fed_finite else ", and what it was given is not finite already"
                return f"the first layer whose output is not finite is {name}{fed}"
        if not self.largest:
            return "no layer ran"
        name, value, _ = max(self.largest, key=lambda layer: layer[1])
        return f"all activations are finite, the largest is {value:.3g} in {name}"

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(part: nn.Module, inputs: Any, output: Any) -> None:
            outputs = [found for found in tensors_in(output) if found.is_floating_point() and found.numel()]
            if outputs:
                largest = float(torch.nn.utils.get_total_norm(outputs, math.inf))
                self.largest.append((name, largest, all_finite(list(tensors_in(inputs)))))

        return look
