"""What a sweep leaves in its run's folder: the table as Parquet and CSV, and a page of charts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perdure.report.files import write
from perdure.report.page import Section, page


def save(run: Any, spec: Any, skipped: Mapping[str, str]) -> list[Path]:
    """Write table.parquet, table.csv and index.html.

    Args:
        run: a `perdure.experiments.store.Run` of a sweep.
        spec: its `perdure.experiments.sweep_spec.SweepSpec`.
        skipped: combinations left out, and why.
    """
    import io

    from perdure.experiments.sweep import Sweep

    buffer = io.BytesIO()
    run.table.to_parquet(buffer, index=False)
    written = [write(run.folder / "table.parquet", buffer.getvalue()), write(run.folder / "table.csv", run.table.to_csv(index=False))]
    if not len(run.table):
        return written
    charts = tuple(Sweep().charts(run.table, spec))
    total = len(run.keys)
    findings = [f"{total - len(run.missing)} of {total} cell{'s have' if total != 1 else ' has'} rows."]
    findings += [f"Left out: {name}: {why}." for name, why in skipped.items()]
    findings += [f"Failed: {failure}" for failure in run.failures]
    text = "The perturbation error against the radius, one chart for each combination of target, activation, map, structure and group. β = 0 stands at the left edge."
    return [
        *written,
        write(run.folder / "index.html", page(spec.title, Sweep.method, findings, [Section("Cells", text, charts)], facts(run))),
    ]


def facts(run: Any) -> dict[str, str]:
    """Where the numbers come from."""
    manifest = run.manifest
    return {
        "Code": f"perdure {manifest['perdure']}, sources {manifest['code']}",
        "Versions": ", ".join(f"{name} {version}" for name, version in manifest["versions"].items()),
        "Machine": "; ".join(f"{name}: {text}" for name, text in manifest["machine"].items()),
        "Seeds": ", ".join(map(str, manifest["seeds"])),
        "Time": f"{sum(run.job_seconds.values()):.1f} s of computing; last session ended {manifest['ended']}",
        "Numbers": "table.parquet and table.csv beside this page",
    }
