r"""Levenberg and Marquardt's method: Gauss-Newton steps on the residuals, damped until they pay.

With r the residuals and J their Jacobian, columns scaled by the longest so far of their parameter tensor (after Moré 1978, but with one scale a
tensor: the rate of a mode that the sequences hardly feel is not thrown about), a step is

    delta = -(J^T J + mu I)^{-1} J^T r,

from the singular values of R in J = Q R, so that every mu costs one small product and small singular values keep their digits (with J^T J they would drown
below 1e-8). A step that does not lower the loss is undone and mu raised; mu follows the ratio of actual to predicted gain (Nielsen 1999). A readout that is
linear is solved for after each step (variable projection, Golub & Pereyra 1973; Kaufman's variant, in which it also moves with the step).
"""

from __future__ import annotations

from typing import Any

import torch

from perdure._typing import Tensor
from perdure.training.problem import Problem

START, GREATEST, LEAST = 0.1, 1e12, 1e-15  # of mu
TRIALS = 12
FLAT = 1e-9  # relative gain of a step below which nothing is left to gain


class GaussNewton:
    """Levenberg-Marquardt on a `Problem`.

    Attributes:
        rolled_back: trial steps to NaN or infinity, undone.
        finished: why no further step can be taken, or None.
    """

    name = "gauss-newton"

    def __init__(self, problem: Problem, chosen: dict[str, Tensor]) -> None:
        self.problem, self.chosen = problem, chosen
        self.damping, self.growth = START, 2.0
        self.rolled_back = 0
        self.finished: str | None = None
        self._length: Tensor | None = None

    @torch.no_grad()
    def step(self) -> float:
        """One accepted step, or the finding that there is none; the loss afterwards."""
        J, r = self.problem.jacobian(self.chosen)
        loss = float(r.square().sum())
        counts = [index.numel() for index in self.chosen.values()]
        length = torch.cat([part.norm(dim=0).amax().expand(part.shape[1]) for part in J.split(counts, 1)])
        self._length = length if self._length is None else torch.maximum(self._length, length)
        scale = torch.where(self._length > 0, self._length, torch.ones_like(self._length))
        P = J.shape[1]
        R = torch.linalg.qr(torch.cat([J / scale, r[:, None]], 1), mode="r").R
        U, S, Vh = torch.linalg.svd(R[:P, :P], full_matrices=False)
        along = U.T @ R[: U.shape[0], P]
        before = self.problem.twin.snapshot()
        for _ in range(TRIALS):
            share = S / (S.square() + self.damping)
            predicted = float((along.square() * (1 - (1 - S * share).square())).sum())
            self._move(-(Vh.T @ (share * along)) / scale)
            self.problem.solve_readout()
            now = float(self.problem.loss())
            if now < loss:
                gain = (loss - now) / max(predicted, 1e-300)
                self.damping = max(self.damping * max(1 / 3, 1 - (2 * min(gain, 1.0) - 1) ** 3), LEAST)
                self.growth = 2.0
                if loss - now < FLAT * loss:
                    self.finished = "no further gain"
                return now
            self.problem.twin.restore(before)
            if not now < float("inf"):  # also NaN
                self.rolled_back += 1
            self.damping, self.growth = self.damping * self.growth, 2 * self.growth
            if self.damping > GREATEST:
                break
        self.finished = "no step lowers the loss"
        return loss

    def _move(self, delta: Tensor) -> None:
        for (name, index), part in zip(self.chosen.items(), delta.split([i.numel() for i in self.chosen.values()]), strict=True):
            p = self.problem.twin.learned[name]
            p.view(-1).index_add_(0, index.to(p.device), part.to(p))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a later continuation needs besides the weights."""
        tensors = {} if self._length is None else {"length": self._length}
        return tensors, {"damping": self.damping, "growth": self.growth, "finished": self.finished, "rolled_back": self.rolled_back}

    def load(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Back to a `state`."""
        self._length = tensors.get("length")
        self.damping, self.growth = record["damping"], record["growth"]
        self.finished, self.rolled_back = record["finished"], record["rolled_back"]
