"""A small experiment for the tests of the page and of the commands: y = scale * k^2, with a job that can be made to fail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perdure.experiments.base import Claim, Data, Experiment, Job, Row, Spec
from perdure.report.chart import Chart, Series


class ToySpec(Spec):
    """Jobs k = 0 .. count - 1; the job `broken` raises."""

    count: int = 3
    broken: int = -1
    seed: int = 0


class Squares(Experiment):
    """Squares of whole numbers."""

    name = "fig1a"
    title = "squares <of> & numbers"
    source = "Fig. 1a of a toy"
    method = "The paper squares; so do we."
    profiles: Mapping[str, Spec] = {"tiny": ToySpec(count=2), "quick": ToySpec(), "paper": ToySpec(count=5)}

    def jobs(self, spec: Any) -> list[Job]:
        return [{"k": k, "seed": spec.seed, "broken": k == spec.broken} for k in range(spec.count)]

    def compute(self, job: Job, data: Data) -> list[Row]:
        if job["broken"]:
            raise RuntimeError("the pen broke")
        return [{"y": float(job["k"]) ** 2}]  # type: ignore[arg-type]

    def charts(self, table: Any, spec: Any) -> list[Chart]:
        x, y = table["k"].to_numpy(float), table["y"].to_numpy(float)
        line = Series("squares", x, y, 0.2, "solid", "circle")
        return [Chart("a", "first </script> panel", "k", "y", (line,), "a caption"), Chart("b", "second panel", "k", "y", (line,))]

    def claims(self, table: Any, spec: Any) -> list[Claim]:
        top = table["y"].max()
        right = top == (spec.count - 1) ** 2
        return [
            Claim("The largest is a square.", f"{(spec.count - 1) ** 2}", f"{top:g}", "agrees" if right else "differs", "exact arithmetic"),
            Claim("Squares are negative.", "< 0", f"{table['y'].min():g}", "differs", "they are not"),
        ]


class Needy(Squares):
    """The same, which runs only beside MNIST."""

    name = "table1"
    title = "squares of digits"

    def missing(self, data: Data) -> str | None:
        return None if data.mnist else "MNIST's four IDX files: pass their folder as --mnist"

    def fingerprint(self, data: Data) -> str:
        return str(Path(data.mnist).name) if data.mnist else ""


class More(Squares):
    """The same under another name."""

    name = "fig1b"
    title = "more squares"


def frame(experiment: Experiment, spec: Any) -> Any:
    """The table of a spec, computed here."""
    import pandas as pd

    rows = [{**job, **row} for job in experiment.jobs(spec) for row in experiment.compute(job, Data())]
    return pd.DataFrame(rows)
