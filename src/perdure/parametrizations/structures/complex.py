"""Oscillating modes as real pairs of states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from perdure import _checks
from perdure.parametrizations.structures.base import Structure, store
from perdure.parametrizations.structures.blocks import interleave, rotations


class Complex(Structure):
    """Blocks [[a, -w], [w, a]] with a = g(v): pairs of modes a ± iw, decaying at a and turning at w; parameters stay real.

    The frequency w is free. An odd m ends with a real mode. A pair has one rate, so that m states have ceil(m / 2) of them. See `Structure` for arguments and errors.

    Attributes:
        raw: (ceil(m / 2),), v of each pair.
        frequency: (m // 2,), w of each pair, radians per unit time.

    >>> W = Complex(2, "exp")
    >>> W.assign_spectrum(torch.tensor([0.5, 0.5]), torch.tensor([3.0]))
    >>> W().tolist()
    [[-0.5, -3.0], [3.0, -0.5]]
    """

    name = "complex"
    frequency: nn.Parameter

    @property
    def guarantee(self) -> str:
        """Of the map, pair by pair."""
        return f"each eigenvalue's real part is {self.map.guarantee}, and so is (W + W^T) / 2" if self.stable else self.map.guarantee

    @property
    def rate_count(self) -> int:
        """One a pair, and one for the last state of an odd m."""
        return (self.size + 1) // 2

    def by_state(self, rates: Tensor) -> Tensor:
        """Each rate twice, but the last of an odd m (m,)."""
        return interleave(rates, self.size)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Real parts (ceil(m / 2),) and frequencies (m // 2,), differentiable."""
        return self.map(self.raw), self.frequency

    @torch.no_grad()
    def spectrum(self) -> Tensor:
        """The eigenvalues a + iw, a - iw of each pair in turn, complex128 (m,)."""
        real, frequency = self.pairs()
        sign = torch.tensor([1.0, -1.0], dtype=torch.float64, device=real.device)
        turn = torch.zeros(self.size, dtype=torch.float64, device=real.device)
        turn[: 2 * len(frequency)] = (frequency.double()[:, None] * sign).flatten()
        return torch.complex(interleave(real.double(), self.size), turn)

    def reset_parameters(self) -> None:
        """Rates of pairs spread evenly in logarithm from 0.01 to 1, each turning by a radian in its time constant."""
        if not self.raw.is_meta:
            rates = self._spread(self.rate_count)
            store(self.raw, self.map.right_inverse(-rates))
            store(self.frequency, rates[: self.size // 2])

    def _build(self, options: dict[str, Any]) -> None:
        self.raw = nn.Parameter(torch.empty(self.rate_count, **options))
        self.frequency = nn.Parameter(torch.empty(self.size // 2, **options))

    def _weight(self) -> Tensor:
        real, frequency = self.pairs()
        return rotations(interleave(real, self.size), frequency)

    def _assign(self, W: Tensor, tolerance: float) -> None:
        first = W.diagonal()[0::2]
        turn = W.diagonal(-1)[0::2]
        nearest = rotations(interleave(first, self.size), turn)
        off = (W - nearest).abs()
        if float(off.max()) > 2 * tolerance:
            where = tuple(divmod(int(off.argmax()), self.size))
            value = f"{W[where].item()} instead of {nearest[where].item()} at index {list(where)}"
            fix = 'bring it to that form (its real Schur form, scaled), or choose structure "dense"'
            raise _checks.fail("W", "made of blocks [[a, -w], [w, a]] along the diagonal and zero elsewhere", value, fix)
        raw = self._unmapped(first, "W", "made of blocks [[a, -w], [w, a]] with a")
        store(self.raw, raw)
        store(self.frequency, turn)

    def _assign_spectrum(self, rates: Tensor, frequencies: Tensor | None, generator: torch.Generator | None) -> None:
        self._one_rate_a_pair(rates, torch.ones(self.size // 2, dtype=torch.bool))
        store(self.raw, self._unmapped(-rates[0::2], "rates"))
        store(self.frequency, torch.zeros(self.size // 2) if frequencies is None else frequencies)
