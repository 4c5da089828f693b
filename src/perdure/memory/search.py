"""sup over |x|_inf <= B of the slope of the response over the size of x: exact for linear models, a search otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from perdure._typing import Array
from perdure.memory.moves import around, between, missed, scaled, spread, starts
from perdure.memory.response import Responder

SMALLEST = 1e-3  # of min(bound, 1): below, saturating units answer linearly to about 1e-6
CHANNELS = 64
BLOCKS = 12
SIGNAL = 50.0  # noise floors: less is noise of a small input, which a sup would pick up
STAGES = 6
EXTRA = 16
SHORT = 0.01


@dataclass(frozen=True)
class Sup:
    """Values of the sup at each step, (T,); the noise in them; whether they are the sup or a lower bound found by search."""

    values: Array
    noise_floor: float
    exact: bool


@dataclass
class Board:
    """Every input tried so far, and its slope over its size, (R, T)."""

    responder: Responder
    affine: bool
    x: list[Array] = field(default_factory=list)
    ratios: list[Array] = field(default_factory=list)

    def add(self, x: Array) -> None:
        """Measure rows x, (R, d)."""
        for rows, slopes in self.responder.slopes(x):
            self.keep(x[rows], slopes)

    def keep(self, x: Array, slopes: torch.Tensor) -> None:
        """Take in slopes, (R, T, o), measured for rows x: the largest over output channels counts."""
        self.x.append(x)
        low, high = torch.aminmax(slopes, dim=-1)
        self.ratios.append(torch.maximum(-low, high).abs().cpu().double().numpy() / self.size(x)[:, None])  # abs: no -0.0

    def size(self, x: Array) -> Array:
        """What slopes are divided by: |x|_inf, or |x|_inf + 1."""
        return np.abs(x).max(1) + (1.0 if self.affine else 0.0)

    def trusted(self) -> tuple[Array, Array, Array]:
        """All rows, their ratios with those within the noise of their own size set to 0, and the noise of each row."""
        x, ratios = np.concatenate(self.x), np.concatenate(self.ratios)
        noise = self.responder.noise() / self.size(x)
        return x, np.where(ratios > SIGNAL * noise[:, None], ratios, 0.0), noise

    def best(self) -> tuple[Array, float]:
        """The largest ratio at each step, and the noise of the largest inputs, which decide where all others are silent."""
        _, trusted, noise = self.trusted()
        loud = np.concatenate(self.ratios)[noise <= noise.min() * 1.001]
        return np.maximum(trusted.max(0), loud.max(0)), float(noise.min())

    def winners(self, blocks: int) -> Array:
        """The best input at each of some steps, spread over the horizon half evenly and half evenly in log time, in order."""
        x, trusted, _ = self.trusted()
        last = trusted.shape[1] - 1
        steps = np.union1d(spread(last + 1, blocks), np.linspace(0, last, blocks).astype(int))
        best = trusted[:, steps].argmax(0)
        return x[best[np.diff(best, prepend=-1) != 0]]


def supremum(responder: Responder, bound: float, affine: bool, probes: int, rng: np.random.Generator, extra: int = 0) -> Sup:
    """The sup over 0 < |x|_inf <= bound of |slope| / |x|_inf (affine: / (|x|_inf + 1)) at each step.

    One step along each coordinate and one in a random direction show whether the model is linear. If so, the sup is the largest over output
    channels of the l1 norm over input channels, exactly. Otherwise: random corners and interior points at sizes spread logarithmically;
    corners with the signs that would be best for a linear model; then moves around the best input of each stretch of time. With one
    channel, the moves are to the tops of parabolas, and go on for up to `extra` inputs while those say that more than 1 % is missed.
    """
    d = responder.size
    board = Board(responder, affine)
    smallest = SMALLEST * min(bound, 1.0)
    coordinates = d + 1 <= probes
    left = probes - (d + 1 if coordinates else 0)
    x = starts(d, left // 3 if d == 1 else left // 4, smallest, bound, rng)
    corners = np.zeros((0, d))
    if coordinates:
        linear, corners = _coordinates(board, bound, x, rng)
        if linear is not None:
            return linear
    else:
        board.add(x)
    left = max(left - x.shape[0], STAGES)
    guesses = scaled(corners, left // 3, smallest, bound, rng) if d > 1 else corners[:0]
    left -= guesses.shape[0]
    for stage in range(STAGES):
        count = left // STAGES + (stage < left % STAGES)
        tried, trusted, _ = board.trusted()
        more = (
            between(tried, trusted, count)
            if d == 1
            else around(board.winners(max(count // 3, 2)), count, 4 * 0.5**stage, smallest, bound, rng)
        )
        board.add(np.concatenate([guesses, more]) if stage == 0 else more)
    while d == 1 and extra > 0:
        tried, trusted, _ = board.trusted()
        if missed(tried, trusted) < SHORT:
            break
        board.add(between(tried, trusted, min(EXTRA, extra)))
        extra -= EXTRA
    values, noise = board.best()
    return Sup(values, noise, False)


def _coordinates(board: Board, bound: float, extra: Array, rng: np.random.Generator) -> tuple[Sup | None, Array]:
    """Measure one step along each coordinate, one in a random direction and the rows `extra`: the sup if linear, and good corners."""
    responder = board.responder
    d = responder.size
    unit = 0.5 * min(bound, 1.0)
    mix = rng.uniform(-1, 1, d)
    mix *= bound / np.abs(mix).max()
    x = np.concatenate([unit * np.eye(d), mix[None], extra])
    total = predicted = actual = torch.zeros(())
    parts: list[torch.Tensor] = []
    steps: Array = np.zeros(0, int)
    channels: Array = np.zeros(0, int)
    for rows, slopes in responder.slopes(x):
        board.keep(x[rows], slopes)
        if not steps.size:
            steps = spread(slopes.shape[1], BLOCKS)
            channels = np.sort(rng.permutation(slopes.shape[2])[:CHANNELS])
        along = slopes[: max(0, d - rows.start)]
        if along.shape[0]:
            weights = torch.as_tensor(mix[rows.start : rows.start + along.shape[0]] / unit).to(slopes)
            total = along.abs().sum(0) + total
            predicted = torch.tensordot(weights, along, 1) + predicted
            parts.append(along[:, torch.as_tensor(steps)][:, :, torch.as_tensor(channels)].cpu().double())
        if rows.start <= d < rows.stop:
            actual = slopes[d - rows.start]
    largest = float(actual.abs().max())
    tolerance = 2 * responder.noise() * (1 + np.abs(mix).sum() / unit) + 1e-9 * largest
    if float((predicted - actual).abs().max()) <= tolerance and tolerance <= 0.01 * largest:
        responder.confirm()
        scale = bound / (bound + 1.0 if board.affine else bound) / unit
        return Sup((total.amax(-1).cpu().double().numpy() * scale), responder.noise() * d * scale, True), np.zeros((0, d))
    partial = torch.cat(parts).numpy()
    channel = np.abs(partial).sum(0).argmax(1)
    corners = np.sign(partial[:, np.arange(steps.size), channel].T)
    corners[corners == 0] = 1.0
    return None, np.unique(np.concatenate([corners, -corners]), axis=0)
