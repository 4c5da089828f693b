"""What does a sequence model remember, and does that memory survive a nudge of its weights?

Importing perdure loads nothing else: each name below is fetched from its module when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perdure import functionals, nn, ops, parametrizations
    from perdure.approximation import approximate
    from perdure.audits.audit import audit
    from perdure.audits.compare import compare
    from perdure.audits.result import Audit
    from perdure.errors import ArgumentError, ArgumentTypeError, ModelError, PerdureError
    from perdure.memory import MemoryFunction, memory_function
    from perdure.memory.data import MemoryEstimate, estimate_memory
    from perdure.memory.law import DecayFit, fit_decay
    from perdure.stability import PerturbationCurve, Verdict, perturbation_error, sobolev_distance
    from perdure.stability.equilibrium import NoEquilibriumError
    from perdure.stability.gates import gru_jacobian, lstm_jacobian
    from perdure.stability.linear_bound import PerturbationBound, perturbation_bound
    from perdure.stability.linearisation import Linearisation
    from perdure.stability.linearise import equilibria, linearise
    from perdure.stability.lyapunov import Lyapunov, lyapunov
    from perdure.stability.persidskii import Persidskii, persidskii
    from perdure.stability.pseudospectra import kreiss_constant, numerical_abscissa, pseudospectral_abscissa, transient_bounds
    from perdure.stability.radius import Destabilising, destabilising, stability_radius
    from perdure.stability.theorem import TheoremCheck, check_theorem
    from perdure.training import FitResult, fit
    from perdure.training.verdict import stable_approximation

__version__ = "0.1.0.dev0"

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "Audit",
    "DecayFit",
    "Destabilising",
    "FitResult",
    "Linearisation",
    "Lyapunov",
    "MemoryEstimate",
    "MemoryFunction",
    "ModelError",
    "NoEquilibriumError",
    "PerdureError",
    "Persidskii",
    "PerturbationBound",
    "PerturbationCurve",
    "TheoremCheck",
    "Verdict",
    "approximate",
    "audit",
    "check_theorem",
    "compare",
    "destabilising",
    "equilibria",
    "estimate_memory",
    "fit",
    "fit_decay",
    "functionals",
    "gru_jacobian",
    "kreiss_constant",
    "linearise",
    "lstm_jacobian",
    "lyapunov",
    "memory_function",
    "nn",
    "numerical_abscissa",
    "ops",
    "parametrizations",
    "persidskii",
    "perturbation_bound",
    "perturbation_error",
    "pseudospectral_abscissa",
    "sobolev_distance",
    "stability_radius",
    "stable_approximation",
    "transient_bounds",
]

_MODULES = {
    "perdure.approximation": ["approximate"],
    "perdure.audits.audit": ["audit"],
    "perdure.audits.compare": ["compare"],
    "perdure.audits.result": ["Audit"],
    "perdure.errors": ["ArgumentError", "ArgumentTypeError", "ModelError", "PerdureError"],
    "perdure.memory": ["MemoryFunction", "memory_function"],
    "perdure.memory.data": ["MemoryEstimate", "estimate_memory"],
    "perdure.memory.law": ["DecayFit", "fit_decay"],
    "perdure.stability": ["PerturbationCurve", "Verdict", "perturbation_error", "sobolev_distance"],
    "perdure.stability.equilibrium": ["NoEquilibriumError"],
    "perdure.stability.gates": ["gru_jacobian", "lstm_jacobian"],
    "perdure.stability.linearisation": ["Linearisation"],
    "perdure.stability.linearise": ["equilibria", "linearise"],
    "perdure.stability.theorem": ["TheoremCheck", "check_theorem"],
    "perdure.stability.linear_bound": ["PerturbationBound", "perturbation_bound"],
    "perdure.stability.lyapunov": ["Lyapunov", "lyapunov"],
    "perdure.stability.persidskii": ["Persidskii", "persidskii"],
    "perdure.stability.pseudospectra": ["kreiss_constant", "numerical_abscissa", "pseudospectral_abscissa", "transient_bounds"],
    "perdure.stability.radius": ["Destabilising", "destabilising", "stability_radius"],
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
