"""Do the inputs tell all lags apart?"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import eigvalsh

from perdure._typing import Array
from perdure.memory.records.gram import moments

POOR = 1e6  # condition number from which some combinations of lags are a thousand times less excited than others
LARGEST = 2048  # size up to which eigenvalues are computed


def condition(u: Array, lags: int, span: tuple[int, int], intercept: bool) -> float:
    """Condition number of the second moments of the lagged inputs: 1 for white noise, inf where they are not exciting of order n.

    NaN where the matrix is larger than 2048: it was not measured.
    """
    if u.shape[2] * lags > LARGEST:
        return math.nan
    (m,) = moments(u, np.zeros((*u.shape[:2], 1)), lags, span, intercept)
    values = eigvalsh(m.R, check_finite=False)
    return math.inf if values[0] <= 1e-14 * u.shape[2] * lags * values[-1] else float(values[-1] / values[0])
