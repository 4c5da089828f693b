"""Training on functionals with known memory, or on data."""

from perdure.training.fit import fit
from perdure.training.many import Fits, fit_many
from perdure.training.result import FitResult

__all__ = ["FitResult", "Fits", "fit", "fit_many"]
