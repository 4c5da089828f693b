"""What training returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from perdure._typing import Array

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class FitResult:
    """A trained model and how it came about.

    Attributes:
        model: the model that was passed, with the best weights found.
        method: "auto", "gauss-newton", "lbfgs" or "adam".
        error: of the best weights: relative W1 error (see `measure`), or for data pairs the root of the relative mean square.
        measure: what `error` is, in words.
        best_loss: the least loss; what a loss is, says `objective`.
        best_step: the step after which it was reached; 0 is before the first.
        rolled_back: steps that led to NaN or infinity and were undone.
        stopped: why training ended.
        seconds: time spent, with that before an interruption.
        objective: what is minimised, in words.
        dt: time between samples.
        horizon: time up to which the error counts; None for data pairs.
        seed: of the training sequences.
        notes: what a reader of the numbers should know, such as where the weights started.
        steps: number of each step recorded, (S,): epochs for Adam, iterations else.
        losses: loss after each, (S,).
        times: seconds after each, (S,).
        stages: the method of each, (S,) strings.
    """

    model: nn.Module = field(repr=False)
    method: str
    error: float
    measure: str
    best_loss: float
    best_step: int
    rolled_back: int
    stopped: str
    seconds: float
    objective: str = field(repr=False)
    dt: float
    horizon: float | None
    seed: int
    notes: tuple[str, ...]
    steps: Array = field(repr=False)
    losses: Array = field(repr=False)
    times: Array = field(repr=False)
    stages: tuple[str, ...] = field(repr=False)

    @property
    def loss(self) -> pd.DataFrame:
        """The history: one row a step, with columns step, method, loss and seconds."""
        import pandas as pd

        return pd.DataFrame({"step": self.steps, "method": list(self.stages), "loss": self.losses, "seconds": self.times})

    def to_frame(self) -> pd.DataFrame:
        """The history, as `loss`."""
        return self.loss

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, valid as strict JSON: a number that is not finite is None. The model is left out."""
        numbers = ("error", "best_loss", "seconds", "dt", "horizon")
        others = ("method", "measure", "best_step", "rolled_back", "stopped", "objective", "seed")
        history = {"step": self.steps.tolist(), "loss": [_plain(v) for v in self.losses.tolist()], "seconds": self.times.tolist()}
        return (
            {name: getattr(self, name) for name in others}
            | {name: _plain(getattr(self, name)) for name in numbers}
            | {"notes": list(self.notes), "history": history | {"method": list(self.stages)}}
        )

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """The loss against the seconds spent, on a logarithmic axis of losses; the best step is a dot.

        Args:
            ax: matplotlib axes; None makes a figure.
            **style: for the line.

        Returns:
            The axes.
        """
        import matplotlib.pyplot as plt

        ax = plt.subplots(layout="constrained")[1] if ax is None else ax
        style = {"label": self.method} | style
        (line,) = ax.plot(self.times, np.where(self.losses > 0, self.losses, np.nan), **style)
        best = np.nonzero(self.steps == self.best_step)[0]
        if best.size and self.losses[best[-1]] > 0:
            ax.plot(self.times[best[-1:]], self.losses[best[-1:]], marker="o", markersize=4, color=line.get_color())
        if (self.losses > 0).any():
            ax.set_yscale("log")
        ax.set(xlabel="seconds", ylabel="loss")
        ax.legend(frameon=False)
        return ax


def _plain(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
