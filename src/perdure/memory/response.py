"""Calls the model, in pieces that fit in memory, and refuses responses from which no memory can be read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from perdure._typing import Array, Float, Tensor
from perdure.adapters.sequence import Adapted
from perdure.errors import ModelError
from perdure.memory.precision import output_eps, rounding
from perdure.memory.probes import Probe

ELEMENTS = 2**26
EARLY = 4
ROUNDED = 1e3  # times eps: what rounding may make of equal inputs, over all steps
SUSPECT = 0.02  # of the largest output: at most that, in coarse types
COARSE = 0.1  # of the largest output: more between equal rows at the start is not rounding, in any type


class Responder:
    """Responses of a model to a probe around one background input, with the response to the background alone subtracted.

    The first call carries four rows more: the background, a random input that begins at step 1, one that begins in the middle, and the
    first of these two again at the end of the batch. The second call carries that one once more. From these come the checks that rows do
    not influence one another and are not random, that no output moves before the input does, and the precision of the outputs.

    Attributes:
        eps: relative precision of the outputs, once called.
        largest: largest output seen.
        rows: inputs measured so far.
        unsettled: see `Probe.unsettled`, largest so far.
    """

    def __init__(
        self, call: Adapted, probe: Probe, background: Float[Tensor, "T d"], bound: float, width: int, rng: np.random.Generator
    ) -> None:
        self.call = call
        self.probe = probe
        self.background = background
        self.bound = bound
        self.eps = 0.0
        self.largest = 0.0
        self.rows = 0
        self.unsettled = 0.0
        self._width = max(width, background.shape[1])
        self._rng = rng
        self._still: Tensor | None = None
        self._known = self._generic = background[:0]
        self._start = middle_step(background.shape[0], rng)
        self._scale = 0.0
        self._confirmed = False

    @property
    def size(self) -> int:
        """Input channels."""
        return self.background.shape[1]

    def noise(self) -> float:
        """Rounding noise in a slope, before division by the size of the input."""
        return rounding(self.eps, self.largest) / self.probe.unit

    def slopes(self, x: Array) -> Iterator[tuple[slice, Tensor]]:
        """For rows x, (R, d): pieces of the slopes, (r, horizon, o), with the rows they belong to."""
        limit = max(4, ELEMENTS // (self.probe.steps * self._width))
        for start in range(0, x.shape[0], limit):
            rows = slice(start, min(start + limit, x.shape[0]))
            u = self.background + self.probe.inputs(torch.as_tensor(x[rows]).to(self.background))
            z = self._again(u) - self._still if self._still is not None else self._first(u)
            self.unsettled = max(self.unsettled, self.probe.unsettled(z))
            self.rows += z.shape[0]
            yield rows, self.probe.read(z)

    def _outputs(self, u: Tensor) -> Tensor:
        y = self.call(u)
        y = y.float() if y.dtype in (torch.float16, torch.bfloat16) else y
        low, high = torch.aminmax(y)
        largest = max(-float(low), float(high)) if bool(torch.isfinite(low + high)) else np.inf
        if not np.isfinite(largest):
            row, step, channel = torch.argwhere(~torch.isfinite(y))[0].tolist()
            size = float((u[row] - self.background).abs().max())
            raise ModelError(
                f"expected argument `model` to give finite outputs, but got {float(y[row, step, channel])} at step {step}, "
                f"for an input of size {size:g}: the model diverges there; try a smaller `bound` or `horizon`"
            )
        self.largest = max(self.largest, largest)
        self._width = max(self._width, y.shape[2])
        return y

    def _first(self, u: Tensor) -> Tensor:
        still = self.background[None]
        rows = torch.cat([still, self._late(), u])
        self._generic = rows[1:2]
        y = self._outputs(torch.cat([rows, self._generic]))
        self.eps = output_eps(y[1])
        self._still, self._known, self._scale = y[0], y[1], float(y[[0, 1, 2, -1]].abs().max())
        suspect = self._differs(y[1], y[-1])
        for row, start in ((1, 1), (2, self._start)):
            suspect = suspect or self._differs(y[row, :start], y[0, :start])
        if suspect:
            self._settle(y[1], y[-1])
        return y[3:-1] - y[0]

    def _late(self) -> Tensor:
        """Two rows: the background plus random inputs from step 1 on, and others from the middle step on, (2, T, d)."""
        late = torch.as_tensor(self._rng.uniform(-self.bound, self.bound, (2, *self.background.shape))).to(self.background)
        late[0, :1] = 0
        late[1, : self._start] = 0
        return self.background + late

    def _again(self, u: Tensor) -> Tensor:
        """Outputs for `u`, with the generic row once more among them where it has not yet been seen in a second batch."""
        if self._confirmed:
            return self._outputs(u)
        y = self._outputs(torch.cat([u, self._generic]))
        self._confirmed = True
        if self._differs(y[-1], self._known):
            self._settle(self._known, y[-1])
        return y[:-1]

    def confirm(self) -> None:
        """Compare a row with itself in another batch (of two), unless a second batch has already done so.

        Raises:
            ModelError: the two differ by more than rounding.
        """
        if not self._confirmed:
            self._again(self.background[None])

    def _differs(self, a: Tensor, b: Tensor) -> bool:
        return gap(a, b) > min(ROUNDED * self.eps, SUSPECT) * self._scale

    def _settle(self, one: Tensor, other: Tensor) -> None:
        """Outputs that should be equal differ by more than a few roundings: refuse the model, or take the difference for its precision.

        Two batches of one shape, in which only the rows between two equal ones differ, tell: with the same shapes a model rounds alike
        (also a chaotic one, or one that works in a coarser type inside), so that what still differs is not rounding.
        """
        early, seen = gap(one[:EARLY], other[:EARLY]), gap(one, other)
        limit = min(ROUNDED * self.eps, SUSPECT) * self._scale
        first, second = (self._outputs(torch.cat([self._generic, self._late(), self._generic])) for _ in range(2))
        mixed = max(gap(first[0], second[0]), gap(first[-1], second[-1]))
        if mixed > limit or early > COARSE * self._scale:
            raise ModelError(
                "expected argument `model` to treat the rows of a batch alike and alone, but got different outputs for two equal rows "
                f"(by up to {max(mixed, seen):.2g}, outputs reach {self._scale:.2g}): pass batch_first=False if its first axis is time; else "
                "switch off what is random or mixes rows (dropout, batch statistics), or a state that is kept from call to call"
            )
        for row, start in ((1, 1), (2, self._start)):
            ahead = (first[row, :start] - second[row, :start]).abs().amax(-1)
            if float(ahead.max()) > limit:
                raise ModelError(
                    f"expected argument `model` to be causal, but got an output at step {int((ahead > limit).nonzero()[0])} that moves with "
                    f"the input from step {start} on (by up to {float(ahead.max()):.2g}, outputs reach {self._scale:.2g}): memory is defined "
                    "for models that do not see the future; measure one direction of a bidirectional layer, mask attention, delay a "
                    "centred window"
                )
        if early > limit:
            self.eps = max(self.eps, early / self._scale)  # rounding inside, coarser than the outputs show


def gap(a: Tensor, b: Tensor) -> float:
    """Largest difference of two outputs, 0 for empty ones."""
    return float((a - b).abs().max()) if a.numel() else 0.0


def middle_step(steps: int, rng: np.random.Generator) -> int:
    """A random step of the middle half; coprime to 30 where there is one, so as not to fall between the blocks of a model that has blocks.

    >>> middle_step(3, np.random.default_rng(0))
    1
    """
    middle = np.arange(max(1, steps // 4), max(2, 3 * steps // 4))
    inside = middle[np.gcd(middle, 30) == 1]
    return int(rng.choice(inside if inside.size else middle))
