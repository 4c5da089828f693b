"""The result object, what is refused, what is left alone, and how far down values can be believed."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from perdure import functionals
from perdure.errors import ArgumentError, ArgumentTypeError, ModelError
from perdure.memory import MemoryFunction, memory_function

PROBES = ("heaviside", "impulse", "reversed", "jacobian")


class Busy(nn.Module):
    """Everything that a measurement could disturb: dropout, a buffer it writes, gradients, a hook; raises from the n-th call on."""

    def __init__(self, raises_at=None):
        super().__init__()
        self.core = nn.GRU(2, 4, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 1).eval()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.raises_at = raises_at

    def forward(self, x):
        self.calls += 1
        if self.raises_at is not None and self.calls >= self.raises_at:
            raise RuntimeError("no more")
        return self.head(self.drop(self.core(x)[0]))


class Single(Busy):
    """The same, and it cannot be copied."""

    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


def state(model):
    hooks = [len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules()]
    weights = {
        name: (value.detach().clone(), value.dtype, value.device, value.requires_grad)
        for name, value in model.state_dict(keep_vars=True).items()
    }
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    return [module.training for module in model.modules()], hooks, weights, grads


def same(a, b):
    assert a[:2] == b[:2]
    for name, (value, *rest) in a[2].items():
        assert torch.equal(value, b[2][name][0]), name
        assert rest == list(b[2][name][1:]), name
    assert a[3].keys() == b[3].keys()
    for name, grad in a[3].items():
        assert (grad is None and b[3][name] is None) or torch.equal(grad, b[3][name])


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("raises_at", [None, 1, 2])
@pytest.mark.parametrize("kind", [Busy, Single])
def test_the_model_is_left_as_it_was(probe, raises_at, kind):
    torch.manual_seed(0)
    model = kind()
    model(torch.ones(1, 3, 2)).sum().backward()
    model.raises_at = None if raises_at is None else int(model.calls) + raises_at
    fired = model.head.register_forward_hook(lambda *_: None)
    before = state(model)
    generators = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    flags = torch.backends.cudnn.enabled, torch.backends.mkldnn.enabled, torch.is_grad_enabled()
    if raises_at is None:
        assert memory_function(model, horizon=8, probe=probe).values.max() > 0
    else:
        with pytest.raises(RuntimeError, match="no more") as caught:
            memory_function(model, horizon=8, probe=probe)
        assert "memory_function" in caught.value.__notes__[0]
    same(before, state(model))
    assert torch.equal(generators[0], torch.get_rng_state())
    assert (generators[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert flags == (torch.backends.cudnn.enabled, torch.backends.mkldnn.enabled, torch.is_grad_enabled())
    fired.remove()


def test_no_global_generator_moves():
    code = """
import random, numpy as np, torch
from perdure.memory import memory_function

def noisy(x):
    random.random(), np.random.rand(), torch.rand(1)
    return x.cumsum(1)

states = lambda: (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
before = states()
for probe in ("heaviside", "impulse", "reversed", "jacobian"):
    memory_function(noisy, input_size=2, horizon=5, probe=probe, background="noise")
print(states() == before)
"""  # in a process of its own: the type checks of the tests draw from `random`
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "True"


def test_a_model_that_cannot_be_copied_is_measured_in_its_own_type():
    torch.manual_seed(0)
    model = Single()
    mf = memory_function(model, horizon=8)
    twin = Busy()
    twin.load_state_dict(model.state_dict())
    np.testing.assert_allclose(mf.values, memory_function(twin, horizon=8).values, rtol=1e-3)
    assert mf.dtype == "float32"
    assert "cannot be copied" in mf.notes[0]


def test_cudnn_is_off_while_derivatives_are_taken_and_on_again_after():
    seen = []

    def model(x):
        seen.append(torch.backends.cudnn.enabled)
        return x.cumsum(1)

    memory_function(model, input_size=1, horizon=4, probe="jacobian")
    assert False in seen
    assert torch.backends.cudnn.enabled


def test_gradients_in_float32_match_those_in_float64():
    torch.manual_seed(0)
    layer = nn.LSTM(2, 4)
    single = memory_function(layer, horizon=10, probe="jacobian", dtype=torch.float32)
    np.testing.assert_allclose(single.values, memory_function(layer, horizon=10, probe="jacobian").values, atol=1e-7)
    assert single.notes == ()


def test_works_under_no_grad_and_inference_mode():
    layer = nn.GRU(1, 3)
    with torch.inference_mode():
        inside = memory_function(layer, horizon=6, probe="jacobian").values
    np.testing.assert_array_equal(inside, memory_function(layer, horizon=6, probe="jacobian").values)


def nan_weights():
    layer = nn.GRU(1, 3)
    with torch.no_grad():
        layer.bias_hh_l0[1] = float("nan")
    return layer


class Fussy(nn.Module):
    """Needs time on axis 0 and does not say so."""

    def __init__(self):
        super().__init__()
        self.core = nn.RNN(1, 3)

    def forward(self, x):
        return self.core(x)[0]


def explode(x):
    return (40.0 * x).cumsum(1).exp().exp()


GOOD = functionals.exponential(1.0)
BAD = {
    "rank": (lambda x: x[:, -1], {}, ModelError, "shape"),
    "length": (lambda x: x[:, 1:], {}, ModelError, "one output for each input step"),
    "empty": (lambda x: x[..., :0], {}, ModelError, "at least one output channel"),
    "no tensor": (lambda x: "y", {}, ModelError, "to return a tensor"),
    "bidirectional": (nn.LSTM(1, 3, bidirectional=True), {}, ModelError, "to be causal"),
    "look-ahead": (lambda x: x.roll(-1, 1), {}, ModelError, "to be causal"),
    "time first": (Fussy(), {}, ModelError, "batch_first=False"),
    "random": (lambda x: x + torch.randn_like(x), {}, ModelError, "random or mixes rows"),
    "mixing": (lambda x: x + x.mean(0) + torch.arange(len(x))[:, None, None], {}, ModelError, "rows of a batch"),
    "NaN output": (lambda x: torch.sqrt(x), {}, ModelError, "finite outputs, but got nan"),
    "infinite output": (explode, {}, ModelError, "finite outputs, but got inf"),
    "NaN weight": (nan_weights(), {}, ModelError, "NaN in `bias_hh_l0`"),
    "horizon": (GOOD, {"horizon": 2}, ArgumentError, "`horizon` to be at least 3"),
    "dt": (GOOD, {"dt": 0.0}, ArgumentError, "`dt` to be positive"),
    "bound": (GOOD, {"bound": -1.0}, ArgumentError, "`bound` to be positive"),
    "NaN bound": (GOOD, {"bound": float("nan")}, ArgumentError, "`bound` to be finite"),
    "probe": (GOOD, {"probe": "step"}, ArgumentError, "one of 'heaviside', 'impulse'"),
    "normalization": (GOOD, {"normalization": "l2"}, ArgumentError, "one of 'linf', 'affine'"),
    "normalized derivative": (GOOD, {"probe": "jacobian", "normalization": "affine"}, ArgumentError, "`normalization`"),
    "probes": (GOOD, {"probes": 1}, ArgumentError, "`probes` to be at least 8"),
    "seed": (GOOD, {"seed": -1}, ArgumentError, "`seed` to be at least 0"),
    "warmup": (GOOD, {"warmup": 5}, ArgumentError, "`warmup` to be None"),
    "warmup size": (GOOD, {"probe": "reversed", "warmup": 0}, ArgumentError, "`warmup` to be at least 1"),
    "dtype": (GOOD, {"dtype": torch.int64}, ArgumentTypeError, "floating-point torch type"),
    "background shape": (GOOD, {"background": np.zeros((4, 1))}, ArgumentError, "`background` to be of shape"),
    "background NaN": (GOOD, {"background": np.full((9, 1), np.nan)}, ArgumentError, "`background` to be finite"),
    "background name": (GOOD, {"background": "music"}, ArgumentError, "`background` to be one of 'noise'"),
    "input size": (lambda x: x, {"input_size": None}, ArgumentError, "`input_size` to be given"),
    "callable": (None, {}, ArgumentTypeError, "to be callable"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_measured_is_refused(case):
    model, options, error, message = BAD[case]
    with pytest.raises(error, match=message):
        memory_function(model, **{"horizon": 9, "input_size": 1, **options})


@pytest.mark.parametrize("probe", PROBES)
def test_every_probe_refuses_a_model_that_sees_the_future(probe):
    with pytest.raises(ModelError, match="causal"):
        memory_function(nn.GRU(2, 3, bidirectional=True), horizon=9, probe=probe)


def test_a_chaotic_model_is_not_taken_for_a_noncausal_one():
    torch.manual_seed(0)
    net = nn.RNN(1, 64).double()
    with torch.no_grad():
        net.weight_hh_l0.copy_(3.0 * torch.randn(64, 64) / 8)
    assert memory_function(net, horizon=200).values[-1] > 0.1


class CastsToSingle(nn.Module):
    """Works in float32 inside, whatever it is given."""

    input_size = 1

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.core = [nn.GRU(1, 8, batch_first=True)]  # in a list: no submodule, not converted

    def forward(self, x):
        return self.core[0](x.float())[0].double()


def test_noise_floor_of_a_model_that_works_in_single_precision():
    mf = memory_function(CastsToSingle(), horizon=150)
    exact = memory_function(CastsToSingle().core[0], horizon=150)
    assert mf.precision == torch.finfo(torch.float32).eps
    assert exact.precision == torch.finfo(torch.float64).eps
    assert mf.dtype == "float64"
    assert np.abs(mf.values - exact.values).max() < mf.noise_floor
    assert mf.values[100:].max() < mf.noise_floor  # all that is left there
    assert mf.noise_floor < 1e-5 * mf.values[0]
    assert exact.values[100] < 1e-3 * mf.noise_floor
    assert exact.noise_floor < 1e-14


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_noise_floor_covers_the_error_of_a_coarse_measurement(dtype):
    torch.manual_seed(1)
    layer = nn.RNN(1, 8, batch_first=True)
    fine, coarse = memory_function(layer, horizon=60), memory_function(layer, horizon=60, dtype=dtype, seed=0)
    assert np.abs(coarse.values - fine.values).max() < 0.02 * fine.values[0] + coarse.noise_floor
    assert coarse.values[40:].max() <= 2 * coarse.noise_floor


def test_a_model_that_fails_in_double_is_measured_in_its_own_type():
    class OnlySingle(nn.Linear):
        def forward(self, x):
            return (x.float().cumsum(1) @ torch.ones(1, 2)) if x.dtype == torch.float32 else x @ torch.ones(1, 2)

    mf = memory_function(OnlySingle(1, 2), horizon=5)
    np.testing.assert_allclose(mf.values, 1.0, rtol=1e-6)
    assert mf.dtype == "float32"
    assert "measured in torch.float32, because in torch.float64 the model raises" in mf.notes[0]


def result(**changes):
    fields = {
        "times": np.arange(5.0),
        "values": np.array([1.0, 0.2, 0.4, 0.1, 0.0]),
        "noise_floor": 0.15,
        "probe": "impulse",
        "status": "exact",
    }
    rest = {"dt": 1.0, "bound": 1.0, "normalization": "linf", "seed": 0, "input_size": 1, "output_size": 1, "dtype": "float64"}
    return MemoryFunction(**{**fields, **rest, "precision": 2**-52, "rows": 3, **changes})


def test_envelope_is_the_largest_value_still_to_come():
    assert result().envelope.tolist() == [1.0, 0.4, 0.4, 0.1, 0.0]


def test_table():
    frame = result().to_frame()
    assert frame.columns.tolist() == ["time", "memory", "envelope", "above_noise"]
    assert frame["above_noise"].tolist() == [True, True, True, False, False]


def test_dictionary_is_strict_json():
    mf = memory_function(nn.GRU(1, 3), horizon=6)
    back = json.loads(json.dumps(mf.to_dict(), allow_nan=False))
    assert back["values"] == mf.values.tolist()
    assert back["status"] == "lower bound (search)"
    assert back["precision"] == 2**-52


@pytest.mark.parametrize("log_time", [True, False])
def test_plot(log_time):
    import matplotlib.pyplot as plt

    ax = result().plot(log_time=log_time)
    assert ax.get_yscale() == "log"
    assert ax.get_xscale() == ("log" if log_time else "linear")
    assert ax.get_xlabel() == "time (steps)"
    assert "pulse" in ax.get_ylabel()
    curve = ax.lines[1].get_ydata()
    np.testing.assert_array_equal(curve[:3], [0.4, 0.4, 0.1] if log_time else [1.0, 0.4, 0.4])
    assert result(values=np.zeros(5)).plot(ax=ax) is ax
    plt.close("all")


def test_fit_uses_the_noise_floor():
    mf = memory_function(functionals.exponential(rate=0.1), horizon=200)
    fit = mf.fit()
    assert fit.law == "exponential"
    assert fit.parameters["rate"] == pytest.approx(0.1, rel=1e-6)
    assert fit.noise_floor == mf.noise_floor


def test_same_seed_same_values():
    layer = nn.LSTM(3, 4)
    one, other = (memory_function(layer, horizon=10, seed=7, probes=40).values for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_many_inputs_in_pieces_give_what_one_piece_gives(monkeypatch):
    layer = nn.GRU(5, 4)
    whole = memory_function(layer, horizon=10)
    linear = memory_function(functionals.stack(*(functionals.exponential(0.1 * k) for k in range(1, 6))), horizon=10)
    monkeypatch.setattr("perdure.memory.response.ELEMENTS", 10 * 12 * 4)
    monkeypatch.setattr("perdure.memory.measure.ELEMENTS", 10 * 12 * 4)
    np.testing.assert_allclose(memory_function(layer, horizon=10).values, whole.values, rtol=1e-12)
    target = functionals.stack(*(functionals.exponential(0.1 * k) for k in range(1, 6)))
    np.testing.assert_allclose(memory_function(target, horizon=10).values, linear.values, rtol=1e-9)
    assert memory_function(target, horizon=10).status == "exact"
