"""What the page says of one experiment: charts, claims and rows, and what is missing of them. Faults of a drawing become sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from perdure.experiments.base import Claim, Experiment
from perdure.report.chart import Chart
from perdure.report.interactive import specification

NAMED = 12  # missing or failed jobs named one by one; of more, the number is given


@dataclass(frozen=True)
class Chapter:
    """One experiment as it stands on the page.

    Attributes:
        name: as typed on the command line.
        title: what it shows.
        source: where it stands in the literature.
        method: what the paper does and what is done here.
        profile: of the spec.
        done: jobs with rows.
        total: jobs of the spec.
        charts: drawn from the rows.
        claims: of the paper, beside the rows' numbers.
        table: one row a computed row (a pandas frame), None without rows.
        notes: what a reader must know first: what is missing, what failed.
        seconds: computing time of its jobs, summed.
        seeds: that occur in the table.
        code: fingerprint of the code that computed the rows, "" if none did.
        data: fingerprint of the data, "" if there are none.
    """

    name: str
    title: str
    source: str
    method: str
    profile: str
    done: int
    total: int
    charts: tuple[Chart, ...] = field(default=(), repr=False)
    claims: tuple[Claim, ...] = field(default=(), repr=False)
    table: Any = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    seeds: tuple[int, ...] = ()
    code: str = ""
    data: str = ""


def chapter(
    experiment: Experiment,
    profile: str,
    spec: Any,
    table: Any,
    missing: Sequence[str] = (),
    failed: Mapping[str, str] | None = None,
    needs: str | None = None,
    seconds: float = 0.0,
    total: int | None = None,
) -> Chapter:
    """The chapter of an experiment from its rows.

    Args:
        experiment: that was run.
        profile: name of the spec.
        spec: that its jobs come from.
        table: one row a computed row, with the columns of its job (a pandas frame); None or empty if there is none.
        missing: labels of the jobs that have no rows, those that failed among them.
        failed: label of a job -> its error.
        needs: what data it lacks and how to get it, where that keeps it from running.
        seconds: computing time of its jobs, summed.
        total: number of jobs, None to ask the spec.
    """
    total = len(experiment.jobs(spec)) if total is None else total
    empty = table is None or len(table) == 0
    notes = _notes(total, missing, failed or {}, needs)
    charts: tuple[Chart, ...] = ()
    claims: tuple[Claim, ...] = ()
    if not empty:
        charts, fault = _charts(experiment, table, spec)
        notes += fault
        claims, fault = _claims(experiment, table, spec)
        notes += fault
        if missing:
            claims = tuple(_untested(claim, total - len(missing), total) for claim in claims)
    if not claims:
        claims = (
            Claim(experiment.title, "see the method", "no rows" if empty else "not evaluated", "could not be tested", " ".join(notes)),
        )
    return Chapter(
        name=experiment.name,
        title=experiment.title,
        source=experiment.source,
        method=experiment.method,
        profile=profile,
        done=total - len(missing),
        total=total,
        charts=charts,
        claims=claims,
        table=None if empty else table,
        notes=notes,
        seconds=seconds,
        seeds=seeds(table),
    )


def seeds(table: Any) -> tuple[int, ...]:
    """The distinct values of the columns "seed" and "*_seed", in order.

    >>> import pandas as pd
    >>> seeds(pd.DataFrame({"seed": [1, 0, 1], "start_seed": [7, 7, None]}))
    (0, 1, 7)
    """
    if table is None:
        return ()
    columns = [name for name in table.columns if str(name) == "seed" or str(name).endswith("_seed")]
    return tuple(sorted({int(value) for name in columns for value in table[name].dropna().unique()}))


def _notes(total: int, missing: Sequence[str], failed: Mapping[str, str], needs: str | None) -> tuple[str, ...]:
    notes = [f"Not run: {needs}"] if needs else []
    for label, error in list(failed.items())[:NAMED]:
        notes.append(f"A job failed, {label}: {error}")
    if len(failed) > NAMED:
        notes.append(f"{len(failed) - NAMED} more jobs failed.")
    waiting = [label for label in missing if label not in failed]
    if waiting and not needs:
        named = "; ".join(waiting[:NAMED]) + (f"; and {len(waiting) - NAMED} more" if len(waiting) > NAMED else "")
        notes.append(f"Unfinished: {total - len(missing)} of {total} jobs have rows. Missing: {named}.")
    return tuple(notes)


def _charts(experiment: Experiment, table: Any, spec: Any) -> tuple[tuple[Chart, ...], tuple[str, ...]]:
    try:
        charts = tuple(experiment.charts(table, spec))
        for chart in charts:
            specification(chart)
    except Exception as error:  # whatever an unfinished table does to a drawing, the rest of the page stands
        return (), (f"The figure could not be drawn from these rows ({_said(error)}).",)
    ids = [f"{experiment.name}-{i}-{re.sub(r'[^A-Za-z0-9_-]+', '-', chart.name)}" for i, chart in enumerate(charts, 1)]
    return tuple(replace(chart, name=name) for chart, name in zip(charts, ids, strict=True)), ()


def _claims(experiment: Experiment, table: Any, spec: Any) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
    try:
        return tuple(experiment.claims(table, spec)), ()
    except Exception as error:
        return (), (f"The claims could not be tested on these rows ({_said(error)}).",)


def _untested(claim: Claim, done: int, total: int) -> Claim:
    """A claim read off some of the rows says what they show, and no more."""
    return replace(
        claim, outcome="could not be tested", why=f"Only {done} of {total} jobs have rows; from these: {claim.outcome}. {claim.why}"
    )


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
