"""Influence by layer and lag, against closed forms: linear recurrences, windows, delays; layers of stacks; models that see the future."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from perdure.errors import ArgumentError
from perdure.memory.influence import influence


class Linear(nn.Module):
    """h' = W h + U x, y = c h."""

    def __init__(self, W, U, c):
        super().__init__()
        self.W, self.U, self.c = (torch.as_tensor(m) for m in (W, U, c))
        self.input_size = U.shape[1]

    def forward(self, x):
        h, out = x.new_zeros(x.shape[0], self.W.shape[0]), []
        for u in x.unbind(1):
            h = h @ self.W.to(x).T + u @ self.U.to(x).T
            out.append(h @ self.c.to(x).T)
        return torch.stack(out, 1)


def closed(W, U, c, lags):
    J = np.stack([c @ np.linalg.matrix_power(W, j) @ U for j in lags])
    return np.sqrt((J**2).sum(2).mean(1)), np.abs(J).sum(2).max(1)


def linear_model(seed, d):
    rng = np.random.default_rng(seed)
    return 0.7 * np.linalg.qr(rng.standard_normal((5, 5)))[0], rng.standard_normal((5, d)), rng.standard_normal((3, 5))


@pytest.mark.parametrize("background", ["noise", "zeros"])
def test_a_linear_recurrence_is_c_w_to_the_lag_u(background):
    W, U, c = linear_model(0, 4)
    found = influence(Linear(W, U, c), horizon=24, lags="all", background=background)
    rms, sup = closed(W, U, c, range(24))
    np.testing.assert_allclose(found.rms[-1], rms, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.sup[-1], sup, rtol=1e-6, atol=1e-9)
    assert found.exact
    assert not found.signed
    assert found.error.max() < 1e-7


def test_random_signs_estimate_the_rms_within_their_error_and_bound_the_sup():
    W, U, c = linear_model(1, 40)
    rms, sup = closed(W, U, c, range(16))
    hits = []
    for seed in range(6):
        found = influence(Linear(W, U, c), horizon=16, lags="all", directions=12, seed=seed)
        assert not found.exact
        assert "lower bound" in found.status
        assert (found.sup[-1] <= sup * (1 + 1e-6)).all()
        hits.append(np.abs(found.rms[-1] - rms) <= 3 * found.error[-1])
    assert np.mean(hits) > 0.9


def test_bins_take_the_largest_and_the_mean_square():
    W, U, c = linear_model(2, 2)
    fine, coarse = (influence(Linear(W, U, c), horizon=60, lags=lags, count=1) for lags in ("all", "log"))
    assert coarse.last[-1] == 59
    assert (coarse.lags[1:] == coarse.last[:-1] + 1).all()
    for k, (a, b) in enumerate(zip(coarse.lags, coarse.last, strict=True)):
        assert coarse.sup[-1, k] == pytest.approx(fine.sup[-1, a : b + 1].max())
        assert coarse.rms[-1, k] == pytest.approx(np.sqrt((fine.rms[-1, a : b + 1] ** 2).mean()))
    chosen = influence(Linear(W, U, c), horizon=60, lags=[3, 10], count=1)
    np.testing.assert_allclose(chosen.rms[-1], fine.rms[-1, [3, 10]])


def test_layers_of_a_window_stack_reach_farther_each():
    layers = nn.Sequential(*(nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(2, 2, 3)) for _ in range(3)))
    found = influence(nn.Sequential(nn.Conv1d(2, 2, 1), *layers), horizon=20)
    assert found.blocks == ("0", "1", "2", "3", "output")
    for k, width in enumerate((0, 2, 4, 6, 6)):
        seen = found.lags[found.rms[k] > found.noise_floor[k]]
        assert seen.max() == width


def test_a_delay_has_its_lag_alone():
    found = influence(lambda x: nn.functional.pad(x, (0, 0, 37, 0))[:, : x.shape[1]], horizon=64, input_size=2, lags="all")
    np.testing.assert_allclose(found.rms[0], np.arange(64) == 37, atol=1e-9)
    assert found.blocks == ("output",)
    assert found.reach().tolist() == [37]


def test_the_stack_of_an_lstm_is_taken_apart_and_the_model_left_alone():
    torch.manual_seed(0)
    model = nn.LSTM(2, 4, num_layers=3, batch_first=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = influence(model, horizon=16, background="zeros", lags="all")
    assert found.blocks == ("layers.0", "layers.1", "layers.2", "output")
    np.testing.assert_allclose(found.rms[2], found.rms[3], rtol=1e-9)
    model.double()
    x = torch.zeros(1, 16, 2, dtype=torch.float64, requires_grad=True)
    whole = torch.autograd.functional.jacobian(lambda x: model(x)[0], x)[0, :, :, 0, 0]  # (T, C, d)
    np.testing.assert_allclose(found.rms[3], whole.pow(2).sum(2).mean(1).sqrt().numpy(), rtol=1e-5, atol=1e-9)
    model.float()
    assert type(model) is nn.LSTM
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not model._forward_hooks

    class Wrapped(nn.Module):
        input_size = 2

        def __init__(self):
            super().__init__()
            self.core, self.head = nn.GRU(2, 3, num_layers=2, batch_first=True, bidirectional=True), nn.Linear(6, 1)

        def forward(self, x):
            return self.head(self.core(x)[0])

    wrapped = Wrapped()
    found = influence(wrapped, horizon=16)
    assert found.blocks == ("core.layers.0", "core.layers.1", "output")
    assert found.signed
    assert type(wrapped.core) is nn.GRU


def test_models_that_see_the_future_have_lags_of_either_sign():
    centred = nn.Conv1d(1, 1, 5, padding=2, bias=False)
    with torch.no_grad():
        centred.weight.copy_(torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0]]]))
    found = influence(nn.Sequential(centred), horizon=20, lags="all")
    assert found.signed
    kernel = dict(zip(found.lags.tolist(), found.rms[-1].round(6).tolist(), strict=True))
    assert kernel[-2] == 5.0  # weight k multiplies x_{t+k-2}: the output two steps before the input has the last weight
    assert [kernel[j] for j in (-3, -1, 0, 1, 2, 3)] == [0.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2, enable_nested_tensor=False)
    found = influence(encoder, horizon=12, lags="all")
    assert found.blocks == ("layers.0", "layers.1", "output")
    assert found.signed
    assert found.rms[-1].min() > 0  # attention without a mask sees all


def test_short_time_names_and_plain_results():
    W, U, c = linear_model(3, 40)
    hasty = influence(Linear(W, U, c), horizon=100, directions=39, seconds=0.02)
    assert any("in the time there was" in note for note in hasty.notes)
    layers = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    found = influence(layers, horizon=8, blocks=["1"])
    assert found.blocks == ("1", "output")
    json.dumps(found.to_dict(), allow_nan=False)
    assert list(found.to_frame().columns) == ["block", "lag", "last_lag", "rms", "error", "sup"]
    assert found.normalized.max() == 1.0


def test_hooks_are_gone_when_the_model_raises():
    class Raises(nn.Module):
        input_size = 1

        def __init__(self):
            super().__init__()
            self.inner, self.calls = nn.Linear(1, 1), 0

        def __deepcopy__(self, memo):
            raise RuntimeError("no copies")

        def forward(self, x):
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError("enough")
            return self.inner(x)

    model = Raises()
    with pytest.raises(RuntimeError, match="enough"):
        influence(model, horizon=8)
    assert not model.inner._forward_hooks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 2}, "horizon"),
        ({"count": 0}, "count"),
        ({"directions": 1}, "directions"),
        ({"bound": 0.0}, "bound"),
        ({"lags": "some"}, "lags"),
        ({"lags": [99]}, "lags.*integers from 0 to 7"),
        ({"lags": [0.5]}, "lags"),
        ({"blocks": ["nowhere"]}, "blocks"),
        ({"background": "pink"}, "background"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        influence(nn.Sequential(nn.Linear(1, 1)), **{"horizon": 8, **options})


def test_a_share_is_below_one():
    found = influence(torch.tanh, horizon=8, input_size=1)
    for share in (0.0, 1.0):
        with pytest.raises(ArgumentError, match="share"):
            found.reach(share)


def test_a_model_that_works_in_single_precision_inside_has_its_noise():
    W, U, c = linear_model(3, 2)
    exact, inside = Linear(W, U, c), Linear(W, U, c)
    rough = influence(lambda x: inside(x.float()).to(x), horizon=24, lags="all", input_size=2, causal=True)
    fine = influence(exact, horizon=24, lags="all", causal=True)
    assert fine.noise_floor[-1] < 1e-8
    assert 1e-6 < rough.noise_floor[-1] < 0.1
    assert np.abs(rough.rms[-1] - fine.rms[-1]).max() < rough.noise_floor[-1]
    hidden = influence(
        lambda x: (inside(x.float()) * 1.0).to(x) * np.pi + 0.1 * x.sum(2, keepdim=True), horizon=24, lags="all", input_size=2, causal=True
    )
    assert 1e-6 < hidden.noise_floor[-1] < 0.1  # no output is a number of single precision, and yet
