r"""Differences paired by seed: two ways of doing the same thing from the same start, told apart or not.

    d_i = a_i - b_i,   d = mean d_i,   s = sd(d_i) / sqrt(n),   above where d > t s, below where d < -t s,

t the 95 % point of Student's distribution with n - 1 degrees of freedom: a one-sided test at 5 %, each way. What the seeds share (initial weights, order of the batches)
cancels in d, so its standard error is usually far below those of the two means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perdure.errors import ArgumentError

LEVEL = 0.95


@dataclass(frozen=True)
class Paired:
    """A mean difference.

    Attributes:
        mean: of a - b.
        error: standard error of it, NaN for one pair.
        pairs: n.
        verdict: "above", "below", or "not told apart".
    """

    mean: float
    error: float
    pairs: int
    verdict: str

    def __str__(self) -> str:
        return f"{self.mean:+.3g} ± {self.error:.2g}"


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> Paired:
    """The differences a - b over the seeds that both have.

    Args:
        a: value by seed.
        b: value by seed.

    Raises:
        ArgumentError: no seed is common to both.

    >>> difference = paired({0: 3.0, 1: 4.0, 2: 5.1}, {0: 1.0, 1: 2.0, 2: 3.0})
    >>> str(difference), difference.verdict
    ('+2.03 ± 0.033', 'above')
    >>> paired({0: 3.0, 1: 4.0}, {0: 1.0, 1: 9.0}).verdict
    'not told apart'
    """
    common = sorted(set(a) & set(b))
    if not common:
        raise ArgumentError(f"expected two sets of runs with common seeds, but got {sorted(a)} and {sorted(b)}: pair runs of the same seed")
    d = np.array([a[seed] - b[seed] for seed in common], dtype=float)
    mean, n = float(d.mean()), len(d)
    if n < 2:
        return Paired(mean, math.nan, n, "not told apart")
    from scipy.stats import t

    error = float(d.std(ddof=1) / math.sqrt(n))
    margin = float(t.ppf(LEVEL, n - 1)) * error
    return Paired(mean, error, n, "above" if mean > margin else "below" if mean < -margin else "not told apart")


def mean_and_error(values: Mapping[int, float]) -> tuple[float, float]:
    """Mean over seeds and its standard error, NaN for one seed.

    >>> [round(v, 6) for v in mean_and_error({0: 1.0, 1: 3.0})]
    [2.0, 1.0]
    """
    x = np.array(list(values.values()), dtype=float)
    return float(x.mean()), float(x.std(ddof=1) / math.sqrt(len(x))) if len(x) > 1 else math.nan
