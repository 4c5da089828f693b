r"""Digits read pixel by pixel: the training runs behind Fig. 9 and Table 1.

What the paper leaves open, and how it is read here. Its accuracies (about 70 % after 10 epochs) are those of digits read one pixel a step, the
field's usual "sequential MNIST": 784 steps, where a memory can be too short, and a growing mode can do harm; a row a step leaves 28 steps, and 95 %
is easy. The network is the paper's eq. (1), dh/dt = tanh(W h + U x + b), y = c^T h + d at the last step, with dt = 0.1, batches of 128 and Adam at
0.005 as in its Fig. 2; W is diagonal, W = g(v). Pixels lie in [0, 1].

The same initial weights: decay rates uniform in [0.01, 1] per unit time, set through the exact right inverse of each map, so that W, U, b, c
and d agree; batches come in the same order. So differences between maps are paired by seed.

Beside it, what these layers reach in about the same time, with AdamW, a warm-up and a cosine, gradients clipped. Pixel by pixel: one `DiagonalSSM`, whose outputs at the end of each of the
28 rows a network with one hidden layer takes together; and, so that the layer and the head can be told apart, the paper's network under exp with that head too. A row a step: two layers of
`DiagonalSSM`, the mean of the outputs over time. Rates and batch sizes were chosen by the accuracy on the last 5 000 training images after learning from the first 55 000 for the time of one
epoch of the paper's network (two seeds that are not used otherwise):
pixel by pixel, batches of 32, rate 0.02 before 0.01 and 0.005, and 0.01 with batches of 16 (96.6, 96.3, 95.3, 96.4 % on average); the paper's network with that head, batches of 32, rate 0.01 before
0.005 and 0.0025, and 0.005 with batches of 64 (89.6, 88.6, 86.4, 86.9 %); by rows, rate 0.04 before 0.02 and 0.01 (97.5, 97.5, 96.4 %).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from perdure._random import isolated
from perdure.experiments.base import Job, Row
from perdure.experiments.data.mnist import Digits
from perdure.nn import ContinuousRNN, DiagonalSSM, init

CLASSES = 10
HIDDEN = 128  # units of the head that reads along
EVALUATED = 500  # images at once


class PaperNetwork(nn.Module):
    """tanh(W h + U x + b) with W = diag(g(v)), and a linear map of the last state: x (B, T, 1) -> scores (B, 10)."""

    def __init__(self, size: int, width: int, parametrization: str, dt: float) -> None:
        super().__init__()
        self.layer = ContinuousRNN(size, width, activation="tanh", parametrization=parametrization, dt=dt, batch_first=True)
        self.head = nn.Linear(width, CLASSES)
        rates = 0.01 + 0.99 * torch.rand(width, dtype=torch.float64)
        for cell in self.layer.cells():
            cell.assign_spectrum(rates)
        nn.init.uniform_(self.layer.weight_ih_l0, -(size**-0.5), size**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, 10) of sequences (B, T, size)."""
        return self.head(self.layer(x)[1][0])


class ReadAlong(nn.Module):
    """A recurrent layer, its outputs every `every`-th step, and a network with one hidden layer of them: x (B, T, 1) -> scores (B, 10)."""

    def __init__(self, layer: ContinuousRNN | DiagonalSSM, width: int, every: int, count: int) -> None:
        super().__init__()
        self.layer, self.every = layer, every
        self.head = nn.Sequential(nn.Linear(width * count, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, 10) of sequences (B, T, 1)."""
        return self.head(self.layer(x)[0][:, self.every - 1 :: self.every].flatten(1))


class OurNetwork(nn.Module):
    """Diagonal state-space layers and a linear map of the mean output: x (B, T, size) -> scores (B, 10)."""

    def __init__(self, size: int, width: int, modes: int, layers: int) -> None:
        super().__init__()
        self.layer = DiagonalSSM(size, width, modes, num_layers=layers)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, 10) of sequences (B, T, size)."""
        return self.head(self.layer(x)[0].mean(1))


@dataclass(frozen=True)
class Sequences:
    """Images (N, pixels) as bytes, labels (N,), and how many pixels a step sees."""

    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    size: int

    def __getitem__(self, which: Tensor | slice) -> tuple[Tensor, Tensor]:
        x = self.images[which].float() / 255
        return x.reshape(len(x), -1, self.size), self.labels[which]


def rows_of_run(job: Job, digits: Digits) -> list[Row]:
    """Train as the job says; one row each time the network is tested.

    Args:
        job: `model` "paper", "paper, read along" or "ours", `map`, `presentation` "pixels" or "rows", `seed`, `width`, `rate`, `batch`, `images`, `steps`,
            `records`, `tested`; for "paper" `dt`, for "ours" `modes` and `layers`.
        digits: MNIST.

    Returns:
        Rows of record, step, epoch, train_loss and train_accuracy (means of the batches since the record before), test_loss and
        test_accuracy on the first `tested` images, at the last record on all of them, slowest (the smallest decay rate). Accuracies in %.
    """
    size = digits.train_images.shape[2] if job["presentation"] == "rows" else 1
    train = _sequences(digits.train_images, digits.train_labels, size, _int(job, "images"))
    test = _sequences(digits.test_images, digits.test_labels, size, len(digits.test_images))
    with isolated(_int(job, "seed")):
        model = _network(job, size, digits.train_images.shape[1:])
        return list(_train(model, train, test, job))


def _network(job: Job, size: int, image: tuple[int, ...]) -> nn.Module:
    width, name = _int(job, "width"), str(job["map"])
    if job["model"] != "ours":
        published = PaperNetwork(size, width, name, _float(job, "dt"))
        return published if job["model"] == "paper" else ReadAlong(published.layer, width, image[1], image[0])
    if job["presentation"] == "rows":
        return OurNetwork(size, width, _int(job, "modes"), _int(job, "layers"))
    return ReadAlong(DiagonalSSM(size, width, _int(job, "modes"), num_layers=_int(job, "layers")), width, image[1], image[0])


def _train(model: nn.Module, train: Sequences, test: Sequences, job: Job) -> Iterator[Row]:
    steps, records, batch = _int(job, "steps"), _int(job, "records"), _int(job, "batch")
    ours, rate = job["model"] != "paper", _float(job, "rate")
    groups = init.parameter_groups(model, rate, 0.01, recurrent_lr=rate / 2) if ours else [{"params": list(model.parameters()), "lr": rate}]
    optimiser = torch.optim.AdamW(groups) if ours else torch.optim.Adam(groups)
    full = [group["lr"] for group in optimiser.param_groups]
    at = {round(steps * (k + 1) / records): k for k in range(records)}
    loss_sum = right = seen = 0.0
    order = torch.Generator().manual_seed(_int(job, "seed"))
    for step, chosen in enumerate(_batches(len(train.labels), batch, steps, order), 1):
        x, labels = train[chosen]
        scores = model(x)
        loss = functional.cross_entropy(scores, labels)
        optimiser.zero_grad()
        loss.backward()
        if ours:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group, lr in zip(optimiser.param_groups, full, strict=True):
                group["lr"] = lr * _share(step, steps)
        optimiser.step()
        loss_sum, right, seen = loss_sum + float(loss.detach()) * len(x), right + _right(scores, labels), seen + len(x)
        if step in at:
            last = at[step] == records - 1
            test_loss, test_accuracy = evaluate(model, test, len(test.labels) if last else min(_int(job, "tested"), len(test.labels)))
            yield {
                "record": at[step],
                "step": step,
                "epoch": step * batch / len(train.labels),
                "train_loss": loss_sum / seen,
                "train_accuracy": 100 * right / seen,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "slowest": _slowest(model),
            }
            loss_sum = right = seen = 0.0


@torch.no_grad()
def evaluate(model: nn.Module, test: Sequences, count: int) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy (%) on the first `count` sequences."""
    loss = right = 0.0
    for start in range(0, count, EVALUATED):
        x, labels = test[slice(start, min(start + EVALUATED, count))]
        scores = model(x)
        loss, right = loss + float(functional.cross_entropy(scores, labels, reduction="sum")), right + _right(scores, labels)
    return loss / count, 100 * right / count


def _share(step: int, steps: int) -> float:
    """Of the full learning rate: a tenth of the run to warm up, then half a cosine down."""
    return min(1.0, 10 * step / steps) * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))


def _batches(count: int, batch: int, steps: int, order: torch.Generator) -> Iterator[Tensor]:
    """Indices of each batch: the set in random order, again in another order when it is used up, without a last smaller batch."""
    batch, done = min(batch, count), 0
    while True:
        shuffled = torch.randperm(count, generator=order)
        for start in range(0, count - batch + 1, batch):
            if done == steps:
                return
            done += 1
            yield shuffled[start : start + batch]


def _sequences(images: np.ndarray, labels: np.ndarray, size: int, count: int) -> Sequences:
    flat = torch.as_tensor(images[:count].reshape(min(count, len(images)), -1))
    return Sequences(flat, torch.as_tensor(labels[:count]).long(), size)


def _right(scores: Tensor, labels: Tensor) -> float:
    return float((scores.detach().argmax(1) == labels).sum())


def _slowest(model: nn.Module) -> float:
    layer = model.layer
    if isinstance(layer, ContinuousRNN):
        return min(float(-cell.spectrum().real.max()) for cell in layer.cells())
    return float(cast(DiagonalSSM, layer).poles()[0].min())


def _int(job: Job, name: str) -> int:
    return int(job[name])  # pyright: ignore[reportArgumentType]


def _float(job: Job, name: str) -> float:
    return float(job[name])  # pyright: ignore[reportArgumentType]
