r"""Equilibria of a step map h -> f(h): where a model comes to rest under a constant input.

First the model is run, until it rests, or is so near to a stable equilibrium that its linearisation says where the run goes. Then Newton's
method solves f(h) = h, (I - J) d = f(h) - h with halved steps where a full one does not reduce |f(h) - h|, from the end of the run, the
mean of its second half (near the equilibrium that a run circles around), the point where it moved least, and the start. Where all fail,
continuation (`perdure.stability.continuation`) leads to another beginning.

A point counts as an equilibrium when the residual |f(h) - h| is below 1e-10 (1 + |h|) and the next correction |d| below 1e-6 (1 + |h|), in
the max norm and with rounding, eps (1 + |h|) |(I - J)^-1|, counted in. The residual alone would not do: dh/dt = sigmoid(-h) slows down
without end and never rests, and there the correction stays of order 1. Where I - J is singular to rounding, as at a line of
equilibria, a point counts only where the search began near it.

A bounded continuous map, such as a tanh network's or a GRU's, has an equilibrium (Brouwer's theorem), though not always one that a run
reaches or that is found here; unbounded ones, such as a perfect integrator with an input, may have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from perdure._typing import Array
from perdure.errors import ModelError
from perdure.stability.continuation import followed
from perdure.stability.step_map import StepMap

HUGE = 1e12  # a state beyond is on its way to infinity
LONGEST_PERIOD = 256  # steps
LOOK = 256  # steps after which a first look is taken; the next ones at twice as many
LINEAR = 1e-3  # relative: a state so near to an equilibrium that the linearisation says where it goes
NEWTON = 60  # iterations
HALVINGS = 12
STRAY = 1e-2  # relative to 1 + |h|: how far a search may go to an equilibrium where I - J is singular
NEAR = 1e-6  # relative to 1 + |h|: two equilibria that are one, and a run that has arrived


class NoEquilibriumError(ModelError):
    """A model that comes to no rest under a constant input, as far as was searched.

    Attributes:
        kind: what the run does: "diverging", "periodic", "drifting" or "wandering".
        period: steps, for "periodic", else None.
    """

    def __init__(self, message: str, kind: str, period: int | None) -> None:
        super().__init__(message)
        self.kind, self.period = kind, period


@dataclass(frozen=True)
class Motion:
    """What a run does in the end: "at rest", or one of the kinds of `NoEquilibriumError`."""

    kind: str
    period: int | None
    words: str


@dataclass(frozen=True)
class Equilibrium:
    """A point with f(h) = h.

    Attributes:
        state: h*, (n,).
        jacobian: J there, (n, n).
        residual: |f(h*) - h*|_inf.
        correction: the next step of Newton's method, |.|_inf.
        status: whether a run goes there: "settled", "approached" or "not reached".
        motion: what the run does; None where there was no run.
        steps: length of the run.
    """

    state: Array
    jacobian: Array
    residual: float
    correction: float
    status: str = "not reached"
    motion: Motion | None = None
    steps: int = 0


def find(map_: StepMap, start: Array, steps: int) -> Equilibrium:
    """The equilibrium that a run from `start` (n,) leads to, or else one that Newton's method finds from it.

    Raises:
        NoEquilibriumError: none found; the message says what the run does.
        ModelError: NaN in the state.
    """
    path, look = run(map_, [start], min(steps, LOOK)), LOOK
    while look < steps and len(path) > look:
        early = newton(map_, path[-1])
        if early is not None and _led_to(path, early):
            return replace(early, status=_status(path, early), motion=described(path, look), steps=look)
        look *= 2
        path = run(map_, path, min(steps, look))
    motion = described(path, steps)
    slowest = path[int(np.abs(np.diff(path, axis=0)).max(1).argmin())]
    guesses = [start, slowest] if motion.kind == "diverging" else [path[-1], path[len(path) // 2 :].mean(0), slowest, start]
    tries = [lambda guess=guess: newton(map_, guess) for guess in guesses] + [lambda: continued(map_, guesses[len(guesses) // 2])]
    for search in tries:
        found = search()
        if found is not None:
            return replace(found, status=_status(path, found), motion=motion, steps=len(path) - 1)
    moves = f"; it still moves by {np.abs(path[-1] - path[-2]).max():.2g} a step" if motion.kind != "diverging" else ""
    raise NoEquilibriumError(
        f"expected argument `model` to have an equilibrium under this input, but got a run of {len(path) - 1} steps that is {motion.words}{moves} "
        f"(largest state {np.abs(path[-1]).max():.3g}), and neither Newton's method nor continuation finds a point at rest: try other starts, more steps or another input",
        motion.kind,
        motion.period,
    )


def run(map_: StepMap, begun: Sequence[Array] | Array, steps: int) -> Array:
    """States (K + 1, n) from what was `begun` on, K <= steps: shorter where the model comes to rest or leaves for infinity."""
    path = list(begun)
    while len(path) <= steps:
        with np.errstate(all="ignore"):
            path.append(map_(path[-1]))
        size = float(np.abs(path[-1]).max())
        if np.isnan(size):
            if np.abs(path[-2]).max() > np.sqrt(HUGE):  # infinity less infinity
                return np.stack([*path[:-1], np.full_like(path[0], np.inf)])
            raise ModelError(
                f"expected argument `model` to map finite states to numbers, but got NaN after {len(path) - 1} steps: check its weights"
            )
        if size > HUGE or np.abs(path[-1] - path[-2]).max() <= 4 * map_.eps * (1.0 + size):
            break
    return np.stack(path)


def described(path: Array, steps: int) -> Motion:
    """What the second half of a run does."""
    if not np.isfinite(path[-1]).all() or np.abs(path[-1]).max() > HUGE:
        return Motion("diverging", None, "diverging")
    if len(path) <= steps or len(path) < 4:
        return Motion("at rest", None, "at rest")
    tail = path[len(path) // 2 :]
    size = float(np.ptp(tail, axis=0).max())
    if size <= NEAR * (1.0 + np.abs(tail[-1]).max()):
        return Motion("at rest", None, "all but at rest")
    for period in range(2, min(LONGEST_PERIOD, len(tail) // 2) + 1):
        if np.abs(tail[period:] - tail[:-period]).max() <= NEAR * size:
            return Motion("periodic", period, f"periodic with a period of {period} steps")
    covered = np.abs(np.diff(tail, axis=0)).sum(0).max()
    if np.abs(tail[-1] - tail[0]).max() >= 0.9 * covered:
        return Motion("drifting", None, "drifting in one direction")
    return Motion("wandering", None, f"moving on without a period of up to {LONGEST_PERIOD} steps")


def newton(map_: StepMap, guess: Array, begun: Array | None = None) -> Equilibrium | None:
    """An equilibrium by Newton's method with halved steps, for a search that began elsewhere if `begun` says so; None where it fails."""
    begun = guess if begun is None else begun
    h, off = guess, map_(guess) - guess
    exact, close = max(1e-10, 32 * map_.eps), max(1e-6, 1e3 * map_.eps)
    for _ in range(NEWTON):
        residual, scale = float(np.abs(off).max()), 1.0 + float(np.abs(h).max())
        if not np.isfinite(residual) or scale > HUGE:
            return None
        jacobian = map_.jacobian(h)
        if not np.isfinite(jacobian).all():
            return None
        step, correction, singular = _solved(map_, jacobian, off, scale)
        found = Equilibrium(h, jacobian, residual, correction)
        arrived = residual <= exact * scale and correction <= close * scale
        if singular and np.abs(h - begun).max() > STRAY * scale:  # a map that has gone flat, as a sigmoid does in rounding
            return None
        if residual == 0.0 and arrived:
            return found
        length = 1.0
        for _ in range(HALVINGS):
            new = h + length * step
            new_off = map_(new) - new
            if np.isfinite(new_off).all() and np.linalg.norm(new_off) < (1 - 1e-4 * length) * np.linalg.norm(off):
                break
            length *= 0.5
        else:
            return found if arrived else None
        if arrived and np.abs(new_off).max() > 0.5 * residual:  # rounding is reached
            return found
        h, off = new, new_off
    return None


def _solved(map_: StepMap, jacobian: Array, off: Array, scale: float) -> tuple[Array, float, bool]:
    """D with (I - J) d = off, how far off the sum of it may be, and whether I - J is singular to rounding: then the least such d."""
    matrix = np.eye(off.size) - jacobian
    try:
        inverse = np.linalg.inv(matrix)
        blur = map_.eps * scale * float(np.abs(inverse).sum(1).max())
        if blur <= max(NEAR, 1e3 * map_.eps) * scale:
            step: Array = inverse @ off
            return step, max(float(np.abs(step).max()), blur), False
    except np.linalg.LinAlgError:
        pass
    step = np.linalg.lstsq(matrix, off, rcond=1e-12)[0]
    return step, float(np.abs(step).max()), True


def continued(map_: StepMap, guess: Array) -> Equilibrium | None:
    """The same from where continuation ends."""
    with np.errstate(all="ignore"):
        near = followed(map_, guess)
    return None if near is None else newton(map_, near, guess)


def _status(path: Array, found: Equilibrium) -> str:
    if np.abs(path[-1] - found.state).max() <= NEAR * (1.0 + np.abs(found.state).max()):
        return "settled"
    if _led_to(path, found):
        return "approached"
    gap = np.abs(path[len(path) // 2 :] - found.state).max(1)
    nearer = np.isfinite(gap).all() and gap[-1] < gap[0] and (gap[-1] < 0.9 * gap[0] or bool((np.diff(gap) <= 0).all()))
    return "approached" if nearer and _stable(found) else "not reached"


def _led_to(path: Array, found: Equilibrium) -> bool:
    """Whether the last step of a run is what J makes of the one before, J being stable: the rest of the way is known."""
    if not np.isfinite(path[-1]).all():
        return False
    before, after = path[-2] - found.state, path[-1] - found.state
    follows = np.abs(after - found.jacobian @ before).max() <= LINEAR * np.abs(before).max()
    return bool(follows) and _stable(found)


def _stable(found: Equilibrium) -> bool:
    return bool(np.abs(np.linalg.eigvals(found.jacobian)).max() < 1.0)
