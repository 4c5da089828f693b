"""Where the ascent starts."""

from __future__ import annotations

import numpy as np
import torch

from perdure._typing import Tensor
from perdure.stability.network import Move, Network

SPLITS, RANDOM = 8, 6


def pool(network: Network, radii: Tensor, gradient_at_zero: Move, generator: torch.Generator) -> list[Move]:
    """Starting moves, each a batch over the radii (R,).

    Every mode slowest, every mode fastest (inside the ball where the map turns); both uniform shifts; the first conditional-gradient step;
    slow modes one way and fast ones the other, for several splits; and random vertices.
    """
    batch = radii.numel()
    zero = network.zero(batch)
    along = Move(torch.ones_like(zero.v), zero.omega, *(x.expand(batch, *x.shape).conj().resolve_conj() for x in (network.u, network.c)))
    more, less = network.toward(along, radii), network.toward(along.scaled(-1.0), radii)
    moves = [more, less, network.toward(gradient_at_zero, radii)]
    if "recurrent" in network.groups:
        slow, fast = network.extremes(radii)
        for other in (more, less):
            moves += [Move(v, zero.omega, other.u, other.c) for v in (slow, fast)]
        rank = torch.argsort(torch.argsort(network.v))
        for split in np.unique(np.linspace(1, network.size - 1, min(SPLITS, network.size - 1)).astype(int)) if network.size > 1 else ():
            first = rank < int(split)
            moves += [Move(v, zero.omega, more.u, more.c) for v in (torch.where(first, slow, fast), torch.where(first, fast, slow))]
    return moves + [network.toward(network.random(torch.ones_like(radii), generator), radii) for _ in range(RANDOM)]
