"""Sums and scalings of functionals, and several of them side by side on a multi-dimensional input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perdure import _checks
from perdure._typing import Array
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional
from perdure.functionals.exponential import ExponentialSum
from perdure.functionals.polynomial import Polynomial
from perdure.functionals.quadrature import geometric_mesh, merge


class Combination(LinearFunctional):
    """rho = sum_k w_k rho_k.

    Attributes:
        terms: pairs (w_k, functional), none of them itself a combination, at most one an exponential sum.
    """

    def __init__(self, terms: Sequence[tuple[float, LinearFunctional]]) -> None:
        self.terms = list(terms)
        self.input_size = self.terms[0][1].input_size

    def _kernel(self, t: Array) -> Array:
        return np.sum([w * f._kernel(t) for w, f in self.terms], axis=0)

    def _kernel_derivative(self, t: Array) -> Array:
        return np.sum([w * f._kernel_derivative(t) for w, f in self.terms], axis=0)

    def _tail(self, t: Array) -> Array:
        return np.sum([w * f._tail(t) for w, f in self.terms], axis=0)

    def mesh(self) -> Array:
        """The union of the terms' meshes; several power laws may change sign far out, so it then runs as far as doubles allow."""
        meshes = [f.mesh() for _, f in self.terms]
        mesh = merge(*meshes)
        if sum(isinstance(f, Polynomial | Stack) for _, f in self.terms) > 1:
            mesh = merge(mesh, geometric_mesh(mesh[-1], min(1e100, mesh[-1] * 1e80)))
        return mesh

    def __repr__(self) -> str:
        return " + ".join(f"{w:g} * {f!r}" for w, f in self.terms)


class Stack(LinearFunctional):
    """rho = (rho_1, ..., rho_d): each input channel has a kernel of its own."""

    def __init__(self, parts: Sequence[LinearFunctional]) -> None:
        self.parts = list(parts)
        self.input_size = len(self.parts)

    def _kernel(self, t: Array) -> Array:
        return np.concatenate([f._kernel(t) for f in self.parts], 1)

    def _kernel_derivative(self, t: Array) -> Array:
        return np.concatenate([f._kernel_derivative(t) for f in self.parts], 1)

    def _tail(self, t: Array) -> Array:
        return np.concatenate([f._tail(t) for f in self.parts], 1)

    def mesh(self) -> Array:
        """The union of the channels' meshes."""
        return merge(*(f.mesh() for f in self.parts))

    def __repr__(self) -> str:
        return f"Stack({', '.join(map(repr, self.parts))})"


def combine(terms: Sequence[tuple[float, LinearFunctional]]) -> LinearFunctional:
    """sum_k w_k H_k, flattened; exponential sums are merged into one."""
    flat: list[tuple[float, LinearFunctional]] = []
    for weight, functional in terms:
        inner = functional.terms if isinstance(functional, Combination) else [(1.0, functional)]
        flat += [(weight * w, f) for w, f in inner]
    sizes = {f.input_size for _, f in flat}
    if len(sizes) > 1:
        raise _checks.fail(
            "other", "a functional of the same input size", sorted(sizes), "sum functionals that read the same input; use stack"
        )
    sums = [(w, f) for w, f in flat if isinstance(f, ExponentialSum)]
    rest = [(w, f) for w, f in flat if not isinstance(f, ExponentialSum)]
    if sums:
        rates = np.concatenate([f.rates for _, f in sums])
        merged = ExponentialSum(rates, np.concatenate([w * f.coefficients for w, f in sums]))
        if not rest:
            return merged
        rest.append((1.0, merged))
    return Combination(rest)


def stack(*parts: LinearFunctional) -> LinearFunctional:
    """The functional of a d-dimensional input with kernel (rho_1, ..., rho_d), one scalar functional a channel.

    >>> from perdure import functionals as F
    >>> F.stack(F.exponential(1.0), -2.0 * F.exponential(1.0)).memory([0.0]).tolist()
    [3.0]
    """
    for part in parts:
        if not isinstance(part, LinearFunctional):
            raise ArgumentTypeError(
                f"expected argument `parts` to be functionals, but got {type(part).__name__}: build them with perdure.functionals"
            )
        if part.input_size != 1:
            raise _checks.fail("parts", "functionals of one input each", part.input_size, "stack scalar functionals")
    if not parts:
        raise _checks.fail("parts", "non-empty", parts, "pass at least one functional")
    return parts[0] if len(parts) == 1 else Stack(parts)
