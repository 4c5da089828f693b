"""The trials behind `perdure.adapters.measure`: pairs of calls whose outputs would be equal if a property held."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from perdure.adapters.calls import Calls, gap
from perdure.adapters.measured import Measured, undecided
from perdure.adapters.rounding import EARLY, SUSPECT
from perdure.errors import PerdureError

TRIED = 2048  # steps: a declared maximum up to here is tried out
SETTLED = 0.01
HEARD = 10.0  # limits: a smaller response is rounding


@dataclass(frozen=True)
class Lengths:
    """The most steps the model was seen to run on, the fewest at which it was seen to raise, and what it said."""

    longest: int
    fails_at: int | None
    said: tuple[str, ...]


def rows_independent(calls: Calls) -> Measured:
    """Rows between two equal ones are exchanged: the two stay as they are, and (unless the model is random) equal."""
    if calls.unlike:
        return undecided(calls.unlike)
    generic = calls.x[:1]
    one, two = (calls.outputs(torch.cat([generic, calls.noise(2), generic])) for _ in range(2))
    mixed = max(gap(one[0], two[0]), gap(one[-1], two[-1]))
    unlike = 0.0 if calls.random.holds else gap(one[0], one[-1])
    words = "outputs move when another row of the batch does" if mixed > calls.limit else "two equal rows of a batch have unlike outputs"
    return calls.verdict(max(mixed, unlike), calls.largest, "other rows do not matter", words)


def causal(calls: Calls) -> Measured:
    """The input is changed from step s on, for s at the beginning, amid and at the end: no output before s may move."""
    if calls.unlike:
        return undecided(calls.unlike)
    base, worst, found = calls.each(calls.x), 0.0, (0, 0)
    for start in (1, prime(calls.horizon // 2), calls.horizon - 1):
        late = calls.x.clone()
        late[:, start:] = calls.noise(2)[:, start:]
        ahead = (calls.each(late)[:, :start] - base[:, :start]).abs().amax((0, 2))
        worst = max(worst, float(ahead.max()))
        moved = torch.nonzero(ahead > calls.limit)
        if len(moved):
            found = max(found, (int(moved[0]), start), key=lambda pair: pair[1] - pair[0])
    words = f"the output at step {found[0]} moves with the input from step {found[1]} on"
    return calls.verdict(worst, calls.largest, "no output moves before the input does", words, found[0])


def time_homogeneous(calls: Calls) -> Measured:
    """A burst of noise at three times: what follows (and precedes) it is the same, but for the delay."""
    if calls.unlike:
        return undecided(calls.unlike)
    if calls.random.holds:
        return undecided("what is drawn differs from step to step")
    if bool((calls.background != calls.background[:1]).any()):
        return undecided("the background is not constant in time")
    starts = (0, prime(calls.horizon // 4), prime(calls.horizon // 2))
    width = calls.horizon // 8
    u = calls.x.new_zeros(4, *calls.x.shape[1:])
    for row, start in enumerate(starts):
        u[row + 1, start : start + width] = calls.x[0, :width]
    y = calls.each(u)
    z = y[1:] - y[0]
    size = float(z.abs().max())
    if size <= HEARD * calls.limit:
        return undecided("the response to a burst of noise is within rounding")
    gaps = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        by = starts[b] - starts[a]
        gaps.append(gap(z[a, : calls.horizon - by], z[b, by:]))
    words = f"a delayed input gives another response, {gaps[2] / size:.2g} between the two later delays"
    if gaps[2] < SETTLED * max(gaps):
        words += ", so that most of it is the way from the initial state to rest"
    return calls.verdict(max(gaps), size, "a delayed input gives the delayed response", words, roundings=2)


def linear(calls: Calls) -> Measured:
    """Two inputs and a sum of them, the response to no input subtracted."""
    if calls.unlike:
        return undecided(calls.unlike)
    a, b = 0.7, -0.4
    one, two = calls.x
    y = calls.each(torch.stack([torch.zeros_like(one), one, two, a * one + b * two]))
    z = y[1:] - y[0]
    size = float(z.abs().max())
    if size <= HEARD * calls.limit:
        return undecided("the response to noise is within rounding")
    return calls.verdict(gap(z[2], a * z[0] + b * z[1]), size, "responses add", "responses do not add", roundings=4)


def zero_in_zero_out(calls: Calls) -> Measured:
    """Outputs for zeros, whatever the background."""
    if calls.unlike:
        return undecided(calls.unlike)
    y = calls.each(-calls.background[: calls.horizon].repeat(2, 1, 1))
    size, swing = float(y.abs().max()), gap(y, y[:, -1:])
    words = "constant in time" if swing <= calls.limit else f"which move in time by up to {swing:.2g}"
    return calls.verdict(size, max(calls.largest, size), "no input gives no output", f"no input gives outputs up to {size:.3g}, {words}")


def length_free(calls: Calls, lengths: Lengths) -> Measured:
    """The same steps, with as many zeros after them."""
    if calls.unlike:
        return undecided(calls.unlike)
    if lengths.longest < 2 * calls.horizon:
        return undecided(f"it does not run on {2 * calls.horizon} steps")
    if calls.random.holds:
        return undecided("what is drawn differs with the length")
    y = calls.each(calls.x)
    long = calls.each(torch.cat([calls.x, torch.zeros_like(calls.x)], 1))[:, : calls.horizon]
    whole = gap(y, long)
    if whole > calls.limit >= gap(y[:, :EARLY], long[:, :EARLY]) and whole <= SUSPECT * calls.largest:
        return undecided(
            f"outputs change by {whole / calls.largest:.2g} with the length, but not the first: rounding that grows, or a step far off"
        )
    return calls.verdict(
        whole, calls.largest, "the first outputs do not depend on the length", "outputs change with the length of the sequence"
    )


def find_lengths(calls: Calls, declared: int | None) -> Lengths:
    """Runs on twice the horizon; on the length that the model declares and one step more, where that is not too long."""
    tried = {2 * calls.horizon} | ({declared, declared + 1} if declared is not None and declared < TRIED else set())
    longest = calls.horizon
    for steps in sorted(tried - set(range(calls.horizon + 1))):
        u = calls.x.new_zeros(2, steps, calls.x.shape[2])
        u[:, : calls.horizon] = calls.x
        try:
            calls.outputs(u)
        except PerdureError:
            raise
        except Exception as error:  # whatever a model raises at a length that it does not take
            first = (str(error).splitlines() or [""])[0][:100]
            return Lengths(longest, steps, (f"raises at {steps} steps: {type(error).__name__}: {first}",))
        longest = steps
    return Lengths(longest, None, ())


def prime(most: int) -> int:
    """The largest prime up to `most`, so as not to fall between the blocks of a model that has blocks; at least 1.

    >>> prime(32), prime(1)
    (31, 1)
    """
    return next((n for n in range(most, 1, -1) if all(n % k for k in range(2, int(n**0.5) + 1))), 1)
