r"""The balls in which weights move, one for each tensor, with what a search needs of them.

For a gradient G the move Delta of |Delta| <= r that maximises <G, Delta> is r times a fixed tensor, and the maximum is r |G|_*, by the dual norm:

    spectral   |Delta| = largest singular value   Delta = r U V^T for G = U S V^T        |G|_* = sum of the singular values
    euclid     |Delta| = Euclid's norm            Delta = r G / |G|                      |G|_* = Euclid's norm
    max        |Delta| = largest entry            Delta = r sign(G)                      |G|_* = sum of the entries' sizes
    rows       |Delta| = largest row (Euclid)     Delta = r G_i / |G_i| row by row       |G|_* = sum of the rows' norms

Tensors carry a leading axis of copies. A tensor with more than two axes is a matrix of its first axis against all others. Complex numbers move in all directions of their plane:
<G, Delta> is then the real part of the sum of conj(G) Delta, and the sign of an entry its direction.
"""

from __future__ import annotations

import torch

from perdure._typing import Tensor

KINDS = ("spectral", "euclid", "max", "rows")
Moves = dict[str, Tensor]


def best(gradient: Tensor, kind: str, radius: Tensor) -> Tensor:
    """The maximiser of <G, Delta> for each copy: gradient (E, ...), radius (E,); zero where the gradient is.

    >>> best(torch.tensor([[3.0, -4.0]]), "euclid", torch.tensor([10.0])), best(torch.tensor([[3.0, -4.0]]), "max", torch.tensor([10.0]))
    (tensor([[ 6., -8.]]), tensor([[ 10., -10.]]))
    """
    if kind == "spectral":
        u, s, vh = torch.linalg.svd(gradient.flatten(2), full_matrices=False)
        kept = (s > 1e-14 * s[:, :1]).to(s)  # directions without gradient stay where they are
        unit = ((u * kept[:, None]) @ vh).view_as(gradient)
    elif kind == "max":
        unit = gradient.sgn()
    else:
        size = _size(gradient, kind)
        unit = gradient / torch.where(size > 0, size, torch.ones_like(size))
    return _times(radius, unit)


def norm(move: Tensor, kind: str) -> Tensor:
    """|Delta| of each copy, (E,)."""
    if kind == "spectral":
        return torch.linalg.matrix_norm(move.flatten(2), ord=2)
    if kind == "max":
        return _lines(move).abs().amax(1)
    return _lines(_size(move, kind)).amax(1)


def dual(gradient: Tensor, kind: str) -> Tensor:
    """|G|_* of each copy, (E,): how fast <G, Delta> can grow."""
    if kind == "spectral":
        return torch.linalg.svdvals(gradient.flatten(2)).sum(1)
    if kind == "max":
        return _lines(gradient).abs().sum(1)
    return _lines(_size(gradient, kind)).sum(1)


def random(like: Tensor, kind: str, radius: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian directions of full length: one for each entry of `radius` (E,), shaped like `like` (...)."""
    drawn = torch.randn(radius.shape[0], *like.shape, generator=generator, dtype=like.dtype)
    return _times(radius / norm(drawn, kind), drawn)


def _size(x: Tensor, kind: str) -> Tensor:
    if kind == "rows" and x.ndim > 1:
        return torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.linalg.vector_norm(_lines(x), dim=1).view(-1, *[1] * (x.ndim - 1))


def _lines(x: Tensor) -> Tensor:
    """One line of numbers for each copy, also of single numbers."""
    return x.reshape(x.shape[0], -1)


def _times(radius: Tensor, x: Tensor) -> Tensor:
    return radius.to(x).view(-1, *[1] * (x.ndim - 1)) * x
