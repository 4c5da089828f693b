"""Sensitivity by group: linear maps in closed form, sampled moves that never beat the bound's own ball, budgets and untouched models."""

import json
import math
import time

import numpy as np
import pytest
import torch
from torch import nn

from perdure.audits.moves import polar
from perdure.audits.sensitivity import sensitivity
from perdure.errors import ArgumentError, ModelError


class Leak(nn.Module):
    """h' = a h + b u, y = c h."""

    input_size = 1

    def __init__(self, a=0.8, b=2.0, c=3.0):
        super().__init__()
        self.weight_hh, self.weight_ih, self.readout = (nn.Parameter(torch.tensor([[w]], dtype=torch.float64)) for w in (a, b, c))

    def forward(self, x):
        h, out = x.new_zeros(x.shape[0], 1), []
        for u in x.unbind(1):
            h = h @ self.weight_hh.T + u @ self.weight_ih.T
            out.append(h @ self.readout.T)
        return torch.stack(out, 1)


GROUPS = {"a": ["weight_hh"], "b": ["weight_ih"], "c": ["readout"]}


def w1(kernel):
    """Of the Heaviside response, sup |y| + sup |y_k - y_{k-1}|, and the sup over all inputs."""
    return abs(kernel.sum()) + np.abs(kernel).max(), np.abs(kernel).sum() + np.abs(np.diff(kernel, prepend=0, append=0)).sum()


@pytest.mark.parametrize("share", [1e-3, 0.05])
def test_a_scalar_recurrence_in_closed_form(share):
    found = sensitivity(Leak(), horizon=64, shares=(share,), groups=GROUPS, ascent=False, seconds=None)
    k = np.arange(64)
    kernel = 6 * 0.8**k
    least, most = w1(kernel)
    assert least * (1 - 1e-9) <= found.norm <= most
    table = {row.group: row for row in found.rows}
    for name in ("b", "c"):  # linear in these: the error is the share itself
        assert table[name].relative == pytest.approx(share, rel=1e-9)
        assert table[name].gain == pytest.approx(1.0, rel=1e-9)
        assert table[name].half_life == pytest.approx(found.half_life, rel=1e-6)
    slower = 0.8 * (1 + share)
    least, most = w1(6 * slower**k - kernel)
    assert least * (1 - 1e-9) <= table["a"].error <= most
    assert table["a"].half_life == pytest.approx(-math.log(2) / math.log(slower), rel=1e-3)
    assert found.ranking[0] == "a"


def test_absolute_radii():
    found = sensitivity(Leak(), radii=(0.01, 0.02), groups={"c": ["readout"]}, ascent=False, seconds=None)
    one, two = found.rows
    assert one.share is None
    assert two.error == pytest.approx(2 * one.error, rel=1e-9)
    assert one.relative == pytest.approx(0.01 / 3, rel=1e-9)
    assert two.radius == 0.02


def test_a_pole_pushed_over_the_circle():
    found = sensitivity(Leak(a=0.99), shares=(0.005, 0.02), groups={"a": ["weight_hh"]}, ascent=False, horizon=200, seconds=None)
    assert found.rows[1].half_life in (None, math.inf) or found.rows[1].half_life > 5 * found.half_life
    assert found.rows[1].error > 4 * found.rows[0].error


def test_random_moves_of_the_same_length_never_do_more_to_first_order():
    torch.manual_seed(0)
    model = nn.GRU(2, 6, batch_first=True).double()
    found = sensitivity(model, shares=(1e-3,), horizon=32, ascent=False, seconds=None)
    assert {row.group for row in found.rows} == {"recurrent", "input", "bias"}
    row = next(r for r in found.rows if r.group == "recurrent")
    x = torch.ones(1, 32, 2, dtype=torch.float64)
    base = model(x)[0] - model(0 * x)[0]
    W = model.weight_hh_l0
    best = 0.0
    for _ in range(40):
        move = torch.randn_like(W)
        move *= row.radius / torch.linalg.matrix_norm(move, ord=2)
        with torch.no_grad():
            W += move
            d = model(x)[0] - model(0 * x)[0] - base
            W -= move
        best = max(best, float(d.abs().max() + torch.diff(d, dim=1).abs().max()))
    assert row.error > best


def test_ascent_finds_at_least_as_much():
    torch.manual_seed(1)
    model = nn.RNN(1, 3, batch_first=True)
    plain = sensitivity(model, shares=(0.01,), horizon=16, ascent=False, seconds=None)
    more = sensitivity(model, shares=(0.01,), horizon=16, seconds=60.0, groups={"recurrent": ["weight_hh_l0"]})
    before = next(r for r in plain.rows if r.group == "recurrent")
    assert more.rows[0].error >= before.error * (1 - 1e-9)
    assert more.rows[0].method in ("ascent", "first step")


def test_layers_are_groups_and_what_is_beside_them_too():
    class Stack(nn.Module):
        input_size = 2

        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
            self.head = nn.Linear(2, 1)

        def forward(self, x):
            for layer in self.layers:
                x = torch.tanh(layer(x))
            return self.head(x)

    found = sensitivity(Stack(), ascent=False, seconds=None, horizon=16)
    assert list(dict.fromkeys(row.group for row in found.rows)) == ["layers.0", "layers.1", "layers.2", "head"]
    assert [row.share for row in found.rows[:2]] == [1e-3, 1e-2]


def test_the_budget_is_kept_and_what_is_left_out_is_said():
    model = nn.LSTM(8, 64, num_layers=3, batch_first=True)
    begun = time.process_time()
    found = sensitivity(model, horizon=256, seconds=1e-3)
    assert time.process_time() - begun < 15
    assert found.left_out
    assert all("no time was left" in row.method for row in found.rows if row.group in found.left_out)
    assert math.isnan(next(row.error for row in found.rows if row.group in found.left_out))
    json.dumps(found.to_dict(), allow_nan=False)


def test_models_without_derivatives_move_at_random():
    class Numpy(nn.Module):
        input_size = 1

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, x):
            return torch.as_tensor(x.detach().numpy() * self.weight.detach().numpy())

    found = sensitivity(Numpy(), shares=(0.01,), ascent=False, seconds=None)
    assert found.rows[0].method == "random move"
    assert found.rows[0].relative == pytest.approx(0.01, rel=1e-9)
    assert any("no derivatives" in note for note in found.notes)


def test_the_model_is_left_alone_and_results_are_plain():
    model = nn.GRU(2, 3, batch_first=True)
    model.weight_hh_l0.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = sensitivity(model, horizon=16, seconds=2.0)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not model.weight_hh_l0.requires_grad
    assert model.weight_ih_l0.grad is None
    json.dumps(found.to_dict(), allow_nan=False)
    assert len(found.to_frame()) == len(found.rows)


@pytest.mark.parametrize("shape", [(70, 90), (90, 70), (80, 80)])
def test_the_polar_factor_by_the_gram_matrix(shape):
    G = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(G, full_matrices=False)
    torch.testing.assert_close(polar(G), u @ vh, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 4}, "horizon"),
        ({"shares": (0.0, 0.1)}, "shares.*above zero"),
        ({"shares": (0.1, 0.01)}, "shares"),
        ({"radii": (-1.0,)}, "radii"),
        ({"groups": {}}, "groups"),
        ({"groups": {"a": ["nothing"]}}, "groups"),
        ({"groups": {"a": []}}, "groups"),
        ({"bound": 0.0}, "bound"),
        ({"seconds": 0.0}, "seconds"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        sensitivity(Leak(), **options)


def test_without_weights_there_is_nothing_to_move():
    with pytest.raises(ModelError, match="weights"):
        sensitivity(torch.tanh, input_size=1)
