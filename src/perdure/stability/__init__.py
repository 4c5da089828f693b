"""Stability of a memory under perturbations of the weights."""

from perdure.stability.curve import PerturbationCurve
from perdure.stability.norm import sobolev_distance
from perdure.stability.perturbation import perturbation_error
from perdure.stability.verdict import Verdict, stable_approximation

__all__ = ["PerturbationCurve", "Verdict", "perturbation_error", "sobolev_distance", "stable_approximation"]
