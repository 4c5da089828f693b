"""Training: what it reaches, what it leaves alone, how it stops and goes on, what it refuses."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from perdure import functionals as F
from perdure.errors import ModelError
from perdure.nn import ContinuousRNN
from perdure.stability import sobolev_distance
from perdure.training import fit

D = torch.float64
SLOW = F.polynomial(1.5)
SHORT = {"dt": 0.1, "horizon": 2.0}
QUICK = {"sequences": 256, "batch": 64, "steps": 4}


def rnn(width=4, activation="tanh", parametrization="direct", structure="dense", seed=0, dtype=D, **options):
    torch.manual_seed(seed)
    return ContinuousRNN(
        options.pop("input_size", 1), width, activation=activation, parametrization=parametrization, structure=structure, dt=0.1, output_size=1, dtype=dtype,
        **options,
    )  # fmt: skip


class Recurrent(nn.Module):
    """A torch layer with a readout."""

    input_size = 1

    def __init__(self, kind=nn.GRU, width=3):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.out = kind(1, width, batch_first=True), nn.Linear(width, 1)

    def forward(self, x):
        return self.out(self.layer(x)[0])


@pytest.mark.parametrize(("activation", "parametrization", "structure"), [
    ("tanh", "direct", "dense"), ("tanh", "exp", "diagonal"), ("hardtanh", "softplus", "diagonal"), ("relu", "direct", "dense"),
    ("relu", "softplus", "symmetric"), ("sigmoid", "direct", "dense"), ("gelu", "exp", "diagonal"),
])  # fmt: skip
def test_error_falls_with_the_width(activation, parametrization, structure):
    errors = []
    for width in (4, 8, 16):
        model = rnn(width, activation, parametrization, structure)
        result = fit(model, SLOW)
        distance = sobolev_distance(model, SLOW, dt=0.1, horizon=10.0, seed=0)
        assert result.error == pytest.approx(float(distance / sobolev_distance(SLOW, 0.0 * SLOW, horizon=10.0)))
        assert result.model is model
        errors.append(result.error)
    assert errors[0] < 0.05
    assert errors[1] < 0.25 * errors[0]
    assert errors[2] < 0.15 * errors[1]


def test_the_tail_is_kept_or_traded_for_the_horizon():
    """The slope of the step response at time 40 is the kernel there, while training stops at 10."""
    late = {}
    for tail in (True, False):
        model = rnn(8, "hardtanh")
        late[tail, "error"] = fit(model, SLOW, tail=tail).error
        y = model(torch.ones(402, 1, 1, dtype=D))[0][:, 0, 0]
        late[tail] = abs(float((y[401] - y[400]) / 0.1 / SLOW.kernel([40.1])[0]) - 1)
    assert late[False, "error"] < 0.01 * late[True, "error"]
    assert late[True] < 0.05
    assert late[False] > 5 * late[True]


def test_a_relu_network_that_is_diagonal_never_forgets():
    """Its states never fall: a negative result, reported as such."""
    model = rnn(4, "relu", "softplus", "diagonal")
    result = fit(model, SLOW, steps=5)
    assert result.error > 0.5
    assert "no state of a relu network falls" in result.notes[0]
    states = rnn(4, "relu", "softplus", "diagonal")
    states.readout = None
    h = states(torch.randn(50, 3, 1, dtype=D))[0]
    assert bool((h.diff(dim=0) >= 0).all())


@pytest.mark.parametrize("method", ["gauss-newton", "lbfgs", "adam"])
def test_every_method_lowers_the_loss_from_the_weights_as_given(method):
    model = rnn(3, "tanh", "exp", "diagonal")
    result = fit(model, F.exponential(0.5), method=method, **SHORT, **{**QUICK, "steps": 10}, lr=0.05)
    assert result.losses[0] == result.losses.max()
    assert result.best_loss < {"gauss-newton": 1e-4, "lbfgs": 1e-4, "adam": 0.5}[method] * result.losses[0]
    assert result.stages[1:] == (method,) * (len(result.stages) - 1)
    assert result.best_loss == result.losses.min()
    assert result.steps[result.losses.argmin()] == result.best_step


def test_nonlinear_targets():
    target = F.wiener(F.exponential(1.0), "tanh")
    model = rnn(6)
    result = fit(model, target, **SHORT, steps=40)
    assert result.error < 0.1
    linear = rnn(6, "linear")
    assert fit(linear, target, **SHORT, steps=10).error > 2 * result.error


def test_a_student_learns_its_teacher():
    teacher = rnn(2, "tanh", "exp", "diagonal", seed=3)
    assert fit(rnn(2, "tanh", "exp", "diagonal", seed=4), F.teacher(teacher), **SHORT, steps=60).error < 1e-3


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_layers_of_torch(kind):
    result = fit(Recurrent(kind), F.exponential(1.0), **SHORT, steps=6)
    assert result.stages[-1] == "gauss-newton"
    assert result.best_loss < 0.2 * result.losses[0]


class Opaque(torch.autograd.Function):
    """Without a forward derivative."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad


class NoForwardMode(nn.Linear):
    """A linear map behind an operation without a forward derivative."""

    def forward(self, x):
        return Opaque.apply(super().forward(x))


class Turning(nn.Module):
    """y = Re(c x) with a complex parameter."""

    input_size = 1

    def __init__(self):
        super().__init__()
        self.c = nn.Parameter(torch.ones((), dtype=torch.complex64))

    def forward(self, x):
        return (self.c * x).real


def pairs():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, 2, generator=g, dtype=D)
    return x, x @ torch.tensor([[1.0], [-2.0]], dtype=D) + 0.5


def test_data_pairs():
    model = nn.Linear(2, 1, dtype=D)
    result = fit(model, pairs())
    torch.testing.assert_close(model.weight, torch.tensor([[1.0, -2.0]], dtype=D), rtol=1e-9, atol=1e-9)
    assert result.error < 1e-9
    assert result.horizon is None
    assert "data" in result.measure
    x, y = pairs()
    assert fit(nn.Linear(2, 1, dtype=D), (x.numpy(), y.numpy()), method="adam", steps=20, batch=8, lr=0.1).error < 0.3


def test_without_forward_mode_it_is_lbfgs_and_gauss_newton_by_name_is_refused():
    result = fit(NoForwardMode(2, 1, dtype=D), pairs(), steps=3)
    assert result.stages[-1] == "lbfgs"
    assert result.error < 1e-6
    with pytest.raises(ModelError, match=r"forward-mode derivative.*lbfgs"):
        fit(NoForwardMode(2, 1, dtype=D), pairs(), method="gauss-newton")


def test_complex_parameters_are_for_lbfgs_and_adam():
    x = torch.randn(20, 3, 1)
    for method, error in (("auto", 1e-5), ("adam", 0.5)):
        model = Turning()
        result = fit(model, (x, 0.3 * x), method=method, batch=5, steps=40, lr=0.02)
        assert result.error < error
        assert model.c.dtype == torch.complex64
    assert "L-BFGS" in fit(Turning(), (x, 0.3 * x)).notes[0]


def test_adam_is_the_plain_loop():
    """The same sequences, order, loss and optimiser, written out: the protocol of the paper."""
    options = {"method": "adam", "sequences": 192, "batch": 64, "steps": 3, "seed": 5, "train_horizon": 1.2}
    model, plain = rnn(4, batch_first=True), rnn(4, batch_first=True)
    result = fit(model, SLOW, **SHORT, **options)
    g = torch.Generator().manual_seed(5)
    x = torch.randn(192, 12, 1, generator=g, dtype=D)
    y = SLOW(x, 0.1)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.005)
    losses = []
    for epoch in range(3):
        order = torch.randperm(192, generator=torch.Generator().manual_seed(5 * 1_000_003 + epoch))
        for rows in order.split(64):
            optimizer.zero_grad()
            h = x.new_zeros(64, 4)
            states = []
            for step in x[rows].unbind(1):
                h = h + 0.1 * torch.tanh(h @ plain.recurrent_l0.raw.T + step @ plain.weight_ih_l0.T + plain.bias_l0)
                states.append(h)
            loss = (plain.readout(torch.stack(states, 1)) - y[rows]).square().mean()
            loss.backward()
            optimizer.step()
        held = torch.randn(512, 12, 1, generator=torch.Generator().manual_seed(6), dtype=D)
        losses.append(float((plain(held)[0] - SLOW(held, 0.1)).square().mean().detach()))
    np.testing.assert_allclose(result.losses[1:], losses, rtol=1e-10)
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_the_protocol_of_the_paper():
    result = fit(rnn(2, dtype=torch.float32), SLOW, protocol="paper", steps=1)
    assert result.method == "adam"
    assert result.objective == "mean square error on 512 sequences"
    other = fit(
        rnn(2, dtype=torch.float32),
        SLOW,
        method="adam",
        steps=1,
        train_horizon=3.2,
        sequences=12_800,
        batch=128,
        lr=0.005,
        inputs="gaussian",
    )
    assert result.best_loss == other.best_loss


METHODS = {"auto": {"steps": 8}, "gauss-newton": {"steps": 8}, "lbfgs": {"steps": 3}, "adam": QUICK}


class Brittle(nn.Module):
    """y = w x where |w| <= 2, else NaN: the first Newton step leaves the good region, since the target wants w = 3."""

    input_size = 1

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros((), dtype=D))

    def forward(self, x):
        return (self.w + 0.0 * torch.sqrt(4.0 - self.w**2)) * x


@pytest.mark.parametrize(("method", "more"), [("gauss-newton", {}), ("lbfgs", {}), ("adam", {"lr": 0.7, "batch": 10})])
def test_steps_to_nan_are_undone_and_counted(method, more):
    x = torch.randn(40, 3, 1, generator=torch.Generator().manual_seed(0), dtype=D)
    model = Brittle()
    result = fit(model, (x, 3 * x), method=method, steps=20, **more)
    assert result.rolled_back > 0
    assert np.isfinite(result.losses).all()
    assert 1.0 < float(model.w.detach()) <= 2.0
    assert result.best_loss < 0.5 * result.losses[0]


class Hopeless(nn.Module):
    """Finite only where it starts."""

    input_size = 1

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones((), dtype=D))

    def forward(self, x):
        return torch.where(self.w == 1, self.w, self.w * math.nan) * x


@pytest.mark.parametrize("method", ["gauss-newton", "lbfgs", "adam"])
def test_a_model_that_can_only_break_keeps_its_weights(method):
    x = torch.randn(8, 3, 1, dtype=D)
    model = Hopeless()
    result = fit(model, (x, 3 * x), method=method, steps=40)
    assert float(model.w.detach()) == 1.0
    assert result.rolled_back > 0
    assert result.best_step == 0
    assert "finite" in result.stopped or "no step lowers the loss" in result.stopped


@pytest.mark.parametrize("method", METHODS)
def test_nothing_else_changes(method):
    model = rnn(3).train()
    model.recurrent_l0.raw.requires_grad_(False)
    before = model.recurrent_l0.raw.clone()
    state = torch.get_rng_state()
    fit(model, SLOW, method=method, **SHORT, **METHODS[method])
    assert torch.equal(model.recurrent_l0.raw, before)
    assert not model.recurrent_l0.raw.requires_grad
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_single_precision_is_rounded_at_the_end():
    narrow = rnn(4, dtype=torch.float32)
    wide = copy.deepcopy(narrow).double()
    results = [fit(model, SLOW, method="gauss-newton", steps=1, **SHORT) for model in (wide, narrow)]
    assert narrow.weight_ih_l0.dtype == torch.float32
    assert results[1].error == pytest.approx(results[0].error, rel=1e-4)
    assert results[1].error != results[0].error


def test_a_seed_fixes_the_result_and_the_limits_hold():
    options = {**SHORT, "method": "gauss-newton"}
    a, b, c = (fit(rnn(2), SLOW, **options, steps=2, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(a.losses, b.losses)
    assert not np.array_equal(a.losses, c.losses)
    assert a.stopped == "2 steps"
    assert fit(rnn(2), SLOW, **options, tolerance=1e3).stopped == "loss at most 1000"
    assert fit(rnn(2), SLOW, **options, max_seconds=1e-9).steps[-1] == 0
    assert "gained in 3 steps" in fit(rnn(1), SLOW, **options, patience=3).stopped


def test_results_are_strict_json_tables_and_pictures(tmp_path):
    result = fit(rnn(2), SLOW, **SHORT, method="gauss-newton", steps=3)
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["error"] == result.error
    assert plain["history"]["step"] == [0, 1, 2, 3]
    frame = result.to_frame()
    assert list(frame.columns) == ["step", "method", "loss", "seconds"]
    assert frame.equals(result.loss)
    assert len(frame) == 4
    assert bool((frame["seconds"].diff().dropna() > 0).all())
    ax = result.plot(label="ours")
    assert ax.get_yscale() == "log"
    ax.figure.savefig(tmp_path / "a.png")


NONE = nn.Tanh()
NONE.input_size = 1
BAD = rnn(2)
with torch.no_grad():
    BAD.bias_l0[0] = math.inf
ZERO = (torch.randn(2, 5, 1), torch.zeros(2, 5, 1))


class Overflow(nn.Linear):
    """Outputs that are not finite, from weights that are."""

    def forward(self, x):
        return super().forward(x) / 0.0


@pytest.mark.parametrize(("model", "target", "options", "message"), [
    (NONE, SLOW, {}, "`model` to have parameters"), (lambda x: x, SLOW, {}, "`model` to be a torch module"),
    (rnn(2).requires_grad_(False), SLOW, {}, "all 4 frozen"), (BAD, SLOW, {}, "in `bias_l0`"), (Overflow(1, 1), SLOW, {}, "`model` to give finite outputs"),
    (rnn(2), 0.0 * SLOW, {}, "`target` to be other than zero"), (nn.Linear(1, 1), ZERO, {}, "`target` to be other than zero"),
    (rnn(2), 0.0 * SLOW, {"method": "adam", **QUICK}, "`target` to be other than zero"),
    (ContinuousRNN(1, 2, dt=0.1), SLOW, {}, "1 output channels, as the target"), (rnn(2, input_size=2), SLOW, {}, "input size 1, but got 2"), (nn.Linear(3, 1), SLOW, {}, "`input_size`"),
    (nn.Linear(1, 2), (torch.randn(2, 5, 1), torch.randn(2, 5, 1)), {}, "1 output channels"),
    (rnn(2), SLOW, {"dt": 0.0}, "`dt` to be positive"), (rnn(2), SLOW, {"dt": 0.2}, "`dt` to be 0.1"), (rnn(2), SLOW, {"horizon": -1.0}, "`horizon`"),
    (rnn(2), SLOW, {"horizon": 0.1}, "at least two steps"), (rnn(2), SLOW, {"steps": 0}, "`steps`"), (rnn(2), SLOW, {"steps": 1.5}, "`steps`"),
    (rnn(2), SLOW, {"method": "sgd"}, "'auto', 'gauss-newton', 'lbfgs', 'adam'"), (rnn(2), SLOW, {"protocol": "own"}, "'paper'"),
    (rnn(2), SLOW, {"seed": -1}, "`seed`"), (rnn(2), SLOW, {"bound": 0.0}, "`bound`"), (rnn(2), SLOW, {"scale": -1.0}, "`scale`"),
    (rnn(2), SLOW, {"tolerance": 0.0}, "`tolerance`"), (rnn(2), SLOW, {"patience": 0}, "`patience`"), (rnn(2), SLOW, {"max_seconds": 0.0}, "`max_seconds`"),
    (rnn(2), SLOW, {"method": "adam", "lr": 0.0}, "`lr`"), (rnn(2), SLOW, {"method": "adam", "batch": 0}, "`batch`"),
    (rnn(2), SLOW, {"method": "adam", "sequences": 0}, "`sequences`"), (rnn(2), SLOW, {"method": "adam", "inputs": "binary"}, "'gaussian', 'uniform'"),
    (rnn(2), SLOW, {"method": "adam", "train_horizon": 0.01}, "`train_horizon`"), (rnn(2), SLOW, {"checkpoint": "/no/such/folder/a"}, "`checkpoint`"),
    (rnn(2), "power law", {}, "`target` to be a functional or a pair"), (rnn(2), (torch.zeros(3),), {}, "`target`"),
    (rnn(2), (torch.randn(3, 4), torch.randn(3, 4, 1)), {}, r"inputs of shape \(B, T, d\)"), (rnn(2), (torch.randn(3, 4, 1), torch.randn(3, 4)), {}, "outputs of shape"),
    (rnn(2), (torch.randn(3, 4, 1), torch.randn(3, 5, 1)), {}, r"\(3, 4, o\)"), (rnn(2), (torch.zeros(0, 4, 1), torch.zeros(0, 4, 1)), {}, "not empty"),
    (rnn(2), (torch.full((3, 4, 1), math.nan), torch.ones(3, 4, 1)), {}, "finite inputs"), (rnn(2), (torch.ones(3, 4, 1), torch.full((3, 4, 1), math.inf)), {}, "finite outputs"),
    (rnn(2), (torch.ones(3, 4, 1), torch.ones(3, 4, 1, dtype=torch.complex64)), {}, "real numbers"),
    (rnn(2), F.wiener(F.exponential(1.0), torch.exp), {"bound": 1e4}, "`target` to give finite outputs"),
    (Turning(), SLOW, {"method": "gauss-newton"}, "complex `c`"),
])  # fmt: skip
def test_refusals(model, target, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit(model, target, **options)
