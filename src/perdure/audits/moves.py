"""Moves of a frozen copy's weights: the fastest ones within balls, and putting them in and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from perdure._typing import Tensor
from perdure.stability.nonlinear import balls

LARGE = 64  # rows and columns beyond which the polar factor is taken by the eigenvectors of the smaller Gram matrix


@contextmanager
def moved(weights: Mapping[str, Tensor], moves: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the weights named in `moves` are moved; afterwards they are as they were."""
    before = {name: weights[name].detach().clone() for name in moves}
    try:
        for name, move in moves.items():
            weights[name].data.add_(move.to(weights[name].dtype))
        yield
    finally:
        for name, value in before.items():
            weights[name].data.copy_(value)


@contextmanager
def kept(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the weights ask for gradients; afterwards they ask for them as before."""
    before = {name: p.requires_grad for name, p in weights.items()}
    try:
        for p in weights.values():
            p.requires_grad_(True)
        yield
    finally:
        for name, p in weights.items():
            p.requires_grad_(before[name])


def norms(weights: Mapping[str, Tensor], kinds: Mapping[str, str]) -> dict[str, float]:
    """|w| of each tensor in the norm of its ball."""
    return {name: float(_norm(p.detach(), kinds[name])) for name, p in weights.items()}


def _norm(p: Tensor, kind: str) -> Tensor:
    wide = p.to(torch.complex128 if p.is_complex() else torch.float64)
    if kind != "spectral" or p.ndim < 2 or min(p.shape[0], p[0].numel()) <= LARGE:
        return balls.norm(wide[None], kind)[0]
    return torch.linalg.eigvalsh(_gram(wide.flatten(1))[0])[-1].clamp_min(0).sqrt()


def moves_along(
    weights: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor] | None,
    kinds: Mapping[str, str],
    reach: Mapping[str, float],
    sign: float,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Moves of length `reach` along which the gradients say that an output changes fastest, times `sign`; random ones without gradients."""
    found = {}
    for name, radius in reach.items():
        length = torch.full((1,), radius, dtype=torch.float64)
        if gradients is None:
            generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
            found[name] = sign * balls.random(weights[name].detach(), kinds[name], length, generator)[0]
        else:
            found[name] = sign * _best(gradients[name], kinds[name], length)
    return found


def _best(gradient: Tensor, kind: str, radius: Tensor) -> Tensor:
    wide = gradient.to(torch.complex128 if gradient.is_complex() else torch.float64)
    if kind != "spectral" or gradient.ndim < 2 or min(gradient.shape[0], gradient[0].numel()) <= LARGE:
        return balls.best(wide[None], kind, radius)[0]
    return float(radius) * polar(wide.flatten(1)).view_as(gradient)


def polar(G: Tensor) -> Tensor:
    """U V^T of G = U S V^T, (n, m), by the Gram matrix of the shorter side: directions weaker than 1e-6 of the strongest stay at rest.

    >>> polar(torch.tensor([[3.0, 0.0], [0.0, -2.0], [0.0, 0.0]]).double()).tolist()
    [[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]
    """
    gram, wide = _gram(G)
    size, vectors = torch.linalg.eigh(gram)
    inverse = torch.where(size > 1e-12 * size[-1].clamp_min(1e-300), size.clamp_min(1e-300).rsqrt(), torch.zeros_like(size))
    root = (vectors * inverse.to(vectors.dtype)) @ vectors.mH
    return root @ G if wide else G @ root


def _gram(G: Tensor) -> tuple[Tensor, bool]:
    """G G^H or G^H G, whichever is smaller, and whether it was the first."""
    wide = G.shape[0] < G.shape[1]
    return (G @ G.mH if wide else G.mH @ G), wide
