"""What Fig. 9 and Table 1 share: the spec, the training jobs, and their data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from perdure.errors import ArgumentError
from perdure.experiments.base import Data, Experiment, Job, Outcome, Row, Spec
from perdure.experiments.data import mnist as data_set
from perdure.experiments.mnist_training import rows_of_run
from perdure.report.chart import tones

MAPS = ("direct", "exp", "softplus", "inverse")
STABLE = MAPS[1:]
TONE = dict(zip(MAPS, tones(4), strict=True))
LINE = dict(
    zip(MAPS, ("solid", "dash", None, "dashdot"), strict=True)
)  # exp, softplus and inverse nearly coincide: points stand out from lines
MARKER = dict(zip(MAPS, (None, None, "diamond", None), strict=True))
PUBLISHED_EPOCHS = 10


class MnistSpec(Spec):
    """Of Fig. 9 and Table 1.

    Attributes:
        seeds: repeats; each map starts from the same weights in each of them.
        images: of the training set that are used, from the first on.
        epochs: over them.
        records: times the network is tested on the way.
        tested: test images on the way; all of them at the end.
        width: states of the network.
        dt: time of a step (a pixel).
        rate: of Adam.
        batch: images of a step.
        row_epochs: of the same network reading a row of 28 pixels a step (Table 1).
        ours_pixels: steps of our layers reading pixel by pixel, chosen to take about as long as one run of the paper's network.
        ours_rows: steps of our layers reading row by row, likewise.
        along: steps of the paper's network with the head of our layers, likewise.
        ours_seeds: repeats of these three.
    """

    seeds: int = Field(default=3, ge=1)
    images: int = Field(default=60_000, ge=1)
    epochs: float = Field(default=PUBLISHED_EPOCHS, gt=0)
    row_epochs: float = Field(default=PUBLISHED_EPOCHS, gt=0)
    records: int = Field(default=20, ge=1)
    tested: int = Field(default=2_000, ge=1)
    width: int = Field(default=64, ge=1)
    dt: float = Field(default=0.1, gt=0)
    rate: float = Field(default=0.005, gt=0)
    batch: int = Field(default=128, ge=1)
    ours_pixels: int = Field(default=10_000, ge=1)
    ours_rows: int = Field(default=7_000, ge=1)
    along: int = Field(default=10_000, ge=1)
    ours_seeds: int = Field(default=3, ge=1)

    def steps(self, presentation: str = "pixels") -> int:
        """Of a run of the paper's network: a last smaller batch is left out."""
        epochs = self.epochs if presentation == "pixels" else self.row_epochs
        return max(self.records, round(epochs * (self.images // min(self.batch, self.images))))


class MnistExperiment(Experiment):
    """Training runs on MNIST with the same initial weights under each map."""

    source = "Wang, Li & Li 2024"
    shared = "mnist"
    profiles: ClassVar[Mapping[str, Spec]] = {
        "tiny": MnistSpec(
            seeds=2,
            images=60,
            epochs=4,
            row_epochs=4,
            records=2,
            tested=20,
            width=4,
            batch=20,
            ours_pixels=6,
            ours_rows=6,
            along=6,
            ours_seeds=2,
        ),
        "quick": MnistSpec(ours_pixels=1_000, ours_rows=700, along=1_000),
        "paper": MnistSpec(seeds=6),
    }

    def jobs(self, spec: MnistSpec) -> list[Job]:
        """One training run each: seed by seed, so that whole comparisons are finished first."""
        return [self._paper(spec, name, seed) for seed in range(spec.seeds) for name in MAPS]

    def compute(self, job: Job, data: Data) -> list[Row]:
        """One row each time the network is tested.

        Raises:
            ArgumentError: the data are missing or damaged.
        """
        if data.mnist is None:
            raise ArgumentError(f"expected the folder of MNIST, but got none: {data_set.SOURCE}")
        return rows_of_run(job, data_set.read_mnist(data.mnist))

    def missing(self, data: Data) -> str | None:
        """What is missing of MNIST's four files."""
        if data.mnist is None:
            return data_set.SOURCE
        try:
            data_set.files(data.mnist)
        except ArgumentError as error:
            return str(error)
        return None

    def fingerprint(self, data: Data) -> str:
        """Digest of the four files' contents."""
        return "" if data.mnist is None else data_set.fingerprint(data.mnist)

    @staticmethod
    def _paper(spec: MnistSpec, name: str, seed: int, presentation: str = "pixels") -> Job:
        return {"model": "paper", "map": name, "presentation": presentation, "seed": seed, "width": spec.width, "dt": spec.dt, "rate": spec.rate,
                "batch": spec.batch, "images": spec.images, "steps": spec.steps(presentation), "records": spec.records, "tested": spec.tested,
                "modes": 0, "layers": 1}  # fmt: skip


def of_map(table: Any, name: str, presentation: str = "pixels") -> Any:
    """The rows of the paper's network under one map, reading pixel by pixel or a row a step."""
    return table[(table["model"] == "paper") & (table["map"] == name) & (table["presentation"] == presentation)]


def final(rows: Any, column: str) -> dict[int, float]:
    """Value of a column at the last record, by seed."""
    last = rows[rows["record"] == rows["records"] - 1]
    return {int(seed): float(value) for seed, value in zip(last["seed"], last[column], strict=True)}


def setting(spec: MnistSpec) -> str:
    """What was read into the paper, for captions and reasons."""
    return (
        f"Pixel by pixel (784 steps), {spec.width} states, diagonal W = g(v), dt = {spec.dt:g}, Adam {spec.rate:g}, batches of {spec.batch}, "
        f"{spec.epochs:g} epoch{'s' if spec.epochs != 1 else ''} of {spec.images} images, {spec.seeds} seeds. The paper publishes neither width, step, optimiser nor how the digits are read: this is one reading of it."
    )


def undecided(found: Outcome, spec: MnistSpec) -> Outcome:
    """What is found of a claim about ten epochs: not tested by a profile that trains less."""
    return "could not be tested" if shortened(spec) else found


def shortened(spec: MnistSpec) -> str:
    """What a profile leaves out, for reasons; "" where it trains as long as the paper."""
    if spec.epochs >= PUBLISHED_EPOCHS and spec.images >= 60_000:
        return ""
    epochs = f"{spec.epochs:g} epoch{'s' if spec.epochs != 1 else ''} of {spec.images} images"
    return f"The paper trains {PUBLISHED_EPOCHS} epochs; this profile trains {epochs}, and the order may turn with more. "
