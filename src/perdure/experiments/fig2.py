"""Fig. 2: tanh networks with direct weights on a polynomial memory."""

from __future__ import annotations

from perdure.experiments.nonlinear_networks import NetworkFigure, profiles


class Fig2(NetworkFigure):
    """Does the curse of Fig. 1b hold for tanh networks?"""

    name = "fig2"
    title = "tanh networks, polynomial memory, direct weights"
    source = "Wang, Li & Li 2024, Fig. 2"
    profiles = profiles((4, 8, 16, 64))
    activation = "tanh"
    map = "direct"
    claimed = "unstable"
    finest = 1e-11
