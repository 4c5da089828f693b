r"""Is a functional stably approximated? The verdict from families of widths, with its uncertainty.

Stable approximation (Wang, Li & Li 2024, Def. 3.5) asks for *some* sequence of models with E(beta) = limsup_m E_m(beta), E(0) = 0 and E
continuous on [0, beta_0]. What is judged is one sequence at a time, from finitely many widths, by two trends (`perdure.stability.trend`):

* E_m(0) must fall;
* r_m must not, where r_m is the radius up to which E_m stays below a threshold: a radius that shrinks without end leaves nothing in the
  limit, and E jumps at 0.

Only widths whose own error E_m(0) is below a quarter of the threshold say something about r_m. No rule looks at the parametrisation.

The first family is that of least error (`perdure.approximate`). "stable" needs one family only. "unstable" speaks about this family; where
its coefficients grow with the width, near-cancellation may be to blame and not the memory, so a second family with bounded rates and
coefficients (`perdure.stability.damped`) is tried, and if that settles nothing the verdict is "undecided".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure import _checks
from perdure._typing import Array
from perdure.approximation import approximate
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional
from perdure.functionals.exponential import ExponentialSum
from perdure.parametrizations import Parametrization
from perdure.stability.curve import PerturbationCurve, plain
from perdure.stability.damped import damped_sum
from perdure.stability.network import folded
from perdure.stability.perturbation import perturbation_error
from perdure.stability.trend import LOSS, Trend, fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROUNDING = 1e-9  # a relative error below this has converged, whatever its trend
FARTHEST, ROUNDS = 4096.0, 320  # radii are looked for up to here, and down by so many tenths
GROWTH = 2.0  # coefficients whose sum grows by more than this over the resolved widths cancel one another


@dataclass(frozen=True)
class Verdict:
    """Whether a functional is stably approximated by linear recurrent networks under a parametrisation.

    It is about one sequence of models (`family`), moved in the groups and norms of `ball`; the error is the W1 norm on [0, inf).

    Attributes:
        outcome: "stable", "unstable" or "undecided".
        beta0: the radius up to which the error stays below the threshold at every resolved width of the larger half; 0 if unstable,
            None if undecided.
        curves: `PerturbationCurve` by width.
        radii: common radii of the curves, (R,).
        asymptotic: the running limsup on those radii, (R,): the maximum over the larger half of the widths.
        radius: r_m by width, 0 where even E_m(0) is above the threshold.
        threshold: the absolute W1 error that r_m refers to.
        error_trend, radius_trend: how E_m(0) and r_m go with m (`Trend`); None with fewer than three points or a value of 0.
        reason: the decision in words, with its numbers; for "undecided", what is missing.
        parametrization, groups, ball: the map, which weights move, and in which norm.
        family: the sequence of models that the verdict is about.
        coefficients: sum_k |a_k| of each model, by width: where it grows, terms cancel.
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
    family: str
    ball: str
    coefficients: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, valid as strict JSON: infinity is the string "inf"."""
        trends = {
            name: None
            if (t := getattr(self, name)) is None
            else {k: v if isinstance(v, str | bool) else plain(v) for k, v in vars(t).items()}
            for name in ("error_trend", "radius_trend")
        }
        return {
            "outcome": self.outcome, "beta0": None if self.beta0 is None else plain(self.beta0), "reason": self.reason,
            "parametrization": self.parametrization, "groups": list(self.groups), "threshold": self.threshold,
            "family": self.family, "ball": self.ball, "coefficients": {str(m): plain(c) for m, c in self.coefficients.items()}, "radii": plain(self.radii),
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
    target: LinearFunctional | Any,
    *,
    parametrization: str | Parametrization = "exp",
    activation: str = "linear",
    widths: Sequence[int] | Any = (4, 8, 16, 32, 64),
    groups: str | Sequence[str] = "recurrent",
    radii: Sequence[float] | Array | None = None,
    threshold: float = 0.1,
    seed: int | Any = 0,
) -> Verdict:
    r"""Whether networks of growing width approximate a functional so that nudged weights keep the memory.

    Judged are the sums of least W1 error (`perdure.approximate`) and, where their coefficients grow, exponentially damped Fourier sums. The
    outcome is about those families, the moved groups and their norms (`Verdict.ball`), not a theorem about all models: "stable" shows a
    family that survives as far as the widths go, "unstable" that the family of least error does not though its coefficients stay bounded.

    Args:
        target: a linear functional.
        parametrization: map of the trained value to the recurrent eigenvalue (see `perdure.parametrizations`).
        activation: "linear"; for the others see `perdure.stable_approximation`.
        widths: m, increasing; at least four for a decision.
        groups: which weights are moved (see `perturbation_error`). With the readout or the input among them, unnormalised modes of a slow
            target fail under every parametrisation.
        radii: beta for the curves; None takes 0 and 24 values from 1e-4 to 2.
        threshold: relative to ||H||_{W1}.
        seed: of the ascent's random starts.

    Returns:
        A `Verdict`.

    Raises:
        ValueError: an activation other than "linear", widths not increasing, threshold outside (0, 1), a target that is 0.
        TypeError: widths that are no sequence of integers, a target that is no linear functional.

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
            "exact verdicts exist for linear networks; perdure.stable_approximation trains and searches nonlinear ones",
        )
    if not isinstance(target, LinearFunctional):
        raise ArgumentTypeError(
            f"expected argument `target` to be a linear functional, but got {type(target).__name__}: build one with perdure.functionals"
        )
    sizes = widths_of(widths)
    seed = _checks.positive_int(seed, "seed", "pass a non-negative integer", least=0)
    threshold = threshold_of(threshold)
    common = np.concatenate([[0.0], np.geomspace(1e-4, 2.0, 24)]) if radii is None else _checks.radii(radii)
    size = target.norm()
    if size == 0:
        raise _checks.fail("target", "other than zero", repr(target), "nothing is to be remembered: every model with readout 0 is exact")
    options = Options(target, size, common, threshold * size, groups, parametrization, seed)
    first = judge("sums of least W1 error", {m: approximate(target, m) for m in sizes}, options)
    if first.outcome == "stable" or not _cancels(first):
        return first
    sums = {m: damped_sum(target, m) for m in sizes}
    second = judge("exponentially damped Fourier sums", {m: model for m, model in sums.items() if model is not None}, options)
    if second.outcome == "stable":
        return second
    kept = list(first.coefficients.values())
    words = (
        f"for the {first.reason}; but their coefficients grow (sum |a_k| from {kept[0]:.3g} to {kept[-1]:.3g}), so that it "
        f"may be their cancellation that does not survive, and another family may be stable. Tried too, with bounded "
        f"coefficients: {second.reason}"
    )
    return replace(first, outcome="undecided", beta0=None, reason=words)


def widths_of(widths: Any) -> list[int]:
    """Checked widths."""
    if isinstance(widths, str) or not isinstance(widths, Iterable):
        raise ArgumentTypeError(
            f"expected argument `widths` to be a sequence of integers, but got {widths!r}: pass several, for example (4, 8, 16, 32, 64)"
        )
    sizes = [_checks.positive_int(m, "widths") for m in widths]
    if not sizes or sorted(set(sizes)) != sizes:
        raise _checks.fail("widths", "non-empty and strictly increasing", sizes, "for example (4, 8, 16, 32, 64)")
    return sizes


def threshold_of(threshold: float) -> float:
    """A checked relative threshold."""
    threshold = _checks.positive(threshold, "threshold")
    if threshold >= 1:
        raise _checks.fail("threshold", "below 1", threshold, "it is relative to the norm of the target: the zero model has error 1")
    return threshold


@dataclass(frozen=True)
class Options:
    """What is judged, and how."""

    target: Any
    size: float
    radii: Array
    level: float
    groups: str | Sequence[str]
    parametrization: str | Parametrization
    seed: int

    def nominal(self, model: Any, curve: PerturbationCurve) -> float:
        """E_m(0)."""
        return (model.error or 0.0) * self.size

    def coefficients(self, model: Any) -> float:
        """sum_k |a_k|."""
        return float(np.abs(model.coefficients).sum())

    def curve(self, model: Any, radii: Array) -> PerturbationCurve:
        """E_m on some radii."""
        return perturbation_error(
            model, self.target, radii, groups=self.groups, parametrization=self.parametrization, seed=self.seed, perturbations=1
        )


def judge(family: str, models: dict[int, Any], options: Options) -> Verdict:
    """The verdict on one family of models by width."""
    sizes = list(models)
    nominal: dict[int, float] = {}
    curves: dict[int, PerturbationCurve] = {}
    radius: dict[int, float] = {}
    before: int | None = None
    for m, model in models.items():
        if before is not None and options.groups == "recurrent" and _same(models[before], model):  # more copies of the same modes
            curves[m], radius[m], nominal[m] = replace(curves[before], width=model.width), radius[before], nominal[before]
        else:
            curves[m] = options.curve(model, options.radii)
            nominal[m] = options.nominal(model, curves[m])
            radius[m] = 0.0 if nominal[m] > options.level else _radius(model, curves[m], options)
        before = m
    resolved = [m for m in sizes if nominal[m] <= 0.25 * options.level]
    larger = sizes[len(sizes) // 2 :]
    error_trend = fit(sizes, [max(nominal[m], 1e-300) for m in sizes])
    radius_trend = fit(resolved, [radius[m] for m in resolved])
    outcome, reason = _decide(nominal, options.size, resolved, error_trend, radius_trend, radius)
    kept = [m for m in resolved if m in larger]
    beta0 = {"stable": min((radius[m] for m in kept), default=0.0), "unstable": 0.0, "undecided": None}[outcome]
    any_curve = next(iter(curves.values()), None)
    return Verdict(
        outcome=outcome,
        beta0=beta0,
        curves=curves,
        radii=options.radii,
        asymptotic=np.max([curves[m].error for m in larger], axis=0) if larger else np.full(options.radii.shape, np.inf),
        radius=radius,
        threshold=options.level,
        error_trend=error_trend,
        radius_trend=radius_trend,
        reason=f"{family}: {reason}",
        parametrization=any_curve.parametrization if any_curve else str(options.parametrization),
        groups=any_curve.groups if any_curve else (),
        family=family,
        ball=any_curve.ball if any_curve else "",
        coefficients={m: options.coefficients(model) for m, model in models.items()},
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two sums are the same modes in different numbers of copies, which move alike where only the rates do (see `folded`)."""
    if not isinstance(one, ExponentialSum) or not isinstance(other, ExponentialSum):
        return False
    (rates, weights), (rates2, weights2) = folded(*one.modes()), folded(*other.modes())
    return rates.size == rates2.size and bool(np.array_equal(rates, rates2)) and bool(np.allclose(weights, weights2, rtol=1e-12, atol=0))


def _cancels(verdict: Verdict) -> bool:
    """Whether coefficients grow from the smallest to the largest width that shows a radius."""
    sums = [c for m, c in verdict.coefficients.items() if verdict.radius[m] > 0]
    return len(sums) > 1 and max(sums) > GROWTH * sums[0]


def _radius(model: Any, curve: PerturbationCurve, options: Options) -> float:
    """r_m, refined between the two radii where the curve passes the threshold, or below the first of them."""
    below = np.nonzero(curve.error <= options.level)[0]
    last = int(below[-1]) if below.size else -1
    low = float(curve.radii[last]) if last >= 0 else 0.0
    edge = curve.divergence_radius
    high = min(float(curve.radii[last + 1]) if last + 1 < curve.radii.size else np.inf, edge)
    while not np.isfinite(high):  # beyond the last common radius
        high = 4 * low if low > 0 else 1.0
        if high > FARTHEST:
            return FARTHEST
        if options.curve(model, np.array([high])).error[0] <= options.level:
            low, high = high, np.inf
    for _ in range(ROUNDS if low == 0 else 0):  # below the first
        low = 0.1 * high
        if options.curve(model, np.array([low])).error[0] <= options.level:
            break
        high = low
    else:
        if low == 0 or high <= low:
            return 0.0
    own = np.unique(low + (high - low) * np.linspace(0.0, 1.0, 9)[: 8 if high == edge else 9])
    fine = options.curve(model, own)
    return fine.radius_below(options.level)


def _decide(
    nominal: dict[int, float], size: float, resolved: list[int], error: Trend | None, radius: Trend | None, radii: dict[int, float]
) -> tuple[str, str]:
    if len(nominal) < 3:
        return "undecided", f"{len(nominal)} widths show no trend: pass at least four"
    largest = max(nominal)
    last = nominal[largest] / size
    if last > ROUNDING and (error is None or error.high >= 0) and not (error is not None and error.direction == "shrinks"):
        return (
            "undecided",
            f"the error without perturbation does not clearly fall with the width ({last:.2g} of the norm at m = {largest}): add larger widths",
        )
    if len(resolved) < 3 or radius is None:
        more = ", ".join(str(m) for m in (2 * largest, 4 * largest)[: max(1, 3 - len(resolved))])
        return "undecided", (
            f"{len(resolved)} of the widths {', '.join(map(str, nominal))} ({', '.join(map(str, resolved)) or 'none'}) approximate the target well "
            f"enough (E_m(0) at most a quarter of the threshold) to show how the radius behaves, and three are needed; the relative error at "
            f"m = {largest} is {last:.2g}: add the widths {more}, some in between, or raise the threshold"
        )
    words = (
        f"the radius at which the error stays below the threshold goes from {radii[resolved[0]]:.3g} at m = {resolved[0]} to {radii[resolved[-1]]:.3g} "
        f"at m = {resolved[-1]}; fitted: {radius}"
    )
    if radius.direction == "shrinks":
        return "unstable", words + "; it shrinks without end"
    if radius.direction == "survives":
        return "stable", words + "; it survives"
    return "undecided", words + f"; whether it loses more than {LOSS} octaves a doubling cannot be told: add widths"
