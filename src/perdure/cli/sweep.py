"""`perdure sweep` and `perdure runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from perdure.cli.app import app, progress
from perdure.cli.interrupted import goes_on_from
from perdure.errors import ArgumentError

STORE = "out/runs"
Store = Annotated[str | None, typer.Option("--store", metavar="DIR", help=f"Folder of runs, {STORE} unless said otherwise.")]
Out = Annotated[str | None, typer.Option("--out", metavar="DIR", help="The same.")]


@app.command()
def sweep(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="The grid; see docs/sweeps.md.")],
    store: Store = None,
    out: Out = None,
    backend: Annotated[str, typer.Option("--backend", help="loky (processes on this machine), dask, ray or sequential.")] = "loky",
    address: Annotated[str | None, typer.Option("--address", help="Of a Dask scheduler or a Ray cluster; none starts one here.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes; one a core where it is left out.")] = None,
) -> None:
    """Perturbation errors on a grid of your own; interrupt it at any time, the same command goes on."""
    from perdure.experiments.backends import check
    from perdure.experiments.run import run
    from perdure.experiments.sweep import Sweep
    from perdure.experiments.sweep_file import read_sweep
    from perdure.experiments.sweep_spec import cells
    from perdure.report.files import writable_folder
    from perdure.report.sweep import save

    folder, argument = _store(store, out)
    grid = read_sweep(spec)
    check(backend, address, workers)
    jobs, skipped = cells(grid)
    writable_folder(folder, argument)
    for combination, why in skipped.items():
        typer.echo(f"left out: {combination}: {why}", err=True)
    left_out = f"; {counted(len(skipped), 'combination')} left out" if skipped else ""
    typer.echo(f"{counted(len(jobs), 'cell')} of {counted(len(grid.radii), 'radius', 'radii')}{left_out}")
    with goes_on_from(folder):
        with progress() as shown:
            task = shown.add_task("cells", total=len(jobs))
            found = run(
                Sweep(), grid, store=folder, backend=backend, address=address, workers=workers, profile=spec.stem,
                tick=lambda done, total: shown.update(task, completed=done, total=total),
            )  # fmt: skip
        written = save(found, grid, skipped)
    for line in found.set_aside:
        typer.echo(f"set aside: {line}", err=True)
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(f"{found.computed} computed, {found.reused} reused, {len(found.failures)} failed, {found.seconds:.1f} s")
    for failure in found.failures:
        typer.echo(f"failed: {failure}", err=True)
    if found.failures:
        raise typer.Exit(1)


@app.command()
def runs(store: Store = None, out: Out = None) -> None:
    """List the runs of a store, the newest first."""
    from perdure.experiments.store import list_runs

    folder, argument = _store(store, out)
    found = list_runs(folder, argument)
    if not found:
        typer.echo(f"no runs in {folder}")
        return
    lines = [("run", "experiment", "profile", "jobs", "started (UTC)", "size", "seconds")]
    lines += [_line(summary) for summary in found if not summary.problem]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    for summary in found:
        if summary.problem:
            typer.echo(f"{summary.folder.name}: {summary.problem}", err=True)


def _store(store: str | None, out: str | None) -> tuple[str, str]:
    """The folder, and the option that it was given by."""
    if store is not None and out is not None and store != out:
        raise ArgumentError(f"expected `--store` and `--out` to name one folder, but got {store} and {out}: give one of them")
    return (out, "--out") if out is not None else (STORE if store is None else store, "--store")


def counted(number: int, one: str, more: str = "") -> str:
    """A number with its noun.

    >>> counted(1, "cell"), counted(2, "cell"), counted(0, "radius", "radii")
    ('1 cell', '2 cells', '0 radii')
    """
    return f"{number} {one if number == 1 else more or f'{one}s'}"


def _line(summary: Any) -> tuple[str, ...]:
    failed = f" ({summary.failed} failed)" if summary.failed else ""
    jobs = f"{summary.finished}/{summary.total}{failed}"
    return (
        summary.folder.name,
        summary.experiment,
        summary.profile,
        jobs,
        summary.started[:16].replace("T", " "),
        size(summary.bytes),
        f"{summary.seconds:.1f}",
    )


def size(count: int | float) -> str:
    """Bytes for a reader.

    >>> size(999), size(20_000), size(3e9)
    ('999 B', '20.0 kB', '3.0 GB')
    """
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} GB"
