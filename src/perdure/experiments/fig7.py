"""Fig. 7: relu networks on a polynomial memory, direct and softplus.

sigma >= 0 lets states only rise; pairs of states, a rise and a fall, forget through their difference. That takes a matrix that couples them: dense, or
symmetric Q diag(g(v)) Q^T under a stable map, whose basis Q is trained as well. Moving v alone and moving v and Q are two different questions.
"""

from __future__ import annotations

from perdure.experiments.nonlinear_networks import EIGENVALUES, PUBLISHED, SUP, NetworkFigure, profiles


class Fig7a(NetworkFigure):
    """Direct weights."""

    name = "fig7a"
    title = "relu networks, polynomial memory, direct weights"
    source = "Wang, Li & Li 2024, Fig. 7 (direct)"
    profiles = profiles((8, 16, 32, 64))
    activation = "relu"
    map = "direct"
    claimed = "unstable"
    known = (
        "The contrast to softplus does not appear here: with its basis moved too, softplus loses as much a doubling (Fig. 7b). Both losses get smaller with the width, and "
        "the radius of infinite error hardly shrinks: wider networks may settle."
    )


class Fig7b(NetworkFigure):
    """Softplus."""

    name = "fig7b"
    title = "relu networks, polynomial memory, softplus"
    source = "Wang, Li & Li 2024, Fig. 7 (softplus)"
    profiles = profiles((8, 16, 32, 64))
    activation = "relu"
    map = "softplus"
    claimed = "stable"
    known = "What fails is the basis of the symmetric W, which moves with the rest: with the eigenvalues alone the radius survives."
    ways = (SUP, EIGENVALUES, PUBLISHED)
