r"""How a positive quantity goes with the width: which law, how fast, how sure.

Two laws are fitted to its logarithm by least squares, m^-s and e^{-a sqrt(m)} (what sums of exponentials show on power laws), and the one
of smaller residual is kept; the constant is s = a = 0 of both. The slope is given in octaves a doubling of the width, at the largest width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

LOSS = 0.15  # octaves a doubling of the width: 0.15 is 10 %
SETTLED = LOSS / 3  # what loses less at each of the last two steps no longer falls: 3.5 % a doubling
SYSTEMATIC = 0.01  # values are no more exact than this, so that three on a line are no proof of a line
COLLAPSE = 1.0  # octaves a doubling lost at every step, and not ever slower: no limit above zero


@dataclass(frozen=True)
class Trend:
    """A law fitted to a quantity over the widths.

    Attributes:
        slope: octaves a doubling of the width, at the largest width; low, high: its 95 % interval.
        points: widths used.
        law: "m^-s" or "e^(-a sqrt m)", the better of the two; "constant" where nothing changes.
        settled: each of the last two steps loses less than 0.05 octaves a doubling, 3.5 %.
        collapsing: every step loses at least an octave a doubling, the last at least half of what the steepest loses.
    """

    slope: float
    low: float
    high: float
    points: int
    law: str = "m^-s"
    settled: bool = False
    collapsing: bool = False

    @property
    def direction(self) -> str:
        """What the trend says: "shrinks", "survives" or "unclear"."""
        if self.settled:
            return "survives"
        if self.collapsing or self.high < -LOSS:
            return "shrinks"
        return "survives" if self.low > -LOSS else "unclear"

    def __str__(self) -> str:
        text = f"{self.law}, {self.slope:+.2g} octaves a doubling at the largest width (95 %: {self.low:+.2g} to {self.high:+.2g}, {self.points} widths)"
        return text + ("; the last two steps lose less than 3.5 % a doubling" if self.settled else "")


def fit(widths: list[int], values: list[float]) -> Trend | None:
    """The trend of positive values; None with fewer than three, or one that is 0.

    >>> trend = fit([4, 16, 64], [1e-2, 1e-4, 1e-8])  # 0.01^(sqrt(m) / 2)
    >>> trend.law, trend.direction
    ('e^(-a sqrt m)', 'shrinks')
    >>> fit([8, 16, 32, 64], [0.010, 0.0110, 0.0111, 0.0111]).direction
    'survives'
    """
    if len(widths) < 3 or min(values, default=0.0) <= 0:
        return None
    m, y = np.asarray(widths, float), np.log(values)
    steps = np.diff(np.log2(values)) / np.diff(np.log2(m))
    settled = bool((steps[-2:] >= -SETTLED).all())
    collapsing = bool((steps <= -COLLAPSE).all() and steps[-1] <= 0.5 * steps.min())
    if np.ptp(y) < 1e-9:
        return Trend(0.0, 0.0, 0.0, len(widths), "constant", True, False)
    found = []
    for law, x, local in (("m^-s", np.log(m), 1.0), ("e^(-a sqrt m)", np.sqrt(m), 0.5 * np.sqrt(m[-1]))):
        centred = x - x.mean()
        slope = float(centred @ y / (centred @ centred))
        rest = float(np.square(y - y.mean() - slope * centred).sum())
        spread = np.sqrt(max(rest / (len(widths) - 2), SYSTEMATIC**2) / (centred @ centred))
        half = float(student.ppf(0.975, len(widths) - 2) * spread)
        found.append((rest, Trend(slope * local, (slope - half) * local, (slope + half) * local, len(widths), law, settled, collapsing)))
    return min(found, key=lambda pair: pair[0])[1]
