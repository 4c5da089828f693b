"""`perdure sweep` and `perdure runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from perdure.cli.app import app, progress

Store = Annotated[str, typer.Option("--out", "--store", metavar="DIR", help="Folder of runs.")]


@app.command()
def sweep(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="The grid; see docs/sweeps.md.")],
    out: Store = "out/runs",
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

    grid = read_sweep(spec)
    check(backend, address, workers)
    writable_folder(out)
    jobs, skipped = cells(grid)
    for combination, why in skipped.items():
        typer.echo(f"left out: {combination}: {why}", err=True)
    typer.echo(f"{len(jobs)} cells of {len(grid.radii)} radii" + (f"; {len(skipped)} combinations left out" if skipped else ""))
    with progress() as shown:
        task = shown.add_task("cells", total=len(jobs))
        found = run(
            Sweep(), grid, store=out, backend=backend, address=address, workers=workers, profile=spec.stem,
            tick=lambda done, total: shown.update(task, completed=done, total=total),
        )  # fmt: skip
    for line in found.set_aside:
        typer.echo(f"set aside: {line}", err=True)
    from perdure.report.sweep import save

    for path in save(found, grid, skipped):
        typer.echo(f"wrote {path}")
    typer.echo(f"{found.computed} computed, {found.reused} reused, {len(found.failures)} failed, {found.seconds:.1f} s")
    for failure in found.failures:
        typer.echo(f"failed: {failure}", err=True)
    if found.failures:
        raise typer.Exit(1)


@app.command()
def runs(out: Store = "out/runs") -> None:
    """List the runs of a store, the newest first."""
    from perdure.experiments.store import list_runs

    found = list_runs(out)
    if not found:
        typer.echo(f"no runs in {out}")
        return
    lines = [("run", "experiment", "profile", "jobs", "started (UTC)", "size", "seconds")]
    lines += [_line(summary) for summary in found if not summary.problem]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    for summary in found:
        if summary.problem:
            typer.echo(f"{summary.folder.name}: {summary.problem}", err=True)


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
