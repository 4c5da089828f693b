"""A GRU and an LSTM on the weekly CO2 record of Mauna Loa: how well they predict next week, and how far back they look.

The record ships with statsmodels, so nothing is downloaded. Nothing of the held-out years reaches the training:

* gaps are interpolated linearly inside the training years; a gap in the held-out years would be filled with the last value seen;
* the slow trend is the mean of the trailing 52 weeks, known at the time of the prediction;
* mean and scale are those of the training years.

The models map the standardised deviation from that trend, week by week, to next week's value relative to the same trend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from perdure import _checks
from perdure._random import isolated
from perdure._typing import Array, Float, Tensor
from perdure.errors import PerdureError
from perdure.memory.function import MemoryFunction
from perdure.memory.law import DecayFit
from perdure.memory.measure import memory_function

YEAR = 52  # weeks
TRAIN_UNTIL = "1990-01-01"
BURN_IN = 26  # weeks at the start of a training window whose predictions do not count: the state is not warm yet
CELLS: dict[str, Callable[..., nn.Module]] = {"GRU": nn.GRU, "LSTM": nn.LSTM}
PROBES = ("heaviside", "impulse")


@dataclass(frozen=True)
class Record:
    """The prepared series.

    Attributes:
        weeks: dates of the inputs, (T,), as datetime64.
        inputs: standardised deviation from the trailing yearly mean, (T,).
        targets: next week's value relative to the same mean, in the same scale, (T,).
        trend: the trailing yearly mean in ppm, (T,).
        split: index of the first held-out week.
        mean: of the deviations in the training years, ppm.
        scale: their standard deviation, ppm.
        gaps: weeks that were filled: in the training years, in the held-out ones.
    """

    weeks: Array = field(repr=False)
    inputs: Array = field(repr=False)
    targets: Array = field(repr=False)
    trend: Array = field(repr=False)
    split: int
    mean: float
    scale: float
    gaps: tuple[int, int]


@dataclass(frozen=True)
class Trained:
    """One model: how well it predicts and what it remembers.

    Attributes:
        name: "GRU" or "LSTM".
        error: root mean square error of next week's CO2 over the held-out weeks, ppm.
        predictions: next week's CO2 over the held-out weeks, ppm.
        memory: by probe; times in weeks.
        law: fitted decay law by probe.
    """

    name: str
    error: float
    predictions: Array = field(repr=False)
    memory: dict[str, MemoryFunction] = field(repr=False)
    law: dict[str, DecayFit] = field(repr=False)


@dataclass(frozen=True)
class CO2Result:
    """What `run` returns; all errors are root mean squares over the held-out weeks in ppm.

    Attributes:
        record: the prepared series.
        models: the trained models.
        persistence: error of "next week is as this week".
        seasonal: error of "the change is that of the same week a year ago".
        hidden_size: of each model.
        epochs: of training.
        seed: of initial weights and batches.
    """

    record: Record
    models: tuple[Trained, ...]
    persistence: float
    seasonal: float
    hidden_size: int
    epochs: int
    seed: int

    def to_frame(self) -> Any:
        """Memory functions as a long table: model, probe, time (weeks), memory, envelope, above_noise, law (the fitted curve)."""
        import pandas as pd

        parts = []
        for model in self.models:
            for probe, mf in model.memory.items():
                parts.append(mf.to_frame().assign(model=model.name, probe=probe, law=model.law[probe].predict(mf.times)))
        return pd.concat(parts, ignore_index=True)

    def forecasts(self) -> Any:
        """Held-out weeks as a table: week (of the target), observed and predicted CO2 in ppm."""
        import pandas as pd

        held = slice(self.record.split, None)
        observed = self.record.targets[held] * self.record.scale + self.record.mean + self.record.trend[held]
        weeks = self.record.weeks[held] + np.timedelta64(7, "D")
        return pd.DataFrame({"week": weeks, "observed": observed, **{m.name: m.predictions for m in self.models}})

    def to_dict(self) -> dict[str, Any]:
        """Everything but the forecasts, ready for JSON once infinities are spelled out."""
        models = {
            m.name: {
                "error_ppm": m.error,
                "memory": {probe: {**mf.to_dict(), "law": m.law[probe].to_dict()} for probe, mf in m.memory.items()},
            }
            for m in self.models
        }
        held_out = int(self.record.inputs.size - self.record.split)
        baselines = {"persistence_ppm": self.persistence, "seasonal_ppm": self.seasonal}
        options = {"hidden_size": self.hidden_size, "epochs": self.epochs, "seed": self.seed, "gaps_filled": list(self.record.gaps)}
        return {"held_out_weeks": held_out, **baselines, **options, "models": models}


class Predictor(nn.Module):
    """A recurrent layer and a linear readout: (B, T, 1) -> (B, T, 1)."""

    def __init__(self, cell: Callable[..., nn.Module], hidden_size: int) -> None:
        super().__init__()
        self.layer = cell(1, hidden_size, batch_first=True)
        self.readout = nn.Linear(hidden_size, 1)

    def forward(self, x: Float[Tensor, "B T 1"]) -> Float[Tensor, "B T 1"]:
        """Predictions for every step."""
        return self.readout(self.layer(x)[0])


def load() -> Record:
    """The weekly CO2 record, prepared without looking ahead.

    Raises:
        PerdureError: statsmodels is not installed.
    """
    try:
        from statsmodels.datasets import co2
    except ImportError as error:
        raise PerdureError("the CO2 record ships with statsmodels, which is not installed: pip install 'perdure[demo]'") from error
    table: Any = co2.load_pandas().data
    series = table["co2"]
    return prepare(
        series.index.to_numpy(), series.to_numpy(float), int(np.searchsorted(series.index.to_numpy(), np.datetime64(TRAIN_UNTIL)))
    )


def prepare(weeks: Array, values: Array, split: int) -> Record:
    """Fill gaps, take the trailing yearly mean off and standardise, all without using weeks from `split` on for the weeks before it.

    Args:
        weeks: dates, (T,).
        values: ppm, (T,), NaN where there is no measurement.
        split: index of the first held-out week.
    """
    values, missing = values.copy(), np.isnan(values)
    known = np.nonzero(~missing[:split])[0]
    values[:split] = np.interp(np.arange(split), known, values[known])
    for i in np.nonzero(missing[split:])[0] + split:
        values[i] = values[i - 1]
    total = np.cumsum(np.concatenate([[0.0], values]))
    trend = (total[YEAR:] - total[:-YEAR]) / YEAR  # of the weeks up to and including its own
    values, weeks, first = values[YEAR - 1 :], weeks[YEAR - 1 :], split - (YEAR - 1)
    deviation = (values - trend)[:-1]
    # the target of the last training week lies in the held-out years: the mean and scale use inputs only, and training stops before it
    mean, scale = float(deviation[:first].mean()), float(deviation[:first].std())
    targets = (values[1:] - trend[:-1] - mean) / scale
    gaps = (int(missing[:split].sum()), int(missing[split:].sum()))
    return Record(weeks[:-1], (deviation - mean) / scale, targets, trend[:-1], first, mean, scale, gaps)


def train(
    record: Record,
    cell: str,
    *,
    hidden_size: int = 32,
    epochs: int = 40,
    window: int = 104,
    seed: int = 0,
    tick: Callable[[], None] | None = None,
) -> Predictor:
    """Train one model on windows of the training years by Adam with a cosine schedule; the global random state is left alone.

    Args:
        record: from `load`.
        cell: "GRU" or "LSTM".
        hidden_size: units.
        epochs: passes over the windows.
        window: weeks in a training window.
        seed: of initial weights and batches.
        tick: called after every epoch.
    """
    _checks.choice(cell, "cell", CELLS)
    epochs = _checks.positive_int(epochs, "epochs")
    x, y = (
        torch.as_tensor(a[: record.split - 1], dtype=torch.float32).unfold(0, window, YEAR // 4)[..., None]
        for a in (record.inputs, record.targets)
    )
    with isolated(seed):
        model = Predictor(CELLS[cell], hidden_size)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(32):
                optimiser.zero_grad()
                loss = (model(x[rows]) - y[rows])[:, BURN_IN:].square().mean()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
            schedule.step()
            if tick:
                tick()
    return model.eval()


def measure(record: Record, name: str, model: nn.Module, horizon: int = 260) -> Trained:
    """Held-out error, memory functions by two probes (up to one standard deviation of the input) and their decay laws, times in weeks."""
    with torch.no_grad():
        output = model(torch.as_tensor(record.inputs, dtype=torch.float32)[None, :, None])[0, :, 0].double().numpy()
    held = slice(record.split, None)
    error = record.scale * _rms((output - record.targets)[held])
    memory = {probe: memory_function(model, horizon=horizon, dt=1.0, input_size=1, probe=probe) for probe in PROBES}
    predictions = output[held] * record.scale + record.mean + record.trend[held]
    return Trained(name, error, predictions, memory, {probe: mf.fit() for probe, mf in memory.items()})


def run(*, hidden_size: int = 32, epochs: int = 40, horizon: int = 260, seed: int = 0, tick: Callable[[], None] | None = None) -> CO2Result:
    """Train and measure a GRU and an LSTM; `tick` is called after every epoch of each.

    Raises:
        PerdureError: statsmodels is not installed.
    """
    record = load()
    models = tuple(
        measure(record, cell, train(record, cell, hidden_size=hidden_size, epochs=epochs, seed=seed, tick=tick), horizon) for cell in CELLS
    )
    change = record.targets - record.inputs
    held = change[record.split :]
    before = change[record.split - YEAR : -YEAR]
    return CO2Result(record, models, record.scale * _rms(held), record.scale * _rms(held - before), hidden_size, epochs, seed)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
