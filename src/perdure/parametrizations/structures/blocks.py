"""Matrices that structures are assembled from: rotation blocks and random orthogonal bases."""

from __future__ import annotations

import torch
from torch import Tensor


def interleave(pairs: Tensor, size: int) -> Tensor:
    """Values of ceil(m / 2) pairs, each repeated for its two states; an odd m ends with a state of its own (..., m).

    >>> interleave(torch.tensor([1.0, 2.0]), 3).tolist()
    [1.0, 1.0, 2.0]
    """
    return torch.stack([pairs, pairs], -1).flatten(-2)[..., :size]


def rotations(real: Tensor, frequencies: Tensor) -> Tensor:
    """Blocks [[a, -w], [w, a]] along the diagonal: the complex numbers a + iw as real matrices (m, m).

    Args:
        real: (m,), a of each state; the two of a pair should be equal.
        frequencies: (m // 2,), w of each pair.

    >>> rotations(torch.tensor([-1.0, -1.0, -5.0]), torch.tensor([2.0])).tolist()
    [[-1.0, -2.0, 0.0], [2.0, -1.0, 0.0], [0.0, 0.0, -5.0]]
    """
    size = real.shape[-1]
    beside = torch.stack([frequencies, torch.zeros_like(frequencies)], -1).flatten(-2)[..., : size - 1]
    return torch.diag_embed(real) + torch.diag_embed(beside, -1) - torch.diag_embed(beside, 1) if size > 1 else torch.diag_embed(real)


def orthogonal(size: int, generator: torch.Generator | None) -> Tensor:
    """An orthogonal matrix from the uniform (Haar) distribution, float64 (m, m) on the CPU.

    Drawn in float64 where the generator lives, so that the device of a layer does not change its basis.
    """
    device = "cpu" if generator is None else generator.device
    Q, R = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator, device=device))
    return (Q * R.diagonal().sign()).cpu()  # QR alone is not uniform: it fixes the signs of R
