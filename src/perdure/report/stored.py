"""Chapters of the page from runs in the store, and where their numbers come from. Nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from perdure.experiments import catalogue
from perdure.experiments.base import Claim, Experiment
from perdure.experiments.fingerprint import code_fingerprint
from perdure.report.chapter import Chapter, chapter, seeds
from perdure.report.provenance import PACKAGES, duration, today, versions

EARLIER = "These rows were computed by an earlier state of the code: run it again to have the current one."


def from_run(run: Any, experiment: Experiment | None = None) -> Chapter:
    """The chapter of a run (`perdure.experiments.store.Run`).

    Args:
        run: as `run` or `open_run` gives it.
        experiment: that it belongs to; None looks its name up in the catalogue. A run of another experiment, such as a sweep, shows its rows alone.
    """
    if experiment is None:
        if run.experiment not in catalogue.PLACES:
            return _rows_alone(run, "")
        experiment = catalogue.experiment(run.experiment)
    if run.version != experiment.version:
        return _rows_alone(
            run,
            f"The rows are of version {run.version} of this experiment, and this is version {experiment.version}: run it again.",
            experiment,
        )
    try:
        spec = type(next(iter(experiment.profiles.values()))).model_validate(run.spec)
    except ValueError:  # pydantic's error is one: a spec of another time
        return _rows_alone(run, "The spec of this run has other parameters than the experiment has now: run it again.", experiment)
    names = labels({job["key"]: job["job"] for job in run.manifest["jobs"]})
    failed = {names.get(str(failure.key), str(failure.key)): str(failure.message) for failure in run.failures}
    missing = [names.get(str(key), str(key)) for key in run.missing]
    found = chapter(experiment, run.profile, spec, run.table, missing, failed, seconds=sum(run.job_seconds.values()), total=len(run.keys))
    code = str(run.manifest["code"])
    notes = found.notes if code == code_fingerprint(experiment) else (EARLIER, *found.notes)
    return replace(found, notes=notes, code=code, data=str(run.manifest["data"] or ""))


def labels(jobs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Short names of jobs: of each what it does not share with all others.

    >>> labels({"1f": {"map": "exp", "m": 4, "seed": 0}, "2a": {"map": "exp", "m": 8, "seed": 0}})
    {'1f': 'm=4', '2a': 'm=8'}
    """
    first: Mapping[str, Any] = next(iter(jobs.values()), {})
    shared = {name for name, value in first.items() if all(job.get(name, ...) == value for job in jobs.values())}
    if len(jobs) == 1:
        shared = set()
    return {key: ", ".join(f"{name}={value}" for name, value in job.items() if name not in shared) or key[:10] for key, job in jobs.items()}


def facts(runs: Sequence[Any], command: str, here: Mapping[str, str] | None = None) -> dict[str, str]:
    """Where the numbers of some runs come from: name -> text, for the end of the page.

    Args:
        runs: on the page, in reading order.
        command: that gives them again.
        here: the machine, where the runs were just done on it; None for what the runs say.
    """
    manifests = [run.manifest for run in runs]
    found = {
        "Command": command,
        "Profile": _by_value({run.experiment: run.profile for run in runs}),
        "Computed with": _by_value({m["experiment"]: _listed(m["versions"], ("python", *PACKAGES)) for m in manifests}),
        "Machine": _facts(here) if here else _by_value({m["experiment"]: _facts(m["machine"]) for m in manifests}),
        "Run": _sessions([session for m in manifests for session in m["sessions"]]),
        "Seeds, code and data": "By experiment in the table below. Each job holds its own seed, so rows do not depend on the order or the place of the "
        "work, and is stored under a digest of itself, of the code and of the data: a number belongs to one state of the code.",
        "Page": f"Drawn from stored rows on {today()} (UTC) with {_listed(versions(), ('python', 'perdure'))}.",
    }
    return {name: text for name, text in found.items() if text}


def set_aside(runs: Sequence[Any]) -> tuple[str, ...]:
    """What a reader must know of the runs as a whole: files that were set aside, each once."""
    return tuple(dict.fromkeys(f"Set aside, and not used: {line}" for run in runs for line in run.set_aside))


def _rows_alone(run: Any, why: str, experiment: Experiment | None = None) -> Chapter:
    title = experiment.title if experiment else str(run.manifest.get("title") or "a run beside the paper's experiments")
    why = why or "It makes no claims of the paper's: the rows stand for themselves."
    return Chapter(
        name=run.experiment,
        title=title,
        source=experiment.source if experiment else "your own run",
        method=experiment.method if experiment else "",
        profile=run.profile,
        done=len(run.keys) - len(run.missing),
        total=len(run.keys),
        claims=(Claim(title, "see the method", "not evaluated", "could not be tested", why),) if experiment else (),
        table=run.table if len(run.table) else None,
        notes=(why,),
        seconds=sum(run.job_seconds.values()),
        seeds=seeds(run.table if len(run.table) else None),
        code=str(run.manifest["code"]),
        data=str(run.manifest["data"] or ""),
    )


def _by_value(values: Mapping[str, str]) -> str:
    """One text where all agree, else each text with the experiments it holds for."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    if len(groups) <= 1:
        return next(iter(groups), "")
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in groups.items())


def _listed(found: Mapping[str, str], order: Sequence[str]) -> str:
    return ", ".join(f"{name} {found[name]}" for name in order if name in found)


def _facts(found: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in found.items())


def _sessions(sessions: Sequence[Mapping[str, Any]]) -> str:
    """Backends, the day of the first start, and the time in which something ran, counted once where several did."""
    spans = sorted(
        (datetime.fromisoformat(s["started"]), datetime.fromisoformat(s["ended"])) for s in sessions if s["started"] and s["ended"]
    )
    if not spans:
        return ""
    seconds, end = 0.0, spans[0][0]
    for start, stop in spans:
        seconds += max(0.0, (stop - max(start, end)).total_seconds())
        end = max(end, stop)
    backends = dict.fromkeys(f"{s['backend']} with {s['workers']} worker{'s' * (s['workers'] != 1)}" for s in sessions)
    return f"{', '.join(backends)}; begun on {spans[0][0].date().isoformat()}; {duration(seconds)} from start to end"
