"""Memory capacity against delay lines, reservoirs whose capacity is a rank, and a closed form for scalar recurrences."""

import json
import time

import numpy as np
import pytest
import torch
from torch import nn

from perdure.errors import ArgumentError, ModelError
from perdure.memory.capacity import memory_capacity


class Reservoir(nn.Module):
    """h' = f(W h + v u), all states as outputs."""

    input_size = 1

    def __init__(self, W, v, f=lambda h: h):
        super().__init__()
        self.W, self.v, self.f = nn.Parameter(torch.as_tensor(W)), nn.Parameter(torch.as_tensor(v)), f

    def forward(self, x):
        h, out = x.new_zeros(x.shape[0], self.W.shape[0]), []
        for u in x.unbind(1):
            h = self.f(h @ self.W.T + u * self.v)
            out.append(h)
        return torch.stack(out, 1)


def delay_line(n):
    W = np.zeros((n, n))
    W[np.arange(1, n), np.arange(n - 1)] = 1.0
    return Reservoir(W, np.eye(n)[0])


def rank_of_controllability(W, v):
    columns = [v]
    for _ in range(len(v) - 1):
        columns.append(W @ columns[-1])
    return np.linalg.matrix_rank(np.stack([c / np.linalg.norm(c) for c in columns], 1), tol=1e-9)


@pytest.mark.parametrize("n", [1, 5, 12])
def test_a_delay_line_of_n_states_remembers_n_inputs(n):
    found = memory_capacity(delay_line(n), horizon=30)
    assert found.total == pytest.approx(n, abs=1e-9)  # n states: the input now and n - 1 before
    assert found.capacity == pytest.approx(n - 1, abs=1e-9)
    np.testing.assert_allclose(found.values, np.arange(31) < n, atol=1e-9)
    assert found.bound == n


@pytest.mark.parametrize("seed", range(3))
def test_a_linear_reservoir_has_the_rank_of_its_controllability_matrix(seed):
    rng = np.random.default_rng(seed)
    W = np.linalg.qr(rng.standard_normal((6, 6)))[0] * 0.8
    v = rng.standard_normal(6)
    found = memory_capacity(Reservoir(W, v), horizon=40, samples=8000, seed=seed)
    assert rank_of_controllability(W, v) == 6
    assert found.total == pytest.approx(6, abs=0.1)
    W[3:, :3] = W[:3, 3:] = 0.0  # two halves of which one is not driven
    v[3:] = 0.0
    assert rank_of_controllability(W, v) == 3
    halved = memory_capacity(Reservoir(W, v), horizon=40, samples=8000, seed=seed)
    assert halved.bound == 3
    assert halved.total <= 3.05


def test_profile_of_a_scalar_recurrence():
    """y_t = sum a^k u_{t-k}: corr(y, u_{t-k})^2 = a^2k (1 - a^2)."""
    a = 0.7
    found = memory_capacity(Reservoir(np.array([[a]]), np.ones(1)), horizon=30, samples=20000)
    k = np.arange(6)
    np.testing.assert_allclose(found.values[:6], a ** (2 * k) * (1 - a * a), atol=0.016)
    assert abs(found.capacity - a * a) < 4 * found.error + 0.02
    assert found.values[25:].max() == 0.0  # less than chance counts as nothing


def test_saturation_costs_capacity_and_noise_alone_has_none():
    rng = np.random.default_rng(1)
    W = np.linalg.qr(rng.standard_normal((12, 12)))[0] * 0.9
    v = rng.standard_normal(12)
    linear = memory_capacity(Reservoir(W, v), horizon=60)
    bent = memory_capacity(Reservoir(W, 2 * v, torch.tanh), horizon=60)
    assert bent.capacity < 0.9 * linear.capacity
    assert linear.total <= 12.0 + 0.5

    def deaf(x):  # outputs that do not contain the input linearly
        return torch.stack([x[..., 0] ** 2, x[..., 0] ** 4], -1)

    assert memory_capacity(deaf, horizon=20, input_size=1).total == 0.0


def test_many_outputs_are_mixed_and_the_time_is_kept():
    line = delay_line(30)
    found = memory_capacity(line, horizon=40, outputs=10)
    assert found.bound == 10
    assert found.total <= 10.5
    assert "lower bound" in found.status
    line = delay_line(4)

    def slow(x):
        time.sleep(1e-4 * len(x))
        return line.double()(x)

    hasty = memory_capacity(slow, horizon=20, input_size=1, samples=10**6, seconds=0.2)  # 50 000 rows: five seconds of sleep alone
    assert hasty.samples < 10**6
    assert any("in the time there was" in note for note in hasty.notes)


def test_single_precision_counts_only_directions_it_can_see():
    """States that shrink by 1e-3 a step: float32 sees two or three of them."""
    W = np.diag(np.full(7, 1e-3), -1)
    v = np.eye(8)[0]
    wide = memory_capacity(Reservoir(W, v), horizon=20)
    narrow = memory_capacity(Reservoir(W.astype(np.float32), v.astype(np.float32)), horizon=20, dtype=torch.float32)
    assert narrow.bound < wide.bound <= 8


def test_results_are_plain_and_the_model_is_left_alone():
    model = nn.GRU(2, 4, batch_first=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = memory_capacity(model, horizon=12)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert model.training
    json.dumps(found.to_dict(), allow_nan=False)
    assert list(found.to_frame().columns) == ["delay", "time", "value", "raw", "above_chance"]
    assert found.to_dict()["capacity"] == found.capacity


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon"),
        ({"horizon": 10, "length": 10}, "length.*more than the largest delay"),
        ({"samples": 2}, "samples"),
        ({"bound": 0.0}, "bound"),
        ({"outputs": 0}, "outputs"),
        ({"seed": -1}, "seed"),
        ({"seconds": 0.0}, "seconds"),
        ({"dt": 0.0}, "dt"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        memory_capacity(delay_line(2), **options)


def test_bad_models():
    with pytest.raises(ModelError, match="stay the same"):
        memory_capacity(lambda x: 0 * x, horizon=5, input_size=1)
    with pytest.raises(ModelError, match="twice the number of independent outputs"):
        memory_capacity(delay_line(20), horizon=10, samples=30)
    with pytest.raises(ModelError, match="finite"):
        memory_capacity(lambda x: x / 0.0, horizon=5, input_size=1)
    with pytest.raises(TypeError, match="dtype"):
        memory_capacity(delay_line(2), dtype="float64")
