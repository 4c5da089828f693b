"""Structures of the recurrent weight: diagonal, complex, symmetric, dissipative, dense."""

from __future__ import annotations

from typing import Any

from perdure import _checks
from perdure.parametrizations import Parametrization
from perdure.parametrizations.structures.base import Structure
from perdure.parametrizations.structures.complex import Complex
from perdure.parametrizations.structures.dense import Dense
from perdure.parametrizations.structures.diagonal import Diagonal
from perdure.parametrizations.structures.dissipative import Dissipative
from perdure.parametrizations.structures.symmetric import Symmetric

BY_NAME: dict[str, type[Structure]] = {kind.name: kind for kind in (Diagonal, Complex, Symmetric, Dissipative, Dense)}


def get_structure(name: str, size: int, map: Parametrization | str = "exp", device: Any = None, dtype: Any = None) -> Structure:
    """A new recurrent weight of that structure.

    Args:
        name: "diagonal", "complex", "symmetric", "dissipative" or "dense".
        size: number of states m.
        map: scalar map of the eigenvalues, a name or a `Parametrization`.
        device: where its parameters live; "meta" for none yet.
        dtype: of its parameters.

    Raises:
        ValueError: an unknown name (the message lists the names), a size below 1, or a map that has no meaning there.

    >>> get_structure("symmetric", 3, "softplus").guarantee
    'W is symmetric and each eigenvalue is negative for every v'
    """
    return BY_NAME[_checks.choice(name, "structure", BY_NAME)](size, map, device=device, dtype=dtype)


__all__ = ["BY_NAME", "Complex", "Dense", "Diagonal", "Dissipative", "Structure", "Symmetric", "get_structure"]
