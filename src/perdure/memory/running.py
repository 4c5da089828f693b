"""A model under measurement: a frozen copy, called in pieces that fit into memory, with an eye on the time spent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from perdure import _checks
from perdure._random import isolated
from perdure._typing import Array, Float, Tensor
from perdure.adapters import Frozen, adapt, in_some_type
from perdure.adapters.sequence import Adapted
from perdure.errors import ArgumentError, ArgumentTypeError, ModelError, PerdureError

ELEMENTS = 2**25  # numbers in the widest layer that a call may hold
SHORT = 32  # steps of a call that is made for its time


@dataclass
class Clock:
    """Seconds that may be spent.

    Attributes:
        seconds: None for no limit.
        now: reads the time.
    """

    seconds: float | None
    now: Callable[[], float] = time.monotonic
    began: float = field(init=False)

    def __post_init__(self) -> None:
        if self.seconds is not None:
            self.seconds = _checks.positive(self.seconds, "seconds", "it is the time to spend, None for no limit")
        self.began = self.now()

    @property
    def left(self) -> float:
        """What remains, inf without a limit."""
        return np.inf if self.seconds is None else self.seconds - (self.now() - self.began)


@dataclass
class Running:
    """The frozen copy of a model and what its calls cost.

    Attributes:
        call: the copy, as (B, T, d) -> (B, T, o).
        twin: the same, as `perdure.adapters.frozen` gives it.
        notes: what a reader of the result should know.
        clock: the time that may be spent.
        each: seconds of a row and step, as last measured; 0 before the first call.
    """

    call: Adapted
    twin: Frozen
    notes: tuple[str, ...]
    clock: Clock
    each: float = 0.0

    @property
    def size(self) -> int:
        """Input channels."""
        return self.call.input_size

    def tensor(self, x: Any) -> Tensor:
        """Numbers as the model takes them."""
        return torch.as_tensor(x).to(self.twin.device, self.twin.dtype)

    def limit(self, steps: int) -> int:
        """Rows that a call may hold."""
        width = max((p.shape[0] for p in self.call.parameters() if p.ndim), default=1)
        return max(1, ELEMENTS // (steps * max(width, self.size, int(self.call.output_size or 1))))

    def __call__(self, x: Float[Tensor, "R T d"]) -> Float[Tensor, "R T o"]:
        """Outputs, at least in single precision.

        Raises:
            ModelError: they are not finite.
        """
        parts = []
        for part in x.split(self.limit(x.shape[1])):
            begun = self.clock.now()
            y = self.call(part)
            self.each = (self.clock.now() - begun) / (part.shape[0] * part.shape[1])
            if not bool(torch.isfinite(y).all()):
                raise ModelError(
                    "expected argument `model` to give finite outputs, but got NaN or infinity: it diverges; try a smaller `bound` or `horizon`"
                )
            parts.append(y.float() if y.dtype in (torch.float16, torch.bfloat16) else y)
        return torch.cat(parts)

    def affords(self, rows: int, steps: int) -> bool:
        """Whether so many rows more fit into the time left, by what the last ones took."""
        return self.each * rows * steps <= self.clock.left

    def times(self, rows: int, steps: int) -> bool:
        """The same, by a short call made for that where there is a limit: of a model in a type in which it may be many times slower."""
        if self.clock.seconds is None:
            return True
        x = torch.zeros(rows, min(steps, SHORT), self.size, dtype=self.twin.dtype, device=self.twin.device)
        for _ in range(2):  # the first one may have to set something up
            self(x)
        return self.affords(rows, steps)


Result = TypeVar("Result")


def run(
    model: Any,
    body: Callable[[Running], Result],
    what: str,
    *,
    dtype: torch.dtype,
    seed: int,
    seconds: float | None,
    dt: float,
    input_size: int | None,
    batch_first: bool | None,
) -> Result:
    """`body` of a frozen copy of the model in `dtype`, or where it raises in that type, in its own; the model stays as it is."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ArgumentTypeError(f"expected argument `dtype` to be a floating-point torch type, but got {dtype!r}: pass torch.float64")
    seed = _checks.positive_int(seed, "seed", "pass an integer of at least 0", least=0)
    dt = _checks.positive(dt, "dt", "it is the time between steps of the model")
    clock = Clock(seconds)
    adapt(model, input_size=input_size, dt=dt, batch_first=batch_first)  # bad arguments are reported before any work

    def inside(twin: Frozen, notes: tuple[str, ...]) -> Result:
        call = adapt(twin.model, input_size=input_size, dt=dt, batch_first=batch_first)
        return body(Running(call, twin, notes, clock))

    try:
        with isolated(seed), torch.inference_mode(False), torch.no_grad():
            return in_some_type(model, dtype, inside)
    except PerdureError:
        raise
    except Exception as error:
        error.add_note(f"raised while perdure's {what} called the model")
        raise


def backgrounds(given: Any, count: int, steps: int, size: int, bound: float, rng: np.random.Generator) -> Array:
    """Inputs around which a model is measured, (N, T, d).

    Args:
        given: None or "zeros": one of zeros; "noise": `count` uniform in [-bound, bound]; or (T', d) or (N, T', d) with T' >= steps, of which the
            first `count` sequences are taken.
        count: see there.
        steps: T.
        size: d.
        bound: of the noise.
        rng: draws the noise.

    Raises:
        ArgumentError: an unknown name, an array of the wrong shape, NaN.

    >>> backgrounds("zeros", 3, 2, 1, 1.0, np.random.default_rng(0)).shape, backgrounds("noise", 3, 2, 1, 1.0, np.random.default_rng(0)).shape
    ((1, 2, 1), (3, 2, 1))
    """
    if given is None or isinstance(given, str):
        if _checks.choice("zeros" if given is None else given, "background", ("zeros", "noise")) == "zeros":
            return np.zeros((1, steps, size))
        return rng.uniform(-bound, bound, (count, steps, size))
    array: Array = _checks.finite_array(given.detach().cpu().numpy() if isinstance(given, Tensor) else given, "background")
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[0] == 0 or array.shape[1] < steps or array.shape[2] != size:
        raise ArgumentError(
            f"expected argument `background` to be of shape (T, {size}) or (N, T, {size}) with T >= {steps}, but got {array.shape}: "
            "pass input sequences as long as what is measured"
        )
    return array[:count, :steps]


def directions(size: int, count: int, rng: np.random.Generator) -> Array:
    """Inputs of size 1 in every channel or in one, (R, d): unit vectors where d <= count, else `count` rows of random signs.

    >>> directions(2, 4, np.random.default_rng(0)).tolist(), directions(9, 2, np.random.default_rng(0)).shape
    ([[1.0, 0.0], [0.0, 1.0]], (2, 9))
    """
    return np.eye(size) if size <= count else rng.choice([-1.0, 1.0], (count, size))


def listed(values: Any) -> Any:
    """Arrays and numbers as plain lists and numbers, None for what is not finite, as strict JSON wants.

    >>> listed(np.array([1.0, np.inf])), listed(2)
    ([1.0, None], 2)
    """
    if isinstance(values, np.ndarray | list | tuple):
        return [listed(v) for v in (values.tolist() if isinstance(values, np.ndarray) else values)]
    if isinstance(values, float | np.floating):
        return float(values) if np.isfinite(values) else None
    return values.item() if isinstance(values, np.generic) else values
