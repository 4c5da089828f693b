"""What the numbers of the demo say, as sentences; every number in them is computed here from the results."""

from __future__ import annotations

import math

import numpy as np

from perdure.experiments.co2 import CO2Result, Trained
from perdure.experiments.curse import SAMPLES, Curse, Panel
from perdure.report.charts import pretty

SMALL = 0.1  # share of the target's norm under which an error counts as small


def findings(curse: Curse, co2: CO2Result | None) -> list[str]:
    """One sentence or two for each figure, headline first."""
    result = [radius_sentence(curse), exponential_sentence(curse.panels["fig1a"]), stable_sentence(curse)]
    if "sharp-exp" in curse.panels:
        result.append(agreement_sentence(curse))
    result.append(sampling_sentence(curse))
    if co2 is not None:
        result += [forecast_sentence(co2), *(memory_sentence(model) for model in co2.models)]
    return result


def radius_sentence(curse: Curse) -> str:
    """Fig. 1b: how the divergence radius falls."""
    trend, panel = curse.trend, curse.panels["fig1b"]
    first, last = int(trend.widths[0]), int(trend.widths[-1])
    falls = trend.a - 2 * trend.a_error > 0
    verdict = "the curse of memory" if falls else "no clear trend"
    return (
        f"Direct weights, polynomial memory {pretty(panel.kernel)}: the change of a recurrent weight that makes the error infinite goes "
        f"from "
        f"{trend.radii[0]:.2g} at width {first} to {trend.radii[-1]:.2g} at width {last}, "
        f"like e^(-a √m) with a = {trend.a:.1f} ± {2 * trend.a_error:.1f} (two standard errors): {verdict}."
    )


def exponential_sentence(panel: Panel) -> str:
    """Fig. 1a: whether the curves lie on one another."""
    spread, radii = _spread(panel, list(panel.curves), 0.0, math.inf)
    divergence = {c.divergence_radius for c in panel.curves.values()}
    at = f"{min(divergence):.3g}" if max(divergence) - min(divergence) < 1e-6 else f"{min(divergence):.3g} to {max(divergence):.3g}"
    return (
        f"Direct weights, exponential memory {pretty(panel.kernel)}: over the {radii} radii with a finite error the curves of all "
        f"widths differ by "
        f"{'up to ' if spread >= 1e-4 else ''}{_percent(spread)}, and all diverge at {at}, the rate of the target."
    )


def stable_sentence(curse: Curse) -> str:
    """Fig. 4: what the stable maps change."""
    parts = []
    for name in ("fig4-exp", "fig4-softplus"):
        panel = curse.panels[name]
        widest = max(panel.curves)
        curve = panel.curves[widest]
        radius = curve.radius_below(SMALL * curve.target_norm)
        finite = all(math.isinf(c.divergence_radius) for c in panel.curves.values())
        parts.append(
            f"with {panel.parametrization} {'no width diverges' if finite else 'some widths diverge'} and at width {widest} the error "
            f"stays under "
            f"{_percent(SMALL)} of the target's norm up to β = {radius:.2g}"
        )
    direct = curse.trend.radii[-1]
    return (
        f"The same target and sums, trained through stable maps: {'; '.join(parts)}. The direct map at that width breaks at {direct:.2g}."
    )


def agreement_sentence(curse: Curse) -> str:
    """Fig. 4: by how much wide models differ, on the paper's target and on one whose approximation error is negligible."""
    paper, sharp = curse.panels["fig4-exp"], curse.panels["sharp-exp"]
    wide = [m for m in paper.curves if m in sharp.curves]
    own, _ = _spread(paper, wide, 1e-3, 1e-1)
    other, _ = _spread(sharp, wide, 1e-3, 1e-1)
    return (
        f"Between widths {wide[0]} and {wide[-1]} the exp curves for β in [0.001, 0.1] differ by up to {_percent(own)}: E(0), the "
        f"unperturbed approximation error, is still "
        f"{_percent(paper.approximation[wide[0]])} of the norm at width {wide[0]}. With the faster kernel {pretty(sharp.kernel)}, "
        f"where it is {sharp.approximation[wide[0]]:.1g}, they differ by at most {_percent(other)}."
    )


def sampling_sentence(curse: Curse) -> str:
    """What random perturbations find of the growth."""
    share = curse.found_by_sampling
    return (
        f"Random sampling underestimates: at width {curse.exact.width}, map {curse.exact.parametrization}, the best of {SAMPLES} random "
        f"perturbations finds "
        f"{_percent(float(share.min()))} to {_percent(float(share.max()))} of the growth of the error that ascent finds."
    )


def forecast_sentence(co2: CO2Result) -> str:
    """Held-out errors against the baselines."""
    models = " and ".join(f"{m.error:.3f} ppm ({m.name})" for m in co2.models)
    best = min(m.error for m in co2.models)
    better = "better" if best < min(co2.persistence, co2.seasonal) else "not better"
    return (
        f"Weekly CO₂, next week, {co2.record.inputs.size - co2.record.split} held-out weeks: root mean square error {models}, {better} "
        f"than "
        f"“as this week” ({co2.persistence:.3f} ppm) and “as the same week changed a year ago” ({co2.seasonal:.3f} ppm)."
    )


def memory_sentence(model: Trained) -> str:
    """Half-lives and laws of one model by both probes."""
    parts = []
    for probe, law in model.law.items():
        name = law.law if law.law != "undecided" else f"undecided ({law.best_law} likeliest)"
        parts.append(f"{probe} probe half-life {_weeks(law.half_life)}, 1 % left after {_weeks(law.horizon(0.01))}, law {name}")
    return f"The {model.name} looks back: {'; '.join(parts)}."


def _spread(panel: Panel, widths: list[int], low: float, high: float) -> tuple[float, int]:
    """Largest max/min - 1 over widths of errors above rounding, and the number of radii in [low, high] at which all are finite."""
    curves = [panel.curves[m] for m in widths]
    values = np.stack([c.error for c in curves])
    radii = curves[0].radii
    use = np.isfinite(values).all(0) & (radii >= low) & (radii <= high) & (values.min(0) > 1e-9 * curves[0].target_norm)
    if not use.any():
        return 0.0, 0
    return float((values[:, use].max(0) / values[:, use].min(0) - 1).max()), int(use.sum())


def _percent(share: float) -> str:
    """A share as a percentage, or as a factor where that reads better.

    >>> _percent(0.071), _percent(1e-12), _percent(27.0)
    ('7.1 %', 'less than 0.01 %', 'a factor of 28')
    """
    if share > 2:
        return f"a factor of {1 + share:.2g}"
    return f"{100 * share:.2g} %" if share >= 1e-4 else "less than 0.01 %"


def _weeks(time: float) -> str:
    return "never" if math.isinf(time) else f"{time:.3g} weeks"
