"""`trainer.compile`: training steps through torch.compile, everything else as it is written.

One graph of one shape: the training loader's batches are all of one size, so the kernels that a step gets follow from
the configuration alone, and a run that was resumed computes what the uninterrupted one did. Kernels for changing sizes
would follow from which size came first. Validation, reliance, export and what looks into the network with hooks stay
eager: they see batches of many sizes, each of which would be compiled for seconds, and the file that ships is not
compiled by this either.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from evensight.errors import RunError, UserError, first_line
from evensight.runtime.script import quiet

OFF = "train without it: trainer.compile=false"
# What a missing compiler raises, by name: of Inductor for the CPU and the GPU, and what Triton says in a RuntimeError.
_MISSING = ("InvalidCxxCompiler", "TritonMissing")
_MISSING_C = "Failed to find C compiler"
_LIBRARY = ("torch._dynamo", "torch._inductor", "torch._functorch", "triton")


def compile_training(network: nn.Module) -> None:
    """Lets the network's training steps go through torch.compile, in place.

    Names of weights, copies, pickles and scripts of the network are those of one that is not compiled. Called at the
    start of each fit; the second time compiles anew (from its cache on disk, in about a second), because what learns
    has changed.

    Raises:
        UserError: In the first step, if there is no compiler.
        RunError: In the first step, if torch.compile fails otherwise.
    """
    # In a sweep in one process the eighth network would be left eager: the limit counts by code, and all share theirs.
    torch.compiler.reset()
    logging.getLogger("torch.utils.cpp_extension").addFilter(_useful)
    eager: Callable[..., Any] = network._call_impl
    with quiet():  # torch 2.11 scripts a module of its own when the compiler is imported
        compiled = torch.compile(eager, dynamic=False)

    def call(*arguments: Any, **options: Any) -> Any:
        if not (network.training and torch.is_grad_enabled()):
            return eager(*arguments, **options)
        try:
            return compiled(*arguments, **options)
        except Exception as error:
            if (told := explained(error)) is None:
                raise
            raise told from error

    # Where nn.Module.compile puts what is called in place of it; copies and pickles leave it out.
    network._compiled_call_impl = call


def explained(error: BaseException) -> UserError | RunError | None:
    """Returns what a failure of torch.compile means, in a sentence; None where it is something else's."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = getattr(link, "inner_exception", None) or link.__cause__ or link.__context__
    if any(type(link).__name__ in _MISSING or _MISSING_C in str(link) for link in chain):
        return UserError(
            "trainer.compile: torch.compile found no working compiler (CXX, else g++; on a GPU also CC, else gcc); "
            f"install one, or {OFF}."
        )
    theirs = [link for link in chain if type(link).__module__.startswith(_LIBRARY)]
    if not theirs:
        return None
    last = theirs[-1]
    # Of what a C++ compiler says, what comes after its command, its warnings and the name of a file in a cache.
    found = re.search(r"(?:fatal )?error: .*", str(last))
    said = found[0] if found and type(last).__name__ == "CppCompileError" else first_line(last)
    return RunError(f"trainer.compile: torch.compile failed ({type(last).__name__}: {said}); {OFF}.")


def _useful(record: logging.LogRecord) -> bool:
    # Said on a machine without a GPU of a toolkit that nothing here uses.
    return "No CUDA runtime is found" not in record.getMessage()
