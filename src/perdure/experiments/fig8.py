"""Fig. 8: hardtanh and tanh networks with softplus on a polynomial memory."""

from __future__ import annotations

from perdure.experiments.nonlinear_networks import NetworkFigure, profiles


class Fig8a(NetworkFigure):
    """hardtanh."""

    name = "fig8a"
    title = "hardtanh networks, polynomial memory, softplus"
    source = "Wang, Li & Li 2024, Fig. 8 (hardtanh)"
    profiles = profiles((8, 16, 32, 64))
    activation = "hardtanh"
    map = "softplus"
    claimed = "stable"


class Fig8b(NetworkFigure):
    """tanh."""

    name = "fig8b"
    title = "tanh networks, polynomial memory, softplus"
    source = "Wang, Li & Li 2024, Fig. 8 (tanh)"
    profiles = profiles((8, 16, 32, 64))
    activation = "tanh"
    map = "softplus"
    claimed = "stable"
