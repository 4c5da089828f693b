r"""Is a functional stably approximated? The verdict from a family of widths, with its uncertainty.

Stable approximation (Wang, Li & Li 2024, Def. 3.5) asks that E(beta) = limsup_m E_m(beta) satisfies E(0) = 0 and is continuous on
[0, beta_0]. From finitely many widths two trends are read, by ordinary least squares against log2 of the width:

* log E_m(0) must fall;
* log r_m must not, where r_m is the radius up to which E_m stays below a threshold: a radius that shrinks by a fixed factor with
  every doubling of the width leaves nothing in the limit, and E jumps at 0.

Only widths whose own error E_m(0) is below a quarter of the threshold say something about r_m. No rule looks at the parametrisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import linregress
from scipy.stats import t as student

from perdure import _checks
from perdure._typing import Array
from perdure.approximation import approximate
from perdure.functionals.base import LinearFunctional
from perdure.functionals.exponential import ExponentialSum
from perdure.parametrizations import Parametrization
from perdure.stability.curve import PerturbationCurve, plain
from perdure.stability.perturbation import perturbation_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = 0.15  # octaves of radius a doubling of the width: 0.15 is 10 %
ROUNDING = 1e-9  # a relative error below this has converged, whatever its trend


@dataclass(frozen=True)
class Trend:
    """A slope per doubling of the width, in octaves, with its 95 % interval."""

    slope: float
    low: float
    high: float
    points: int


@dataclass(frozen=True)
class Verdict:
    """Whether a functional is stably approximated by linear recurrent networks under a parametrisation.

    Attributes:
        outcome: "stable", "unstable" or "undecided".
        beta0: the radius up to which the error stays below the threshold at every resolved width of the larger half; 0 if unstable,
            None if undecided.
        curves: `PerturbationCurve` by width.
        radii: common radii of the curves, (R,).
        asymptotic: the running limsup on those radii, (R,): the maximum over the larger half of the widths.
        radius: r_m by width, 0 where even E_m(0) is above the threshold.
        threshold: the absolute W1 error that r_m refers to.
        error_trend, radius_trend: slopes of log2 E_m(0) and log2 r_m per doubling of m; None with fewer than three points.
        reason: the decision in words, with its numbers; for "undecided", what is missing.
    """

    outcome: str
    beta0: float | None
    curves: dict[int, PerturbationCurve]
    radii: Array
    asymptotic: Array
    radius: dict[int, float]
    threshold: float
    error_trend: Trend | None
    radius_trend: Trend | None
    reason: str
    parametrization: str
    groups: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, valid as strict JSON: infinity is the string "inf"."""
        trends = {
            name: None if (t := getattr(self, name)) is None else {k: plain(v) for k, v in vars(t).items()}
            for name in ("error_trend", "radius_trend")
        }
        return {
            "outcome": self.outcome, "beta0": None if self.beta0 is None else plain(self.beta0), "reason": self.reason,
            "parametrization": self.parametrization, "groups": list(self.groups), "threshold": self.threshold, "radii": plain(self.radii),
            "asymptotic": plain(self.asymptotic), "radius": {str(m): plain(r) for m, r in self.radius.items()},
            "curves": {str(m): curve.to_dict() for m, curve in self.curves.items()}, **trends,
        }  # fmt: skip

    def plot(self, ax: Axes | None = None) -> Axes:
        """Every E_m(beta), and the threshold as a thin line."""
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        shades = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, len(self.curves)))
        for shade, marker, (m, curve) in zip(shades, "osD^vP*Xh<>" * 9, self.curves.items(), strict=False):
            curve.plot(ax, color=shade, marker=marker, label=f"m = {m}")
        ax.axhline(self.threshold, color="0.5", linewidth=0.8)
        ax.set_title(f"{self.parametrization}: {self.outcome}")
        return ax


def stable_approximation(
    target: LinearFunctional,
    *,
    parametrization: str | Parametrization = "exp",
    activation: str = "linear",
    widths: Sequence[int] = (4, 8, 16, 32, 64),
    groups: str | Sequence[str] = "recurrent",
    radii: Sequence[float] | Array | None = None,
    threshold: float = 0.1,
    seed: int = 0,
) -> Verdict:
    r"""Whether networks of growing width approximate a functional so that nudged weights keep the memory.

    Args:
        target: a linear functional.
        parametrization: map of the trained value to the recurrent eigenvalue (see `perdure.parametrizations`).
        activation: "linear"; nonlinear networks have no exact answer here.
        widths: m, increasing; at least four for a decision.
        groups: which weights are moved (see `perturbation_error`). With the readout or the input among them, unnormalised modes of a slow
            target fail under every parametrisation.
        radii: beta for the curves; None takes 0 and 24 values from 1e-4 to 2.
        threshold: relative to ||H||_{W1}.
        seed: of the ascent's random starts.

    Returns:
        A `Verdict`.

    Raises:
        ValueError: an activation other than "linear", widths not increasing, threshold outside (0, 1).

    >>> from perdure import functionals as F
    >>> stable_approximation(F.polynomial(power=2.0), parametrization="direct", widths=(8, 16, 32, 64)).outcome
    'unstable'
    >>> stable_approximation(F.polynomial(power=2.0), parametrization="exp", widths=(8, 16, 32, 64)).outcome
    'stable'
    """
    if activation != "linear":
        raise _checks.fail(
            "activation",
            "'linear'",
            activation,
            "exact verdicts exist for linear networks; probe a nonlinear one by perdure.memory_function",
        )
    sizes = [_checks.positive_int(m, "widths") for m in widths]
    if not sizes or sorted(set(sizes)) != sizes:
        raise _checks.fail("widths", "non-empty and strictly increasing", list(widths), "for example (4, 8, 16, 32, 64)")
    threshold = _checks.positive(threshold, "threshold")
    if threshold >= 1:
        raise _checks.fail("threshold", "below 1", threshold, "it is relative to the norm of the target: the zero model has error 1")
    common = np.concatenate([[0.0], np.geomspace(1e-4, 2.0, 24)]) if radii is None else _checks.radii(radii)
    models = {m: approximate(target, m) for m in sizes}
    curves = {
        m: perturbation_error(model, target, common, groups=groups, parametrization=parametrization, seed=seed)
        for m, model in models.items()
    }
    level = threshold * target.norm()
    nominal = {m: _nominal(models[m], target) for m in sizes}
    radius = {m: _radius(models[m], target, curves[m], level, parametrization, groups, seed) for m in sizes}

    resolved = [m for m in sizes if nominal[m] <= 0.25 * level]
    larger = sizes[len(sizes) // 2 :]
    error_trend = _trend(sizes, [max(nominal[m], 1e-300) for m in sizes])
    radius_trend = _trend(resolved, [radius[m] for m in resolved])
    outcome, reason = _decide(nominal, target.norm(), resolved, error_trend, radius_trend, radius)
    kept = [m for m in resolved if m in larger]
    beta0 = {"stable": min((radius[m] for m in kept), default=0.0), "unstable": 0.0, "undecided": None}[outcome]
    first = curves[sizes[0]]
    asymptotic = np.max([curves[m].error for m in larger], axis=0)
    return Verdict(
        outcome, beta0, curves, common, asymptotic, radius, level, error_trend, radius_trend, reason, first.parametrization, first.groups
    )


def _nominal(model: ExponentialSum, target: LinearFunctional) -> float:
    return (0.0 if model.error is None else model.error) * target.norm()


def _radius(
    model: ExponentialSum,
    target: LinearFunctional,
    curve: PerturbationCurve,
    level: float,
    parametrization: str | Parametrization,
    groups: str | Sequence[str],
    seed: int,
) -> float:
    """r_m: on radii of the model's own scale, found from where the common ones place it."""
    if _nominal(model, target) > level:
        return 0.0
    high = curve.divergence_radius
    if not np.isfinite(high):
        high = 1.0
        while (
            perturbation_error(model, target, [high], groups=groups, parametrization=parametrization, seed=seed).error[0] <= level
            and high < 1e3
        ):
            high *= 4
    for _ in range(8):
        own = high * np.geomspace(1e-3, 1.0, 16)[: 15 if high == curve.divergence_radius else 16]
        fine = perturbation_error(model, target, own, groups=groups, parametrization=parametrization, seed=seed)
        if fine.error[0] <= level:
            return fine.radius_below(level)
        high = float(own[0])
    return 0.0


def _trend(widths: list[int], values: list[float]) -> Trend | None:
    if len(widths) < 3 or min(values, default=0.0) <= 0:
        return None
    x, y = np.log2(widths), np.log2(values)
    if np.ptp(y) < 1e-9:
        return Trend(0.0, 0.0, 0.0, len(widths))
    fit: Any = linregress(x, y)
    half = float(student.ppf(0.975, len(widths) - 2)) * float(fit.stderr)
    return Trend(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half, len(widths))


def _decide(
    nominal: dict[int, float], size: float, resolved: list[int], error: Trend | None, radius: Trend | None, radii: dict[int, float]
) -> tuple[str, str]:
    last = nominal[max(nominal)] / size
    if len(nominal) < 3:
        return "undecided", f"{len(nominal)} widths show no trend: pass at least four"
    if last > ROUNDING and (error is None or error.high >= 0):
        return (
            "undecided",
            f"the error without perturbation does not clearly fall with the width ({last:.2g} of the norm at the largest): add larger widths",
        )
    if len(resolved) < 3 or radius is None:
        return "undecided", (
            f"only {len(resolved)} widths approximate the target well enough (a quarter of the threshold) to show how the radius behaves; the relative "
            f"error at the largest is {last:.2g}: add larger widths or raise the threshold"
        )
    words = (
        f"the radius at which the error stays below the threshold goes from {radii[resolved[0]]:.3g} at m = {resolved[0]} to {radii[resolved[-1]]:.3g} "
        f"at m = {resolved[-1]}: {radius.slope:+.2g} octaves a doubling (95 %: {radius.low:+.2g} to {radius.high:+.2g})"
    )
    if radius.high < -LOSS:
        return "unstable", words + "; it shrinks without end"
    if radius.low > -LOSS:
        return "stable", words + "; it survives"
    return "undecided", words + f"; whether it loses more than {LOSS} cannot be told: add widths"
