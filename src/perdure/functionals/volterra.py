r"""Second-order Volterra functionals with separable kernels.

H_t(x) = L_t(x) + sum_k w_k F^k_t(x) G^k_t(x): the kernel of second order is sum_k w_k f_k(s) g_k(s'). For the Heaviside input u^x of one channel each
linear functional has the value x K(t), K(t) = int_0^t rho, so that

    d/dt H_t(u^x) = x l(t) + x^2 q(t),   q = sum_k w_k (f_k K_{G^k} + K_{F^k} g_k),     M_B(t) = |l(t)| + B |q(t)|.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from perdure import _checks
from perdure._typing import Array, Tensor
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional, _times
from perdure.functionals.nonlinear import Functional, scalar_input


class Volterra2(Functional):
    """H_t(x) = L_t(x) + sum_k w_k F^k_t(x) G^k_t(x).

    Attributes:
        linear: L.
        products: (w_k, F^k, G^k).
    """

    def __init__(self, linear: LinearFunctional, products: Sequence[tuple[float, LinearFunctional, LinearFunctional]]) -> None:
        self.linear, self.products, self.input_size = linear, tuple(products), linear.input_size

    def _response(self, x: Tensor, dt: float) -> Tensor:
        wide = x.double()
        y = self.linear(wide, dt)
        for weight, first, second in self.products:
            y = y + weight * first(wide, dt) * second(wide, dt)
        return y

    def linear_part(self) -> LinearFunctional:
        """L."""
        return self.linear

    def memory(self, t: Any, bound: float = 1.0) -> Any:
        """M_B(t) = |l(t)| + B |q(t)|, exact; see the module for q.

        Args:
            t: times, (T,); a torch tensor gives a torch tensor.
            bound: B, the largest |x| of the step inputs.

        Returns:
            (T,), float64.

        Raises:
            ArgumentError: more than one input channel, bound <= 0.
        """
        scalar_input(self)
        bound = _checks.positive(bound, "bound", "the largest size of the step inputs")
        times = _times(t)
        past = np.maximum(times, 0.0)

        def integral(part: LinearFunctional) -> Array:
            return (part._tail(np.zeros(1)) - part._tail(past))[:, 0]

        second = np.zeros(times.shape)
        for weight, one, other in self.products:
            second += weight * (one._kernel(past)[:, 0] * integral(other) + integral(one) * other._kernel(past)[:, 0])
        value = np.abs(self.linear._kernel(past)[:, 0]) + bound * np.abs(second)
        value[times < 0] = 0.0
        return torch.as_tensor(value) if isinstance(t, Tensor) else value

    def __repr__(self) -> str:
        return f"Volterra2({self.linear!r}; " + ", ".join(f"{w:g} * {a!r} * {b!r}" for w, a, b in self.products) + ")"


def volterra2(linear: LinearFunctional | Any, products: Sequence[Any]) -> Volterra2:
    """H_t(x) = L_t(x) + sum_k w_k F^k_t(x) G^k_t(x).

    Args:
        linear: L, a linear functional; None for none.
        products: (w, F, G) for each term of second order, a number and two linear functionals of the input size of L.

    Raises:
        ArgumentTypeError: something that is no linear functional, or a product that is no such triple.
        ArgumentError: no products, input sizes that differ.

    >>> from perdure import functionals as F
    >>> one = F.exponential(1.0)
    >>> H = volterra2(one, [(0.5, one, one)])
    >>> H.memory([0.0, 1.0]).round(6).tolist()  # e^-t + e^-t (1 - e^-t)
    [1.0, 0.600424]
    """
    if not isinstance(products, Sequence) or isinstance(products, str) or len(products) == 0:
        raise _checks.fail("products", "a non-empty list of (weight, F, G)", products, "for a linear functional none is needed")
    checked = []
    for product in products:
        if not (isinstance(product, Sequence) and len(product) == 3):
            raise ArgumentTypeError(f"expected argument `products` to hold triples (weight, F, G), but got {product!r}: pass (w, F, G)")
        weight, first, second = product
        checked.append((_checks.number(weight, "products"), _linear(first, "products"), _linear(second, "products")))
    base = 0.0 * checked[0][1] if linear is None else _linear(linear, "linear")
    sizes = {base.input_size} | {part.input_size for _, *parts in checked for part in parts}
    if len(sizes) > 1:
        raise _checks.fail("products", "functionals of one input size, that of `linear`", sorted(sizes), "they read the same input")
    return Volterra2(base, checked)


def _linear(value: Any, argument: str) -> LinearFunctional:
    if not isinstance(value, LinearFunctional):
        raise ArgumentTypeError(
            f"expected argument `{argument}` to hold linear functionals, but got {type(value).__name__}: build them with perdure.functionals"
        )
    return value
