"""`perdure demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perdure.cli.app import app, progress


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

    with progress() as shown:
        task = shown.add_task("Fig. 1 and Fig. 4", total=None)
        found = curse.run(tick=lambda: shown.advance(task))
        measured = None
        if data:
            task = shown.add_task("GRU and LSTM on the CO2 record", total=None)
            measured = co2.run(tick=lambda: shown.advance(task))
        save(folder, found, measured, f"perdure demo --out {Path(out).name}")
    typer.echo(f"wrote {folder / 'index.html'}")
