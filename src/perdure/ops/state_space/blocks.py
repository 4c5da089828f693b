"""The states themselves, by blocks in plain torch: one small product a block, then the same again over the ends of the blocks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from perdure.ops.state_space.system import System

BLOCK = 16


def scan(x: Tensor, h0: Tensor, system: System, steps: int = 1) -> Tensor:
    """States h_k = A^steps h_{k-1} + x_k, (N, B, T, P), of x (N, B, T, P) from h0 (N, B, P).

    Within blocks of 16 the powers of A are one matrix a state, (16 P, 16 P); the ends of the blocks obey the same recurrence with A^16, whose
    logarithm is known exactly. Error: each level rounds its powers once, and there are log_16 T levels.
    """
    n, rows, t, p = x.shape
    length = min(BLOCK, t)
    count = -(-t // length)
    if count * length != t:
        x = pad(x, (0, 0, 0, count * length - t))
    index = torch.arange(length, device=x.device)
    lag = index[:, None] - index  # (to, from)
    powers = system.transitions(torch.arange(length + 1, device=x.device), steps).to(x.dtype)
    within = (powers[lag.clamp_min(0)] * (lag >= 0)[..., None, None, None].to(x.dtype)).permute(2, 1, 4, 0, 3).reshape(n, length * p, -1)
    after = powers[1:].permute(1, 3, 0, 2).reshape(n, p, length * p)
    local = torch.bmm(x.reshape(n, rows * count, length * p), within)
    if count == 1:
        return torch.baddbmm(local, h0, after).view(n, rows, length, p)
    ends = local.view(n, rows, count, length, p)[:, :, :-1, -1]
    starts = torch.cat((h0[:, :, None], scan(ends, h0, system, steps * length)), 2)
    return torch.baddbmm(local, starts.reshape(n, rows * count, p), after).view(n, rows, count * length, p)[:, :, :t]
