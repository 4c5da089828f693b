r"""Wiener functionals: a linear functional, then a function of its value.

H_t(x) = phi(L_t(x)) - phi(0). For the Heaviside input u^x(t) = x 1[t >= 0] of one channel, L_t(u^x) = x K(t) with K(t) = int_0^t rho, and

    d/dt H_t(u^x) = phi'(x K(t)) rho(t) x,     M_B(t) = |rho(t)| S(B |K(t)|),   S(a) = sup_{0 < |v| <= a} |phi'(v)|.

S is known for every named phi: |phi'| is largest at 0, or at the end of the interval, or (gelu, silu) where phi'' = 0 if that lies inside. For
gelu phi'' = (2 - v^2) n(v), n the normal density: v = sqrt 2. For silu, v tanh(v/2) = 2: v = 2.39936.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch

from perdure import _checks
from perdure._typing import Array, Tensor
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional, _times
from perdure.functionals.nonlinear import Functional, scalar_input

PEAK = {"gelu": 2.0**0.5, "silu": 2.399357280520547}  # where |phi'| is largest, if neither at 0 nor at infinity
TINY = 1e-300  # stands for 0+ and 0-
GRID = 1001  # points at which the slope of a function without a name is looked at
KINK = 1e-6


class Wiener(Functional):
    """H_t(x) = phi(L_t(x)) - phi(0).

    Attributes:
        inner: L.
        activation: the name of phi, or phi itself.
    """

    def __init__(self, inner: LinearFunctional | Any, activation: str | Callable[[Tensor], Tensor] | Any) -> None:
        if not isinstance(inner, LinearFunctional):
            raise ArgumentTypeError(
                f"expected argument `target` to be a linear functional, but got {type(inner).__name__}: build one with perdure.functionals"
            )
        self.inner, self.activation, self.input_size = inner, activation, inner.input_size
        self._value: Callable[[Tensor], Tensor]
        self._slope: Callable[[Tensor], Tensor]
        if isinstance(activation, str):
            from perdure.ops.recurrence.activations import get_activation

            known = get_activation(activation)
            self._value, self._slope = known.value, known.slope
        elif callable(activation):
            self._value, self._slope = cast(Callable[[Tensor], Tensor], activation), self._by_autograd
        else:
            raise ArgumentTypeError(
                f"expected argument `activation` to be a name or a function of tensors, but got {activation!r}: pass for example 'tanh'"
            )

    def _by_autograd(self, v: Tensor) -> Tensor:
        with torch.enable_grad():
            v = v.detach().requires_grad_()
            return torch.autograd.grad(self._value(v).sum(), v)[0]

    def _response(self, x: Tensor, dt: float) -> Tensor:
        return self._value(self.inner(x.double(), dt))

    def linear_part(self) -> LinearFunctional | None:
        """phi'(0) L; None where phi has a kink at 0 (relu)."""
        v = torch.tensor([-KINK, 0.0, KINK], dtype=torch.float64)
        left, right = (self._value(v).diff() / KINK).tolist()
        if abs(left - right) > 1e-3 * max(abs(left), abs(right), 1e-3):
            return None
        return float(self._slope(torch.zeros(1, dtype=torch.float64))) * self.inner

    def memory(self, t: Any, bound: float = 1.0) -> Any:
        """M_B(t) = |rho(t)| sup_{0 < |v| <= B |K(t)|} |phi'(v)|, exact for a named phi; for others a lower bound (1001 values of v).

        Args:
            t: times, (T,); a torch tensor gives a torch tensor.
            bound: B, the largest |x| of the step inputs.

        Returns:
            (T,), float64.

        Raises:
            ArgumentError: more than one input channel, bound <= 0.

        >>> from perdure import functionals as F
        >>> F.wiener(F.exponential(1.0), "tanh").memory([0.0, 1.0]).round(6).tolist()  # that of L, for small x
        [1.0, 0.367879]
        """
        scalar_input(self)
        bound = _checks.positive(bound, "bound", "the largest size of the step inputs")
        times = _times(t)
        past = np.maximum(times, 0.0)
        reach = bound * np.abs(self.inner._tail(np.zeros(1)) - self.inner._tail(past))[:, 0]
        value = np.abs(self.inner._kernel(past)[:, 0]) * self._steepest(reach)
        value[times < 0] = 0.0
        return torch.as_tensor(value) if isinstance(t, Tensor) else value

    def _steepest(self, reach: Array) -> Array:
        """S(a) for a (T,)."""
        end = torch.as_tensor(np.maximum(reach, TINY))
        if isinstance(self.activation, str):
            tops = [torch.full_like(end, TINY), end, end.clamp(max=PEAK.get(self.activation, TINY))]
            v = torch.stack([sign * top for top in tops for sign in (1.0, -1.0)])
        else:
            share = torch.linspace(-1.0, 1.0, GRID, dtype=torch.float64)
            v = share[:, None] * end
        return self._slope(v).abs().amax(0).numpy()

    def __repr__(self) -> str:
        name = self.activation if isinstance(self.activation, str) else getattr(self.activation, "__name__", "function")
        return f"Wiener({self.inner!r}, {name!r})"


def wiener(target: LinearFunctional | Any, activation: str | Callable[[Tensor], Tensor] | Any = "tanh") -> Wiener:
    """H_t(x) = phi(L_t(x)) - phi(0): a linear functional, then phi.

    Args:
        target: L, a linear functional.
        activation: phi: tanh, hardtanh, linear, relu, sigmoid, softplus, elu, gelu, silu or softsign, or an elementwise function of tensors.

    Raises:
        ArgumentError: an unknown name. ArgumentTypeError: no linear functional, or neither a name nor a function.

    >>> from perdure import functionals as F
    >>> import numpy as np
    >>> y = wiener(F.exponential(1.0), "tanh")(np.ones((1, 2, 1)), dt=0.5)  # tanh(0.5) and tanh(0.5 + 0.5 e^-0.5)
    >>> y.ravel().round(6).tolist()
    [0.462117, 0.665858]
    """
    return Wiener(target, activation)
