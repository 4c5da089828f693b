"""Runs, opened and listed.

Below the root of a store lie

* parts/3f/3f2a....parquet: one finished job each, shared by all runs;
* <experiment>-<profile>-<digest>/manifest.json: one run: its spec, its jobs in order, where and when they were computed;
* set-aside/: files that could not be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perdure.errors import ArgumentError
from perdure.experiments import manifest as manifests
from perdure.experiments.base import Job
from perdure.experiments.fingerprint import restored
from perdure.experiments.part import DamagedPart, Part
from perdure.experiments.pool import Pool


@dataclass(frozen=True)
class Failure:
    """A job that has no rows because it raised.

    Attributes:
        key: its address.
        job: what was to be computed.
        message: the error's type, text and place.
    """

    key: str
    job: Job
    message: str

    def __str__(self) -> str:
        said = ", ".join(f"{name}={value}" for name, value in self.job.items())
        return f"{said or 'the job'}: {self.message}"


@dataclass(frozen=True)
class Run:
    """All that is known of one run.

    Attributes:
        experiment: its name.
        profile: "tiny", "quick", "paper" or "custom".
        version: of the experiment.
        spec: as JSON; `type(experiment.profiles[...]).model_validate(run.spec)` makes it a spec again.
        table: pandas table, rows in the order of the jobs, columns of the job before those of its rows.
        keys: addresses of the jobs, in order.
        missing: of those without rows: failed or not computed yet.
        reused: jobs found in the store.
        computed: jobs computed now.
        set_aside: files that were not used: one line each.
        failures: jobs that raised.
        seconds: the call took; of a run that was opened, its sessions together.
        job_seconds: seconds by key, of reused jobs too.
        folder: of the run.
        manifest: what it says of itself.
    """

    experiment: str
    profile: str
    version: int
    spec: Mapping[str, Any] = field(repr=False)
    table: Any = field(repr=False)
    keys: tuple[str, ...] = field(repr=False)
    missing: tuple[str, ...] = field(repr=False)
    reused: int
    computed: int
    set_aside: tuple[str, ...]
    failures: tuple[Failure, ...]
    seconds: float
    job_seconds: Mapping[str, float] = field(repr=False)
    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def complete(self) -> bool:
        """Whether every job has its rows."""
        return not self.missing


@dataclass(frozen=True)
class Summary:
    """One line of a list of runs.

    Attributes:
        folder: of the run.
        experiment: its name.
        profile: of its spec.
        finished: jobs with a file; files are not read.
        total: jobs.
        failed: jobs that raised when they were tried last.
        started: first session, ISO 8601 in UTC.
        worked_on: last session.
        bytes: of the finished jobs' files, which other runs may share.
        seconds: of all sessions that came to their end.
        problem: why the run cannot be used; "" where it can.
    """

    folder: Path
    experiment: str
    profile: str
    finished: int
    total: int
    failed: int
    started: str
    worked_on: str
    bytes: int
    seconds: float
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether every job is finished."""
        return self.finished == self.total and not self.problem


def collect(pool: Pool, keys: Iterable[str]) -> tuple[dict[str, Part], list[str]]:
    """The parts there are, by key, and what was set aside."""
    found, aside = {}, []
    for key in keys:
        try:
            part = pool.read(key)
        except DamagedPart as error:
            aside.append(pool.set_aside(pool.path(key), str(error)))
            continue
        if part is not None:
            found[key] = part
    return found, aside


def assembled(parts: Sequence[Part], jobs: Sequence[Job]) -> Any:
    """The pandas table of parts in order: columns of the jobs before those of the rows."""
    import pandas as pd
    import pyarrow as pa

    first = list(dict.fromkeys(str(name) for job in jobs for name in job))
    if not parts:
        return pd.DataFrame(columns=first)
    tables = [part.table for part in parts]
    try:
        frame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):  # a column that is a text in one job and a number in another
        frame = pd.DataFrame([row for table in tables for row in table.to_pylist()], dtype=object)
    rest = [name for name in frame.columns if name not in first]
    return frame[[name for name in first if name in frame.columns] + rest]


def open_run(folder: str | Path) -> Run:
    """A run as the store has it; nothing is computed.

    Args:
        folder: of the run, with its manifest.json.

    Raises:
        ArgumentError: it is no run's folder.
    """
    folder = Path(folder)
    try:
        manifest = manifests.read(folder)
    except manifests.DamagedManifest as error:
        raise ArgumentError(
            f"expected the folder of a run, but {folder / manifests.FILE} is damaged: {error}. Run the experiment again"
        ) from None
    if manifest is None:
        raise ArgumentError(
            f"expected the folder of a run, but got {folder}, which has no {manifests.FILE}: `perdure runs` lists the runs of a store"
        )
    jobs = {entry["key"]: {name: restored(value) for name, value in entry["job"].items()} for entry in manifest["jobs"]}
    parts, aside = collect(Pool(folder.resolve().parent), jobs)
    seconds = sum(session["seconds"] or 0.0 for session in manifest["sessions"])
    failures = [
        Failure(failure["key"], jobs[failure["key"]], failure["message"]) for failure in manifest["failures"] if failure["key"] not in parts
    ]
    return outcome(folder, manifest, jobs, parts, (0, aside, failures, seconds))


def outcome(
    folder: Path,
    manifest: Mapping[str, Any],
    jobs: Mapping[str, Job],
    parts: Mapping[str, Part],
    said: tuple[int, Sequence[str], Sequence[Failure], float],
) -> Run:
    """A `Run` from its pieces; `said`: jobs computed now, what was set aside, failures, seconds."""
    computed, aside, failures, seconds = said
    there = [parts[key] for key in jobs if key in parts]
    return Run(
        experiment=manifest["experiment"],
        profile=manifest["profile"],
        version=manifest["version"],
        spec=manifest["spec"],
        table=assembled(there, list(jobs.values())),
        keys=tuple(jobs),
        missing=tuple(key for key in jobs if key not in parts),
        reused=len(there) - computed,
        computed=computed,
        set_aside=tuple(aside),
        failures=tuple(failures),
        seconds=seconds,
        job_seconds={part.key: part.seconds for part in there},
        folder=folder,
        manifest=manifest,
    )


def list_runs(store: str | Path, argument: str = "store") -> list[Summary]:
    """The runs of a store, the newest first; nothing is read but manifests.

    Raises:
        ArgumentError: there is no such folder; `argument` names it in the message.
    """
    root = Path(store)
    if not root.is_dir():
        raise ArgumentError(
            f"expected `{argument}` to be the folder of a store, but got {root}, which is none: runs are written by perdure reproduce and perdure sweep"
        )
    found = [summary for folder in sorted(root.iterdir()) if folder.is_dir() and (summary := summary_of(folder)) is not None]
    return sorted(found, key=lambda summary: summary.started, reverse=True)


def preferred(runs: Iterable[Summary], place: Callable[[Summary], Any]) -> dict[Any, Summary]:
    """Of the runs at one place, such as those of an experiment, a complete one before others, and of these the one worked on last; damaged ones are left out."""
    found: dict[Any, Summary] = {}
    for run in runs:
        there = found.get(place(run))
        if not run.problem and (there is None or (run.complete, run.worked_on) > (there.complete, there.worked_on)):
            found[place(run)] = run
    return found


def summary_of(folder: Path) -> Summary | None:
    """The line of one run; None where the folder is none."""
    try:
        manifest = manifests.read(folder)
    except manifests.DamagedManifest as error:
        return Summary(folder, "?", "?", 0, 0, 0, "", "", 0, 0.0, f"{manifests.FILE} is damaged: {error}")
    if manifest is None:
        return None
    pool = Pool(folder.resolve().parent)
    sizes = {entry["key"]: pool.size(entry["key"]) for entry in manifest["jobs"]}
    there = [size for size in sizes.values() if size is not None]
    return Summary(
        folder,
        manifest["experiment"],
        manifest["profile"],
        len(there),
        len(sizes),
        sum(1 for failure in manifest["failures"] if sizes.get(failure["key"]) is None),
        manifest["started"],
        manifest["sessions"][-1]["started"] if manifest["sessions"] else manifest["started"],
        sum(there),
        sum(session["seconds"] or 0.0 for session in manifest["sessions"]),
    )
