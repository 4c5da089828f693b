"""The recurrence in the form in which every method takes it: real arrays with an axis of real coordinates of a state."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class System(NamedTuple):
    """h_k = A h_{k-1} + B u_k,  y_k = C h_k, all real: a state has P = 2 coordinates (complex pole) or P = 1 (real pole).

    Attributes:
        u: (B, T, d), float32 or float64, zero past the end of its row.
        log_modulus: (N,), log|a|, float64.
        angle: (N,), arg a, float64; None where P = 1.
        b: (N, P, d), dtype of `u`.
        c: (o, N, P), dtype of `u`; of a complex readout (Re c, -Im c), so that the sum over P is Re(c h).
        h0: (B, N, P), dtype of `u`; None for zero.
        lengths: (B,), int64, steps of each row; None where all have T.
    """

    u: Tensor
    log_modulus: Tensor
    angle: Tensor | None
    b: Tensor
    c: Tensor
    h0: Tensor | None
    lengths: Tensor | None

    @property
    def sizes(self) -> tuple[int, int, int, int, int, int]:
        """B, T, d, o, N, P."""
        return *self.u.shape, self.c.shape[0], self.b.shape[0], self.b.shape[1]  # pyright: ignore[reportReturnType]

    def start(self) -> Tensor:
        """The initial state, (B, N, P)."""
        return self.u.new_zeros(self.u.shape[0], *self.b.shape[:2]) if self.h0 is None else self.h0

    def double(self) -> System:
        """The same in float64."""
        u, _, _, b, c, h0, _ = self
        return self._replace(u=u.double(), b=b.double(), c=c.double(), h0=None if h0 is None else h0.double())

    def transitions(self, exponents: Tensor, steps: int = 1) -> Tensor:
        """A^(steps e) for every exponent e >= 0: (E, N, P, P), float64, as exp(e steps log a).

        A power is never formed from another one: products of powers lose digits, and a logarithm taken after underflow is -inf.
        """
        e = (exponents.to(torch.float64) * steps)[:, None]
        modulus = torch.exp(e * self.log_modulus.clamp_min(FLOOR))
        if self.angle is None:
            return modulus[..., None, None]
        real, imaginary = modulus * torch.cos(e * self.angle), modulus * torch.sin(e * self.angle)
        return torch.stack((torch.stack((real, -imaginary), -1), torch.stack((imaginary, real), -1)), -2)

    def steps_in(self, powers: Tensor) -> Tensor:
        """What input i of `count` has become at the end, A^(count-1-i) B, from A^0 ... A^(count-1): (count d, N P), dtype of `u`."""
        n, p = self.b.shape[:2]
        return torch.einsum("enqp,npd->ednq", powers.flip(0), self.b.double()).reshape(-1, n * p).to(self.u.dtype)

    def steps_out(self, powers: Tensor) -> Tensor:
        """What a state gives j + 1 steps later, C A^(j+1), from A^1 ... A^count: (N P, count o), dtype of `u`."""
        n, p = self.b.shape[:2]
        return torch.einsum("onq,enqp->npeo", self.c.double(), powers).reshape(n * p, -1).to(self.u.dtype)

    def kernel(self, powers: Tensor, coarse: int = 1) -> Tensor:
        """C A^j B from A^0 ... A^(count-1): (coarse count, o, d), float64, as products of those and of A^count, A^(2 count), ..."""
        (o, n, p), count = self.c.shape, powers.shape[0]
        late = self.c.double()[None]
        if coarse > 1:
            late = torch.einsum("onq,enqp->eonp", late[0], self.transitions(torch.arange(coarse, device=self.u.device), count))
        early = torch.einsum("enqp,npd->nqde", powers, self.b.double())
        product = late.reshape(coarse * o, n * p) @ early.reshape(n * p, -1)
        return product.reshape(coarse, o, -1, count).permute(0, 3, 1, 2).reshape(coarse * count, o, -1)


FLOOR = -1e15  # log|a| below this is a = 0 all the same, and FLOOR * 0 is 0
