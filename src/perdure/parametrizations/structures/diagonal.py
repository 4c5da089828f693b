"""Real, uncoupled modes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from perdure import _checks
from perdure.parametrizations.structures.base import Structure, store


class Diagonal(Structure):
    """W = diag(g(v)): m real modes that do not see one another.

    Small rates keep their relative accuracy, whatever the fastest is. See `Structure` for arguments and errors.

    >>> W = Diagonal(3, "exp")
    >>> W.assign(torch.diag(torch.tensor([-0.5, -0.25, -2.0])))
    >>> W.vector().tolist()
    [-0.5, -0.25, -2.0]
    """

    name = "diagonal"

    @property
    def guarantee(self) -> str:
        """Of the map, entry by entry."""
        return f"each eigenvalue is {self.map.guarantee}" if self.stable else self.map.guarantee

    def vector(self) -> Tensor:
        """The diagonal of W (m,), differentiable."""
        return self.map(self.raw)

    @torch.no_grad()
    def spectrum(self) -> Tensor:
        """The diagonal, complex128 (m,), state by state."""
        return self.vector().to(torch.complex128)

    def reset_parameters(self) -> None:
        """Rates spread evenly in logarithm from 0.01 to 1."""
        if not self.raw.is_meta:
            store(self.raw, self.map.right_inverse(-self._spread(self.size)))

    def _build(self, options: dict[str, Any]) -> None:
        self.raw = nn.Parameter(torch.empty(self.size, **options))

    def _weight(self) -> Tensor:
        return torch.diag_embed(self.vector())

    def _assign(self, W: Tensor, tolerance: float) -> None:
        beside = W - torch.diag(W.diagonal())
        if float(beside.abs().max()) > tolerance:
            where = tuple(divmod(int(beside.abs().argmax()), self.size))
            value = f"{W[where].item()} at index {list(where)}"
            raise _checks.fail("W", "diagonal", value, 'choose another structure, for example "dense"')
        store(self.raw, self._unmapped(W.diagonal(), "W", "diagonal with entries"))

    def _assign_spectrum(self, rates: Tensor, frequencies: Tensor | None, generator: torch.Generator | None) -> None:
        self._real_spectrum(frequencies)
        store(self.raw, self._unmapped(-rates, "rates"))
