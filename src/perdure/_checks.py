"""Argument checks whose messages name the argument, the rule, the value and the fix."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from perdure.errors import ArgumentError, ArgumentTypeError


def fail(argument: str, rule: str, value: Any, fix: str) -> ArgumentError:
    """The error for an argument that breaks a rule (to be raised by the caller).

    >>> print(fail("power", "greater than 1", 0.5, "a kernel (1 + t)^-p is integrable only for p > 1"))
    expected argument `power` to be greater than 1, but got 0.5: a kernel (1 + t)^-p is integrable only for p > 1
    """
    return ArgumentError(f"expected argument `{argument}` to be {rule}, but got {value!r}: {fix}")


def number(value: Any, argument: str) -> float:
    """`value` as a finite float, or an error that names `argument`."""
    if isinstance(value, bool | np.bool_):
        raise ArgumentTypeError(f"expected argument `{argument}` to be a real number, but got {value!r}: pass an int or a float")
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"expected argument `{argument}` to be a real number, but got {value!r}: pass an int or a float") from None
    if not math.isfinite(result):
        raise fail(argument, "finite", result, "replace the NaN or infinity")
    return result


def positive(value: Any, argument: str, fix: str = "pass a number above zero") -> float:
    """`value` as a float above zero."""
    result = number(value, argument)
    if result <= 0:
        raise fail(argument, "positive", result, fix)
    return result


def positive_int(value: Any, argument: str, fix: str = "pass an integer of at least 1", least: int = 1) -> int:
    """`value` as an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentTypeError(f"expected argument `{argument}` to be an integer, but got {value!r}: {fix}")
    if value < least:
        raise fail(argument, f"at least {least}", int(value), fix)
    return int(value)


def choice(value: Any, argument: str, allowed: Iterable[str]) -> str:
    """`value` if it is one of the `allowed` names; the error lists them."""
    names = list(allowed)
    if value not in names:
        raise fail(argument, "one of " + ", ".join(repr(n) for n in names), value, "choose one of these names")
    return str(value)


def finite_array(value: Any, argument: str, dtype: Any = float) -> np.ndarray:
    """`value` as a finite numpy array of `dtype`."""
    try:
        array = np.asarray(value, dtype=dtype)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"expected argument `{argument}` to be an array of numbers, but got {_shown(value)}: pass a list or an array of ints or floats"
        ) from None
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise fail(argument, "finite everywhere", f"{array[tuple(where)]} at index {where}", "remove the NaN or infinity before measuring")
    return array


def _shown(value: Any) -> str:
    """The value, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def radii(value: Sequence[float] | np.ndarray, argument: str = "radii") -> np.ndarray:
    """Perturbation radii: one-dimensional, non-empty, finite, non-negative, strictly increasing."""
    array = np.atleast_1d(finite_array(value, argument))
    if array.ndim != 1 or array.size == 0:
        raise fail(argument, "a non-empty one-dimensional sequence", array.shape, "pass for example [0, 1e-3, 1e-2, 1e-1]")
    if (array < 0).any():
        raise fail(argument, "non-negative", float(array.min()), "a radius is the size of a perturbation")
    if (np.diff(array) <= 0).any():
        raise fail(argument, "strictly increasing", array.tolist(), "sort them and drop repeats: numpy.unique(radii)")
    return array
