"""Calls of a model that can be compared with one another: seeded alike, finite, and unaffected by the calls before."""

from __future__ import annotations

import random

import numpy as np
import torch

from perdure._typing import Float, Tensor
from perdure.adapters.frozen import Frozen, frozen
from perdure.adapters.measured import Measured, undecided
from perdure.adapters.rounding import NOISES, ROUNDED, SUSPECT, limit_of
from perdure.adapters.sequence import Adapted
from perdure.errors import ModelError


class Calls:
    """A frozen model, the inputs it is tried with, and how far its outputs can be trusted.

    Attributes:
        x: two random inputs, (2, T, d), without the background.
        random, stateful: whether it is; found when made.
        unlike: why outputs of two calls can't be compared; "" where they can.
        alone: whether rows must be given one by one, because they influence one another.
        limit: the difference that rounding may make; at most `SUSPECT` of the largest output.
        largest: largest output.
        eps: relative precision of the model's arithmetic.
        output_size: channels.
    """

    def __init__(self, call: Adapted, twin: Frozen, background: Float[Tensor, "T d"], horizon: int, bound: float, seed: int) -> None:
        self.call, self.twin, self.background, self.horizon, self.bound, self.seed = call, twin, background, horizon, bound, seed
        self.alone = False
        self.unlike = ""
        self.output_size = 0
        self._rng = torch.Generator().manual_seed(seed)
        self._fresh = False
        self.x = self.noise(2)
        self.limit = self.largest = self.eps = 0.0
        self.random, self.stateful = self._repeat()

    def noise(self, rows: int) -> Float[Tensor, "B T d"]:
        """Random inputs up to the bound, without the background."""
        drawn = torch.rand((rows, self.horizon, self.background.shape[1]), generator=self._rng, dtype=torch.float64)
        return (self.bound * (2 * drawn - 1)).to(self.background)

    def outputs(self, u: Float[Tensor, "B T d"], seed: int | None = None) -> Float[Tensor, "B T o"]:
        """Outputs for the background plus u, with all generators begun anew; if the model keeps a state, those of a copy never called."""
        start = self.seed if seed is None else seed
        torch.manual_seed(start)
        random.seed(start)
        np.random.seed(start % 2**32)  # noqa: NPY002 - models draw from it
        times = -(-u.shape[1] // self.background.shape[0])
        given = self.background.repeat(times, 1)[: u.shape[1]] + u
        if self._fresh:
            with frozen(self.call, self.twin.dtype) as twin:
                y = twin.model(given)
        else:
            y = self.twin.model(given)
        y = y.float() if y.dtype in (torch.float16, torch.bfloat16) else y
        if not bool(torch.isfinite(y).all()):
            row, step, channel = torch.argwhere(~torch.isfinite(y))[0].tolist()
            raise ModelError(
                f"expected argument `model` to give finite outputs, but got {float(y[row, step, channel])} at step {step} for an input of "
                f"size {float(given.abs().max()):g}: the model diverges there; try a smaller `bound` or `horizon`"
            )
        self.output_size = y.shape[2]
        return y

    def each(self, u: Float[Tensor, "B T d"]) -> Float[Tensor, "B T o"]:
        """Outputs of every row of u; each in a batch of its own, twice, where rows influence one another."""
        if not self.alone:
            return self.outputs(u)
        return torch.cat([self.outputs(row.repeat(2, 1, 1))[:1] for row in u.split(1)])

    def verdict(self, gap: float, scale: float, yes: str, no: str, step: int | None = None, roundings: int = 1) -> Measured:
        """Whether outputs that would be equal are: `gap` is their difference, reported relative to `scale`, with the finding in words `yes` or `no`.

        `roundings` counts the differences of outputs that the compared numbers are made of.
        """
        limit, scale = roundings * self.limit, scale or 1.0
        numbers = f"{gap / scale:.2g} of the largest, where rounding makes up to {limit / scale:.1g}"
        if gap > limit:
            return Measured(False, gap / scale, limit / scale, f"{no} ({numbers})", step)
        if gap > 0 and NOISES * self.eps * self.largest >= SUSPECT * scale:
            return Measured(None, gap / scale, limit / scale, f"undecided: rounding hides it ({numbers})")
        return Measured(True, gap / scale, limit / scale, f"{yes} ({numbers})")

    def _measure_rounding(self) -> None:
        limit, self.largest, self.eps = limit_of(self.outputs, self.x, self._rng)
        self.limit = min(limit, SUSPECT * self.largest)

    def _repeat(self) -> tuple[Measured, Measured]:
        """Random, stateful: the same input again, with the same seeds and with others; by copies never called if the same seeds do not repeat."""
        first, again, other = self.outputs(self.x), self.outputs(self.x), self.outputs(self.x, self.seed + 1)
        self.largest, self.eps = float(first.abs().max()), torch.finfo(first.dtype).eps  # rounding is measured only once calls repeat
        self.limit = min(ROUNDED * self.eps, SUSPECT) * self.largest
        kept = self.verdict(
            gap(first, again), self.largest, "a second call gives the same", "a second call with the same input and seeds differs"
        )
        if kept.holds is not False:
            self._measure_rounding()
            return self._draws(again, other), kept.turned()
        if self.call.module is not None:
            self._fresh = True
            first, again, other = self.outputs(self.x), self.outputs(self.x), self.outputs(self.x, self.seed + 1)
            if gap(first, again) <= self.limit:
                self._measure_rounding()
                return self._draws(again, other), kept.turned()
        self._fresh = False
        self.unlike = f"{kept.reason}, so that it draws from a generator of its own or keeps a state"
        return undecided(self.unlike), undecided(self.unlike)

    def _draws(self, one: Tensor, other: Tensor) -> Measured:
        return self.verdict(
            gap(one, other), self.largest, "other seeds give the same outputs", "outputs change with the seeds of torch, numpy and random"
        ).turned()


def gap(a: Tensor, b: Tensor) -> float:
    """Largest difference of two outputs, 0 for empty ones."""
    return float((a - b).abs().max()) if a.numel() else 0.0
