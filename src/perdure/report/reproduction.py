"""The reproduction page: every claim of the paper in one table, then a section an experiment, drawn from stored rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perdure.report.chapter import Chapter
from perdure.report.claims import SYMBOLS, brief, counts, headline, label, papers, summary
from perdure.report.files import write
from perdure.report.interactive import specification
from perdure.report.page import fill
from perdure.report.provenance import duration
from perdure.report.static import data_uri, picture, sheet, small

TITLE = "The curse of memory: every figure of the paper, measured again"
LEAD = (
    "What the paper claims of recurrent networks, slow memories and the weights that carry them, beside the numbers that the experiments "
    "of this project gave."
)
CLAIMS = "claims"  # name of the table of all claims
PREVIEW = 40  # rows shown in the page
EMBEDDED = 64 * 1024  # bytes of CSV that the page carries; a larger table lies beside it in tables/


@dataclass(frozen=True)
class Rows:
    """A table as the page shows it: the first rows as text, and where the whole of it is."""

    caption: str
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...] = field(repr=False)
    link: str = field(repr=False)


def save(folder: Path, chapters: Sequence[Chapter], facts: Mapping[str, str], warnings: Sequence[str] = ()) -> Path:
    """Write figures/*.png, tables/*.csv (claims.csv has every claim and its outcome) and the page, which comes last: index.html.

    Args:
        folder: exists and can be written (`perdure.report.files.writable_folder`).
        chapters: in reading order.
        facts: where the numbers come from: name -> text.
        warnings: what a reader must know of the run as a whole, such as files of the store that were set aside.

    Returns:
        The path of the page.
    """
    import pandas as pd

    pictures = {chart.name: picture(chart) for chapter in chapters for chart in chapter.charts}
    csv = {chapter.name: _csv(chapter.table) for chapter in chapters if chapter.table is not None}
    csv[CLAIMS] = _csv(pd.DataFrame([{"experiment": line.experiment, **asdict(line.claim)} for line in summary(chapters)]))
    for name in ("figures", "tables"):
        (folder / name).mkdir(exist_ok=True)
    for chapter in chapters:
        if chapter.charts:
            write(folder / "figures" / f"{chapter.name}.png", sheet([pictures[chart.name] for chart in chapter.charts]))
    for name, content in csv.items():
        write(folder / "tables" / f"{name}.csv", content)
    return write(folder / "index.html", html(chapters, pictures, csv, facts, warnings))


def html(
    chapters: Sequence[Chapter], pictures: Mapping[str, bytes], csv: Mapping[str, bytes], facts: Mapping[str, str], warnings: Sequence[str]
) -> str:
    """The page's text.

    Args:
        chapters: in reading order.
        pictures: name of a chart -> PNG file.
        csv: name of an experiment -> its table, and "claims" -> all claims.
        facts: as for `save`.
        warnings: as for `save`.
    """
    lines = summary(chapters)
    return fill(
        "reproduction.html.j2",
        [specification(chart) for chapter in chapters for chart in chapter.charts],
        title=TITLE,
        lead=LEAD,
        chapters=chapters,
        lines=lines,
        counts=counts(papers(line.claim for line in lines)),
        headline=headline(chapters),
        symbols=SYMBOLS,
        warnings=warnings,
        pictures={name: data_uri(small(content), "image/png") for name, content in pictures.items()},
        rows={chapter.name: rows(chapter, csv[chapter.name]) for chapter in chapters if chapter.name in csv},
        seeds={chapter.name: ranges(chapter.seeds) for chapter in chapters},
        facts=facts,
        claims_link=data_uri(csv[CLAIMS], "text/csv"),
        label=label,
        brief=brief,
        duration=duration,
    )


def rows(chapter: Chapter, csv: bytes) -> Rows:
    """The rows of a chapter for the page."""
    table = chapter.table
    head = table.head(PREVIEW)
    cells = tuple(tuple(cell(value) for value in row) for row in head.itertuples(index=False, name=None))
    link = data_uri(csv, "text/csv") if len(csv) <= EMBEDDED else f"tables/{chapter.name}.csv"
    caption = f"{len(table)} row{'s' * (len(table) != 1)}" + (f", of which the first {PREVIEW} are shown" if len(table) > PREVIEW else "")
    return Rows(caption, tuple(str(name) for name in table.columns), cells, link)


def _csv(table: Any) -> bytes:
    return table.to_csv(index=False).encode("utf-8")


def cell(value: Any) -> str:
    """A value of a table as text.

    >>> cell(0.123456), cell(float("nan")), cell(None), cell(True), cell("exp"), cell(float("inf"))
    ('0.1235', '', '', 'yes', 'exp', '∞')
    """
    import pandas as pd

    if pd.isna(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return {float("inf"): "∞", float("-inf"): "-∞"}.get(value) or f"{value:.4g}"
    return str(value)


def ranges(numbers: Sequence[int]) -> str:
    """Whole numbers, neighbours drawn together.

    >>> ranges((0, 1, 2, 5)), ranges(())
    ('0 to 2, 5', 'none')
    """
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    texts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in found]
    return ", ".join(texts) or "none"
