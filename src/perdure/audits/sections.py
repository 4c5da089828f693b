"""What each section of the page shows of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure.audits.charts import curve_series, heights, lengths_chart, memory_charts, time_label
from perdure.audits.layer_sections import precision, reach, recurrence, sensitivity
from perdure.audits.quantities import needed
from perdure.audits.reading import Reading
from perdure.audits.result import Audit
from perdure.audits.words import number
from perdure.report.chart import Chart, Series
from perdure.report.table import Table


@dataclass(frozen=True)
class Content:
    """A section before it meets an audit.

    Attributes:
        title: heading.
        parts: names of the parts it shows.
        text: what a reader should know first.
        content: (audit) -> texts, charts, tables.
    """

    title: str
    parts: tuple[str, ...]
    text: str
    content: Callable[[Audit], dict[str, Any]]


def said(reading: dict[str, Any] | None) -> str:
    """A reading in a table."""
    if reading is None:
        return "–"
    value = reading["value"]
    return str(Reading(float("inf") if value is None else value, reading["status"]))


def law_text(law: dict[str, Any] | None) -> str:
    """A law with its leading parameter."""
    if law is None:
        return "none"
    name = law["law"] if law["law"] != "undecided" else f"undecided ({law['best_law']} likeliest)"
    parameters = [
        f"{k.replace('_', ' ')} {law['parameters'][k]:.3g}"
        for k in ("rate", "order", "power", "time_constant", "exponent", "level", "lag")
        if k in law["parameters"]
    ]
    return f"{name}: {', '.join(parameters)}"


def _memory(audit: Audit) -> dict[str, Any]:
    memory = audit.part("memory")
    if memory is None:  # what else the section holds is read off the memory curves or stands beside them
        more = _backgrounds(audit)
        return {"charts": more["charts"], "tables": more["tables"]}
    rows = []
    for name, curve in memory["curves"].items():
        r = curve["readings"]
        rows.append((name, law_text(curve["law"]) if not curve["blind"] else "blind: nothing after the first step", said(r["half_life"]),
                     said(r["horizon_10"]), said(r["horizon_1"]), said(r["horizon_01"]), curve["status"],
                     "; ".join(curve["notes"]) or (curve["law"] or {}).get("reason", "")))  # fmt: skip
    rows += [(name, "not measured", "–", "–", "–", "–", "–", why) for name, why in memory["failed"].items()]
    unit = "steps" if audit.dt == 1 else "time units"
    columns = ("probe", "law", f"half-life ({unit})", "10 % left", "1 % left", "0.1 % left", "the curve is", "notes")
    about = "Readings by probe; times after which the envelope stays below a share of its peak."
    texts = [f"The curve that speaks for the model: {memory['headline']}."]
    for sentence in (audit.part("agreement") or {"sentences": ()})["sentences"]:
        numbers = "; ".join(f"{what} {number(value)}" for what, value in sentence["numbers"].items() if value is not None)
        texts.append(sentence["text"] + (f" ({numbers})" if numbers else ""))
    more = _backgrounds(audit)
    return {
        "texts": tuple(texts),
        "charts": memory_charts(audit) + more["charts"],
        "tables": [Table(about, columns, tuple(rows)), *_agreement(audit), *more["tables"]],
    }


def _agreement(audit: Audit) -> list[Table]:
    found = audit.part("agreement")
    if found is None:
        return []
    rows = [(pair["first"], pair["second"], number(pair["distance"]), number(pair["half_life_ratio"])) for pair in found["pairs"]]
    about = (
        "Do the probes agree? Distance: mean |log10| of the ratio of the envelopes, each over its peak, over logarithmically spread lags."
    )
    return [Table(about, ("probe", "beside", "distance (decades)", "ratio of half-lives"), tuple(rows))]


def _backgrounds(audit: Audit) -> dict[str, Any]:
    found = audit.part("backgrounds")
    if found is None:
        return {"charts": [], "tables": []}
    lines = {"median": "median", "upper": "90 % of backgrounds below", "lower": "10 % of backgrounds below", "worst": "worst case"}
    plain = {"times": found["times"], "noise_floor": found["noise_floor"]}
    series = curve_series({said: {**plain, "values": found[name]} for name, said in lines.items()}, True)
    caption = f"The {found['probe']} probe amid zeros and {len(found['labels']) - 1} other inputs: {found['status']}."
    charts = [Chart("plot-backgrounds", "memory amid different inputs", time_label(audit.dt), "memory (output / input / time)", tuple(series), caption,
                    x_log=True, y_log=True, y_range=heights(series))] if series else []  # fmt: skip
    read = [*found["readings"].items(), *((row["label"], row) for row in found["members"])]
    rows = [(name, said(r["half_life"]), said(r["horizon_1"])) for name, r in read]
    changes = "changes" if found["input_dependent"] else "does not change"
    about = f"The memory {changes} with what is read: members differ by up to {number(found['spread'])} decades at one lag above noise."
    return {"charts": charts, "tables": [Table(about, ("amid", "half-life", "1 % left"), tuple(rows))]}


def _lengths(audit: Audit) -> dict[str, Any]:
    found = audit.part("lengths")
    chart = lengths_chart(audit)
    rows = []
    for row in (found or {}).get("rows", ()):
        parameters = ", ".join(f"{k} {v:.3g}" for k, v in row["parameters"].items() if k in ("rate", "power", "exponent", "level", "lag"))
        law = row["law"] if row["law"] != "undecided" else f"undecided ({row['best_law']} likeliest)"
        left = number(row["left"]) if row["left"] > row["noise"] else f"below noise ({number(row['noise'])})"
        rows.append(
            (
                f"{row['multiple']} ×",
                str(row["steps"]),
                left,
                law,
                parameters,
                said(row["readings"]["half_life"]),
                said(row["readings"]["horizon_1"]),
            )
        )
    columns = ("length", "steps", "share of the peak left at its end", "law", "parameters", "half-life", "1 % left")
    return {"charts": [chart] if chart else [], "tables": [Table("The same curve read over each length.", columns, tuple(rows))]}


def _forgetting(audit: Audit) -> dict[str, Any]:
    found = needed(audit, "forgetting")
    curves = {name: {"times": found["times"], "values": found[key], "noise_floor": found["noise_floor"]} for name, key in
              (("worst pair", "worst"), ("median pair", "median"))}  # fmt: skip
    called = found["law"] is not None and found["law"]["law"] != "undecided"
    series = curve_series(curves, False, "worst pair" if called else "")
    caption = (
        f"{found['pairs']} pairs of random pasts of {found['past']} steps, each followed by one random future. Distance of the two outputs (largest over channels), "
        "as a share of what it was at the first common step. "
        f"Below {found['level']:g} in the last quarter counts as forgotten. {found['status'][:1].upper()}{found['status'][1:]}."
    )
    charts = []
    if any(s.y.size for s in series):
        charts.append(Chart("plot-forgetting", "what is left of different pasts", time_label(audit.dt).replace("input", "future began"),
                            "distance / distance at the meeting", tuple(series), caption, y_log=True, y_range=heights(series)))  # fmt: skip
    answer = {"forgets": "It forgets", "does not forget": "It does not forget", "undecided": "Undecided"}[found["forgets"]]
    texts = [f"{answer}: {found['reason']}."]
    if found["growth"] is not None:
        most = "never more than" if found["parted"] <= 1 else f"at most {number(found['parted'])} times"
        texts.append(f"Pasts that differ by next to nothing: their distance changes by a factor of {number(float(np.exp(found['growth'])))} a step (median), and is "
                     f"{most} what it was at the meeting.")  # fmt: skip
    return {"texts": (*texts, *(f"{note[:1].upper()}{note[1:]}." for note in found["notes"])), "charts": charts}


def _capacity(audit: Audit) -> dict[str, Any]:
    found = needed(audit, "capacity")
    x, y = np.array(found["delays"], float), np.array(found["shares"], float)
    series = Series("R² of the readout", x, y, 0.2, "solid")
    error = "" if found["error"] is None or np.isnan(found["error"]) else f" ± {number(found['error'])}"
    text = (f"Capacity {number(found['capacity'])}{error} over delays of one step or more ({number(found['total'])} with the present input); with "
            f"{found['most']} independent outputs it cannot exceed that. From {found['samples']} samples.")  # fmt: skip
    caption = f"Share of the variance of the input that many steps ago that the best linear readout of the output explains, corrected for chance; below {number(found['level'])} it counts as 0."
    chart = Chart("plot-capacity", "memory capacity by delay", "delay (steps)", "R²", (series,), caption, y_range=(0.0, 1.05))
    return {"texts": (text, *found["notes"]), "charts": [chart]}


QUESTIONS = {
    "causal": "causal",
    "time_homogeneous": "time-homogeneous",
    "linear": "linear",
    "zero_in_zero_out": "silent without input",
    "length_free": "free of the sequence's length",
    "rows_independent": "treats sequences of a batch apart",
    "stateful": "keeps a state from call to call",
    "random": "random",
}


def _properties(audit: Audit) -> dict[str, Any]:
    found = audit.part("properties") or {}
    answer = {True: "yes", False: "no", None: "undecided"}
    rows = [(label, answer[found[name]["holds"]], found[name]["reason"]) for name, label in QUESTIONS.items()]
    limit = found["maximum_length"]
    if limit or found["fails_at"]:
        rows.append(
            ("longest sequence", str(limit or "–"), f"raises at {found['fails_at']} steps" if found["fails_at"] else "as it says itself")
        )
    blind = [(name, "does not apply", why) for name, why in found["probes"].items() if why]
    rows += [(f"{name} probe", answer, why) for name, answer, why in blind]
    return {
        "texts": tuple(found["notes"]),
        "tables": [Table("Measured, not assumed, on random inputs.", ("is the model …", "", "because"), tuple(rows))],
    }


SECTIONS: dict[str, Content] = {
    "memory": Content(
        "Memory functions",
        ("memory", "agreement", "backgrounds"),
        "How much of an input is left in the output after a time, by each probe, and by what law it fades.",
        _memory,
    ),
    "forgetting": Content(
        "Does it forget?",
        ("forgetting",),
        "Different pasts followed by the same future: what is left of the past amid ordinary input.",
        _forgetting,
    ),
    "lengths": Content(
        "Beyond the training length",
        ("lengths",),
        "Whether the memory goes on by the same law past the length the model was trained on.",
        _lengths,
    ),
    "reach": Content(
        "Influence", ("reach",), "How far each layer looks: how much its output depends on the input so many steps ago.", reach
    ),
    "recurrence": Content(
        "Recurrent layers",
        ("recurrence",),
        "How each recurrent layer's own state fades near rest, and how little would stop it from fading.",
        recurrence,
    ),
    "precision": Content(
        "Precision",
        ("precision",),
        "What coarser number formats do to the outputs and the memory: weights rounded, and the whole model run in the format.",
        precision,
    ),
    "sensitivity": Content(
        "Which weights carry the risk",
        ("sensitivity",),
        "Each group of weights moved by the same share of its size: how far the outputs and the half-life move.",
        sensitivity,
    ),
    "capacity": Content("Memory capacity", ("capacity",), "How many steps of white noise can be read off the output.", _capacity),
    "properties": Content(
        "What the model is",
        ("properties",),
        "These decide which probes apply and how their numbers are to be read.",
        _properties,
    ),
}
