"""One self-contained HTML page: plotly's script once, charts as data, light and dark, no other resource."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from perdure.report.chart import Chart
from perdure.report.interactive import specification
from perdure.report.table import Table

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
    charts = [specification(chart) for section in sections for chart in section.charts]
    return fill("page.html.j2", charts, title=title, lead=lead, findings=findings, sections=sections, facts=facts)


def fill(template: str, charts: Sequence[Mapping[str, Any]], **texts: Any) -> str:
    """A template of this folder as HTML, with plotly's script and the charts in it; all texts are escaped.

    Args:
        template: file name; it may extend page.html.j2.
        charts: from `perdure.report.interactive.specification`.
        texts: what the template names.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    folder = files("perdure.report")
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = {"plotly": _in_script(get_plotlyjs()), "data": _json_in_script(charts)}
    return environment.get_template(template).render(paper=PAPER, **scripts, **texts)


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

    return Markup(text.replace("</", "<\\/"))  # the text is plotly's script, where "<\/" means the same in strings


def _json_in_script(value: Any) -> Any:
    """JSON that may stand inside a script element: no "<" is left in it, hence no end tag and no comment either."""
    from markupsafe import Markup

    return Markup(strict_json(value).replace("<", "\\u003c"))
