"""The page of a comparison."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from perdure.audits.charts import curve_series, heights, specify, time_label
from perdure.audits.layer_sections import WHERE
from perdure.audits.page import FACTS, Shown
from perdure.audits.pictures import drawn
from perdure.audits.sections import law_text, said
from perdure.audits.words import number
from perdure.report.chart import Chart
from perdure.report.page import fill
from perdure.report.table import Table

if TYPE_CHECKING:
    from perdure.audits.compare import Comparison


def page(found: Comparison, pictures: bool = False) -> str:
    """The HTML text.

    Args:
        found: to show.
        pictures: whether charts stand in it as pictures too, for readers without scripts.
    """
    sections = [_numbers(found), _curves(found), _lengths(found), _precision(found)]
    sections = [section for section in sections if section.tables or section.charts]
    return fill(
        "audit.html.j2",
        [specify(chart) for section in sections for chart in section.charts],
        title="Comparison of " + ", ".join(found.names),
        lead="Each number is read off that model's own audit; lower bounds are marked by ≥.",
        cards=[],
        advice=[
            {"text": text, "number": "", "section": "numbers", "section_title": "the numbers"}
            for text in (*sentences(found), *found.warnings)
        ],
        advice_title="What differs",
        sections=sections,
        facts=FACTS,
        pictures=drawn([chart for section in sections for chart in section.charts]) if pictures else {},
    )


def sentences(found: Comparison) -> list[str]:
    """Who looks back further, and by how much; whose memory follows another law."""
    made = []
    rows = {row["quantity"]: row["models"] for row in found.rows()}
    for quantity, what in (("half_life", "half-life"), ("horizon(0.01)", "1 % horizon"), ("stability_radius", "stability radius")):
        cells = {name: cell["value"] for name, cell in rows.get(quantity, {}).items() if cell["value"] is not None}
        if len(cells) < 2:
            continue
        low, high = min(cells, key=lambda n: cells[n]), max(cells, key=lambda n: cells[n])
        if cells[high] > cells[low]:
            by = (
                f"{cells[high] / cells[low]:.3g} times that of {low} ({number(cells[low])})"
                if 0 < cells[low] and math.isfinite(cells[high])
                else f"against {number(cells[low])} of {low}"
            )
            made.append(f"The longest {what} is that of {high}: {number(cells[high])}, {by}." if what != "stability radius"
                        else f"The largest stability radius is that of {high}: {number(cells[high])}, {by}.")  # fmt: skip
    laws = {name: cell["value"] for name, cell in rows.get("law", {}).items()}
    if len(set(laws.values())) > 1:
        made.append("The laws differ: " + ", ".join(f"{name} {law}" for name, law in laws.items()) + ".")
    return made


def _text(cell: dict[str, Any]) -> str:
    value = cell["value"]
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ("≥ " if cell["bound"] else "") + (value if isinstance(value, str) else number(float(value)))


def _numbers(found: Comparison) -> Shown:
    rows = [
        (row["quantity"].replace("_", " "), *(_text(row["models"][name]) for name in found.names), row["meaning"]) for row in found.rows()
    ]
    table = Table("A dash: not measured in that audit.", ("", *found.names, "what it is"), tuple(rows))
    return Shown("numbers", "The numbers side by side", (), (), (), (table,))


def _curves(found: Comparison) -> Shown:
    curves = {name: a.curve for name, a in zip(found.names, found.audits, strict=True) if a.curve is not None}
    charts = []
    for log in (False, True):
        shares = {
            name: {
                **c,
                "values": [v / max(max(c["values"]), 1e-300) for v in c["values"]],
                "noise_floor": c["noise_floor"] / max(max(c["values"]), 1e-300),
            }
            for name, c in curves.items()
        }
        series = curve_series(shares, log)
        where = "logarithmic" if log else "linear"
        caption = "Each memory as a share of its own peak, by the probe that speaks for the model."
        if series:
            charts.append(Chart(f"plot-compare-{where}", f"memory, {where} time", time_label(found.audits[0].dt), "share of the peak", tuple(series), caption,
                                x_log=log, y_log=True, y_range=heights(series)))  # fmt: skip
    rows = [
        (
            name,
            law_text(c["law"]),
            *(said(c["readings"][r]) for r in ("half_life", "horizon_10", "horizon_1", "horizon_01")),
            c["probe"],
            c["status"],
        )
        for name, c in curves.items()
    ]
    table = Table(
        "Times after which the envelope stays below a share of its peak.",
        ("model", "law", "half-life", "10 % left", "1 % left", "0.1 % left", "probe", "the curve is"),
        tuple(rows),
    )
    return Shown("curves", "Memory functions", (), (), tuple(charts), (table,) if rows else ())


def _lengths(found: Comparison) -> Shown:
    rows = []
    for name, a in zip(found.names, found.audits, strict=True):
        for row in (a.part("lengths") or {}).get("rows", ()):
            left = number(row["left"]) if row["left"] > row["noise"] else f"below noise ({number(row['noise'])})"
            rows.append((name, f"{row['multiple']} ×", str(row["steps"]), left, row["law"], said(row["readings"]["horizon_1"])))
    table = Table(
        "Each curve read over multiples of the training length.",
        ("model", "length", "steps", "left at its end", "law", "1 % left"),
        tuple(rows),
    )
    return Shown("lengths", "Beyond the training length", (), (), (), (table,) if rows else ())


def _precision(found: Comparison) -> Shown:
    rows = []
    for name, a in zip(found.names, found.audits, strict=True):
        part = a.part("precision") or {"rows": ()}
        for row in part["rows"]:
            times = (number(row[key]) if part["readable"] else "–" for key in ("half_life", "horizon_1"))
            rows.append((name, row["format"], WHERE[row["where"]], number(row["error"]), *times))
    about = "Largest change of a response over the peak, and the memory, in each format."
    table = Table(about, ("model", "format", "of", "largest change", "half-life", "1 % left"), tuple(rows))
    return Shown("precision", "Precision", (), (), (), (table,) if rows else ())
