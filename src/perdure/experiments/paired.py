r"""Differences paired by seed: two ways of doing the same thing from the same start, told apart or not.

    d_i = a_i - b_i,   d = mean d_i,   s = sd(d_i) / sqrt(n),   above where d > t s, below where d < -t s,

t the 95 % point of Student's distribution with n - 1 degrees of freedom: a one-sided test at 5 %, each way. What the seeds share (initial weights, order of the batches)
cancels in d, so its standard error is usually far below those of the two means.

A run that broke down counts as infinitely bad: NaN and infinity are taken as infinity (pass losses, or accuracies, which are finite). Where a difference is not finite no mean is, and the sign
test decides: above where all differences are above 0 and 0.5^n < 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perdure._typing import Array
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
        p_below: probability, were there no difference, of one as far below 0 as this.
    """

    mean: float
    error: float
    pairs: int
    verdict: str
    p_below: float = math.nan

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
    x, y = (np.nan_to_num(np.array([values[seed] for seed in common], float), nan=math.inf, posinf=math.inf) for values in (a, b))
    n = len(common)
    if not (np.isfinite(x) & np.isfinite(y)).all():
        return _by_signs(np.sign(np.where(x == y, 0.0, np.where(x > y, 1.0, -1.0))))
    d = x - y
    mean = float(d.mean())
    if n < 2:
        return Paired(mean, math.nan, n, "not told apart")
    from scipy.stats import t

    error = float(d.std(ddof=1) / math.sqrt(n))
    p = float(t.cdf(mean / error, n - 1)) if error > 0 else float(mean >= 0)
    return Paired(mean, error, n, "above" if 1 - p < 1 - LEVEL and mean > 0 else "below" if p < 1 - LEVEL else "not told apart", p)


def _by_signs(signs: Array) -> Paired:
    """The sign test, where a run broke down."""
    n = len(signs)
    sure = 0.5**n < 1 - LEVEL
    verdict = "above" if sure and (signs > 0).all() else "below" if sure and (signs < 0).all() else "not told apart"
    return Paired(
        float(signs.mean()) * math.inf if signs.any() and abs(signs.sum()) else math.nan,
        math.nan,
        n,
        verdict,
        0.5**n if (signs < 0).all() else math.nan,
    )


def mean_and_error(values: Mapping[int, float]) -> tuple[float, float]:
    """Mean over seeds and its standard error, NaN for one seed.

    >>> [round(v, 6) for v in mean_and_error({0: 1.0, 1: 3.0})]
    [2.0, 1.0]
    """
    x = np.array(list(values.values()), dtype=float)
    return float(x.mean()), float(x.std(ddof=1) / math.sqrt(len(x))) if len(x) > 1 else math.nan
