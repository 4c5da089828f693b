"""Models without a memory function are refused at whatever step it shows, and honest ones are not."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from perdure import functionals
from perdure.errors import ModelError
from perdure.memory import memory_function
from perdure.memory.response import middle_step


def centred(width, edge):
    """Rolling mean over a centred window of `width`, with `edge` steps at either end set to zero."""

    def model(x):
        y = F.avg_pool1d(F.pad(x.transpose(1, 2), (width // 2, width // 2)), width, 1).transpose(1, 2)
        return torch.cat([torch.zeros_like(y[:, :edge]), y[:, edge : y.shape[1] - edge], torch.zeros_like(y[:, :edge])], 1)

    return model


def in_blocks(x):
    """Each output sees to the end of its block of 4 steps; the first two blocks are silent."""
    parts = [block.mean(1, keepdim=True).expand_as(block) for block in x.split(4, 1)]
    return torch.cat([torch.zeros_like(x[:, :8]), *parts[2:]], 1)


def last_step(x):
    return torch.cat([torch.zeros_like(x[:, :9]), x[:, 9:] + 1e-6 * x[:, -1:]], 1)


FUTURE = {"window": centred(5, 3), "wide window": centred(21, 10), "blocks": in_blocks, "last step": last_step}


@pytest.mark.parametrize("probe", ["heaviside", "reversed", "jacobian"])
@pytest.mark.parametrize("name", FUTURE)
def test_models_that_see_the_future_in_the_middle_are_refused(name, probe):
    with pytest.raises(ModelError, match=r"to be causal, but got an output at step \d+ that moves with the input from step \d+ on"):
        memory_function(FUTURE[name], input_size=1, horizon=40, probe=probe)


def test_the_future_is_seen_through_single_precision():
    with pytest.raises(ModelError, match="to be causal"):
        memory_function(centred(5, 3), input_size=1, horizon=40, dtype=torch.float32)
    with pytest.raises(ModelError, match="to be causal"):
        memory_function(centred(3, 2), input_size=1, horizon=40, dtype=torch.bfloat16)


def standardised(x):
    return (x - x.mean(0)) / (x.std(0) + 1e-5)


class BatchStatistics(nn.BatchNorm1d):
    """Uses the statistics of the batch in evaluation mode, too."""

    def __init__(self):
        super().__init__(2, track_running_stats=False)

    def forward(self, x):
        return super().forward(x.cumsum(1).transpose(1, 2)).transpose(1, 2)


class Stateful(nn.Module):
    """Goes on from the state at which the last call ended."""

    def __init__(self):
        super().__init__()
        self.mean = 0.0

    def forward(self, x):
        y = x.cumsum(1) + self.mean
        self.mean = float(y.mean())
        return y


def shared_mask(x):
    return x.cumsum(1) * (torch.rand(x.shape[1:], dtype=x.dtype) > 0.5)


MIXED = {
    "standardised": standardised,
    "mean of the batch": lambda x: x.cumsum(1) + 1e-4 * x.mean(0),
    "batch norm": BatchStatistics(),
    "by position": lambda x: x + torch.arange(len(x))[:, None, None],
    "neighbour": lambda x: x.cumsum(1) + 0.1 * x.roll(1, 0),
    "state kept": Stateful(),
    "multiplicative noise": lambda x: x * torch.rand_like(x),
    "small multiplicative noise": lambda x: x.cumsum(1) * (1 + 1e-6 * torch.randn_like(x)),
    "dropout": lambda x: F.dropout(x, 0.5, training=True).cumsum(1),
    "rare dropout": lambda x: F.dropout(x.cumsum(1), 0.1, training=True),
    "one mask for all rows": shared_mask,
    "late noise": lambda x: torch.cat([x[:, :20], x[:, 20:] * torch.rand_like(x[:, 20:])], 1),
}


@pytest.mark.parametrize("probe", ["heaviside", "impulse", "jacobian"])
@pytest.mark.parametrize("name", MIXED)
def test_random_models_and_models_that_mix_rows_are_refused(name, probe):
    with pytest.raises(ModelError, match=r"rows of a batch alike and alone.*outputs reach.*random or mixes rows"):
        memory_function(MIXED[name], input_size=2, horizon=40, probe=probe)


class Core(nn.Module):
    """A recurrent layer that computes in a type of its own, below a head in the type of its input."""

    input_size = 2

    def __init__(self, dtype, gain):
        super().__init__()
        torch.manual_seed(0)
        layer = nn.RNN(2, 64, batch_first=True)
        with torch.no_grad():
            layer.weight_hh_l0.copy_(gain * torch.randn(64, 64) / 8)
        self.core = [layer.to(dtype)]  # in a list: no submodule, not converted
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        return self.head(self.core[0](x.to(self.core[0].weight_hh_l0.dtype))[0].to(x.dtype))


def in_pieces(model, piece):
    """The model on rows one way and another, so that matrix products round by the size of the batch."""

    def call(x):
        noise = 1e-7 * torch.sin(torch.arange(x.shape[0] * 1.0) * 7 + x.shape[0])  # the worst that a batch-size dependent kernel does
        return model(x) * (1 + noise.to(x)[:, None, None]) if piece else model(x)

    return call


HONEST = {
    "chaotic": (Core(torch.float64, 3.0), {}),
    "single inside": (Core(torch.float32, 1.0), {}),
    "chaotic, single inside": (Core(torch.float32, 3.0), {}),
    "half inside": (Core(torch.bfloat16, 1.0), {}),
    "rounding by place and size": (in_pieces(lambda x: x.cumsum(1), True), {"input_size": 2}),
    "large outputs": (lambda x: 1e8 + x.cumsum(1), {"input_size": 1}),
    "huge outputs": (lambda x: 1e30 * (1 + x.cumsum(1)), {"input_size": 1}),
    "FFT": (functionals.shift(5.0, 0.3), {}),
    "dropout in evaluation mode": (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), {}),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", HONEST)
def test_honest_models_are_measured(name, dtype):
    model, options = HONEST[name]
    for probe in ("heaviside", "jacobian"):
        memory = memory_function(model, horizon=48, dtype=dtype, probe=probe, background="noise", **options)
        assert max(memory.values.max(), memory.noise_floor) > 0


def test_rounding_inside_raises_the_noise_floor():
    memory = memory_function(in_pieces(lambda x: x.cumsum(1), True), input_size=2, horizon=48)
    assert 2e-8 < memory.precision < 4e-7
    assert memory_function(lambda x: x.cumsum(1), input_size=2, horizon=48).precision == 2**-52


def test_the_extra_rows_cost_no_extra_call_of_a_nonlinear_model():
    calls = []

    def model(x):
        calls.append(len(x))
        return torch.tanh(x).cumsum(1)

    memory = memory_function(model, input_size=1, horizon=30, probes=64)
    assert memory.rows == 64
    assert len(calls) == 7
    assert sum(calls) == 64 + 5


def test_middle_steps_avoid_the_ends_of_blocks():
    steps = {middle_step(200, np.random.default_rng(seed)) for seed in range(50)}
    assert len(steps) > 20
    assert all(50 <= k < 150 and np.gcd(k, 30) == 1 for k in steps)
    assert middle_step(3, np.random.default_rng(0)) == 1


def test_bfloat16_has_no_negative_zero():
    values = memory_function(torch.tanh, input_size=1, horizon=20, dtype=torch.bfloat16).values
    assert (values == 0).any()
    assert not np.signbit(values).any()
