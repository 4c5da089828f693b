"""What a linear functional with known memory owes, and what it gets for it.

A linear functional is H_t(x) = int_0^inf rho(s)^T x(t - s) ds with kernel rho: [0, inf) -> R^d. A family supplies

* `_kernel(t)` and `_kernel_derivative(t)`: (T,) -> (T, d), for t >= 0;
* `_tail(t)`: int_t^inf rho(s) ds, shape (T, d), closed form;
* `mesh()`: times that resolve the kernel (see `perdure.functionals.quadrature`).

Memory, Sobolev norm, application to sampled inputs, sums and scalings are written once, here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from perdure import _checks
from perdure._typing import Array, Tensor
from perdure.errors import ArgumentError, ArgumentTypeError
from perdure.functionals.quadrature import half_line_w1


class LinearFunctional(ABC):
    """H_t(x) = int_0^inf rho(s)^T x(t - s) ds, with everything about rho known.

    Attributes:
        input_size: d, the dimension of the input.
    """

    input_size: int = 1

    @abstractmethod
    def _kernel(self, t: Array) -> Array:
        """rho(t), shape (T, d)."""

    @abstractmethod
    def _kernel_derivative(self, t: Array) -> Array:
        """rho'(t), shape (T, d)."""

    @abstractmethod
    def _tail(self, t: Array) -> Array:
        """int_t^inf rho(s) ds, shape (T, d)."""

    @abstractmethod
    def mesh(self) -> Array:
        """Increasing times, from 0, between which the kernel is smooth on the scale of the spacing.

        Past the last one the kernel keeps its sign and decays monotonically, or is below rounding.
        """

    def _shaped(self, value: Array, like: Any) -> Any:
        value = value[:, 0] if self.input_size == 1 else value
        return torch.as_tensor(value) if isinstance(like, Tensor) else value

    def kernel(self, t: Any) -> Any:
        """rho(t).

        Args:
            t: times, shape (T,), in the units of the rates; negative times give 0 (causality). A torch tensor gives a torch tensor.

        Returns:
            (T,) when the input is one-dimensional, else (T, d), float64.
        """
        times = _times(t)
        value = self._kernel(np.maximum(times, 0.0))
        value[times < 0] = 0.0
        return self._shaped(value, t)

    def kernel_derivative(self, t: Any) -> Any:
        """rho'(t), one-sided at 0; shapes as for `kernel`."""
        times = _times(t)
        value = self._kernel_derivative(np.maximum(times, 0.0))
        value[times < 0] = 0.0
        return self._shaped(value, t)

    def memory(self, t: Any) -> Any:
        """The memory function M(t) = |rho(t)|_1, shape (T,).

        For a linear functional the Heaviside, impulse and reversed probes all give this value (Wang, Li & Li 2024, Def. 3.1).
        """
        times = _times(t)
        value = np.abs(self._kernel(np.maximum(times, 0.0))).sum(1)
        value[times < 0] = 0.0
        return torch.as_tensor(value) if isinstance(t, Tensor) else value

    def norm(self) -> float:
        """||H||_{W1} = int |rho|_1 dt + |rho(0)|_1 + int |rho'|_1 dt on [0, inf) (Wang, Li & Li 2024, Def. 3.7).

        Exact up to rounding: sign changes are located and the pieces between them integrated by Gauss's rule.
        """
        return half_line_w1(self._kernel, self._kernel_derivative, self._tail, self.mesh())

    def __call__(self, x: Any, dt: float = 1.0, rule: str = "rectangle") -> Any:
        """Apply the functional to a sampled input by FFT, in float64 inside.

        y_k = dt * sum_{j <= k} rho(j dt)^T x_{k-j} ("rectangle", order 1 in dt; the response to a unit-mass pulse is then
        rho(t_k) exactly, and the slope of the step response too), or the trapezoidal rule of the same sum (order 2 for smooth inputs).

        Args:
            x: (B, T, d), torch tensor or array; zero before the first sample. NaN is passed on: by the FFT, to every output of its row.
            dt: time between samples.
            rule: "rectangle" or "trapezoid".

        Returns:
            (B, T, 1), of the kind and dtype of `x`.

        Raises:
            ValueError: `x` is not (B, T, d), or dt <= 0.
        """
        dt = _checks.positive(dt, "dt", "time between samples")
        _checks.choice(rule, "rule", ("rectangle", "trapezoid"))
        tensor = x if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x))
        if tensor.ndim != 3 or tensor.shape[2] != self.input_size:
            raise _checks.fail(
                "x", f"of shape (B, T, {self.input_size})", tuple(tensor.shape), "batch first, then time, then input dimension"
            )
        if not tensor.is_floating_point():
            raise ArgumentTypeError(f"expected argument `x` to be floating point, but got {tensor.dtype}: call x.float() first")
        steps = tensor.shape[1]
        if steps == 0:
            return x.new_zeros((x.shape[0], 0, 1)) if isinstance(x, Tensor) else np.zeros((tensor.shape[0], 0, 1), x.dtype)
        rho = torch.as_tensor(self._kernel(dt * np.arange(steps)), device=tensor.device)
        wide = tensor.double()
        n = 1 << (2 * steps - 1).bit_length()
        y = torch.fft.irfft((torch.fft.rfft(rho, n, dim=0) * torch.fft.rfft(wide, n, dim=1)).sum(-1), n, dim=1)[:, :steps]
        if rule == "trapezoid":
            y = y - 0.5 * (wide @ rho[0]) - 0.5 * (wide[:, :1] * rho).sum(-1)
        y = (dt * y).unsqueeze(-1).to(tensor.dtype)
        return y if isinstance(x, Tensor) else y.numpy()

    def __add__(self, other: LinearFunctional) -> LinearFunctional:
        """The sum of two functionals of the same input."""
        if not isinstance(other, LinearFunctional):
            return NotImplemented
        from perdure.functionals.combine import combine

        return combine([(1.0, self), (1.0, other)])

    def __sub__(self, other: LinearFunctional) -> LinearFunctional:
        """The difference of two functionals of the same input."""
        if not isinstance(other, LinearFunctional):
            return NotImplemented
        from perdure.functionals.combine import combine

        return combine([(1.0, self), (-1.0, other)])

    def __mul__(self, factor: float) -> LinearFunctional:
        """The functional scaled by a real number."""
        if not isinstance(factor, int | float | np.number):
            return NotImplemented
        from perdure.functionals.combine import combine

        return combine([(_checks.number(factor, "factor"), self)])

    __rmul__ = __mul__

    def __neg__(self) -> LinearFunctional:
        """Minus the functional."""
        return self * -1.0


def _times(t: Any) -> Array:
    values = t.detach().cpu().numpy() if isinstance(t, Tensor) else t
    array = np.asarray(values, dtype=float)
    if array.ndim > 1:
        raise ArgumentError(f"expected argument `t` to be one-dimensional, but got shape {array.shape}: pass times as (T,)")
    if np.isnan(array).any():
        raise ArgumentError("expected argument `t` to be free of NaN, but got NaN: check how the times were made")
    return np.minimum(np.atleast_1d(array), 1e300)  # infinity would be NaN in products with a kernel that is 0 there
