"""Where E is infinite: recurrent layers inside a module against the same layers alone, linear models against their rates, and what is said where growth is only watched."""

import numpy as np
import pytest
import torch
from torch import nn

from perdure import functionals as F
from perdure.nn import ContinuousRNN
from perdure.stability import perturbation_error
from perdure.stability.linearise import linearise
from perdure.stability.nonlinear.resting import Parts

SHORT = {"horizon": 8.0, "perturbations": 2, "dt": 0.2}


class Inside(nn.Module):
    """A layer with something before it, and something behind it."""

    input_size = 1

    def __init__(self, layer, after=None, before=None, again=False, state=None):
        super().__init__()
        self.before, self.layer, self.after = before or nn.Identity(), layer, after or nn.Identity()
        self.again, self.state = again, state

    def forward(self, x):
        """(B, T, 1) to (B, T, o)."""
        given = self.before(x)
        y = self.layer(given, self.state)[0] if self.state is not None else self.layer(given)[0]
        return self.after(y + self.layer(given)[0] if self.again else y)


class First(nn.Module):
    """The sequence that a layer returns, without its state."""

    def __init__(self, layer):
        super().__init__()
        self.inner = layer

    def forward(self, x):
        """(B, T, d) to (B, T, o)."""
        return self.inner(x)[0]


def diagonal(*rates, activation="linear", size=1, batch_first=True):
    layer = ContinuousRNN(
        size, len(rates), activation=activation, structure="diagonal", parametrization="direct", dt=0.2, bias=False, batch_first=batch_first, dtype=torch.float64
    )  # fmt: skip
    layer.recurrent_l0.assign_spectrum(torch.tensor(rates, dtype=torch.float64))
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.0)
    return layer


def linear(weight, bias=0.0):
    weight = torch.tensor(weight, dtype=torch.float64)
    head = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.fill_(bias)
    return head


def cell(weight, bias=0.0):
    layer = nn.RNN(1, 1, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for name, value in (("weight_hh_l0", weight), ("weight_ih_l0", 1.0), ("bias_ih_l0", bias), ("bias_hh_l0", 0.0)):
            getattr(layer, name).fill_(value)
    return layer


def curve(model, radii=(0.0, 0.01, 0.1)):
    return perturbation_error(model, None, radii, groups="recurrent", **SHORT)


def test_a_readout_does_not_hide_slow_growth():
    """Rates 1, 0.1, 0.001: the slowest ends at 0.001, and what grows then rises by a percent on eight horizons."""
    alone, inside = curve(diagonal(1.0, 0.1, 0.001)), curve(Inside(diagonal(1.0, 0.1, 0.001), linear([[1.0, -0.5, 0.3]])))
    for found in (alone, inside):
        assert np.isinf(found.error).tolist() == [False, True, True]
        assert found.divergence_radius == pytest.approx(0.001, rel=2e-4)
    assert "rest of layer unstable, by the eigenvalues of a step" in inside.status
    assert "is not seen" in inside.status
    assert "is not seen" not in alone.status


@pytest.mark.parametrize(
    ("before", "after", "radius"),
    [
        (None, [[1.0, 0.0]], 0.5),
        ([[1.0], [1.0]], None, 0.01),
        ([[1.0], [0.0]], None, 0.5),
    ],
    ids=["not shown", "reached", "not reached"],
)
def test_a_mode_that_is_not_reached_or_not_shown(before, after, radius):
    """Rates 0.5 and 0.01, each with an input of its own where something stands before."""
    layer = diagonal(0.5, 0.01, size=1 if before is None else 2)
    if before is not None:
        with torch.no_grad():
            layer.weight_ih_l0.copy_(torch.eye(2))
    model = Inside(layer, after and linear(after), before and linear(before))
    found = curve(model, [0.005, 0.02, 0.6])
    assert found.divergence_radius == pytest.approx(radius, rel=2e-4)
    assert np.isinf(found.error).tolist() == [False, radius < 0.02, True]


@pytest.mark.parametrize("slow", ["first", "second"])
def test_layers_one_behind_the_other(slow):
    """The slow rate 0.002 before or behind the fast one, a readout between them."""
    one, two = diagonal(0.002 if slow == "first" else 1.0), diagonal(0.002 if slow == "second" else 1.0)
    model = Inside(two, linear([[1.0]]), nn.Sequential(First(one), linear([[0.7]])))
    found = curve(model, [0.0018, 0.0022])
    assert np.isinf(found.error).tolist() == [False, True]
    assert found.divergence_radius == pytest.approx(0.002, rel=2e-4)


def test_the_rest_is_that_under_the_input_which_comes_in():
    """A bias before the layer moves its rest as a bias of its own: h = tanh(0.9 h + 0.4)."""
    model = Inside(cell(0.9), linear([[2.0]]), linear([[1.0]], 0.4))
    (found,) = Parts(model, model, 16, 1).rests()
    alone = linearise(cell(0.9, 0.4))
    np.testing.assert_allclose(found.near.state, alone.state, rtol=1e-9)
    np.testing.assert_allclose(found.near.jacobian, alone.jacobian, rtol=1e-9)
    settles = curve(Inside(cell(0.9), linear([[1.0]]), linear([[1.0]], 0.01)), [0.5])  # beside an unstable rest at a stable one
    assert settles.divergence_radius == np.inf


def test_a_layer_that_has_time_first():
    model = nn.Sequential(diagonal(1.0, 0.001, batch_first=False), nn.Identity())
    model[1].forward = lambda pair: pair[0]
    found = perturbation_error(model, None, [0.0, 0.01], groups="recurrent", batch_first=False, input_size=1, **SHORT)
    assert found.divergence_radius == pytest.approx(0.001, rel=2e-4)


@pytest.mark.parametrize(
    "model",
    [
        lambda: Inside(cell(0.5), again=True),
        lambda: Inside(cell(0.5), state=torch.zeros(1, 1, 1, dtype=torch.float64)),
        lambda: Inside(cell(0.5), before=Clock()),
        lambda: Inside(nn.Identity()),
    ],
    ids=["called twice", "given a state", "an input that never rests", "none"],
)
def test_parts_that_are_not_understood(model):
    assert Parts(lambda x: model()(x), model(), 16, 1).names == ()


class Clock(nn.Module):
    """Adds the time."""

    def forward(self, x):
        """The shape stays."""
        return x + torch.arange(x.shape[1]).to(x)[:, None]


def test_what_is_only_watched_says_so():
    """A kink at rest, and a recurrence that nobody understands."""

    class Loop(nn.Module):
        input_size = 1

        def __init__(self):
            super().__init__()
            self.weight_hh = nn.Parameter(torch.tensor(0.5))

        def forward(self, x):
            h, y = torch.zeros_like(x[:, 0]), []
            for t in range(x.shape[1]):
                h = self.weight_hh * h + x[:, t]
                y.append(h)
            return torch.stack(y, 1)

    for model in (diagonal(0.5, activation="relu"), Inside(diagonal(0.5, activation="relu"), linear([[1.0]])), Loop()):
        status = perturbation_error(model, None, [0.0], horizon=8.0, perturbations=2, dt=0.2).status
        assert "seen to grow: growth slower than about 1/(8 horizon) = 0.02 is not seen" in status
        assert "eigenvalues" not in status


class NoCopy(Inside):
    def __deepcopy__(self, memo):
        raise RuntimeError("no copies")


def test_no_hooks_stay():
    model = NoCopy(diagonal(1.0, 0.001), linear([[1.0, 1.0]]))
    assert np.isinf(curve(model).error[1])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


@pytest.mark.parametrize("target", [F.exponential(0.5), lambda x, dt: torch.tanh(dt * x.cumsum(1))], ids=["linear", "nonlinear"])
def test_samples_of_linear_models(target):
    """Of 20 samples of one rate half go up: those of full length end its decay at radius 1, and nothing does on a finite horizon."""
    options = {"groups": "recurrent", "method": "sample", "perturbations": 20}
    found = perturbation_error(F.exponential(1.0), target, [0.0, 0.5, 1.5], **options)
    assert np.isinf(found.error).tolist() == [False, False, True]
    assert found.divergence_radius == 1.0
    finite = perturbation_error(F.exponential(1.0), target, [0.0, 0.5, 1.5], horizon=4.0, **options)
    assert np.isfinite(finite.error).all()
    assert finite.divergence_radius == np.inf
