"""Functionals with known memory: what is to be remembered, exactly."""

from perdure.functionals.airy import airy
from perdure.functionals.base import LinearFunctional
from perdure.functionals.combine import stack
from perdure.functionals.exponential import ExponentialSum, exponential, exponential_sum, oscillating
from perdure.functionals.nonlinear import Functional
from perdure.functionals.polynomial import polynomial
from perdure.functionals.shift import shift
from perdure.functionals.teacher import teacher
from perdure.functionals.volterra import volterra2
from perdure.functionals.wiener import wiener

__all__ = [
    "ExponentialSum",
    "Functional",
    "LinearFunctional",
    "airy",
    "exponential",
    "exponential_sum",
    "oscillating",
    "polynomial",
    "shift",
    "stack",
    "teacher",
    "volterra2",
    "wiener",
]
