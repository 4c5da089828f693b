"""Random tanh teachers and their linear part: see `perdure.experiments.fig3`."""

from __future__ import annotations

import numpy as np
import torch

from perdure import functionals as F
from perdure._random import isolated
from perdure._typing import Array
from perdure.experiments.base import Job
from perdure.functionals import ExponentialSum
from perdure.nn import ContinuousRNN

DT = 0.1
DRIVE = 0.3  # |U|: small, so that tanh hardly bends


def teacher_of(job: Job) -> ContinuousRNN:
    """The teacher of a job."""
    m, value, kind = int(job["size"] or 1), float(job["value"] or 0), job["kind"]
    with isolated(int(job["seed"] or 0)):
        model = ContinuousRNN(
            1,
            m,
            activation="tanh",
            parametrization="direct",
            structure="dense",
            dt=DT,
            output_size=1,
            batch_first=True,
            dtype=torch.float64,
        )
        G, U = torch.randn(m, m, dtype=torch.float64), DRIVE * torch.randn(m, 1, dtype=torch.float64) / m**0.5
    eye = torch.eye(m, dtype=torch.float64)
    if kind == "slow":
        rates = torch.logspace(float(np.log10(value)), 0.0, m, dtype=torch.float64)
        Q = torch.linalg.qr(G)[0]
        W, U = -(Q * rates) @ Q.T, DRIVE * Q @ rates.sqrt()[:, None] / m**0.5
    else:
        W = value * (G / m**0.5 if kind == "dense" else (G + G.T) / (8 * m) ** 0.5) - eye
    with torch.no_grad():
        next(iter(model.cells())).assign(W)
        model.weight_ih_l0.copy_(U)
        assert model.readout is not None  # output_size was given
        model.readout.weight.copy_(U.T)
    return model


def linear_part(model: ContinuousRNN) -> tuple[ExponentialSum | None, float]:
    """The linear functional of the steps at rest, None where it grows, and the rate of its slowest mode."""
    W, U = next(iter(model.cells()))().detach().numpy(), model.weight_ih_l0.detach().numpy()[:, 0]
    assert model.readout is not None
    c = model.readout.weight.detach().numpy()[0]
    rates: Array
    if np.allclose(W, W.T, rtol=0, atol=1e-12):
        mu, V = np.linalg.eigh(0.5 * (W + W.T))
        weights: Array = (c @ V) * (V.T @ U)
    else:
        mu, V = np.linalg.eig(W)
        weights = (c @ V) * np.linalg.solve(V, U.astype(complex))
    rates = -np.log(1 + DT * mu) / DT
    slowest = float(rates.real.min())
    return (F.exponential_sum(rates, weights) if slowest > 0 else None), slowest
