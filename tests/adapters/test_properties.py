"""What models are measured to be, against what they are by construction."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import CASES
from torch import nn

from perdure import functionals
from perdure.adapters import TokenModel, adapt, measure, rounding
from perdure.errors import ArgumentError, ArgumentTypeError, ModelError
from perdure.memory import memory_function, response

SPEC = importlib.util.spec_from_file_location("refusals", Path(__file__).parents[1] / "memory" / "test_refusals.py")
refusals = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(refusals)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_case_is_what_it_was_built_to_be(case):
    found = measure(case.adapt(case.build()), 24)
    assert found.causal.holds is case.causal, found.causal
    assert found.stateful.holds is case.stateful, found.stateful
    assert found.rows_independent.holds is case.rows, found.rows_independent
    assert found.random.holds is False
    if case.linear is not None:
        assert found.linear.holds is case.linear, found.linear
    if case.homogeneous is not None:
        assert found.time_homogeneous.holds is case.homogeneous, found.time_homogeneous
    if case.length is not None and found.maximum_length is not None:
        assert (found.maximum_length, found.fails_at, found.longest) == (case.length, case.length + 1, case.length)
    if case.stateful or not case.causal:
        assert found.applicable_probes == (() if case.stateful else ("influence",))
    else:
        refused = {name: reason for name, reason in found.probes.items() if reason}
        assert set(refused) == {*(["heaviside"] if case.blind else []), *(["jacobian", "influence"] if case.flat else [])}
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", refusals.FUTURE)
def test_models_that_see_the_future(name):
    found = measure(refusals.FUTURE[name], 40, input_size=1)
    assert found.causal.holds is False
    assert found.applicable_probes == ("influence",)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("standardised", "rows"), ("mean of the batch", "rows"), ("batch norm", "rows"), ("by position", "rows"), ("neighbour", "rows"),
        ("state kept", "stateful"), ("multiplicative noise", "random"), ("small multiplicative noise", "random"), ("dropout", "random"),
        ("rare dropout", "random"), ("one mask for all rows", "random"), ("late noise", "random"),
    ],
)  # fmt: skip
def test_models_that_memory_refuses(name, what):
    """Each is given the reason that is true of it, and none of the others."""
    found = measure(refusals.MIXED[name], 40, input_size=2)
    assert found.rows_independent.holds is (what != "rows")
    assert found.stateful.holds is (what == "stateful")
    assert found.random.holds is (what == "random")
    assert found.causal.holds or name == "batch norm"  # whose statistics, of one sequence alone, are those over time
    assert not found.applicable_probes
    assert all(reason for reason in found.probes.values())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", refusals.HONEST)
def test_honest_models(name, dtype):
    """Nothing is held against them; where rounding is loud they may stay undecided."""
    model, options = refusals.HONEST[name]
    found = measure(model, 48, dtype=dtype, **options)
    assert found.causal.holds is not False
    assert found.random.holds is not True
    assert found.stateful.holds is not True
    assert found.rows_independent.holds is not False or "rounding" in name  # one whose rows do differ, by 1e-7


def test_the_limits_are_those_of_the_memory_function():
    assert (rounding.ROUNDED, rounding.SUSPECT, rounding.EARLY) == (response.ROUNDED, response.SUSPECT, response.EARLY)


@pytest.mark.parametrize("ahead", [1, 3, 9])
def test_the_size_of_a_look_ahead_and_its_first_step(ahead):
    """y_t = x_t + 0.25 x_{t + ahead} moves at step s - ahead for a change at s; the last steps see nothing."""

    def model(x):
        return x + 0.25 * torch.cat([x[:, ahead:], torch.zeros_like(x[:, :ahead])], 1)

    found = measure(model, 32, input_size=1)
    assert found.causal.holds is False
    assert found.causal.step in (31 - ahead, 13 - ahead, max(0, 1 - ahead))
    assert 0.1 < found.causal.gap < 0.5  # 0.25 |difference of two inputs in [-1, 1]| over an output of at most 1.25
    assert found.linear.holds
    assert found.length_free.holds


def test_the_gap_of_superposition():
    """For x + c x^2 the gap of a x1 + b x2 is c |(a x1 + b x2)^2 - a x1^2 - b x2^2|: proportional to c."""
    gaps = [measure(lambda x, c=c: x + c * x**2, 16, input_size=1).linear.gap for c in (1e-6, 2e-6)]
    assert gaps[1] / gaps[0] == pytest.approx(2, rel=1e-3)
    assert gaps[0] == pytest.approx(0.6e-6, rel=0.9)


def test_a_delay_that_matters():
    def fading(x):
        return x * torch.exp(-0.1 * torch.arange(x.shape[1], dtype=x.dtype))[:, None]

    found = measure(fading, 32, input_size=1)
    assert found.time_homogeneous.holds is False
    assert found.time_homogeneous.gap == pytest.approx(1 - np.exp(-1.3), rel=0.2)  # 13 steps between the two later bursts
    assert found.linear.holds
    assert found.zero_in_zero_out.holds


def test_a_start_away_from_rest_is_told_from_a_clock():
    leak = lambda x: functionals.exponential(1.0)(torch.relu(1 + x), dt=1.0)  # noqa: E731 - rests at a constant it has yet to reach
    assert measure(leak, 32, input_size=1).time_homogeneous.holds  # the part of the bias is the same with and without a burst
    layer = nn.GRU(1, 3)
    with torch.no_grad():
        for p in layer.parameters():
            p.mul_(0.5)
    found = measure(layer, 128)
    assert found.time_homogeneous.holds is False
    assert "initial state to rest" in found.time_homogeneous.reason


def test_zero_in():
    assert measure(lambda x: x + 1, 16, input_size=1).zero_in_zero_out.reason.startswith("no input gives outputs up to 1, constant in time")
    ramp = lambda x: x + torch.arange(x.shape[1], dtype=x.dtype)[:, None]  # noqa: E731
    assert "move in time by up to 15" in measure(ramp, 16, input_size=1).zero_in_zero_out.reason


def test_the_length_matters():
    mean = lambda x: x.cumsum(1) / x.shape[1]  # noqa: E731
    found = measure(mean, 16, input_size=1)
    assert found.causal.holds
    assert found.length_free.holds is False
    assert found.length_free.gap == pytest.approx(0.5, abs=1e-12)


def test_lengths_that_raise():
    found = measure(TokenModel(nn.Embedding(5, 3), (0, 1)), 16)
    assert (found.fails_at, found.longest, found.maximum_length) == (None, 32, None)

    def short(x):
        if x.shape[1] > 20:
            raise IndexError("no such position")
        return x.cumsum(1)

    found = measure(short, 16, input_size=1)
    assert (found.fails_at, found.longest) == (32, 16)
    assert found.length_free.holds is None
    assert "does not run on 32 steps" in found.probes["reversed"]
    assert "no such position" in found.notes[-1]


def test_attention_without_positions_is_blind_to_steps():
    def attention(x):
        return x.cumsum(1) / torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]

    found = measure(attention, 16, input_size=1)
    assert found.probes["heaviside"].startswith("blind")
    assert found.applicable_probes == ("impulse", "reversed", "jacobian", "influence")
    assert memory_function(attention, input_size=1, horizon=16).notes


def test_step_functions_have_no_derivative():
    found = measure(lambda x: torch.round(8 * x).cumsum(1), 16, input_size=1)
    assert found.probes["jacobian"].startswith("flat")
    assert found.applicable_probes == ("heaviside", "impulse", "reversed")


def test_a_generator_of_its_own_cannot_be_told_from_a_state():
    generator = torch.Generator().manual_seed(0)
    found = measure(lambda x: x + torch.rand(x.shape, generator=generator, dtype=x.dtype), 16, input_size=1)
    assert found.random.holds is None
    assert found.stateful.holds is None
    assert "a generator of its own or keeps a state" in found.random.reason
    assert not found.applicable_probes


def test_arithmetic_inside_is_seen():
    class Inner(nn.Module):
        input_size = 1

        def forward(self, x):
            return torch.tanh(x.float()).double().cumsum(1) / 3

    found = measure(Inner(), 32)
    assert 1e-9 < found.precision < 1e-6
    assert found.time_homogeneous.holds


def test_what_is_said_of_the_model():
    layer = nn.GRU(2, 3).bfloat16()
    layer.bias_hh_l0.requires_grad_(False)
    found = measure(layer, 16)
    assert (found.parameters, found.trainable) == (3 * 3 * (2 + 3 + 2), 3 * 3 * (2 + 3 + 1))
    assert (found.dtype, found.device, found.measured_dtype) == ("bfloat16", "cpu", "float64")
    frame = found.to_frame()
    assert list(frame.index) == [
        "causal",
        "random",
        "stateful",
        "rows_independent",
        "time_homogeneous",
        "linear",
        "zero_in_zero_out",
        "length_free",
    ]
    assert measure(adapt(layer), 16).to_dict() == found.to_dict()
    assert measure(layer, 16, seed=1).linear.gap != found.linear.gap


def test_around_a_background():
    found = measure(lambda x: torch.relu(x).cumsum(1), 16, input_size=1, background=np.full((40, 1), 5.0))
    assert found.linear.holds  # the kink is out of reach
    assert found.time_homogeneous.holds
    moving = measure(nn.Linear(1, 1), 16, background=torch.randn(32, 1))
    assert "not constant in time" in moving.time_homogeneous.reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 4}, "`horizon` to be at least 8"),
        ({"bound": 0.0}, "`bound` to be positive"),
        ({"seed": -1}, "`seed` to be at least 0"),
        ({"input_size": 3}, "size of the model's first layer"),
        ({"layout": "CBT"}, "`layout` to be one of"),
        ({"background": np.zeros((31, 2))}, r"of shape \(T, 2\) with T >= 32"),
        ({"background": np.full((32, 2), np.nan)}, "finite"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        measure(nn.GRU(2, 3), **{"horizon": 16, **options})


def test_more_bad_arguments():
    with pytest.raises(ArgumentTypeError, match="`horizon` to be an integer"):
        measure(nn.GRU(2, 3), horizon=16.5)
    with pytest.raises(ModelError, match="finite outputs"):
        measure(lambda x: torch.exp(1e3 * x.cumsum(1).abs()), 16, input_size=1)
    with pytest.raises(ModelError, match=r"one vector for each step|one output for each input step|shape"):
        measure(lambda x: x[:, -1], 16, input_size=1)
    pytest.importorskip("transformers")
    bert = next(case for case in CASES if case.name == "BERT").build()
    with pytest.raises(ArgumentError, match="at most 160, the model's max_position_embeddings"):
        measure(bert, 200)
