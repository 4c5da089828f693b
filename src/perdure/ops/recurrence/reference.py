"""The recurrence in plain torch operations: slow, differentiable any number of times, what the fast kernels are held to."""

from __future__ import annotations

import torch
from torch import Tensor

from perdure.ops.recurrence.activations import get_activation


def recurrence(x: Tensor, w: Tensor, h0: Tensor, p: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """h_k = h_{k-1} + p sigma(W h_{k-1} + x_k), and the last of them; shapes as in `perdure.ops.recurrence.kernels`.

    The drive is unbound once: indexing x[:, k] in a loop would make the backward pass quadratic in T.
    """
    sigma = get_activation(name).value
    h = h0.expand(w.shape[0], -1, -1)
    states = []
    for drive in x.unbind(1):
        z = h @ w.transpose(1, 2) + drive if w.ndim == 3 else w[:, None] * h + drive
        h = h + p[:, None] * sigma(z)
        states.append(h)
    return torch.stack(states, 1) if states else h.new_empty(w.shape[0], 0, *h.shape[1:]), h
