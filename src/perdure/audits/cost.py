"""What a call of the model costs, estimated before anything long is run, and the budget that it is held against.

One call on R rows of T steps is taken to need

    seconds = a + b T + c R T + e R T^2,   a, b, c, e >= 0

(a: the call itself; b: a loop over steps; c: work on each step; e: attention), fitted to a few calls on short sequences; the largest tensor
made along the way is followed in the same calls and grows like R T or R T^2. Estimates for longer sequences are extrapolations, so the
budget also learns: the ratio of seconds used to seconds foreseen corrects all later estimates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from perdure import _checks
from perdure._typing import Array, Tensor

LENGTHS = (16, 64, 256)
LONG = 1.0  # seconds after which no longer call is timed
SHORT = 0.05  # seconds below which a call is timed more often
BYTES = 8  # of a number
KEPT = 6.0  # tensors of the largest size that live at once: the batch, its copy, the outputs, their differences


@dataclass(frozen=True)
class Cost:
    """Seconds and numbers that one call takes.

    Attributes:
        seconds: (a, b, c, e) of the module docstring.
        numbers: (linear, square): the largest tensor of a call has about R (linear T + square T^2) entries.
        measured: (rows, steps, seconds) of the calls behind it.
    """

    seconds: tuple[float, float, float, float]
    numbers: tuple[float, float]
    measured: tuple[tuple[int, int, float], ...] = ()

    def forward(self, rows: int, steps: int) -> float:
        """Seconds of one call without gradients.

        >>> round(Cost((0.0, 0.0, 1e-6, 0.0), (1.0, 0.0)).forward(100, 1000), 6)
        0.1
        """
        return float(np.dot(self.seconds, (1.0, steps, rows * steps, rows * steps**2)))

    def gradient(self, rows: int, steps: int) -> float:
        """Seconds of one call with a backward pass: three times a call (one forward, two products in the backward)."""
        return 3.0 * self.forward(rows, steps)

    def rows_in(self, memory: float, steps: int) -> int:
        """Rows of `steps` steps that `memory` bytes hold, at least 1.

        >>> Cost((0.0, 0.0, 1e-6, 0.0), (10.0, 0.0)).rows_in(4.8e6, 1000)
        10
        """
        linear, square = self.numbers
        return max(1, int(memory / (BYTES * KEPT * max(linear * steps + square * steps**2, 1.0))))


class _Largest(TorchDispatchMode):
    """Follows the largest tensor made inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for item in out if isinstance(out, tuple | list) else (out,):
            if isinstance(item, Tensor):
                self.numel = max(self.numel, item.numel())
        return out


def estimate(
    call: Callable[[Tensor], Tensor], input_size: int, horizon: int, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Cost:
    """Time a few short calls and fit the cost model to them.

    Args:
        call: (B, T, d) -> (B, T, d_out), without gradients.
        input_size: d.
        horizon: longest sequence of interest; no call is longer.
        dtype: of the inputs.
        device: of the inputs.
    """
    generator = torch.Generator().manual_seed(0)
    rows: list[tuple[int, int, float]] = []
    sizes: list[tuple[int, int]] = []
    for steps in sorted({min(n, max(horizon, 3)) for n in LENGTHS}):
        for count in (1, 4):
            x = torch.rand(count, steps, input_size, generator=generator).to(device, dtype) - 0.5
            took, largest = _timed(call, x)
            rows.append((count, steps, took))
            sizes.append((steps, largest // count))
        if rows[-1][2] > LONG:
            break
    table = np.array(rows, float)
    basis = np.stack([np.ones(len(rows)), table[:, 1], table[:, 0] * table[:, 1], table[:, 0] * table[:, 1] ** 2], 1)
    seconds = _nonnegative(basis, table[:, 2])
    steps_seen = np.array(sizes, float)
    numbers = _nonnegative(np.stack([steps_seen[:, 0], steps_seen[:, 0] ** 2], 1), np.maximum(steps_seen[:, 1], 1.0))
    return Cost(tuple(seconds.tolist()), tuple(numbers.tolist()), tuple(rows))  # type: ignore[arg-type]


def _timed(call: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, int]:
    """Seconds of the fastest of two calls, of four where they are short and a busy machine may disturb them, and the entries of the largest tensor of the first."""
    largest = x.numel()
    with torch.no_grad():
        try:
            with _Largest() as seen:
                call(x)
            largest = max(largest, seen.numel)
        except NotImplementedError:  # a part of the model that cannot be followed
            call(x)
        best = np.inf
        for k in range(4):
            begun = time.perf_counter()
            call(x)
            best = min(best, time.perf_counter() - begun)
            if best > LONG or (k and best > SHORT):
                break
    return float(best), largest


def _nonnegative(basis: Array, y: Array) -> Array:
    """Least squares in relative error, coefficients of at least 0."""
    from scipy.optimize import nnls

    return nnls(basis / y[:, None], np.ones_like(y))[0]


@dataclass
class Budget:
    """Seconds that may be spent.

    Attributes:
        seconds: in all; None for no limit.
        clock: the time, in seconds.
        ratio: what the parts so far took over what was foreseen; corrects later estimates.
    """

    seconds: float | int | None
    clock: Callable[[], float] = time.monotonic
    ratio: float = 1.0
    began: float = field(default=0.0)
    _foreseen: float = 0.0
    _used: float = 0.0

    def __post_init__(self) -> None:
        if self.seconds is not None:
            self.seconds = _checks.positive(self.seconds, "budget", "pass seconds, or None for no limit")
        self.began = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.began

    @property
    def left(self) -> float:
        """Seconds that remain, inf without a limit."""
        return float("inf") if self.seconds is None else max(0.0, self.seconds - self.spent)

    def corrected(self, foreseen: float) -> float:
        """An estimate, corrected by how earlier ones turned out."""
        return self.ratio * foreseen

    def affords(self, foreseen: float, share: float = 1.0) -> bool:
        """Whether a part fits into `share` of what is left."""
        return self.corrected(foreseen) <= share * self.left

    def record(self, foreseen: float, used: float) -> None:
        """Take in how long a part took. Parts of under a tenth of a second say nothing."""
        if max(foreseen, used) < 0.1 or foreseen <= 0:
            return
        self._foreseen += foreseen
        self._used += used
        self.ratio = float(np.clip(self._used / self._foreseen, 0.2, 10.0))
