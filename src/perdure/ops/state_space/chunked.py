r"""The recurrence as products of matrices over chunks of L steps, plain torch: differentiable any number of times, on any device.

With one input and output (or few), a chunk is one matrix, the Toeplitz matrix of C A^j B, plus what the state at its start gives:

    y_j = sum_{i <= j} C A^(j-i) B u_i + C A^(j+1) S,      S' = A^L S + sum_i A^(L-1-i) B u_i.

With many, the states are formed (`blocks.scan`) between two products, u B^T and h C^T.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from perdure.ops.state_space.blocks import scan
from perdure.ops.state_space.system import System

LENGTH = 128
FEW = 4  # up to d o = 4 the Toeplitz matrix costs less than forming the states (measured, see `cost`)


def chunked(system: System) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, o) and last states (B, N, P)."""
    _, _, d, o, _, _ = system.sizes
    return _by_kernel(system) if d * o <= FEW else _by_states(system)


def chunk_length(steps: int) -> int:
    """A length from 96 to 160 that divides `steps`, so that nothing is copied into padding, else 128; `steps` if it is shorter.

    >>> chunk_length(100), chunk_length(1000), chunk_length(1009)
    (100, 125, 128)
    """
    if steps <= LENGTH:
        return steps
    whole = [length for length in range(96, 161) if steps % length == 0]
    return min(whole, key=lambda length: abs(length - LENGTH), default=LENGTH)


def _by_kernel(system: System) -> tuple[Tensor, Tensor]:
    rows, steps, d, o, n, p = system.sizes
    length = chunk_length(steps)
    count = -(-steps // length)
    u = system.u if count * length == steps else pad(system.u, (0, 0, 0, count * length - steps))
    u = u.reshape(rows * count, length * d)
    index = torch.arange(length, device=u.device)
    lag = index - index[:, None]  # (from, to)
    kernel = system.kernel(length).to(u.dtype)
    toeplitz = (kernel[lag.clamp_min(0)] * (lag >= 0)[..., None, None].to(u.dtype)).permute(0, 3, 1, 2).reshape(length * d, length * o)
    into = system.steps_in(length).reshape(length * d, n * p)
    out = system.steps_out(length).reshape(n * p, length * o)
    ends = (u @ into).view(rows, count, n, p).permute(2, 0, 1, 3)
    h0 = system.start().permute(1, 0, 2)
    states = torch.cat((h0[:, :, None], scan(ends, h0, system, length)), 2).permute(1, 2, 0, 3)  # at the start of each chunk, and after all
    y = torch.addmm(u @ toeplitz, states[:, :-1].reshape(rows * count, n * p), out)
    return y.view(rows, count * length, o)[:, :steps], _last(system, u.view(rows, count * length, d), states, length, into)


def _last(system: System, u: Tensor, states: Tensor, length: int, into: Tensor) -> Tensor:
    """The state at the end of each row, from the one at the start of the chunk in which the row ends."""
    rows, steps, _, _, n, p = system.sizes
    if system.lengths is None and u.shape[1] == steps:
        return states[:, -1]
    ends = torch.full((rows,), steps, device=u.device) if system.lengths is None else system.lengths
    chunk = (ends // length).clamp_max(states.shape[1] - 1)
    left = ends - chunk * length  # steps of that chunk that belong to the row
    # shifted so that the row's last step is the last of `length`: what it needs is then `into`, as in any chunk
    position = torch.arange(length, device=u.device) - length + left[:, None]
    taken = (chunk[:, None] * length + position).clamp(0, u.shape[1] - 1)
    inputs = u.gather(1, taken[..., None].expand(-1, -1, u.shape[2])) * (position >= 0)[..., None].to(u.dtype)
    start = states.gather(1, chunk[:, None, None, None].expand(-1, 1, n, p))[:, 0]
    powers = system.transitions(left).to(u.dtype)
    return torch.einsum("bnqp,bnp->bnq", powers, start) + (inputs.reshape(rows, -1) @ into).view(rows, n, p)


def _by_states(system: System) -> tuple[Tensor, Tensor]:
    rows, steps, d, o, n, p = system.sizes
    x = (system.u.reshape(rows * steps, d) @ system.b.reshape(n * p, d).T).view(rows, steps, n, p).permute(2, 0, 1, 3)
    h0 = system.start().permute(1, 0, 2)
    states = scan(x, h0, system).permute(1, 2, 0, 3)
    y = (states.reshape(rows * steps, n * p) @ system.c.reshape(o, n * p).T).view(rows, steps, o)
    if system.lengths is None:
        return y, states[:, -1]
    at = (system.lengths - 1).clamp_min(0)[:, None, None, None].expand(-1, 1, n, p)
    return y, torch.where((system.lengths > 0)[:, None, None], states.gather(1, at)[:, 0], system.start())
