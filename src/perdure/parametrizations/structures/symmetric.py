"""Real modes in an orthogonal basis that is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from perdure import _checks
from perdure.parametrizations.structures.base import Structure, store, wide
from perdure.parametrizations.structures.blocks import orthogonal


class Symmetric(Structure):
    """W = Q diag(g(v)) Q^T with Q = base e^{A - A^T} orthogonal.

    Rates far below eps times the fastest drown in the rounding of W (1e-7 of it in float32): take float64 or "diagonal" for those.
    See `Structure` for arguments and errors.

    Attributes:
        raw: (m,), v.
        rotation: (m, m), A; zero after `assign`, which puts the basis into `base`.
        base: (m, m), orthogonal, not trained.

    >>> W = Symmetric(2, "exp", dtype=torch.float64)
    >>> W.assign(torch.tensor([[-2.0, 1.0], [1.0, -2.0]]))
    >>> [round(x, 9) for x in W.spectrum().real.tolist()]
    [-3.0, -1.0]
    """

    name = "symmetric"
    rotation: nn.Parameter
    base: Tensor

    @property
    def guarantee(self) -> str:
        """Of the map, eigenvalue by eigenvalue."""
        return f"W is symmetric and each eigenvalue is {self.map.guarantee}" if self.stable else self.map.guarantee

    def basis(self) -> Tensor:
        """Q (m, m), differentiable: its columns are the eigenvectors of W."""
        A = wide(self.rotation)
        return wide(self.base) @ torch.linalg.matrix_exp(A - A.mT)

    @torch.no_grad()
    def spectrum(self) -> Tensor:
        """g(v), complex128 (m,), in the order of the columns of `basis`."""
        return self.map(self.raw).to(torch.complex128)

    def reset_parameters(self) -> None:
        """Rates spread evenly in logarithm from 0.01 to 1, in the standard basis."""
        if not self.raw.is_meta:
            self._set(self.map.right_inverse(-self._spread(self.size)), torch.eye(self.size))

    def _build(self, options: dict[str, Any]) -> None:
        self.raw = nn.Parameter(torch.empty(self.size, **options))
        self.rotation = nn.Parameter(torch.empty(self.size, self.size, **options))
        self.register_buffer("base", torch.empty(self.size, self.size, **options))

    def _weight(self) -> Tensor:
        Q = self.basis()
        return (Q * wide(self.map(self.raw))) @ Q.mT

    def _assign(self, W: Tensor, tolerance: float) -> None:
        skew = (W - W.T).abs()
        if float(skew.max()) > 2 * tolerance:
            i, j = divmod(int(skew.argmax()), self.size)
            fix = 'symmetrise it, or choose structure "dissipative" or "dense"'
            raise _checks.fail("W", "symmetric", f"{W[i, j].item()} and {W[j, i].item()} at [{i}, {j}] and [{j}, {i}]", fix)
        values, vectors = torch.linalg.eigh((W + W.T) / 2)
        self._set(self._unmapped(values, "W", "symmetric with eigenvalues"), vectors)

    def _assign_spectrum(self, rates: Tensor, frequencies: Tensor | None, generator: torch.Generator | None) -> None:
        self._real_spectrum(frequencies)
        self._set(self._unmapped(-rates, "rates"), orthogonal(self.size, generator))

    def _set(self, raw: Tensor, basis: Tensor) -> None:
        store(self.raw, raw)
        store(self.base, basis)
        store(self.rotation, torch.zeros(()))
