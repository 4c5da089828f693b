r"""The recurrence as products of matrices over chunks of L steps, plain torch: differentiable any number of times, on any device.

A chunk is two matrix products, with the block Toeplitz matrix of C A^j B and with what the state S at its start gives,

    y_j = sum_{i <= j} C A^(j-i) B u_i + C A^(j+1) S,      S' = A^L S + sum_i A^(L-1-i) B u_i.

The more inputs and outputs, the shorter the chunks; where they outnumber the states by far, the states are formed (`blocks.scan`) between two
products, u B^T and h C^T.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from perdure.ops.state_space.blocks import scan
from perdure.ops.state_space.system import System

LONGEST, SHORTEST = 128, 4
RATIO = 100.0  # cost of passing a state over a chunk by that of a multiplication in a matrix product (measured on long inputs)


def chunked(system: System) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, o) and last states (B, N, P)."""
    _, steps, d, o, n, p = system.sizes
    length = ideal_length(d * o, n * p)
    return _by_states(system) if length < SHORTEST else _by_kernel(system, whole_length(steps, length))


def ideal_length(pairs: int, numbers: int) -> int:
    """A power of 2, at most 128: near the least of length x pairs + RATIO x numbers / length, the cost of a step.

    Args:
        pairs: of an input and an output.
        numbers: real coordinates of a state.

    >>> ideal_length(1, 128), ideal_length(64 * 64, 128)
    (128, 2)
    """
    return min(LONGEST, 2 ** round(math.log2(max(1.0, RATIO * numbers / pairs)) / 2))


def whole_length(steps: int, length: int) -> int:
    """`length`, or a length near it that divides `steps`, so that nothing is copied into padding; `steps` if it is shorter.

    >>> whole_length(100, 128), whole_length(1000, 128), whole_length(1009, 128)
    (100, 125, 128)
    """
    if steps <= length:
        return steps
    for off in range(length // 4 + 1):
        for near in (length - off, length + off):
            if steps % near == 0:
                return near
    return length


def _by_kernel(system: System, length: int) -> tuple[Tensor, Tensor]:
    rows, steps, d, o, n, p = system.sizes
    count = -(-steps // length)
    u = system.u if count * length == steps else pad(system.u, (0, 0, 0, count * length - steps))
    u = u.reshape(rows * count, length * d)
    index = torch.arange(length, device=u.device)
    lag = index - index[:, None]  # (from, to)
    powers = system.transitions(torch.arange(length + 1, device=u.device))
    kernel = system.kernel(powers[:length])
    toeplitz = (kernel[lag.clamp_min(0)] * (lag >= 0)[..., None, None]).permute(0, 3, 1, 2).reshape(length * d, length * o).to(u.dtype)
    into, out = system.steps_in(powers[:length]), system.steps_out(powers[1:])
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
