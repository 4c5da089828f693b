"""What `perdure demo` leaves in its folder: the page, the figures, the numbers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from perdure.experiments.co2 import CO2Result
from perdure.experiments.curse import Curse
from perdure.report import tables
from perdure.report.chart import Chart
from perdure.report.charts import by_name, co2_charts, curse_charts
from perdure.report.files import write
from perdure.report.findings import findings
from perdure.report.page import Section, page, strict_json
from perdure.report.plots import figure, render

TITLE = "The curse of memory, exactly"
LEAD = (
    "A linear recurrent network can approximate a slowly fading memory as closely as one likes, and the better it does, the smaller the "
    "change of its "
    "weights that destroys it, unless the weights go through a stable map."
)
FACTS = {
    "What is perturbed": "The recurrent weights alone, each by at most β in the coordinate that is trained: the eigenvalue itself "
    "(direct), or the v behind it "
    "(exp: -e^v, softplus: -log(1 + e^v)). Input and readout weights stay. The largest absolute change counts (max norm).",
    "Norm": "W1: the supremum over time of the operator norms of the output and of its time derivative. For a linear functional this is "
    "∫|ρ| dt + |ρ(0)| + ∫|ρ'| dt, without any data. Charts divide by the norm of the target.",
    "Horizon": "Infinite. On a finite horizon T a direct model looks stable for β < 1/T, whatever its width.",
    "Exact or bound": "Norms, approximation errors and divergence radii are exact to rounding. The perturbation error is a supremum: "
    "ascent from several starts "
    "gives a lower bound, the triangle inequality mode by mode an upper one; both are in the table. Random sampling gives a lower bound "
    "too.",
    "Models": "Near-optimal exponential sums of each width, computed and not trained.",
    "Memory functions": "Response per unit of input; the largest over inputs up to one standard deviation, found by search: a lower "
    "bound for nonlinear "
    "models. The laws are fitted to the upper envelope of the tail, above the noise floor.",
}


def sections(curse: Curse, co2: CO2Result | None, charts: dict[str, Chart]) -> list[Section]:
    """The page in reading order."""
    result = [
        Section(
            "Direct weights",
            "The theorem behind these figures says that only exponentially fading memories are approximated stably by direct weights. "
            "First a target with "
            "exponential memory, where the curves of all widths should lie on one another, then one with polynomial memory, where the "
            "radius at which the "
            "error leaves the figure should shrink with the width.",
            (charts["fig1a"], charts["fig1b"]),
        ),
        Section(
            "Stable maps of the same weights",
            "The very sums of Fig. 1b, with the recurrent weights trained through exp or softplus. No finite change of v makes a mode "
            "grow.",
            tuple(charts[name] for name in ("fig4-exp", "fig4-softplus", "sharp-exp", "sharp-softplus") if name in charts),
        ),
        Section(
            "How fast the curse sets in, and how much of it sampling sees",
            "First the exact radius at which the direct model of Fig. 1b breaks, then the supremum found by ascent beside the random "
            "perturbations of the paper.",
            (charts["radius"], charts["sampling"]),
            (tables.radius_table(curse), tables.curse_table(curse)),
        ),
    ]
    if co2 is not None:
        text = (
            "A GRU and an LSTM trained for a few seconds on the weekly record of Mauna Loa that ships with statsmodels. Input: the "
            "deviation from the mean of the "
            "trailing 52 weeks, standardised on the training years. Nothing of the held-out years enters the training."
        )
        names = ("forecast", *(f"memory-{m.name.lower()}" for m in co2.models))
        result.append(
            Section(
                "Two trained models on real data",
                text,
                tuple(charts[n] for n in names),
                (tables.forecast_table(co2), tables.memory_table(co2)),
            )
        )
    return result


def save(folder: Path, curse: Curse, co2: CO2Result | None, command: str) -> list[Path]:
    """Write index.html, figures/*.png and *.svg, and the numbers as Parquet and strict JSON; the page last.

    Args:
        folder: exists and can be written (`perdure.report.files.writable_folder`).
        curse: results of `perdure.experiments.curse.run`.
        co2: results of `perdure.experiments.co2.run`, or None to leave that part out.
        command: how to get the same page again.
    """
    charts = by_name(curse_charts(curse) + (co2_charts(co2) if co2 else []))
    written = []
    (folder / "figures").mkdir(exist_ok=True)
    groups = {"fig1": ("fig1a", "fig1b"), "fig4": ("fig4-exp", "fig4-softplus")}
    grouped = {name: [charts[n] for n in names] for name, names in groups.items()}
    for name, members in {**grouped, **{name: [chart] for name, chart in charts.items()}}.items():
        fig = figure(members)
        written += [write(folder / "figures" / f"{name}.{kind}", render(fig, kind)) for kind in ("png", "svg")]
    for name, result in {"curse": curse, "co2": co2}.items():
        if result is not None:
            written.append(
                write(folder / f"{name}.json", strict_json({"note": 'infinity is the string "inf"', **result.to_dict()}, indent=1) + "\n")
            )
            written.append(write(folder / f"{name}.parquet", parquet(result.to_frame())))
    if co2 is not None:
        written.append(write(folder / "co2-forecasts.parquet", parquet(co2.forecasts())))
    facts = {
        **FACTS,
        "Again": f"{command}. The numbers are in curse.json, curse.parquet, co2.json and co2.parquet beside this page; figures as PNG "
        f"and SVG in figures.",
    }
    html = page(TITLE, LEAD, findings(curse, co2), sections(curse, co2, charts), facts)
    return [*written, write(folder / "index.html", html)]


def parquet(frame: Any) -> bytes:
    """A pandas table as the bytes of a Parquet file; infinities stay infinities."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()
