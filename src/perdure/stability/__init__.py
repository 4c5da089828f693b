"""Stability of a memory under perturbations of the weights."""

from perdure.stability.curve import PerturbationCurve
from perdure.stability.norm import sobolev_distance
from perdure.stability.perturbation import perturbation_error

__all__ = ["PerturbationCurve", "perturbation_error", "sobolev_distance"]
