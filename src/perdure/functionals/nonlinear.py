"""What a nonlinear functional owes: a causal response to sampled inputs, with H_t(0) = 0, and its linear part where it is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from perdure import _checks
from perdure._typing import Tensor
from perdure.errors import ArgumentTypeError, ModelError
from perdure.functionals.base import LinearFunctional


class Functional(ABC):
    """y_t = H_t(x) with H causal and not linear. A family supplies `_response`; the response to no input is subtracted here.

    Attributes:
        input_size: d, the dimension of the input.
    """

    input_size: int = 1

    @abstractmethod
    def _response(self, x: Tensor, dt: float) -> Tensor:
        """The response (B, T, 1) to x (B, T, d), before that to no input is subtracted; differentiable in x by torch."""

    def linear_part(self) -> LinearFunctional | None:
        """The first-order part of H at x = 0, or None where it does not exist or is not known in closed form."""
        return None

    def __call__(self, x: Any, dt: float = 1.0) -> Any:
        """H_t(x) - H_t(0) for a sampled input.

        Args:
            x: (B, T, d), torch tensor or array; zero before the first sample.
            dt: time between samples.

        Returns:
            (B, T, 1), of the kind and dtype of `x`; for a tensor, differentiable in `x`.

        Raises:
            ArgumentError: `x` is not (B, T, d), or dt <= 0.
            ArgumentTypeError: `x` is not floating point.
            ModelError: the response is not (B, T, 1).
        """
        dt = _checks.positive(dt, "dt", "time between samples")
        tensor = x if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x))
        if tensor.ndim != 3 or tensor.shape[2] != self.input_size:
            rule = f"of shape (B, T, {self.input_size})"
            raise _checks.fail("x", rule, tuple(tensor.shape), "batch first, then time, then input dimension")
        if not tensor.is_floating_point():
            raise ArgumentTypeError(f"expected argument `x` to be floating point, but got {tensor.dtype}: call x.float() first")
        y = self._response(tensor, dt)
        if tuple(y.shape) != (*tensor.shape[:2], 1):
            raise ModelError(
                f"expected the functional to return shape {(*tensor.shape[:2], 1)}, but got {tuple(y.shape)}: it has one output for each step"
            )
        y = (y - self._response(torch.zeros_like(tensor[:1]), dt)).to(tensor.dtype)
        return y if isinstance(x, Tensor) else y.numpy()


def scalar_input(functional: Any) -> None:
    """Refuse a closed form that holds for one input channel only."""
    if functional.input_size != 1:
        raise _checks.fail(
            "input_size",
            "1 for the memory in closed form",
            functional.input_size,
            "measure it: perdure.memory_function(functional, horizon=..., dt=...)",
        )
