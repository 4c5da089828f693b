"""The command line: `perdure demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

import perdure

app = typer.Typer(help=str(perdure.__doc__).splitlines()[0], no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"perdure {perdure.__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """What does a sequence model remember, and does that memory survive a nudge of its weights?"""


@app.command()
def demo(
    out: Annotated[str, typer.Option("--out", metavar="FOLDER", help="Folder for the page, figures and tables.")] = "out/demo",
    data: Annotated[bool, typer.Option("--data/--no-data", help="Also train and measure two models on the CO2 record.")] = True,
) -> None:
    """Reproduce Fig. 1 and Fig. 4 by the exact method, measure two trained models, and write one HTML page."""
    from perdure.report.files import writable_folder

    folder = writable_folder(out)
    from perdure.experiments import co2, curse
    from perdure.report.demo import save

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Fig. 1 and Fig. 4", total=None)
        found = curse.run(tick=lambda: progress.advance(task))
        measured = None
        if data:
            task = progress.add_task("GRU and LSTM on the CO2 record", total=None)
            measured = co2.run(tick=lambda: progress.advance(task))
        save(folder, found, measured, f"perdure demo --out {Path(out).name}")
    typer.echo(f"wrote {folder / 'index.html'}")


def main() -> None:
    """Entry point: exit code 2 for bad input, 1 for a failure, 0 otherwise."""
    try:
        app()
    except (ValueError, TypeError) as error:
        typer.echo(f"perdure: {error}", err=True)
        sys.exit(2 if isinstance(error, perdure.PerdureError) else 1)
    except Exception as error:
        typer.echo(f"perdure: failed: {error}", err=True)
        sys.exit(1)
