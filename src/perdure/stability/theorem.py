r"""The theorem of inverse approximation, held against measurements.

Theorem 3.9 of Wang, Li & Li (2024): for dh/dt = sigma(W h + U x + b) with tanh- or hardtanh-like sigma (for linear sigma see Li et al.
2022), weights that stay bounded as the width grows, and perturbed models whose memories decay uniformly,

    H is beta_0-stably approximated   =>   e^{beta t} M(H)(t) -> 0 for every beta < beta_0,

or: the decay rate of the target's memory, r = sup { beta : e^{beta t} M(t) -> 0 }, is at least beta_0. The shifts W + beta I among the moves
carry it: a model that survives them has all its eigenvalues left of -beta_0. So the implication already follows for smaller balls that hold
these shifts, such as those of diagonal moves (groups "recurrent"), whose beta_0 is larger. It is about W moved directly. Under W = g(v) a
ball in v is another ball: a stable map survives every radius, with any decay, and nothing is claimed.

What is checked, at each radius beta of the curves: is stable approximation up to beta shown, refuted or open (`perdure.stability.premise`),
and is r >= beta shown, refuted or open (`perdure.stability.decay_rate`)? The implication is violated at a radius where the first is shown
and the second refuted, and holds where the first is refuted or the second shown. The whole "holds" where it holds at every radius. For a
target that is slower than every exponential, r = 0, so that this is the contrapositive: no radius may survive, r_m must shrink with the
width.

None of this is a proof: the limit over widths is a trend over finitely many, the family of models is one of many, and the rate is fitted on
a finite stretch of time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure import _checks
from perdure._typing import Array
from perdure.memory import MemoryFunction
from perdure.memory.law import DecayFit
from perdure.parametrizations import Parametrization
from perdure.stability.curve import PerturbationCurve, plain
from perdure.stability.decay_rate import DecayRate, decay_rate
from perdure.stability.perturbation import perturbation_error
from perdure.stability.premise import Premise, premise
from perdure.stability.theorem_models import checked_map, chosen_radii, curves_of, family_of, options, warnings_of
from perdure.stability.trend import Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTHS = (4, 8, 16, 32, 64)
CAVEAT = "measured on finitely many widths and a finite stretch of the memory: no proof"


@dataclass(frozen=True)
class Contrapositive:
    """A target slower than every exponential, whose models must not survive any radius.

    Attributes:
        outcome: "holds" (r_m shrinks without end), "violated" (it survives) or "undecided".
        law: of the target's memory.
        radius: r_m by width, the radius up to which E_m stays below the threshold; 0 where E_m(0) is above.
        divergence: by width, the radius at which E_m becomes infinite.
        trend: how r_m goes with the width, or, where too few widths have one, `divergence`.
    """

    outcome: str
    law: str
    radius: dict[int, float]
    divergence: dict[int, float]
    trend: Trend | None


@dataclass(frozen=True)
class TheoremCheck:
    """The theorem "stable up to beta_0, so the memory decays at least at the rate beta_0", measured on one target and one family.

    Attributes:
        outcome: "holds", "violated" or "undecided", on the radii measured.
        beta0: the largest radius up to which stable approximation is shown, per unit time; 0 where the radius shrinks with the width; None where
            neither is seen.
        beta0_interval: the largest radius shown and the least refuted (inf if none is).
        rate: of the target's memory, per unit time: sup { beta : e^{beta t} M(t) -> 0 }; 0 if slower than every exponential, inf if it ends,
            None if undecided.
        rate_interval: what the fit leaves open.
        contrapositive: for a slow target; else None.
        radii: positive radii, (R,).
        stable: "shown", "refuted" or "open" at each: stable approximation up to it.
        decays: the same for rate >= radius.
        reason: in words, with numbers.
        notes: what the theorem asks and these models do not give, and what else a reader should know.
        curves: `PerturbationCurve` by width.
        premise: how the curves were judged, with r_m and its trend.
        decay: how the rate was found, with its `DecayFit`.
        groups, ball, threshold, seed: which weights move, in which norm; the relative error that r_m refers to; the seed.
    """

    outcome: str
    beta0: float | None
    beta0_interval: tuple[float, float]
    rate: float | None
    rate_interval: tuple[float, float]
    contrapositive: Contrapositive | None
    radii: Array
    stable: tuple[str, ...]
    decays: tuple[str, ...]
    reason: str
    notes: tuple[str, ...]
    curves: dict[int, PerturbationCurve]
    premise: Premise
    decay: DecayRate
    groups: tuple[str, ...]
    ball: str
    threshold: float
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, valid as strict JSON: infinity is the string "inf"."""
        other = self.contrapositive

        def number(value: float | None) -> Any:
            return None if value is None else plain(value)

        return {
            "outcome": self.outcome, "beta0": number(self.beta0), "beta0_interval": plain(self.beta0_interval), "rate": number(self.rate),
            "rate_interval": plain(self.rate_interval), "reason": self.reason, "notes": list(self.notes),
            "radii": plain(self.radii), "stable": list(self.stable), "decays": list(self.decays),
            "radius": {str(m): plain(r) for m, r in self.premise.radius.items()},
            "divergence_radius": {str(m): plain(r) for m, r in self.premise.divergence.items()},
            "contrapositive": None if other is None else {"outcome": other.outcome, "law": other.law, "trend": None if other.trend is None else str(other.trend)},
            "law": self.decay.fit.law, "groups": list(self.groups), "ball": self.ball, "threshold": self.threshold, "seed": self.seed,
            "curves": {str(m): curve.to_dict() for m, curve in self.curves.items()},
        }  # fmt: skip

    def plot(self, ax: Axes | None = None) -> Axes:
        """E_m(beta) by width; beta_0 as a shaded bracket, and the decay rate as a line: the theorem has it right of what survives."""
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        shades = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, len(self.curves)))
        for shade, (m, curve) in zip(shades, self.curves.items(), strict=True):
            curve.plot(ax, color=shade, label=f"m = {m}")
        low, high = self.beta0_interval
        if math.isfinite(high) and high > 0:
            ax.axvspan(max(low, float(self.radii.min())), max(high, float(self.radii.min())), color="0.85", zorder=0, label="bracket of β₀")
        if self.rate is not None and 0 < self.rate < math.inf:
            ax.axvline(self.rate, color="C3", linewidth=1.2, label="decay rate of the memory")
        ax.set_title(f"rate ≥ β₀: {self.outcome}")
        ax.legend()
        return ax


def check_theorem(
    target: Any,
    models: Mapping[int, Any] | Sequence[Any] | Any = None,
    *,
    radii: Sequence[float] | Array | None = None,
    groups: str | Sequence[str] = "recurrent",
    parametrization: str | Parametrization = "direct",
    widths: Sequence[int] | Any = WIDTHS,
    threshold: float = 0.1,
    memory: MemoryFunction | DecayFit | Mapping[str, Any] | Any = None,
    search: Mapping[str, Any] | Any = None,
    seed: int | Any = 0,
) -> TheoremCheck:
    r"""Whether a target that is stably approximated up to beta_0 forgets at least at the rate beta_0 (Wang, Li & Li 2024, Theorem 3.9).

    Args:
        target: a linear functional, or a model of any kind.
        models: of growing width: {width: model}, or a list of exponential sums. Models are exponential sums or torch modules in continuous time
            (with an attribute `dt`) that train W itself, such as `perdure.nn.ContinuousRNN(..., parametrization="direct")`. None builds the
            sums of least W1 error, for a linear target.
        radii: beta, per unit time, increasing; None takes some 20 that span the divergence radii of linear models, or 1e-3 to 1.
        groups: which weights move, "recurrent" among them (see `perturbation_error`).
        parametrization: "direct"; the theorem claims nothing about others.
        widths: of the models that are built.
        threshold: relative to ||H||_{W1}: the error up to which r_m counts a radius as survived.
        memory: the target's `MemoryFunction` or `DecayFit` if there is one, or options for `perdure.memory_function`.
        search: options for `perdure.perturbation_error`, such as {"horizon": 50.0} for modules.
        seed: of searches.

    Returns:
        A `TheoremCheck`.

    Raises:
        ArgumentError: a parametrisation other than direct, groups without "recurrent", no models for a target that is not linear, a target that is
            zero, sizes that do not match, models in discrete time, widths or radii that do not increase.
        ArgumentTypeError: models of another kind.

    >>> from perdure import functionals as F
    >>> check = check_theorem(F.exponential(rate=1.0))
    >>> check.outcome, round(check.rate, 6), [round(b, 6) for b in check.beta0_interval]
    ('holds', 1.0, [0.98, 1.0])
    >>> slow = check_theorem(F.polynomial(power=2.0))
    >>> slow.outcome, slow.rate, slow.beta0, slow.contrapositive.trend.direction
    ('holds', 0.0, 0.0, 'shrinks')

    Reference:
        Wang, Li & Li, "Inverse Approximation Theory for Nonlinear Recurrent Neural Networks", ICLR 2024, Theorem 3.9; Li, Han, E & Li,
        "Approximation and Optimization Theory for Linear Continuous-Time Recurrent Neural Networks", JMLR 2022 (linear case).
    """
    checked_map(parametrization)
    seed = _checks.positive_int(seed, "seed", "pass a non-negative integer", least=0)
    threshold = _checks.positive(threshold, "threshold")
    if threshold >= 1:
        raise _checks.fail("threshold", "below 1", threshold, "it is relative to the norm of the target: the zero model has error 1")
    chosen = options(search, "search", perturbation_error, ("model", "target", "radii", "groups", "seed", "parametrization"))
    family = family_of(target, models, widths)
    decay = decay_rate(target, memory, seed)
    beta = chosen_radii(family, target, radii, groups)
    curves = curves_of(family, target, beta, groups, chosen, seed)
    found = premise(curves, threshold)
    low, high = decay.interval
    decays = tuple("shown" if low >= r else "refuted" if high < r else "open" for r in found.radii)
    outcome = _outcome(found.said, decays)
    first = next(iter(curves.values()))
    return TheoremCheck(
        outcome=outcome,
        beta0=found.beta0,
        beta0_interval=found.bracket,
        rate=decay.value,
        rate_interval=decay.interval,
        contrapositive=Contrapositive(outcome, decay.fit.law, found.radius, found.divergence, found.trend) if decay.slow else None,
        radii=found.radii,
        stable=found.said,
        decays=decays,
        reason=_reason(outcome, found, decay, decays),
        notes=(CAVEAT, *warnings_of(family, curves)),
        curves=curves,
        premise=found,
        decay=decay,
        groups=first.groups,
        ball=first.ball,
        threshold=threshold,
        seed=seed,
    )


def _outcome(stable: tuple[str, ...], decays: tuple[str, ...]) -> str:
    """The implication "stable up to beta, so rate >= beta", over all radii."""
    pairs = list(zip(stable, decays, strict=True))
    if ("shown", "refuted") in pairs:
        return "violated"
    return "holds" if all(s == "refuted" or d == "shown" for s, d in pairs) else "undecided"


def _reason(outcome: str, found: Premise, decay: DecayRate, decays: tuple[str, ...]) -> str:
    low, high = found.bracket
    upper = f"and refuted from {high:.4g} on" if math.isfinite(high) else "and nowhere refuted"
    stable = {True: "no radius survives: beta_0 = 0", False: f"stable approximation is shown up to {low:.4g} {upper}"}[found.shrinks]
    if low == 0.0 and not found.shrinks:
        stable = f"stable approximation is shown at no radius {upper}"
    verdict = {
        "holds": "at every radius the theorem's implication holds" if not decay.slow else "as the theorem says of a memory without a rate",
        "violated": "models survive a radius that the memory's decay does not match, against the theorem for this family",
        "undecided": "at some radius both stay open",
    }[outcome]
    if outcome == "undecided":
        at = next(r for r, s, d in zip(found.radii, found.said, decays, strict=True) if s != "refuted" and d != "shown")
        verdict = f"undecided from the radius {at:.4g} on"
    return f"decay rate of the memory: {decay}; {stable} ({found.reason}); {verdict}"
