"""What does a sequence model remember, and does that memory survive a nudge of its weights?

Importing perdure loads nothing else: each name below is fetched from its module when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perdure import functionals, nn, ops, parametrizations
    from perdure.approximation import approximate
    from perdure.errors import ArgumentError, ArgumentTypeError, ModelError, PerdureError
    from perdure.memory import MemoryFunction, memory_function
    from perdure.memory.law import DecayFit, fit_decay
    from perdure.stability import PerturbationCurve, Verdict, perturbation_error, sobolev_distance
    from perdure.training import FitResult, fit
    from perdure.training.verdict import stable_approximation

__version__ = "0.1.0.dev0"

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "DecayFit",
    "FitResult",
    "MemoryFunction",
    "ModelError",
    "PerdureError",
    "PerturbationCurve",
    "Verdict",
    "approximate",
    "fit",
    "fit_decay",
    "functionals",
    "memory_function",
    "nn",
    "ops",
    "parametrizations",
    "perturbation_error",
    "sobolev_distance",
    "stable_approximation",
]

_MODULES = {
    "perdure.approximation": ["approximate"],
    "perdure.errors": ["ArgumentError", "ArgumentTypeError", "ModelError", "PerdureError"],
    "perdure.memory": ["MemoryFunction", "memory_function"],
    "perdure.memory.law": ["DecayFit", "fit_decay"],
    "perdure.stability": ["PerturbationCurve", "Verdict", "perturbation_error", "sobolev_distance"],
    "perdure.training": ["FitResult", "fit"],
    "perdure.training.verdict": ["stable_approximation"],
}
_SOURCE = {name: module for module, names in _MODULES.items() for name in names}
_SUBMODULES = ("functionals", "nn", "ops", "parametrizations")


def __getattr__(name: str) -> Any:
    """Fetch a public name from the module that defines it."""
    from importlib import import_module

    if name in _SUBMODULES:
        return import_module(f"perdure.{name}")
    if name not in _SOURCE:
        raise AttributeError(f"perdure has no attribute {name!r}")
    value = getattr(import_module(_SOURCE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
