r"""An exponential sum as the weights of a nonlinear network: where training starts.

Near a state of rest with drive z = W h + U x + b small, dh/dt = sigma(z) is linear up to what sigma bends on [-|z|, |z|]. Small inputs keep z small: of a mode
dh/dt = g (-lambda h + u x), g the slope of sigma at 0, |z| <= 2 |u| B for inputs up to B. So u is small and the readout a / u large. Which network is linear
there depends on sigma:

* *one state a mode*, where sigma(0) = 0 and sigma has a slope there. What bends is of order z^2 relative to z for odd sigma (tanh), of order z for gelu,
  silu, elu and softsign, and nothing at all for hardtanh and linear.
* *two states a mode*, h+ and h-, with drives z and -z, z = w (h+ - h-) + u x + 0, and the readout a (h+ - h-) / u. Then v = h+ - h- obeys
  dv/dt = sigma(z) - sigma(-z), which is z exactly for relu, softplus (log(1 + e^z) - log(1 + e^-z) = z), gelu and silu, and tanh(z / 2) for the sigmoid.
  W = [[w, -w], [-w, w]] has the eigenvalues 2w and 0: each of the two states grows for ever while their difference forgets. This takes a structure that
  may couple states, and half of them.

A relu, sigmoid or softplus network whose W is diagonal has neither: sigma >= 0, so that no state ever falls, whatever x is.

Steps: Euler's method gives the kernel c (1 + dt w)^k u, so w = (e^{-lambda dt} - 1) / dt makes it that of the sum at every step; the exponential
integrator takes w = -lambda, and u is divided by its gain P / dt = (e^{-lambda dt} - 1) / (-lambda dt).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from perdure._typing import Array, Tensor
from perdure.approximation import approximate
from perdure.errors import ArgumentError
from perdure.functionals import ExponentialSum, LinearFunctional
from perdure.nn import ContinuousRNN
from perdure.parametrizations.structures import Structure

# name: order of what bends beside z (0: nothing), slope at 0 of sigma, or of sigma(z) - sigma(-z)
SINGLE = {
    "tanh": (2, 1.0),
    "hardtanh": (0, 1.0),
    "linear": (0, 1.0),
    "gelu": (1, 0.5),
    "silu": (1, 0.5),
    "elu": (1, 1.0),
    "softsign": (1, 1.0),
}
PAIRED = {"relu": (0, 1.0), "softplus": (0, 1.0), "sigmoid": (2, 0.5)}
COUPLING = ("dense", "dissipative", "symmetric")
REAL = ("diagonal", "symmetric")
LEAST, MOST = {0: 0.25, 1: 1e-6, 2: 2e-5}, 0.25  # of u B, by order
SHARE = 0.05  # of the error of the sum: what bends, about (u B)^order
LEAK = 1e-9  # relative to 1 / dt: rate of h+ + h- where the structure excludes 0


@dataclass(frozen=True)
class Placed:
    """What was done.

    Attributes:
        sum: the exponential sum.
        scale: u, the size of the input weights.
        note: in words.
        faithful: whether the network computes the sum of least error, up to what sigma bends.
        pattern: entries of W that are in use, (m, m).
    """

    sum: ExponentialSum
    scale: float
    note: str
    faithful: bool
    pattern: Tensor


def suits(model: object) -> bool:
    """Whether `place` knows what to do: a ContinuousRNN of one layer and direction with one output, all of whose parameters learn."""
    return (
        isinstance(model, ContinuousRNN)
        and model.num_layers == 1
        and not model.bidirectional
        and model.output_size == 1
        and all(p.requires_grad for p in model.parameters())
    )


@torch.no_grad()
def place(model: ContinuousRNN, target: LinearFunctional, *, horizon: float | None, bound: float, scale: float | None) -> Placed | None:
    """Set the weights of a ContinuousRNN, in float64, to those of the best exponential sum of its width; None where it cannot compute one.

    Args:
        model: see `suits`.
        target: the linear functional, of the model's input size.
        horizon: time up to which the sum is to be the best; None for infinity.
        bound: B, largest size of an input.
        scale: u; None chooses it by the error of the sum.
    """
    name, m, structure = model.activation, model.hidden_size, model.structure
    (cell,) = model.cells()
    paired = name not in SINGLE
    if paired and (structure not in COUPLING or m < 2):
        return None
    order, gain = (PAIRED if paired else SINGLE)[name]
    states = m // 2 if paired else m
    found = approximate(target, max(1, m // 2) if structure == "complex" else states, horizon)
    reachable = not (structure in REAL and np.iscomplexobj(found.rates))
    if not reachable:
        found = real_sum(target, states, model.dt, horizon)
    error = found.error or 0.0
    if scale is None:
        scale = MOST if order == 0 else float(np.clip((SHARE * error) ** (1 / order), LEAST[order], MOST))
        scale /= bound
    W, U, c = _weights(found, model, gain, scale, paired)
    pattern = W != 0
    if paired and cell.map.stable:
        W = W - LEAK / model.dt * torch.eye(m, dtype=torch.float64)
    met = _assign(cell, W)
    model.weight_ih_l0.copy_(U)
    if model.bias:
        cast(Tensor, model.bias_l0).zero_()
    assert model.readout is not None  # checked by `suits`
    model.readout.weight.copy_(c[None])
    kind = "two states a mode" if paired else "one state a mode"
    note = f"started from an exponential sum of {found.width} states (relative W1 error {error:.2g}), {kind}, input weights of size {scale:.2g}"
    return Placed(found, scale, note, met and reachable, pattern)


def _weights(found: ExponentialSum, model: ContinuousRNN, gain: float, scale: float, paired: bool) -> tuple[Tensor, Tensor, Tensor]:
    """W (m, m), U (m, d) and c (m,), float64."""
    m, d = model.hidden_size, found.input_size
    W, U, c = np.zeros((m, m)), np.zeros((m, d)), np.zeros(m)
    rates: Any
    weights: Any
    rates, weights = found.modes()
    w: Any = np.expm1(-rates * model.dt) / model.dt if model.integrator == "euler" else -rates
    entry: Any = model.dt / (np.expm1(-rates * model.dt) / -rates) if model.integrator == "exponential" else np.ones(len(rates))
    at, step = 0, 2 if paired else 1
    for rate, weight, share in zip(w, weights, entry, strict=True):
        turning = rate.imag != 0
        size = float(np.abs(weight).sum())
        direction: Any = share * (weight / size if size > 0 else np.full(d, 1.0 / d))
        parts = [rate.real] if not turning else [[rate.real, -rate.imag], [rate.imag, rate.real]]
        block = np.array(parts).reshape(1 + turning, 1 + turning) / gain
        rows = np.stack([direction.real, direction.imag])[: 1 + turning] * scale / gain
        back = np.array([size / scale, 0.0])[: 1 + turning]
        if paired:
            sign = np.array([1.0, -1.0])
            block, rows, back = np.kron(block, np.outer(sign, sign)), np.kron(rows, sign[:, None]), np.kron(back, sign)
        n = len(back)
        W[at : at + n, at : at + n], U[at : at + n], c[at : at + n] = block, rows, back
        at += 2 * step if model.structure == "complex" and not turning else n
    if model.structure == "complex":
        for k in range(0, m - 1, 2):
            W[k + 1, k + 1] = W[k, k]
    free = np.nonzero(np.diag(W) == 0)[0]
    W[free, free] = -0.5 / model.dt / gain  # states left over: present, and neither driven nor read
    return torch.as_tensor(W), torch.as_tensor(U), torch.as_tensor(c)


def _assign(cell: Structure, W: Tensor) -> bool:
    """W into the structure; where it has no such W, the nearest rates that it has. Whether W was met."""
    try:
        cell.assign(W)
    except ArgumentError:
        low, high = cell.map.limits(cell.raw.dtype)
        rates = -W.diagonal()
        cell.assign_spectrum(rates.clamp(-high * (1 + 1e-9), -low * (1 - 1e-9)) if cell.map.stable else rates)
        return False
    return True


def real_sum(target: LinearFunctional, width: int, dt: float, horizon: float | None) -> ExponentialSum:
    """A sum of real rates for structures that have no others: even in logarithm, coefficients by least squares on the kernel at the steps."""
    end = float(target.mesh()[-1]) if horizon is None else horizon
    steps = min(max(int(end / dt), 2 * width), 4000)
    t: Array = dt * np.arange(steps)
    rates = np.geomspace(0.5 / t[-1], 1.0 / dt, width) if width > 1 else np.array([2.0 / t[-1]])
    coefficients = np.linalg.lstsq(np.exp(-np.multiply.outer(t, rates)), target._kernel(t), rcond=1e-8)[0]
    found = ExponentialSum(rates, coefficients[:, 0] if target.input_size == 1 else coefficients)
    found.error = (target - found).norm() / target.norm()
    return found
