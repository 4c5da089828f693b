"""The recurrence as one convolution by FFT: its cost hardly grows with the number of states, so that it leads where that is large."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from perdure.ops.state_space.chunked import LONGEST
from perdure.ops.state_space.system import System


def fft(system: System) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, o) and last states (B, N, P): kernel in float64, transforms in the dtype of the input."""
    rows, steps, d, o, n, p = system.sizes
    u, size = system.u, good_size(2 * steps - 1)
    length = min(LONGEST, steps)
    count = -(-steps // length)
    powers = system.transitions(torch.arange(length + 1, device=u.device))
    kernel = torch.fft.rfft(system.kernel(powers[:length], count)[:steps].to(u.dtype), size, dim=0)
    signal = torch.fft.rfft(u, size, dim=1)
    product = signal * kernel[:, 0] if d == o == 1 else torch.einsum("bfd,fod->bfo", signal, kernel)
    y = torch.fft.irfft(product, size, dim=1)[:, :steps]
    if system.h0 is not None:
        starts = torch.einsum("enqp,bnp->benq", system.transitions(torch.arange(count, device=u.device), length).to(u.dtype), system.h0)
        y = y + (starts.reshape(rows * count, n * p) @ system.steps_out(powers[1:])).view(rows, -1, o)[:, :steps]
    return y, _last(system, count, powers[:length])


def good_size(least: int) -> int:
    """The smallest 2^k, 3 2^k, 5 2^k, 9 2^k or 15 2^k of at least `least`: sizes that an FFT is fast at.

    >>> good_size(199_999)
    245760
    """
    return min(m << max(0, (-(-least // m) - 1).bit_length()) for m in (1, 3, 5, 9, 15))


def _last(system: System, count: int, early: Tensor) -> Tensor:
    """A^T h_0 + sum_k A^(T-1-k) B u_k, the sum by chunks counted back from the end of each row."""
    rows, steps, d, _, n, p = system.sizes
    u, length = system.u, early.shape[0]
    ends = u.new_full((1,), steps, dtype=torch.int64) if system.lengths is None else system.lengths
    if system.lengths is not None:
        source = torch.arange(steps, device=u.device) - steps + ends[:, None]
        u = u.gather(1, source.clamp_min(0)[..., None].expand(-1, -1, d)) * (source >= 0)[..., None].to(u.dtype)
    u = pad(u, (0, 0, count * length - steps, 0)).view(rows * count, length * d)
    parts = (u @ system.steps_in(early)).view(rows, count, n, p)
    powers = system.transitions(torch.arange(count - 1, -1, -1, device=u.device), length).to(u.dtype)
    last = torch.einsum("enqp,benp->bnq", powers, parts)
    if system.h0 is None:
        return last
    return last + torch.einsum("bnqp,bnp->bnq", system.transitions(ends).to(u.dtype).expand(rows, -1, -1, -1), system.h0)
