"""What is to be learned, as sequences and the outputs wanted."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from perdure import _checks
from perdure._typing import Tensor
from perdure.errors import ArgumentTypeError, ModelError
from perdure.functionals import Functional, LinearFunctional
from perdure.training import sequences


@dataclass(frozen=True)
class Task:
    """A functional on a grid of times, or pairs of sequences.

    Attributes:
        functional: None for data pairs.
        pairs: inputs (B, T, d) and outputs (B, T, o), float64; None for a functional.
        dt: time between samples.
        horizon: time up to which a functional counts.
        bound: largest size of an informative input.
    """

    functional: LinearFunctional | Functional | None
    pairs: tuple[Tensor, Tensor] | None
    dt: float
    horizon: float
    bound: float

    @property
    def input_size(self) -> int:
        """D."""
        return self.pairs[0].shape[2] if self.functional is None and self.pairs is not None else self.functional.input_size  # type: ignore[union-attr]

    @property
    def linear(self) -> LinearFunctional | None:
        """The functional or its linear part, where there is one that is not zero."""
        part = self.functional if isinstance(self.functional, LinearFunctional) else None
        if isinstance(self.functional, Functional):
            part = self.functional.linear_part()
        return part if part is not None and part.norm() > 0 else None

    def steps(self, horizon: float) -> int:
        """Samples up to a time."""
        return round(horizon / self.dt)

    def outputs(self, x: Tensor) -> Tensor:
        """Outputs wanted for inputs (B, T, d).

        Raises:
            ModelError: NaN or infinity.
        """
        assert self.functional is not None  # of a functional only
        with torch.no_grad():
            y = self.functional(x, dt=self.dt)
        if not bool(torch.isfinite(y).all()):
            raise ModelError(
                "expected argument `target` to give finite outputs, but got NaN or infinity: try a smaller `bound` or `horizon`"
            )
        return y

    def informative(self, seed: int) -> tuple[Tensor, Tensor]:
        """The informative set for a functional; the pairs themselves.

        Raises:
            ArgumentError: the target is zero.
        """
        if self.pairs is not None:
            return self.pairs
        steps = self.steps(self.horizon)
        times = self.dt * torch.arange(steps, dtype=torch.float64)
        linear = self.linear
        kernel = None if linear is None else linear.kernel(times).reshape(steps, -1)
        generator = torch.Generator().manual_seed(seed)
        x = sequences.informative(steps, self.input_size, self.bound, generator, kernel)
        y = self.outputs(x)
        _nonzero(y)
        return x, y

    def drawn(self, count: int, kind: str, horizon: float, seed: int) -> tuple[Tensor, Tensor]:
        """White inputs up to a time, and the outputs wanted."""
        x = sequences.white(count, self.steps(horizon), self.input_size, kind, self.bound, torch.Generator().manual_seed(seed))
        return x, self.outputs(x)


def read(target: Any, dt: float, horizon: float, bound: float) -> Task:
    """A task from what the user passed.

    Raises:
        ArgumentTypeError: neither a functional nor a pair. ArgumentError: a pair of wrong rank, of unequal shapes, empty, not finite or zero.
    """
    dt = _checks.positive(dt, "dt", "time between samples")
    horizon = _checks.positive(horizon, "horizon", "time up to which the target counts")
    bound = _checks.positive(bound, "bound", "largest size of an input")
    if isinstance(target, LinearFunctional | Functional):
        if round(horizon / dt) < 2:
            raise _checks.fail("horizon", f"at least two steps of dt = {dt:g}", horizon, "the slope of an output needs two of them")
        return Task(target, None, dt, horizon, bound)
    if not (isinstance(target, tuple | list) and len(target) == 2):
        raise ArgumentTypeError(
            f"expected argument `target` to be a functional or a pair (inputs, outputs), but got {type(target).__name__}: build one with "
            "perdure.functionals (F.teacher for a module), or pass (x, y)"
        )
    x, y = (_sequences(value, name) for value, name in zip(target, ("inputs", "outputs"), strict=True))
    if x.shape[:2] != y.shape[:2]:
        rule = f"a pair with outputs of shape ({x.shape[0]}, {x.shape[1]}, o)"
        raise _checks.fail("target", rule, tuple(y.shape), "one output for each sequence and step")
    _nonzero(y)
    return Task(None, (x, y), dt, horizon, bound)


def _sequences(value: Any, name: str) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    if tensor.ndim != 3 or tensor.numel() == 0:
        raise _checks.fail(
            "target", f"a pair with {name} of shape (B, T, d), not empty", tuple(tensor.shape), "sequences, then steps, then channels"
        )
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ArgumentTypeError(f"expected argument `target` to hold real numbers, but got {name} of {tensor.dtype}: convert them")
    tensor = tensor.detach().cpu().double()
    if not bool(torch.isfinite(tensor).all()):
        where = (~torch.isfinite(tensor)).nonzero()[0].tolist()
        raise _checks.fail(
            "target", f"a pair with finite {name}", f"{tensor[tuple(where)].item()} at index {where}", "remove the NaN or infinity"
        )
    return tensor


def _nonzero(y: Tensor) -> None:
    if not bool((y != 0).any()):
        raise _checks.fail("target", "other than zero", "outputs that are all 0", "an error relative to nothing means nothing")


def check_step(model: nn.Module, dt: float) -> None:
    """Refuse a layer that was discretised with another step.

    Raises:
        ArgumentError: it was.
    """
    for name, part in model.named_modules():
        own = getattr(part, "dt", None)
        if isinstance(own, float) and not math.isclose(own, dt, rel_tol=1e-9):
            where = f" of `{name}`" if name else ""
            raise _checks.fail("dt", f"{own:g}, the step{where} of the model", dt, f"pass dt={own:g}, or build the model with dt={dt:g}")


def digest(*tensors: Tensor) -> str:
    """A fingerprint of numbers."""
    found = hashlib.sha256()
    for t in tensors:
        found.update(t.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
