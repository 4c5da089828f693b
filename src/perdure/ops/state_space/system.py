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

    def steps_in(self, count: int) -> Tensor:
        """What input i of `count` has become at the end, A^(count-1-i) B: (count, d, N P), dtype of `u`."""
        n, p, d = self.b.shape
        a = self.transitions(torch.arange(count - 1, -1, -1, device=self.u.device))
        return torch.einsum("enqp,npd->ednq", a, self.b.double()).reshape(count, d, n * p).to(self.u.dtype)

    def steps_out(self, count: int) -> Tensor:
        """What a state gives j + 1 steps later, C A^(j+1): (N P, count, o), dtype of `u`."""
        o, n, p = self.c.shape
        a = self.transitions(torch.arange(1, count + 1, device=self.u.device))
        return torch.einsum("onq,enqp->npeo", self.c.double(), a).reshape(n * p, count, o).to(self.u.dtype)

    def kernel(self, count: int) -> Tensor:
        """C A^j B for j < count: (count, o, d), float64, by a product of coarse and fine powers."""
        o, n, p = self.c.shape
        fine = min(count, 128)
        coarse = -(-count // fine)
        late = torch.einsum("onq,enqp->eonp", self.c.double(), self.transitions(torch.arange(coarse, device=self.u.device), fine))
        early = torch.einsum("enqp,npd->nqde", self.transitions(torch.arange(fine, device=self.u.device)), self.b.double())
        product = late.reshape(coarse * o, n * p) @ early.reshape(n * p, -1)
        return product.reshape(coarse, o, -1, fine).permute(0, 3, 1, 2).reshape(coarse * fine, o, -1)[:count]


FLOOR = -1e15  # log|a| below this is a = 0 all the same, and FLOOR * 0 is 0
