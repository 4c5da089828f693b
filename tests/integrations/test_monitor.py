"""The monitor by itself: values, the budget under a clock that the test moves, failures, and what it leaves untouched."""

import copy
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from tasks import Clock, Model
from torch import nn

import perdure
from perdure.errors import ArgumentError, ArgumentTypeError
from perdure.integrations import monitor as module
from perdure.integrations.monitor import MemoryMonitor, crossing, recurrent_modules


def leaky(rate=0.1):
    """h' = tanh((1 - rate) h + x), for small x: half-life log 2 / -log(1 - rate), stability radius `rate`."""
    model = nn.RNN(1, 1, bias=False, batch_first=True)
    with torch.no_grad():
        model.weight_ih_l0.fill_(1.0)
        model.weight_hh_l0.fill_(1 - rate)
    return model


def test_values_are_those_of_a_leaky_unit():
    found = MemoryMonitor(budget=None, horizon=100, dt=2.0, bound=1e-3).measure(leaky().double())
    assert found["perdure/half_life"] == pytest.approx(2 * np.log(2) / -np.log(0.9), rel=0.01)
    assert found["perdure/horizon_0.01"] == pytest.approx(2 * np.log(100) / -np.log(0.9), rel=0.01)
    assert found["perdure/stability_radius"] == pytest.approx(0.1, rel=1e-6)
    assert found["perdure/spectral_radius"] == pytest.approx(0.9, rel=1e-6)
    assert found["perdure/memory_left"] == pytest.approx(0.9**99, rel=0.02)


def test_a_memory_longer_than_the_horizon_is_cut_there_and_says_so():
    found = MemoryMonitor(budget=None, horizon=20, bound=1e-4).measure(leaky(1e-3).double())
    assert found["perdure/half_life"] == 19.0
    assert found["perdure/memory_left"] > 0.9


@pytest.mark.parametrize("name", ["encoder", None])
def test_a_submodule_can_be_chosen(name):
    model = Model(3)
    found = MemoryMonitor(budget=None, module=name, input_size=3, horizon=16, probes=8).measure(model)
    target = model if name is None else model.encoder
    expected = perdure.memory_function(target, horizon=16, input_size=3, probes=8, dtype=torch.float32)
    assert found["perdure/half_life"] == pytest.approx(crossing(expected.times, expected.envelope, 0.5))
    assert found["perdure/stability_radius"] == pytest.approx(perdure.linearise(model.encoder).step_radius)


def test_a_name_that_is_not_there_is_refused_at_the_start():
    with pytest.raises(ArgumentError, match=r"`module` to be the name of a submodule: 'encoder', 'dropout', 'readout', but got 'decoder'"):
        MemoryMonitor(module="decoder").start(Model())


BAD = {
    "horizon": {"horizon": 2},
    "dt": {"dt": 0.0},
    "probe": {"probe": "sine"},
    "budget": {"budget": 1.5},
    "no budget": {"budget": 0.0},
    "probes": {"probes": 2},
    "input_size": {"input_size": 0},
    "bound": {"bound": -1.0},
    "largest_state": {"largest_state": 0},
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_refused(name):
    with pytest.raises(ArgumentError, match=next(iter(BAD[name]))):
        MemoryMonitor(**BAD[name])


def test_a_module_is_named_and_not_passed():
    with pytest.raises((ArgumentTypeError, TypeError), match="module"):
        MemoryMonitor(module=nn.Linear(1, 1))


def costing(monkeypatch, clock, memory, stability):
    """Measurements that take so many seconds of the test's clock; a trial takes a tenth."""

    def measured(self, part, horizon=None, probes=None):
        clock.now += memory / 10 if horizon else memory
        return {"half_life": 1.0}

    def looked(part, seed=0):
        clock.now += stability
        raise module.NoEquilibriumError("no rest", kind="wandering")

    monkeypatch.setattr(MemoryMonitor, "_memory", measured)
    monkeypatch.setattr(module, "linearise", looked)


@pytest.mark.parametrize("memory", [0.001, 0.1, 3.0])
@pytest.mark.parametrize("budget", [0.02, 0.2])
def test_the_share_of_the_time_stays_within_the_budget(monkeypatch, memory, budget):
    """2000 steps of 0.05 s; the overshoot is at most what the first measurement costs beyond eight trials."""
    clock = Clock()
    costing(monkeypatch, clock, memory, 0.0)
    monitor, model, done = MemoryMonitor(budget=budget, clock=clock), leaky(), 0
    monitor.start(model)
    for _ in range(2000):
        clock.now += 0.05
        done += bool(monitor.measure(model))
        assert monitor.spent <= budget * clock.now + 0.2 * memory + 1e-9
    assert monitor.overhead <= budget + 1e-9 + 0.2 * memory / clock.now
    possible = min(2000, budget * 100 / memory)
    assert done >= 0.4 * possible - 1
    assert monitor.put_off >= 2000 - done


def test_without_a_budget_every_call_measures(monkeypatch):
    clock = Clock()
    costing(monkeypatch, clock, 5.0, 0.0)
    monitor = MemoryMonitor(budget=None, clock=clock)
    assert all(monitor.measure(leaky()) for _ in range(5))
    assert monitor.overhead == pytest.approx(1.0)


class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.GRU(1, 2, batch_first=True)

    def forward(self, x):
        raise RuntimeError("needs a mask")


class Sees(nn.Module):
    """Not causal."""

    input_size = 1

    def forward(self, x):
        return x + x.mean(1, keepdim=True)


class Classifies(nn.Module):
    """One vector for a sequence."""

    input_size = 1

    def forward(self, x):
        return x.mean(1)


@pytest.mark.parametrize("model", [Raises(), Sees(), Classifies(), nn.Embedding(5, 3)], ids=lambda m: type(m).__name__)
def test_models_that_cannot_be_measured_warn_once_and_go_on(model, caplog):
    monitor = MemoryMonitor(budget=None)
    with caplog.at_level(logging.WARNING, "perdure.integrations"):
        found = [monitor.measure(model) for _ in range(3)]
    assert len(caplog.records) == 1
    assert "memory is not logged, because measuring it failed" in caplog.text
    assert all("perdure/half_life" not in f for f in found)
    assert ("perdure/stability_radius" in found[2]) == isinstance(model, Raises)


def test_recurrent_modules_that_cannot_be_linearised_are_named_once(caplog):
    model = nn.ModuleDict({"both": nn.GRU(1, 4, bidirectional=True), "one": nn.GRU(1, 4), "wide": nn.RNN(1, 40)})
    monitor = MemoryMonitor(budget=None, largest_state=16)
    monitor.broken.add("memory")
    with caplog.at_level(logging.WARNING, "perdure.integrations"):
        found = [monitor.measure(model) for _ in range(2)]
    said = sorted(record.getMessage() for record in caplog.records)
    assert len(said) == 2
    assert "both" in said[0]
    assert "wide" in said[1]
    assert "40 states" in said[1]
    assert found[1]["perdure/stability_radius"] == pytest.approx(perdure.linearise(model["one"]).step_radius)


def test_layers_inside_layers_are_not_counted_twice():
    layer = perdure.nn.ContinuousRNN(1, 4)
    assert [name for name, _ in recurrent_modules(layer)] == ["the model"]
    nested = nn.ModuleDict(
        {"a": perdure.nn.DiagonalSSM(1, 2, state_size=4), "b": nn.Sequential(nn.LSTM(1, 2), nn.Tanh()), "c": nn.GRUCell(1, 2)}
    )
    assert [name for name, _ in recurrent_modules(nested)] == ["a", "b.0", "c"]


def test_weights_modes_and_gradients_are_left_alone():
    model = Model().train()
    model(torch.randn(2, 5, 1)).sum().backward()
    weights, grads = copy.deepcopy(model.state_dict()), [p.grad.clone() for p in model.parameters()]
    MemoryMonitor(budget=None, horizon=16, probes=8).measure(model)
    assert model.training
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in weights.items())
    assert all(torch.equal(g, p.grad) for g, p in zip(grads, model.parameters(), strict=True))


GENERATORS = """
import random, numpy as np, torch
from perdure.integrations.monitor import MemoryMonitor
model = torch.nn.Sequential(torch.nn.GRU(1, 3, batch_first=True)).train()
torch.manual_seed(1), np.random.seed(2), random.seed(3)
before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
print(len(MemoryMonitor(budget=None, horizon=8, probes=8, module="0").measure(model)))
assert torch.equal(before[0], torch.get_rng_state())
assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())
"""


def test_generators_are_left_alone():
    """In a process of its own: the checks of types in this one draw from Python's generator."""
    done = subprocess.run([sys.executable, "-c", GENERATORS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "6"


def test_the_declared_length_of_a_model_is_kept_to():
    class Positions(nn.Module):
        input_size, max_seq_len = 1, 12

        def forward(self, x):
            if x.shape[1] > 12 + 1:
                raise RuntimeError("too long")
            return 0.5 * x.cumsum(1)

    assert MemoryMonitor(budget=None, horizon=100)._memory(Positions(), 12)["half_life"] == 11.0
