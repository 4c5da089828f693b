"""The page of an audit: headline numbers, recommendations, then one section a part, each with what was not measured and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.audits.charts import Heatmap, specify
from perdure.audits.headline import cards
from perdure.audits.pictures import drawn
from perdure.audits.result import MISSING, REDUCED, Audit, Part
from perdure.audits.sections import SECTIONS
from perdure.report.chart import Chart
from perdure.report.page import fill
from perdure.report.table import Table

FACTS = {
    "Memory": "M(t): the slope of the output t after an input x was switched on (Heaviside), per unit of x, the largest over inputs up to the "
    "bound and over output channels. The impulse probe reads what is left of one pulse, the reversed probe the slope after an input is switched "
    "off, the derivative what is left of an infinitesimal nudge. For a linear model they agree.",
    "Exact, estimate, lower bound": "For a linear model (superposition is tested) the supremum over inputs is exact. Otherwise the curve is the "
    "best of the inputs tried, a lower bound, and half-lives and horizons read off it are estimates. “≥” marks a horizon that was not "
    "reached: it is at least that long.",
    "Law": "Fitted in log space to the tail above the noise floor among exponential, polynomial, stretched, finite and persistent, and called "
    "only with an Akaike weight of 0.9; otherwise “undecided”, with the reason.",
    "Not measured": "A part that does not apply, that fails, or that does not fit the budget says so in its section.",
}


@dataclass(frozen=True)
class Shown:
    """A section as the template takes it."""

    anchor: str
    title: str
    texts: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    charts: tuple[Chart | Heatmap, ...] = ()
    tables: tuple[Table, ...] = ()


def page(audit: Audit, pictures: bool = False) -> str:
    """The HTML text of one audit.

    Args:
        audit: to show.
        pictures: whether charts stand in it as pictures too, for readers without scripts.
    """
    there = [anchor for anchor in SECTIONS if any(p in audit.parts for p in SECTIONS[anchor].parts)]
    sections = [shown(audit, anchor) for anchor in there if _measured(audit, anchor)]
    if absent := [anchor for anchor in there if not _measured(audit, anchor)]:
        sections.append(missing(audit, absent))
    sections.append(provenance(audit))
    titles = {section.anchor: section.title for section in sections}
    advice = [{**r, "section_title": titles.get(r["section"], r["section"]).lower()} for r in audit.recommendations]
    return fill(
        "audit.html.j2",
        [specify(chart) for section in sections for chart in section.charts],
        title=f"Audit of {audit.name}",
        lead=lead(audit),
        cards=cards(audit),
        advice=advice,
        advice_title="What to do, and why",
        sections=sections,
        facts=FACTS,
        pictures=drawn([chart for section in sections for chart in section.charts]) if pictures else {},
    )


def _measured(audit: Audit, anchor: str) -> bool:
    return any(audit.part(name) is not None for name in SECTIONS[anchor].parts)


def missing(audit: Audit, anchors: Sequence[str]) -> Shown:
    """What there is nothing to show of, and why, in one place."""
    parts = [audit.parts[name] for anchor in anchors for name in SECTIONS[anchor].parts if name in audit.parts]
    reasons = dict.fromkeys(part.reason for part in parts)
    said = (", ".join(label(part) for part in parts if part.reason == why) + f": {why}" for why in reasons)
    return Shown(
        "missing", "What was not measured", (), tuple(f"Not measured ({text.split(': ', 1)[0]}): {text.split(': ', 1)[1]}" for text in said)
    )


def lead(audit: Audit) -> str:
    """What was audited, in a sentence."""
    count = audit.provenance.get("parameters") or 0
    size = f"{f'{count:,}'.replace(',', ' ')} parameters, " if count else ""
    unit = "" if audit.dt == 1 else f" of {audit.dt:g}"
    return (
        f"{size}{audit.input_size} input channel{'s' if audit.input_size > 1 else ''}, measured over {audit.horizon} steps{unit} "
        f"in {audit.provenance.get('seconds', 0):.0f} s."
    )


def shown(audit: Audit, anchor: str) -> Shown:
    """One section with its charts and tables, or with why it is empty."""
    section = SECTIONS[anchor]
    there = [audit.parts[name] for name in section.parts if name in audit.parts]
    skipped = tuple(note(part) for part in there if part.status in (MISSING, REDUCED))
    content = section.content(audit) if any(part.data is not None for part in there) else {}
    return Shown(anchor, section.title, (section.text, *content.get("texts", ())), skipped, tuple(content.get("charts", ())),
                 tuple(content.get("tables", ())))  # fmt: skip


def note(part: Part) -> str:
    """What is missing of a part."""
    return f"Not measured ({label(part)}): {part.reason}" if part.status == MISSING else f"Reduced ({label(part)}): {part.reason}."


def label(part: Part) -> str:
    """A part's name in a sentence."""
    named = {"lengths": "memory beyond the training length", "backgrounds": "memory amid different inputs", "agreement": "agreement of the probes",
             "recurrence": "recurrent layers", "reach": "influence", "sensitivity": "sensitivity to the weights"}  # fmt: skip
    return named.get(part.name, part.name.replace("_", " "))


def provenance(audit: Audit) -> Shown:
    """Where the numbers come from."""
    rows = [(name.replace("_", " "), _text(value)) for name, value in audit.provenance.items()]
    parts = [(part.name.replace("_", " "), part.status, f"{part.seconds:.2f}", part.reason) for part in audit.parts.values()]
    tables = (Table("What was audited, and with what.", ("", "value"), tuple(rows)),
              Table("The parts, in the order in which the budget was spent.", ("part", "status", "seconds", "why less"), tuple(parts)))  # fmt: skip
    return Shown("provenance", "Where the numbers come from", ("The weights' fingerprint tells two checkpoints apart.",), (), (), tables)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_text(v) for v in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
