"""How functions become machine code here: cached on disk, without the interpreter's lock, NaN and infinity with their meaning."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.extending import intrinsic, overload

# fused multiply-add; no "reassoc", which would undo compensated sums such as q p + (q - 1), and no "nnan" or "ninf"
FASTMATH = {"contract", "nsz"}


def compiled(function: Callable[..., Any]) -> Any:
    """The function as machine code; dividing by zero gives infinity, as in numpy.

    Type checkers at run time wrap functions; numba needs the function itself.
    """
    return njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)(inspect.unwrap(function))


def instruction(function: Callable[..., Any]) -> Any:
    """A numba intrinsic: the function writes LLVM instructions."""
    return intrinsic(inspect.unwrap(function))


def by_type(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a chooser: given the types of the arguments it returns the implementation of `function` for them."""

    def register(chooser: Callable[..., Any]) -> Callable[..., Any]:
        plain = inspect.unwrap(chooser)

        def choose(*types: Any) -> Any:
            return inspect.unwrap(plain(*types))

        choose.__signature__ = inspect.signature(plain)  # type: ignore[attr-defined]
        overload(function, jit_options={"fastmath": FASTMATH, "error_model": "numpy"})(plain if plain is chooser else choose)
        return chooser

    return register
