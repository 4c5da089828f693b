"""What an experiment is: a frozen spec, a list of independent jobs, rows computed from each, and charts and claims drawn from the rows alone.

    spec --jobs--> job, job, ... --compute--> rows --(store)--> table --charts, claims--> page

A job is a flat dictionary that says everything its rows depend on, seeds included; together with the code's and the data's fingerprint it is
the address of its rows in the store. So a job computed for one profile or before an interruption is never computed again, and where it ran does
not matter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from perdure.report.chart import Chart

Scalar = str | int | float | bool | None
Job = Mapping[str, Scalar]
Row = Mapping[str, Scalar]
Outcome = Literal["agrees", "differs", "could not be tested"]
Whose = Literal["paper", "ours"]


class Spec(BaseModel):
    """Parameters of an experiment: validated, frozen, and closed to names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Data:
    """Folders of data that the project does not ship.

    Attributes:
        mnist: with MNIST's four IDX files under their published names, gzipped or not.
        sentiment: with the SST-2 files train.tsv, dev.tsv and test.tsv.
    """

    mnist: Path | None = None
    sentiment: Path | None = None


@dataclass(frozen=True)
class Claim:
    """One statement of the paper, or a further one of ours, beside what was measured here.

    Attributes:
        statement: what is claimed, in one sentence.
        paper: the paper's value or shape.
        ours: the measured numbers, as text.
        outcome: "agrees", "differs" or "could not be tested".
        why: what was done otherwise than in the paper, and what a reader must know of the outcome.
        rule: what decides the outcome, where `why` does not say it.
        whose: "paper", or "ours" for what the paper does not claim; counted apart.
    """

    statement: str
    paper: str
    ours: str
    outcome: Outcome
    why: str
    rule: str = ""
    whose: Whose = "paper"


class Experiment(ABC):
    """One figure or table.

    A subclass sets the class attributes and defines `jobs`, `compute`, `charts` and `claims`; `missing` and `fingerprint` only where it needs
    data. It holds no state.

    Attributes:
        name: as typed on the command line, such as "fig4a".
        title: what it shows, in a few words.
        source: where it stands in the literature.
        method: what the paper does and what is done here in its place or beside it, in two or three sentences.
        profiles: a spec by name: "tiny" (a golden test), "quick" (minutes), "paper" (the published protocol).
        version: raised when the meaning of the rows changes.
        shared: one name for experiments that compute the same rows of the same jobs, which are then computed once; "" where there is no other.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    method: ClassVar[str]
    profiles: ClassVar[Mapping[str, Spec]]
    version: ClassVar[int] = 1
    shared: ClassVar[str] = ""

    @abstractmethod
    def jobs(self, spec: Any) -> list[Job]:
        """The jobs of a spec, in the order of the table; no two alike."""

    @abstractmethod
    def compute(self, job: Job, data: Data) -> list[Row]:
        """The rows of one job, deterministic in the job and the data; column names differ from those of the job.

        Runs in a worker process, perhaps on another machine: on one thread, and without printing.
        """

    @abstractmethod
    def charts(self, table: Any, spec: Any) -> list[Chart]:
        """The figure's panels from the table alone: one row a computed row, with the columns of its job beside it."""

    @abstractmethod
    def claims(self, table: Any, spec: Any) -> list[Claim]:
        """What the paper claims in this figure or table, each beside the numbers of the table."""

    def missing(self, data: Data) -> str | None:
        """What data it lacks and how to get it; None where it can run."""
        return None

    def fingerprint(self, data: Data) -> str:
        """What identifies the data used, such as a digest of the files; "" where there are none."""
        return ""
