"""One self-contained HTML page: plotly's script once, charts as data, light and dark, no other resource."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from perdure.report.chart import Chart
from perdure.report.interactive import specification
from perdure.report.tables import Table

PAPER = "https://arxiv.org/abs/2305.19190"


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph, charts and tables."""

    title: str
    text: str
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()


def page(title: str, lead: str, findings: Sequence[str], sections: Sequence[Section], facts: Mapping[str, str]) -> str:
    """The HTML text.

    Args:
        title: of the page.
        lead: one sentence under it.
        findings: headline sentences.
        sections: in reading order.
        facts: what a reader should know of every number: name -> text.
    """
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("perdure.report").joinpath("page.html.j2").read_text(encoding="utf-8"))
    charts = [specification(chart) for section in sections for chart in section.charts]
    return template.render(
        title=title,
        lead=lead,
        findings=findings,
        sections=sections,
        facts=facts,
        paper=PAPER,
        plotly=_in_script(get_plotlyjs()),
        data=_in_script(strict_json(charts)),
    )


def strict_json(value: Any, indent: int | None = None) -> str:
    """JSON that every parser reads: infinity is the string "inf", NaN is null.

    >>> strict_json({"radius": float("inf"), "gap": float("nan"), "m": (2, 4)})
    '{"radius": "inf", "gap": null, "m": [2, 4]}'
    """
    return json.dumps(_strict(value), indent=indent, allow_nan=False, ensure_ascii=False)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    if isinstance(value, float):
        if value != value:
            return None
        return value if abs(value) != float("inf") else ("inf" if value > 0 else "-inf")
    return value


def _in_script(text: str) -> Any:
    """Text that may stand inside a script element: nothing in it closes the element."""
    from markupsafe import Markup  # comes with jinja2

    return Markup(text.replace("</", "<\\/"))  # the texts are plotly's script and our own JSON, where "<\/" means the same in strings
