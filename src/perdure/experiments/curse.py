"""The curse of memory of linear recurrent networks, exactly: Fig. 1a, 1b and 4 of Wang, Li & Li (ICLR 2024).

Each model is a near-optimal exponential sum of its width, and E_m(beta) is taken on the infinite horizon in the W1 norm, with the recurrent
weights perturbed and nothing else. No sequence is simulated, nothing is trained. What the paper does otherwise: it draws ten random
perturbations where the exact method climbs, and it measures a time-weighted mean square error of sampled sequences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perdure import _checks
from perdure import functionals as F
from perdure._typing import Array
from perdure.approximation import approximate
from perdure.functionals import ExponentialSum, LinearFunctional
from perdure.stability import PerturbationCurve, perturbation_error

WIDTHS = (2, 4, 6, 8, 14)  # of the paper's figures
WIDER = (16, 32, 64)
SHARP = 2.0  # power of a further target, approximated fast enough for its curves to meet where the paper's still carry their E_m(0)
RADII = (0.0, *(5e-4 * 2.0**k for k in range(21)))  # of the paper's figures
FINE = tuple(
    10.0 ** (k / 2) for k in range(-30, -6)
)  # below them: the radii at which Fig. 1b happens once the sums are near the best possible
SAMPLES = 10  # random perturbations in the paper's figures


@dataclass(frozen=True)
class Panel:
    """One panel of a figure: a target, a parametrisation, and a curve for each width.

    Attributes:
        name: "fig1a", "fig1b", "fig4-exp", "fig4-softplus", "sharp-exp" or "sharp-softplus".
        title: what it shows.
        kernel: the target's kernel as a formula.
        parametrization: map of the trained value to the recurrent eigenvalue.
        curves: E_m(beta) by width.
        approximation: relative W1 error of the unperturbed sum, by width.
    """

    name: str
    title: str
    kernel: str
    parametrization: str
    curves: dict[int, PerturbationCurve] = field(repr=False)
    approximation: dict[int, float]

    def to_frame(self) -> Any:
        """A long table: panel, kernel, and the columns of `PerturbationCurve.to_frame`."""
        import pandas as pd

        return pd.concat([c.to_frame() for c in self.curves.values()], ignore_index=True).assign(panel=self.name, kernel=self.kernel)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings; infinity is the string "inf"."""
        curves = {str(m): {**c.to_dict(), "approximation_error": self.approximation[m]} for m, c in self.curves.items()}
        return {"title": self.title, "kernel": self.kernel, "parametrization": self.parametrization, "curves": curves}


@dataclass(frozen=True)
class RadiusTrend:
    """The divergence radius r_m of the direct map against width, with ln r = b - a sqrt(m) fitted by least squares.

    Attributes:
        widths: m, (W,).
        radii: r_m, (W,), per unit time.
        a: fitted slope.
        a_error: its standard error.
        b: fitted intercept.
    """

    widths: Array
    radii: Array
    a: float
    a_error: float
    b: float

    def predict(self, widths: Any) -> Array:
        """e^(b - a sqrt(m))."""
        return np.exp(self.b - self.a * np.sqrt(np.asarray(widths, dtype=float)))

    def to_frame(self) -> Any:
        """One row a width."""
        import pandas as pd

        return pd.DataFrame({"width": self.widths, "divergence_radius": self.radii, "fitted": self.predict(self.widths)})

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        numbers = {"a": self.a, "a_standard_error": self.a_error, "b": self.b}
        return {"widths": self.widths.tolist(), "radii": self.radii.tolist(), "fit": "ln r = b - a sqrt(m)", **numbers}


@dataclass(frozen=True)
class Curse:
    """Everything `run` found.

    Attributes:
        panels: by name.
        trend: of the divergence radius in Fig. 1b.
        exact: one curve by ascent.
        sampled: the same by the paper's random perturbations.
    """

    panels: dict[str, Panel]
    trend: RadiusTrend
    exact: PerturbationCurve
    sampled: PerturbationCurve

    @property
    def found_by_sampling(self) -> Array:
        """(sampled - E(0)) / (exact - E(0)) at the radii where both are finite and the exact growth is above rounding."""
        growth = self.exact.raw - self.exact.raw[0]
        use = np.isfinite(growth) & np.isfinite(self.sampled.raw) & (growth > 1e-9 * self.exact.target_norm)
        return (self.sampled.raw - self.exact.raw[0])[use] / growth[use]

    def to_frame(self) -> Any:
        """All curves as one long table; "sampling-exact" and "sampling-sampled" are the comparison of the two methods."""
        import pandas as pd

        compared = [c.to_frame().assign(panel=f"sampling-{c.method}") for c in (self.exact, self.sampled)]
        return pd.concat([*(p.to_frame() for p in self.panels.values()), *compared], ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings; infinity is the string "inf"."""
        panels = {name: panel.to_dict() for name, panel in self.panels.items()}
        sampling = {
            "exact": self.exact.to_dict(),
            "sampled": self.sampled.to_dict(),
            "share_of_growth_found": self.found_by_sampling.tolist(),
        }
        return {"panels": panels, "divergence_radius": self.trend.to_dict(), "sampling": sampling}


def run(
    *,
    widths: Iterable[int] = WIDTHS,
    wider: Iterable[int] = WIDER,
    radii: Iterable[float] = RADII,
    fine: Iterable[float] = FINE,
    rate: float = -math.log(0.9),
    power: float = 1.1,
    seed: int = 0,
    tick: Callable[[], None] | None = None,
) -> Curse:
    """Compute the figures; `tick` is called after every curve, `count(widths, wider)` times.

    Args:
        widths: of Fig. 1.
        wider: further widths of Fig. 4 and of the trend of the divergence radius.
        radii: beta, from 0.
        fine: further radii of Fig. 1b, whose models break at smaller ones.
        rate: of the exponential target, 0.9^t by default.
        power: of the polynomial target (1 + t)^-power.
        seed: of starts and samples.
        tick: called after every curve.
    """
    narrow, wide = tuple(widths), (*widths, *wider)
    if len(wide) < 3:
        raise _checks.fail("widths", "at least three together with `wider`", wide, "a trend needs three points")
    tick = tick or (lambda: None)
    exponential, polynomial = F.exponential(rate), F.polynomial(power)
    beta = _checks.radii(list(radii))
    finer = np.unique(np.concatenate([beta, list(fine)]))
    sums = {m: approximate(polynomial, m) for m in wide}

    def panel(
        name: str, title: str, target: LinearFunctional, kernel: str, map_: str, models: dict[int, ExponentialSum], grid: Array
    ) -> Panel:
        curves = {}
        for m, model in models.items():
            curves[m] = perturbation_error(model, target, grid, groups="recurrent", method="exact", parametrization=map_, seed=seed)
            tick()
        return Panel(name, title, kernel, map_, curves, {m: float(model.error or 0.0) for m, model in models.items()})

    base, slow = f"{math.exp(-rate):.3g}^t", f"(1 + t)^-{power:g}"
    plain = {m: sums[m] for m in narrow}
    fast = {m: approximate(exponential, m) for m in narrow}
    panels = [
        panel("fig1a", "exponential memory, direct", exponential, base, "direct", fast, beta),
        panel("fig1b", "polynomial memory, direct", polynomial, slow, "direct", plain, finer),
        panel("fig4-exp", "polynomial memory, exp", polynomial, slow, "exp", sums, beta),
        panel("fig4-softplus", "polynomial memory, softplus", polynomial, slow, "softplus", sums, beta),
    ]
    sharp = F.polynomial(SHARP)
    sharper = {m: approximate(sharp, m) for m in wide[len(narrow) :]}
    for map_ in ("exp", "softplus") if sharper else ():
        panels.append(panel(f"sharp-{map_}", f"faster polynomial memory, {map_}", sharp, f"(1 + t)^-{SHARP:g}", map_, sharper, beta))
    at_zero = {m: perturbation_error(f, polynomial, [0.0], groups="recurrent", method="exact") for m, f in sums.items()}
    exact = panels[2].curves[_compared(wide)]
    sampled = perturbation_error(
        sums[exact.width], polynomial, beta, groups="recurrent", method="sample", parametrization="exp", perturbations=SAMPLES, seed=seed
    )
    tick()
    trend = fit_trend(np.array(wide), np.array([c.divergence_radius for c in at_zero.values()]))
    return Curse({p.name: p for p in panels}, trend, exact, sampled)


def count(widths: Iterable[int] = WIDTHS, wider: Iterable[int] = WIDER) -> int:
    """How many curves `run` computes."""
    narrow, wide = tuple(widths), tuple(wider)
    return 4 * len(narrow) + 4 * len(wide) + 1


def fit_trend(widths: Array, radii: Array) -> RadiusTrend:
    """Least squares of ln r on sqrt(m).

    >>> trend = fit_trend(np.array([4, 9, 16]), np.exp(1 - 3 * np.array([2.0, 3.0, 4.0])))
    >>> round(trend.a, 9), round(trend.b, 9)
    (3.0, 1.0)
    """
    x, y = np.sqrt(widths), np.log(radii)
    deviation = x - x.mean()
    slope = float(deviation @ y / (deviation @ deviation))
    intercept = float(y.mean() - slope * x.mean())
    residual = y - intercept - slope * x
    error = math.sqrt(float(residual @ residual) / (x.size - 2) / float(deviation @ deviation))
    return RadiusTrend(widths, radii, -slope, error, intercept)


def _compared(widths: Iterable[int]) -> int:
    """The width on which sampling is compared: 16, or the largest there is."""
    widths = tuple(widths)
    return 16 if 16 in widths else max(widths)
