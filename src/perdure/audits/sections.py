"""What each section of the page shows of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure.audits.charts import Heatmap, curve_series, heights, lengths_chart, memory_charts, plane_chart, safe, time_label
from perdure.audits.headline import within
from perdure.audits.reading import Reading
from perdure.audits.result import Audit
from perdure.audits.words import number
from perdure.errors import ArgumentError
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


def _measured(audit: Audit, name: str) -> dict[str, Any]:
    """The data of a part: sections of parts that were not measured are not shown."""
    found = audit.part(name)
    if found is None:
        raise ArgumentError(f"expected the audit to hold the part {name!r}, but it was not measured: its section cannot be shown")
    return found


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
        numbers = "; ".join(f"{what} {number(value)}" for what, value in sentence["numbers"].items())
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
    found = _measured(audit, "forgetting")
    series = curve_series({"largest difference of outputs": found["curve"]}, False, "largest difference of outputs")
    caption = (
        f"{found['pasts']} random pasts of {found['past']} steps, then one random future. The largest difference over pasts and channels."
    )
    charts = []
    if any(s.y.size for s in series):
        charts.append(Chart("plot-forgetting", "what is left of the past", time_label(audit.dt).replace("input", "future began"), "difference of outputs",
                            tuple(series), caption, y_log=True, y_range=heights(series)))  # fmt: skip
    answer = {True: "It forgets", False: "It does not forget", None: "Undecided"}[found["forgets"]]
    return {"texts": (f"{answer}: {found['reason']}.",), "charts": charts}


def _reach(audit: Audit) -> dict[str, Any]:
    found = _measured(audit, "reach")
    lags, names = np.asarray(found["lags"]), tuple(str(name) for name in found["profiles"])
    values = np.array([found["profiles"][name] for name in names])
    share = values / np.maximum(values.max(1, keepdims=True), 1e-300)
    rows = [
        (name, number(max(found["profiles"][name])), *(within(found["half"][name][share], found["lags"]) for share in ("half", "most")))
        for name in names
    ]
    table = Table(
        "Lag within which a share of each layer's influence lies (steps).",
        ("layer", "largest influence", "half of it", "99 % of it"),
        tuple(rows),
    )
    side = "Negative lags are the future." if found["ahead"] else "Lag 0 is the same step."
    caption = f"Each row as a share of its own largest value; mean over output steps and random signs, amid random input of {found['steps']} steps. {side}"
    if len(names) != 1:
        keep = slice(None, None, max(1, lags.size // 400))
        charts: list[Any] = [
            Heatmap(
                "plot-reach",
                "influence by layer and lag",
                "lag (steps)",
                "layer",
                lags[keep],
                names,
                share[:, keep],
                "share of the largest",
                caption,
            )
        ]
    else:
        series = Series(names[0], lags.astype(float), np.where(share[0] > 1e-16, share[0], np.nan), 0.2, "solid")
        charts = [
            Chart(
                "plot-reach",
                "influence by lag",
                "lag (steps)",
                "share of the largest influence",
                (series,),
                caption,
                y_log=True,
                y_range=heights([series]),
            )
        ]
    return {"charts": charts, "tables": [table]}


def _recurrence(audit: Audit) -> dict[str, Any]:
    found = _measured(audit, "recurrence")
    groups = {layer["name"]: np.array([complex(*z) for z in layer["eigenvalues"]]) for layer in found["layers"]}
    caption = "Eigenvalues of one step of each recurrent layer at the equilibrium it reaches without input. Inside the circle a mode fades; near it, slowly."
    rows = [(layer["name"], layer["kind"], str(layer["states"]), number(layer["spectral_radius"]), number(layer["time_constant"]), number(layer["stability_radius"]),
             "; ".join(layer["notes"]) or layer["equilibrium"]) for layer in found["layers"]]  # fmt: skip
    rows += [(name, "not measured", "–", "–", "–", "–", why) for name, why in found["failed"].items()]
    columns = ("layer", "kind", "states", "spectral radius", "slowest time constant (steps)", "stability radius", "notes")
    about = "Exact for the linearisation. The radius is the size of the smallest change of the step's matrix that keeps a mode alive for ever; complex changes are allowed."
    return {
        "charts": [plane_chart("plot-plane", "eigenvalues of the recurrent layers", groups, caption)],
        "tables": [Table(about, columns, tuple(rows))],
    }


def _storage(audit: Audit) -> dict[str, Any]:
    found = _measured(audit, "storage")
    rows = []
    for row in found["rows"]:
        r, moved, holds = row["readings"] or {}, number(row.get("moved")), f"{row['holds']:.0f}" if "holds" in row else "–"
        law = law_text(row["law"]) if row["law"] else row["reason"] or "–"
        rows.append((row["format"], moved, number(row["output"]), said(r.get("half_life")), said(r.get("horizon_1")), law, holds))
    columns = (
        "weights in",
        "weights moved by (share)",
        "outputs moved by (share)",
        "half-life",
        "1 % left",
        "law",
        "a pole near 1 can hold (steps)",
    )
    about = "Weights rounded, arithmetic in double precision. Last column: 1/eps of the format, for a discrete pole stored as such."
    return {"tables": [Table(about, columns, tuple(rows))]}


def _fragility(audit: Audit) -> dict[str, Any]:
    found = _measured(audit, "fragility")
    shown = found["rows"][:24]
    place = np.arange(len(shown), dtype=float)
    series = [Series(label, place, np.array([row[key] if row[key] > 0 else np.nan for row in shown]), tone, None, marker, thin=False)
              for label, key, tone, marker in (("memory (response to a pulse)", "memory", 0.1, "circle"), ("output", "output", 0.8, "square"))]  # fmt: skip
    ticks = tuple((float(i), safe(row["group"][-18:])) for i, row in enumerate(shown)) if len(shown) <= 8 else ()
    chart = Chart("plot-fragility", "relative change per relative change of the weights", "group of weights, by the effect on the memory", "relative change",
                  tuple(series), f"Worst of {found['directions']} random directions, moved by {found['eps']:g} of the group's size: lower bounds.",
                  y_log=True, x_ticks=ticks, y_range=heights(series), x_range=(-0.5, len(shown) - 0.5))  # fmt: skip
    rows = [
        (row["group"], f"{row['parameters']:,}".replace(",", " "), number(row["memory"]), number(row["output"])) for row in found["rows"]
    ]
    return {
        "charts": [chart],
        "tables": [Table("By group, the most fragile first.", ("weights of", "parameters", "memory", "output"), tuple(rows))],
    }


def _capacity(audit: Audit) -> dict[str, Any]:
    found = _measured(audit, "capacity")
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
    "reach": Content("Influence", ("reach",), "How much an output depends on what each layer held, by lag.", _reach),
    "recurrence": Content(
        "Recurrent layers",
        ("recurrence",),
        "How each recurrent layer's own state fades near rest, and how little would stop it from fading.",
        _recurrence,
    ),
    "storage": Content("Precision", ("storage",), "What storing the weights in fewer bits does to the memory.", _storage),
    "fragility": Content(
        "Which weights the memory hangs on", ("fragility",), "Each group of weights moved by the same share of its own size.", _fragility
    ),
    "capacity": Content("Memory capacity", ("capacity",), "How many steps of white noise can be read off the output.", _capacity),
    "properties": Content(
        "What the model is",
        ("properties",),
        "These decide which probes apply and how their numbers are to be read.",
        _properties,
    ),
}
