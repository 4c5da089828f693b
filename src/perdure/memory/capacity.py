r"""Short-term memory capacity: how many past inputs a linear readout can recover from a model's outputs.

The model is driven by a stream u of independent numbers, uniform in [-B, B], and for every delay k the share of the variance of u_{t-k} that the best
affine readout of the outputs y_t explains is

    m_k = max_w corr(w . y_t, u_{t-k})^2 = |Q^T U_k|^2 / |U_k|^2

with Q an orthonormal basis of the centred outputs, (S, p) for S samples, and U_k the centred stream, delayed. The capacity is the sum over k >= 1 (Jaeger).
It is at most the number p of linearly independent outputs (Jaeger 2001, Prop. 2), and so is the sum over k >= 0, for the U_k are orthogonal. Of a linear
model the sum over k >= 0 is exactly the rank of its controllability matrix (its Prop. 4), and a nonlinear one keeps at most this much linearly.

*From samples.* A basis of p vectors explains about p / S of any stream by chance: for one that never entered the model the share has the Beta(p/2, (S - 1 - p)/2)
law (exactly for Gaussian numbers). So m_k is corrected, 1 - (1 - m_k)(S - 1)/(S - 1 - p), and counts as 0 unless the uncorrected value exceeds the
quantile of that law at which one of all K + 1 delays would pass by chance in one of a hundred measurements (Dambre et al. 2012 take surrogates). One factorisation
serves all delays. Directions in which the outputs vary by no more than rounding are left out of Q: a linear readout of finite precision cannot use them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import beta

from perdure import _checks
from perdure._typing import Array
from perdure.errors import ModelError
from perdure.memory.precision import output_eps
from perdure.memory.running import Running, listed, run

CHANCE = 0.01  # that chance passes for memory at any of the delays
LEAST = 2048  # samples
PER_OUTPUT = 20  # samples for each output channel


@dataclass(frozen=True)
class MemoryCapacity:
    """What a linear readout recovers of past inputs.

    Attributes:
        delays: k, (K + 1,), from 0, in steps.
        values: m_k, (K + 1,), corrected for chance, 0 where it is no more than that.
        raw: m_k as it is in the sample, (K + 1,).
        threshold: of `raw`: less is chance.
        bound: p, linearly independent outputs: the capacity is at most that.
        samples: S.
        error: standard error of `capacity`, from its values on two halves of the sequences; NaN with fewer than two sequences.
        dt: time between steps.
        seed: of the stream.
        dtype: floating-point type of the measurement.
        status: how the number is known.
        notes: what a reader of the numbers should know.
    """

    delays: Array = field(repr=False)
    values: Array = field(repr=False)
    raw: Array = field(repr=False)
    threshold: float
    bound: int
    samples: int
    error: float
    dt: float
    seed: int
    dtype: str
    status: str
    notes: tuple[str, ...] = ()

    @property
    def capacity(self) -> float:
        """The sum over delays of at least one step: Jaeger's memory capacity."""
        return float(self.values[1:].sum())

    @property
    def total(self) -> float:
        """The sum over all delays, with the present input."""
        return float(self.values.sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON."""
        names = ("threshold", "bound", "samples", "error", "dt", "seed", "dtype", "status", "capacity", "total")
        arrays = {name: listed(getattr(self, name)) for name in ("delays", "values", "raw")}
        return {**{name: listed(getattr(self, name)) for name in names}, "notes": list(self.notes), **arrays}

    def to_frame(self) -> Any:
        """A pandas table with columns delay, time, value, raw and above_chance."""
        import pandas as pd

        above = self.values > 0
        return pd.DataFrame(
            {"delay": self.delays, "time": self.delays * self.dt, "value": self.values, "raw": self.raw, "above_chance": above}
        )


def memory_capacity(
    model: Any,
    *,
    horizon: int = 256,
    length: int | None = None,
    samples: int | None = None,
    bound: float = 1.0,
    dt: float = 1.0,
    input_size: int | None = None,
    batch_first: bool | None = None,
    outputs: int = 512,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    seconds: float | None = None,
) -> MemoryCapacity:
    r"""The short-term memory capacity of a model: sum over delays of the share of a white input that its outputs still tell.

        MC = sum_{k = 1..K} max_w corr(w . y_t, u_{t-k})^2     (0 <= MC <= number of independent outputs)

    The readout reads the outputs of the model; where these are its states, as of a recurrent layer of torch, that is the capacity of the states.
    A model of several input channels is driven by one stream, times a random sign in each channel.

    Args:
        model: as for `perdure.memory_function`.
        horizon: K, the largest delay, in steps.
        length: steps of a sequence, more than `horizon`, of which the first K are washed out; None takes 2 K.
        samples: steps that count, over all sequences; None takes 20 for each output, at least 2048.
        bound: B; the stream is uniform in [-B, B].
        dt: time between steps.
        input_size: d; None asks the model.
        batch_first: as for `perdure.memory_function`.
        outputs: most output channels to read; of more, random mixtures of that number are read, which gives a lower bound.
        seed: of the stream.
        dtype: floating-point type to measure in.
        seconds: time to spend: fewer samples where it is short.

    Returns:
        A `MemoryCapacity`.

    Raises:
        ArgumentError: an argument breaks its rule.
        ModelError: outputs that are not finite, or that the input does not move.

    >>> echo = lambda x: torch.cat([torch.nn.functional.pad(x, (0, 0, k, 0))[:, : x.shape[1]] for k in (1, 2, 3)], 2)
    >>> found = memory_capacity(echo, horizon=20, input_size=1)
    >>> round(found.capacity, 6), found.bound
    (3.0, 3)

    References:
        Jaeger, "Short term memory in echo state networks", GMD report 152, 2001; Dambre, Verstraeten, Schrauwen & Massar, "Information processing
        capacity of dynamical systems", Scientific Reports 2012 (what is chance).
    """
    horizon = _checks.positive_int(horizon, "horizon", "it is the largest delay, in steps")
    length = 2 * horizon if length is None else _checks.positive_int(length, "length", "it is the number of steps of a sequence")
    if length <= horizon:
        raise _checks.fail("length", f"more than the largest delay, {horizon}", length, "the first steps of each sequence are washed out")
    if samples is not None:
        samples = _checks.positive_int(samples, "samples", "pass the number of steps that count", least=8)
    bound = _checks.positive(bound, "bound", "it is the largest input")
    outputs = _checks.positive_int(outputs, "outputs", "it is the most output channels to read")

    def body(running: Running) -> MemoryCapacity:
        return _measure(running, horizon, length, samples, bound, dt, outputs, seed)

    return run(
        model, body, "memory_capacity", dtype=dtype, seed=seed, seconds=seconds, dt=dt, input_size=input_size, batch_first=batch_first
    )


def _measure(
    running: Running, horizon: int, length: int, samples: int | None, bound: float, dt: float, outputs: int, seed: int
) -> MemoryCapacity:
    rng = np.random.default_rng(seed)
    signs = np.ones(1) if running.size == 1 else rng.choice([-1.0, 1.0], running.size)
    each, notes = length - horizon, list(running.notes)
    streams, read, mix, eps = [], [], None, 0.0
    wanted, rows = samples or LEAST, 2
    while rows and sum(map(len, read)) * each < wanted:
        u = rng.uniform(-bound, bound, (rows, length))
        y = running(running.tensor(u[..., None] * signs))
        eps = max(eps, output_eps(y[0]))
        if mix is None and y.shape[2] > outputs:
            mix = running.tensor(rng.standard_normal((y.shape[2], outputs)))
            notes.append(f"{outputs} random mixtures of {y.shape[2]} output channels are read: a lower bound")
        y = y if mix is None else y @ mix.to(y)
        streams.append(u)
        read.append(y[:, horizon:].double().cpu().numpy())
        wanted = samples or max(LEAST, PER_OUTPUT * y.shape[2])
        missing = -(-wanted // each) - sum(map(len, read))
        rows = max(
            0, min(missing, running.limit(length), 2 * sum(map(len, read)))
        )  # doubling: what a call takes is known before a longer one
        while rows and not running.affords(rows, length):
            rows //= 2
    u, y = np.concatenate(streams), np.concatenate(read)
    if u.shape[0] * each < wanted:
        notes.append(f"{u.shape[0] * each} samples in the time there was, where {wanted} were wanted")
    raw, threshold, rank, values = _profile(u, y, horizon, eps)
    count = u.shape[0] * each
    if count <= 2 * rank:
        raise ModelError(
            f"expected argument `samples` to exceed twice the number of independent outputs, {rank}, but got {count}: nothing is left "
            "beyond chance; pass more samples, more `seconds` or fewer `outputs`"
        )
    error, half = np.nan, u.shape[0] // 2
    if half and half * each > 2 * rank:
        two = [_profile(u[part], y[part], horizon, eps)[3][1:].sum() for part in (slice(0, half), slice(half, 2 * half))]
        error = float(abs(two[0] - two[1]) / 2)
    if values[-max(1, horizon // 16) :].any():
        notes.append("the capacity goes on beyond the largest delay: measure a longer horizon")
    return MemoryCapacity(
        np.arange(horizon + 1), values, raw, threshold, rank, count, error, dt, seed, str(running.twin.dtype).removeprefix("torch."),
        "estimate from samples" if mix is None else "lower bound (mixtures of the outputs), from samples", tuple(notes),
    )  # fmt: skip


def _profile(u: Array, y: Array, horizon: int, eps: float) -> tuple[Array, float, int, Array]:
    """Shares by delay, what chance may give, rank of the outputs, corrected shares; u (R, L), y (R, L - horizon, o)."""
    length = u.shape[1]
    flat = y.reshape(-1, y.shape[2])
    flat = flat - flat.mean(0)
    q, singular, _ = np.linalg.svd(flat, full_matrices=False)
    kept = singular > eps * np.sqrt(max(flat.shape)) * singular[:1].max(initial=0.0) * 4
    rank, count = int(kept.sum()), flat.shape[0]
    if rank == 0:
        raise ModelError("expected argument `model` to answer its input, but got outputs that stay the same: there is nothing to read")
    q = q[:, kept]
    delayed = np.stack([u[:, horizon - k : length - k].ravel() for k in range(horizon + 1)], 1)
    raw = _shares(q, delayed)
    threshold = float(beta.ppf(1 - CHANCE / (horizon + 1), rank / 2, max(count - 1 - rank, 1) / 2))
    free = max(count - 1 - rank, 1)
    values = np.where(raw > threshold, np.clip(1 - (1 - raw) * (count - 1) / free, 0.0, 1.0), 0.0)
    return raw, threshold, rank, values


def _shares(q: Array, targets: Array) -> Array:
    """|Q^T U|^2 / |U|^2 of the centred columns U of `targets`."""
    centred = targets - targets.mean(0)
    return np.minimum(((q.T @ centred) ** 2).sum(0) / (centred**2).sum(0), 1.0)
