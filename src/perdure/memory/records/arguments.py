"""Records as arrays (B, T, d), checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure import _checks
from perdure._typing import Array, Tensor
from perdure.errors import ArgumentTypeError

SHORTEST = 20  # steps
FEWEST = 16  # outputs that are seen together with all their lags
LONGEST_WINDOW = 512  # lags, unless the caller asks for more
SHARE = 4  # the window takes at most one step in four of a record


@dataclass(frozen=True)
class Records:
    """Inputs and outputs sampled together.

    Attributes:
        inputs: u, (B, T, d), finite.
        outputs: y, (B, T, o), NaN where missing.
        dt: time between steps.
        lags: n, how many lags of the input are looked at: 0 to n - 1 steps.
    """

    inputs: Array
    outputs: Array
    dt: float
    lags: int

    @property
    def steps(self) -> int:
        """T."""
        return self.inputs.shape[1]


def read(inputs: Any, outputs: Any, dt: Any, horizon: Any) -> Records:
    """The arguments of `estimate_memory`, checked.

    Raises:
        ArgumentError: shapes that do not fit, values that are not finite, records that are too short, an input that never changes.
        ArgumentTypeError: something else than real numbers.
    """
    dt = _checks.positive(dt, "dt", "it is the time between steps of the records")
    u, y = _array(inputs, "inputs"), _array(outputs, "outputs")
    if u.shape[:2] != y.shape[:2]:
        fix = f"inputs and outputs are sampled at the same steps: got {u.shape[0]} x {u.shape[1]} inputs (records x steps)"
        raise _checks.fail("outputs", "as many records and steps as `inputs`", f"{y.shape[0]} x {y.shape[1]}", fix)
    missing = ~np.isfinite(u)
    if missing.any():
        where = np.argwhere(missing)[0].tolist()
        fix = "split the record there and pass the parts as (B, T, d), or interpolate: only outputs may be missing (NaN)"
        raise _checks.fail("inputs", "finite everywhere", f"{u[tuple(where)]} at [record, step, channel] {where}", fix)
    if np.isinf(y).any():
        where = np.argwhere(np.isinf(y))[0].tolist()
        raise _checks.fail("outputs", "finite, or NaN where missing", f"infinity at {where}", "mark what is missing by NaN")
    steps = u.shape[1]
    if steps < SHORTEST:
        raise _checks.fail("inputs", f"at least {SHORTEST} steps long", steps, "memory cannot be told from so short a record")
    if horizon is None:
        lags = int(min(LONGEST_WINDOW, steps // SHARE))
    else:
        lags = _checks.positive_int(horizon, "horizon", "it counts the lags to look at, in steps, at least 3", least=3)
        if lags >= steps:
            raise _checks.fail(
                "horizon", f"below the length of a record, {steps} steps", lags, "a lag longer than the record is never seen"
            )
    seen = np.isfinite(y[:, lags - 1 :]).sum(axis=(0, 1))
    if seen.min() < FEWEST:
        fix = "pass longer records, more of them, or a smaller horizon"
        rule = f"seen at {FEWEST} steps or more, each with the {lags} lags before it"
        raise _checks.fail("outputs", rule, f"{int(seen.min())} in channel {int(seen.argmin())}", fix)
    for name, values in (("inputs", u[:, :-1]), ("outputs", y[:, lags - 1 :])):
        spread = np.nanmax(values, axis=(0, 1)) - np.nanmin(values, axis=(0, 1))
        size = np.nanmax(np.abs(values), axis=(0, 1))
        still = np.flatnonzero(spread <= 1e-13 * size)
        if still.size:
            fix = f"channel {still[0]} stays at {np.nanmean(values[..., still[0]]):.6g}: what never changes tells nothing about memory"
            raise _checks.fail(name, "changing in time", "a constant", fix)
    return Records(u, y, dt, lags)


def _array(value: Any, name: str) -> Array:
    """(T,), (T, d) or (B, T, d) as (B, T, d) in float64; NaN is let through."""
    given = value.detach().cpu() if isinstance(value, Tensor) else value
    if isinstance(given, Tensor) and given.is_floating_point():
        given = given.double()  # numpy has no bfloat16
    try:
        array = np.asarray(given)
        array = array.astype(float) if array.dtype.kind in "fiub" else None
    except (TypeError, ValueError):
        array = None
    if array is None:
        raise ArgumentTypeError(
            f"expected argument `{name}` to be an array of real numbers, but got {type(value).__name__}: pass (T,), (T, d) or (B, T, d)"
        )
    if array.ndim not in (1, 2, 3) or array.size == 0:
        raise _checks.fail(name, "of shape (T,), (T, d) or (B, T, d), and not empty", array.shape, "records, then steps, then channels")
    if array.ndim == 1:
        return array[None, :, None]
    if array.ndim == 3:
        return array
    if array.shape[1] > array.shape[0]:
        fix = "two axes are (steps, channels) of one record: transpose it, or pass several records as (B, T, 1)"
        raise _checks.fail(name, "at least as many steps as channels", array.shape, fix)
    return array[None]
