"""Every W with W + W^T < 0: dense, with a guarantee."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from perdure import _checks
from perdure.parametrizations.structures.base import Structure, store, wide
from perdure.parametrizations.structures.blocks import orthogonal, rotations

COUPLING = 0.1  # skew part of a random start, relative to the rates it couples: moves eigenvalues by about its square


class Dissipative(Structure):
    """W = K - K^T - L L^T + diag(g(v)) with K and L free and g negative.

    The symmetric part is -L L^T + diag(g(v)), so x^T W x < 0 for every x: all eigenvalues decay, nothing grows on the way (the norm of
    e^{Wt} is at most 1), and the nonlinear network forgets. Every such W has this form; most stable W do not (transient growth is
    excluded). As for "symmetric", rates far below eps times the norm drown in rounding. See `Structure` for arguments and errors.

    Attributes:
        raw: (m,), v.
        skew: (m, m), K; root: (m, m), L.

    >>> W = Dissipative(2, "exp", dtype=torch.float64)
    >>> W.assign(torch.tensor([[-1.0, 5.0], [-5.0, -2.0]]))
    >>> W().round(decimals=9).tolist()
    [[-1.0, 5.0], [-5.0, -2.0]]
    >>> W.assign(torch.tensor([[-1.0, 5.0], [0.0, -2.0]]))  # stable, and yet it amplifies before it decays
    Traceback (most recent call last):
    perdure.errors.ArgumentError: expected argument `W` to be such that W + W^T < 0 ..., but got 'a greatest eigenvalue of (W + W^T) / 2 of 1.0495...': ...
    """

    name = "dissipative"
    skew: nn.Parameter
    root: nn.Parameter

    @property
    def guarantee(self) -> str:
        """That of the symmetric part."""
        if not self.stable:
            return self.map.guarantee
        return f"W + W^T <= 2 diag(g(v)), each entry {self.map.guarantee}: eigenvalues have negative real part, nonlinear memory decays"

    def reset_parameters(self) -> None:
        """W = -diag(rates), rates spread evenly in logarithm from 0.01 to 1, half of each in L L^T."""
        if not self.raw.is_meta:
            half = 0.5 * self._spread(self.size)
            self._set(self.map.right_inverse(-half), torch.zeros(()), torch.diag(half.sqrt()))

    def _build(self, options: dict[str, Any]) -> None:
        self.raw = nn.Parameter(torch.empty(self.size, **options))
        self.skew = nn.Parameter(torch.empty(self.size, self.size, **options))
        self.root = nn.Parameter(torch.empty(self.size, self.size, **options))

    def _weight(self) -> Tensor:
        K, L = wide(self.skew), wide(self.root)
        return K - K.mT - L @ L.mT + torch.diag_embed(wide(self.map(self.raw)))

    def _assign(self, W: Tensor, tolerance: float) -> None:
        values, vectors = torch.linalg.eigh(-(W + W.T) / 2)
        least = float(values[0])
        if self.map.stable and not least > 0:
            rule = f"such that W + W^T < 0 for structure {self.name!r} and map {self.map.name!r}"
            fix = 'choose structure "dense", or subtract a multiple of the identity'
            raise _checks.fail("W", rule, f"a greatest eigenvalue of (W + W^T) / 2 of {-least!r}", fix)
        self._split((W - W.T) / 2, values, vectors, "W")

    def _assign_spectrum(self, rates: Tensor, frequencies: Tensor | None, generator: torch.Generator | None) -> None:
        if frequencies is not None:
            self._one_rate_a_pair(rates, frequencies != 0)
        Q = orthogonal(self.size, generator)
        device = "cpu" if generator is None else generator.device
        noise = torch.randn(self.size, self.size, dtype=torch.float64, generator=generator, device=device).cpu()
        scale = rates.abs().sqrt()  # coupling by the geometric mean of two rates: slow modes stay slow
        skew = COUPLING / (8 * self.size) ** 0.5 * scale[:, None] * (noise - noise.T) * scale
        if frequencies is not None:
            skew = skew + rotations(torch.zeros_like(rates), frequencies)
        self._split(Q @ skew @ Q.T, rates, Q, "rates")

    def _split(self, skew: Tensor, values: Tensor, vectors: Tensor, argument: str) -> None:
        """Set W = skew - vectors diag(values) vectors^T."""
        least = float(values.min())
        low, _ = self.map.limits(self.raw.dtype)
        if self.map.stable:
            share = min(0.5 * least, -0.5 * low)  # rest of `least` in L L^T, so that neither part is at an end
        else:
            share = least - 0.5 * float(values.abs().max())
        raw = self._unmapped(
            torch.full((self.size,), -share, dtype=torch.float64), argument, "such that half the greatest eigenvalue of (W + W^T) / 2 is"
        )
        self._set(raw, skew / 2, vectors * (values - share).sqrt())

    def _set(self, raw: Tensor, skew: Tensor, root: Tensor) -> None:
        store(self.raw, raw)
        store(self.skew, skew)
        store(self.root, root)
