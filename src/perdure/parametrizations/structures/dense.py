"""The unconstrained weight, and the paper's matrix functions of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from perdure import _checks
from perdure.parametrizations.structures.base import Structure, store, wide
from perdure.parametrizations.structures.blocks import orthogonal, rotations
from perdure.parametrizations.structures.matrix_maps import MATRIX_MAPS, MatrixMap, matrix_map


class Dense(Structure):
    """W = V for "direct" (a plain recurrent network), otherwise the matrix function of V: no guarantee.

    "exp" is -e^V, "inverse" -(a V^2 + b I)^-1 and "softplus" -log(I + e^V), the principal logarithm. An eigenvalue a + ib of V goes
    through g as a complex number, and real parts of the result are negative only where b is small: |b| < pi/2 for "exp". Gaussian V with
    entries of variance 4/m, so of spectral radius near 2, gives unstable W in 5 % of draws at m = 2, 36 % at m = 8 and over 90 % at m = 32.
    The smallest failure of "exp" turns by pi:

    >>> W = Dense(2, "exp", dtype=torch.float64)
    >>> with torch.no_grad():
    ...     _ = W.raw.copy_(torch.tensor([[0.0, torch.pi], [-torch.pi, 0.0]], dtype=torch.float64))
    >>> torch.allclose(W(), torch.eye(2, dtype=torch.float64))
    True

    A dense W holds small rates to eps times its norm only. `assign` and the "softplus" forward pass run scipy in float64 on the CPU (for m
    in the hundreds that is slow). See `Structure` for arguments and errors.

    Reference:
        Wang, Li & Li, "Inverse Approximation Theory for Nonlinear Recurrent Neural Networks", ICLR 2024, section 3.4.
    """

    name = "dense"

    @property
    def stable(self) -> bool:
        """Never: see the class."""
        return False

    @property
    def dissipative(self) -> bool:
        """Never: see the class."""
        return False

    @property
    def guarantee(self) -> str:
        """None, and why."""
        if not self.map.stable:
            return f"none: any W is possible; {self.map.guarantee.removeprefix('none: ')}"
        return "none: a matrix function maps complex eigenvalues of V too, and with a fast enough turn their image has positive real part"

    def reset_parameters(self) -> None:
        """W = -diag(rates), rates spread evenly in logarithm from 0.01 to 1."""
        if not self.raw.is_meta:
            store(self.raw, torch.diag(self.map.right_inverse(-self._spread(self.size))))

    def _build(self, options: dict[str, Any]) -> None:
        self.raw = nn.Parameter(torch.empty(self.size, self.size, **options))
        if matrix_map(self.map) is None:
            known = "one of " + ", ".join(kind.__name__ for kind in MATRIX_MAPS)
            raise _checks.fail("parametrization", f"{known} for structure 'dense'", self.map.name, "choose a structure that maps numbers")

    def _matrix(self) -> MatrixMap:
        function = matrix_map(self.map)
        assert function is not None  # checked in _build
        return function

    def _weight(self) -> Tensor:
        return self._matrix().forward(self.map, wide(self.raw))

    def _assign(self, W: Tensor, tolerance: float) -> None:
        matrix = self._matrix()
        value = matrix.inverse(self.map, W.numpy())
        if value is not None:
            V = torch.as_tensor(value)
            again = matrix.forward(self.map, V)
            error = float((again - W).abs().max() / W.abs().max().clamp_min(torch.finfo(torch.float64).tiny))
            if error < 1e-8:  # of a principal inverse that exists: far above rounding, far below another branch
                return store(self.raw, V)
        values = np.linalg.eigvals(W.numpy())
        rule = f"such that V with W = g(V) exists for map {self.map.name!r}: {matrix.reach}"
        fix = 'choose map "direct", which reaches every W'
        raise _checks.fail("W", rule, f"eigenvalues {np.array2string(values, precision=4, threshold=4)}", fix)

    def _assign_spectrum(self, rates: Tensor, frequencies: Tensor | None, generator: torch.Generator | None) -> None:
        turn = self._matrix().turn
        pairs = self.size // 2
        real = self._unmapped(-rates, "rates").clone()
        imaginary = torch.zeros(pairs, dtype=torch.float64)
        if frequencies is not None:
            self._one_rate_a_pair(rates, frequencies != 0)
            fast = frequencies.abs() >= turn
            if bool(fast.any()):
                raise _checks.fail(
                    "frequencies",
                    f"below {turn:.4g} for the matrix function of {self.map.name!r}",
                    frequencies[fast][0].item(),
                    'choose map "exp"',
                )
            poles = torch.complex(-rates[0 : 2 * pairs : 2], frequencies)
            value = torch.as_tensor(np.asarray(self._matrix().pole(self.map, poles.numpy())))
            turning = frequencies != 0
            for of_pair in (real[0 : 2 * pairs : 2], real[1 : 2 * pairs : 2]):
                of_pair.copy_(torch.where(turning, value.real, of_pair))
            imaginary = torch.where(turning, value.imag, 0.0)
        Q = orthogonal(self.size, generator)
        store(self.raw, Q @ rotations(real, imaginary) @ Q.T)
