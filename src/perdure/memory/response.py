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


class Responder:
    """Responses of a model to a probe around one background input, with the response to the background alone subtracted.

    The first call carries three rows more: the background, first and last in the batch, and a random input that begins at step 1. From
    these come the checks that rows do not influence one another, that the output does not move before the input does, and the precision of
    the outputs.

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
            z = self._outputs(u) - self._still if self._still is not None else self._first(u)
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
        late = torch.as_tensor(self._rng.uniform(-self.bound, self.bound, tuple(self.background.shape))).to(self.background)
        late[0] = 0
        still = self.background[None]
        y = self._outputs(torch.cat([still, still + late, u, still]))
        self.eps = output_eps(y[1])
        tolerance = min(1e3 * self.eps, 0.1) * float(y[:, :EARLY].abs().max())
        if float((y[0, :EARLY] - y[-1, :EARLY]).abs().max()) > tolerance:
            raise ModelError(
                "expected argument `model` to treat the rows of a batch alike and alone, but got different outputs for two equal rows: "
                "pass batch_first=False if its first axis is time; else switch off what is random or mixes rows (dropout, batch statistics)"
            )
        if float((y[1, 0] - y[0, 0]).abs().max()) > tolerance:
            raise ModelError(
                "expected argument `model` to be causal, but got an output at step 0 that moves with the input from step 1 on: memory is "
                "defined for models that do not see the future; measure one direction of a bidirectional layer, mask attention"
            )
        self._still = y[0]
        return y[2:-1] - y[0]
