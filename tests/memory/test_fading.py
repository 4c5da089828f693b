"""Incremental fading: models that forget, keep, average, or are chaotic."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from perdure.errors import ArgumentError, ModelError
from perdure.memory.fading import fading


def linear(a):
    def model(x):
        h, out = torch.zeros_like(x[:, 0]), []
        for u in x.unbind(1):
            h = a * h + u
            out.append(h)
        return torch.stack(out, 1)

    return model


def window(width):
    return lambda x: torch.nn.functional.avg_pool1d(torch.nn.functional.pad(x.mT, (width - 1, 0)), width, 1).mT


def mean_of_the_past(x):
    return x.cumsum(1) / torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]


def latch(x):
    """The first input for ever."""
    return x[:, :1].expand_as(x) + x


class Echo(nn.Module):
    input_size = 1

    def __init__(self, gain, size=40, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.W = nn.Parameter(torch.as_tensor(gain * rng.standard_normal((size, size)) / size**0.5))
        self.v = nn.Parameter(torch.as_tensor(0.1 * rng.standard_normal(size)))

    def forward(self, x):
        h, out = x.new_zeros(x.shape[0], len(self.v)), []
        for u in x.unbind(1):
            h = torch.tanh(h @ self.W.T + u * self.v)
            out.append(h)
        return torch.stack(out, 1)


@pytest.mark.parametrize("a", [0.5, 0.9])
def test_a_leak_forgets_at_its_rate(a):
    found = fading(linear(a), horizon=100, input_size=1, pairs=3)
    k = np.arange(100)
    seen = a**k > 1e-8
    np.testing.assert_allclose(found.values[:, seen], np.broadcast_to(a**k, (3, 100))[:, seen], rtol=1e-5)
    assert found.forgets == "forgets"
    assert found.growth == pytest.approx(np.log(a), rel=1e-3)
    assert found.fit.law == "exponential"
    assert found.fit.parameters["rate"] == pytest.approx(-np.log(a), rel=1e-3)


def test_an_integrator_and_a_latch_do_not_forget():
    for model in (linear(1.0), latch):
        found = fading(model, horizon=60, input_size=1)
        assert found.forgets == "does not forget"
        np.testing.assert_allclose(found.values, 1.0, rtol=1e-9)
        assert found.parted == pytest.approx(1.0, rel=1e-6)


def test_a_window_forgets_after_its_width():
    found = fading(window(7), horizon=40, input_size=2)
    assert found.forgets == "forgets"
    assert found.worst[5] > 0
    assert found.worst[6:].max() == 0.0
    assert found.left == 0.0
    short = fading(window(40), horizon=40, past=60, input_size=2)  # its last trace is in the last quarter
    assert short.forgets != "forgets"


def test_equal_weight_on_all_the_past_is_not_called_forgotten():
    """delta_k = (P + 1) / (P + 1 + k): half of it is left after as long again, and 1 % only after 99 times."""
    found = fading(mean_of_the_past, horizon=80, past=80, input_size=1)
    k = np.arange(80)
    np.testing.assert_allclose(found.worst, 81 / (81 + k), rtol=1e-9)
    assert found.forgets == "undecided"
    assert "still falling" in found.reason


def test_a_chaotic_network_parts_neighbours_and_a_contracting_one_does_not():
    wild, calm = fading(Echo(2.5), horizon=150, pairs=4), fading(Echo(0.7), horizon=150, pairs=4)
    assert wild.forgets == "does not forget"
    assert wild.growth > 0.05
    assert wild.parted > 1e3
    assert "chaos" in wild.reason
    assert calm.forgets == "forgets"
    assert calm.growth < 0
    # the growth against one that shares no code: QR iteration along a driven orbit
    model = Echo(2.5)
    W, v = model.W.detach().numpy(), model.v.detach().numpy()
    rng, h, q, sums = np.random.default_rng(5), np.zeros(40), np.eye(40)[:, 0], 0.0
    for step in range(3000):
        h = np.tanh(W @ h + v * rng.uniform(-1, 1))
        q = (1 - h * h) * (W @ q)
        size = np.linalg.norm(q)
        sums, q = sums + (np.log(size) if step >= 500 else 0.0), q / size
    assert wild.growth == pytest.approx(sums / 2500, rel=0.35)  # short stretches of few pairs: an estimate


def test_models_without_memory_forget_at_once():
    found = fading(torch.tanh, horizon=20, input_size=1)
    assert found.forgets == "forgets"
    assert found.left == 0.0
    assert found.fit is None
    assert np.isnan(found.growth)


def test_the_future_may_be_given_and_the_model_is_left_alone():
    model = nn.LSTM(2, 3, batch_first=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    for future in ("zeros", np.zeros((64, 2)), torch.zeros(2, 64, 2)):
        found = fading(model, horizon=64, pairs=2, background=future)
        assert found.forgets == "forgets"
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    json.dumps(found.to_dict(), allow_nan=False)
    assert list(found.to_frame().columns) == ["time", "median", "worst", "pair_0", "pair_1"]


def test_a_short_time_means_fewer_pairs():
    found = fading(linear(0.5), horizon=200, input_size=1, pairs=10**4, seconds=0.2)
    assert 1 <= len(found.values) < 10**4
    assert any("pairs in the time there was" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 5}, "horizon"),
        ({"past": 0}, "past"),
        ({"pairs": 0}, "pairs"),
        ({"bound": -1.0}, "bound"),
        ({"level": 0.0}, "level"),
        ({"level": 1.0}, "level.*below 1"),
        ({"background": "silence"}, "background"),
        ({"background": np.zeros((3, 1))}, "background"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        fading(linear(0.5), **{"input_size": 1, "horizon": 32, **options})


def test_a_diverging_model_is_refused():
    with pytest.raises(ModelError, match="finite"):
        fading(lambda x: torch.exp(torch.exp(1e3 * x.cumsum(1).abs())), horizon=64, input_size=1)
