"""Adam over shuffled batches of fixed sequences: the protocol of Wang, Li & Li (2024)."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn.functional import mse_loss

from perdure import _random
from perdure._typing import Tensor
from perdure.training.twin import Twin

ATTEMPTS = 20
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Adam:
    """An epoch a step; the loss is the mean square error on sequences held apart, or on the given data.

    Attributes:
        twin: the model.
        data: inputs and outputs.
        apart: those on which the loss is measured.
        optimizer: torch's.
        rolled_back: epochs that met NaN or infinity; undone, and the learning rate halved.
        finished: why no further step can be taken, or None.
    """

    name = "adam"

    def __init__(self, twin: Twin, data: tuple[Tensor, Tensor], apart: tuple[Tensor, Tensor], *, lr: float, batch: int, seed: int) -> None:
        self.twin, self.data, self.apart = twin, data, apart
        self._lr, self._batch, self._seed = lr, batch, seed
        self._epoch = 0
        self.rolled_back = 0
        self.finished: str | None = None
        self.optimizer = torch.optim.Adam(list(twin.learned.values()), lr=lr)
        self._before: Any = None

    def step(self) -> float:
        """One epoch; the loss afterwards."""
        self.open()
        with self.drawing():
            self.twin.model.train()
            for rows in self.order():
                loss = mse_loss(self.twin(self.data[0][rows]), self.data[1][rows])
                if not self.update(loss):
                    return self.close(math.nan)
        return self.close(self.held())

    def drawing(self) -> AbstractContextManager[None]:
        """The random state of this epoch: of the order, and of what the model draws, such as dropout."""
        return _random.isolated((self._seed * 1_000_003 + self._epoch) % 2**63)

    def order(self) -> tuple[Tensor, ...]:
        """The rows of each batch of an epoch, drawn."""
        return torch.randperm(len(self.data[0])).split(self._batch)

    def update(self, loss: Tensor) -> bool:
        """One step of the optimiser; False where the loss is not finite."""
        if not math.isfinite(float(loss.detach())):
            return False
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return True

    def open(self) -> None:
        """Note where the epoch begins."""
        tensors, record = self.state()
        self._before = self.twin.snapshot(), {name: t.clone() for name, t in tensors.items()}, record

    def close(self, loss: float) -> float:
        """End an epoch, or undo it where it led to numbers that are not finite; the loss afterwards."""
        if not (math.isfinite(loss) and self.twin.finite()):
            weights, tensors, record = self._before
            self.twin.restore(weights)
            self.load(tensors, {**record, "lr": record["lr"] / 2, "rolled_back": record["rolled_back"] + 1})
            if self.rolled_back >= ATTEMPTS:
                self.finished = f"{ATTEMPTS} epochs led to numbers that are not finite"
            loss = self.held()
        self._epoch += 1
        return loss

    @torch.no_grad()
    def held(self) -> float:
        """The loss on the sequences held apart."""
        self.twin.model.eval()
        return float(mse_loss(self.twin(self.apart[0]), self.apart[1]))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a later continuation needs besides the weights."""
        tensors: dict[str, Tensor] = {}
        for i, part in self.optimizer.state_dict()["state"].items():
            tensors |= {f"{i}.{name}": part[name] for name in MOMENTS}
        return tensors, {"epoch": self._epoch, "lr": self._lr, "finished": self.finished, "rolled_back": self.rolled_back}

    def load(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Back to a `state`."""
        self._epoch, self._lr = record["epoch"], record["lr"]
        self.finished, self.rolled_back = record["finished"], record["rolled_back"]
        self.optimizer = torch.optim.Adam(list(self.twin.learned.values()), lr=self._lr)
        whole = self.optimizer.state_dict()
        count = len(tensors) // len(MOMENTS)
        state = {i: {name: tensors[f"{i}.{name}"] for name in MOMENTS} for i in range(count)}
        self.optimizer.load_state_dict({**whole, "state": state})
