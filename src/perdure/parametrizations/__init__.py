"""Maps from the trained value to the recurrent eigenvalue, and structures of the recurrent weight built on them."""

from __future__ import annotations

from typing import Any

from perdure import _checks
from perdure.parametrizations.base import Parametrization
from perdure.parametrizations.direct import Direct
from perdure.parametrizations.exp import Exp
from perdure.parametrizations.inverse import Inverse
from perdure.parametrizations.lru import LRU
from perdure.parametrizations.softplus import Softplus

BY_NAME: dict[str, type[Parametrization]] = {"direct": Direct, "exp": Exp, "softplus": Softplus, "inverse": Inverse}


def get(parametrization: Any, fastest: float | None = None) -> Parametrization:
    """The parametrisation of that name, or the object itself: a map to eigenvalues of continuous time.

    Args:
        parametrization: "direct", "exp", "softplus", "inverse", or a `Parametrization`.
        fastest: the fastest rate it must reach; "inverse" by name then gets b = 1 / (2 fastest).

    Raises:
        ValueError: an unknown name (the message lists the names), or a discrete map such as `LRU`.
    """
    if isinstance(parametrization, Parametrization):
        if not parametrization.continuous:
            rule = "a map to eigenvalues of continuous time"
            fix = 'it gives the factor of one discrete step; pass "exp", the same map with the time step kept apart'
            raise _checks.fail("parametrization", rule, type(parametrization).__name__, fix)
        return parametrization
    name = _checks.choice(parametrization, "parametrization", BY_NAME)
    if name == "inverse" and fastest is not None:
        return Inverse(b=0.5 / fastest)
    return BY_NAME[name]()


__all__ = ["LRU", "Direct", "Exp", "Inverse", "Parametrization", "Softplus", "get"]
