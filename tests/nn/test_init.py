"""Time constants a layer starts with: what is asked for is what it has, measured on the layer itself."""

import numpy as np
import pytest
import torch

import perdure
from perdure import functionals as F
from perdure.nn import ContinuousRNN, DiagonalSSM, init


def test_log_uniform_and_target():
    assert torch.allclose(init.timescales(3, shortest=2.0, longest=200.0), torch.tensor([2.0, 20.0, 200.0], dtype=torch.float64))
    target = F.exponential_sum([0.5, 0.05], [1.0, 1.0])
    assert torch.allclose(init.timescales(2, target=target), torch.tensor([2.0, 20.0], dtype=torch.float64))
    slow = init.timescales(16, target=F.polynomial(2.0))
    ratios = slow[1:] / slow[:-1]
    assert float(slow[-1]) > 1e4  # the near-optimal sum of a power law is close to geometric
    assert float(ratios.min()) > 1.2


@pytest.mark.parametrize("structure", ["diagonal", "symmetric", "dissipative"])
def test_continuous_rnn_gets_them(structure):
    layer = init.timescales_(ContinuousRNN(1, 8, num_layers=2, structure=structure, dtype=torch.float64), shortest=1.0, longest=512.0)
    for cell in layer.cells():
        times = (-1 / cell.spectrum().real).sort().values
        # a dissipative matrix has them in its symmetric part, its small skew part moves them
        torch.testing.assert_close(times, init.timescales(8, longest=512.0), rtol=1e-8 if structure != "dissipative" else 0.1, atol=0)


@pytest.mark.parametrize("m", [1, 2, 4, 5, 8])
def test_a_complex_network_gets_the_longest_and_every_other_time_of_its_pairs(m):
    layer = init.timescales_(ContinuousRNN(1, m, structure="complex", num_layers=2, dtype=torch.float64), longest=1000.0)
    for cell in layer.cells():
        times = -1 / cell.spectrum().real
        torch.testing.assert_close(times, init.timescales((m + 1) // 2, longest=1000.0).repeat_interleave(2)[:m])
        assert float(times.max()) == pytest.approx(1000.0)
        assert len(cell.frequency) == 0 or float(cell.frequency.min()) > 0
    again = init.timescales_(ContinuousRNN(1, m, structure="complex", dtype=torch.float64), times)  # one a state, equal in pairs
    torch.testing.assert_close(-1 / next(again.cells()).spectrum().real, times)


@pytest.mark.parametrize("structure", ["diagonal", "complex", "dense"])
def test_a_fresh_network_covers_1_to_100_steps(structure):
    for m in (1, 2, 5):
        times = -1 / next(ContinuousRNN(1, m, structure=structure, dtype=torch.float64).cells()).spectrum().real
        assert float(times.max()) == pytest.approx(100.0)
        assert float(times.min()) == pytest.approx(1.0 if m > 2 or (m == 2 and structure != "complex") else 100.0)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU])
def test_a_gated_layer_covers_2_to_1000_steps_unless_told(kind):
    layer = init.timescales_(kind(1, 3))
    torch.testing.assert_close(
        layer.bias_ih_l0[3:6].detach().double().exp() + 1, torch.logspace(np.log10(2), 3, 3, dtype=torch.float64), rtol=1e-5, atol=0
    )
    layer = init.timescales_(kind(1, 3), longest=50.0)
    assert float(layer.bias_ih_l0[5].detach().exp()) == pytest.approx(49.0, rel=1e-5)


def test_diagonal_ssm_gets_them():
    layer = init.timescales_(DiagonalSSM(1, 2, state_size=6, num_layers=2, dt=0.5), shortest=1.0, longest=100.0)
    torch.testing.assert_close(layer.timescales()[1], init.timescales(6, longest=100.0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU])
def test_a_gated_layer_forgets_at_the_rate_asked_for(kind):
    """For small inputs each unit keeps the share 1 - 1/tau of its state a step: measured on the layer, not read off its bias."""
    torch.manual_seed(0)
    tau = torch.tensor([2.0, 10.0, 100.0], dtype=torch.float64)
    layer = init.timescales_(kind(1, 3).double(), tau)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
        layer.weight_ih_l0.zero_()
        x = torch.zeros(2, 1, 1, dtype=torch.float64)
        small = torch.full((1, 1, 3), 1e-6, dtype=torch.float64)
        if kind is torch.nn.LSTM:
            layer.bias_ih_l0[6:9] = 0.0
            layer.bias_hh_l0[6:9] = 0.0
            _, (_, c) = layer(x[:1], (torch.zeros_like(small), small))
            kept = c / small
        else:
            layer.bias_ih_l0[6:9] = 0.0
            layer.bias_hh_l0[6:9] = 0.0
            kept = layer(x[:1], small)[1] / small
    torch.testing.assert_close(kept[0, 0], 1 - 1 / tau, rtol=1e-9, atol=0)


def test_initialisation_lengthens_the_measured_memory():
    torch.manual_seed(0)
    short = torch.nn.LSTM(1, 16)
    long = torch.nn.LSTM(1, 16)
    long.load_state_dict(short.state_dict())
    init.timescales_(long, shortest=2.0, longest=256.0)
    left = [perdure.memory_function(layer, horizon=200, probe="impulse").envelope for layer in (short, long)]
    horizons = [int(np.argmax(e < 0.01 * e[0])) if (e < 0.01 * e[0]).any() else 200 for e in left]
    assert horizons[1] > 5 * horizons[0]


def test_chrono_is_uniform():
    lstm = init.chrono_(torch.nn.LSTM(1, 4000), 100.0, generator=torch.Generator().manual_seed(0))
    tau = lstm.bias_ih_l0[4000:8000].detach().double().exp() + 1
    assert float(tau.min()) >= 2.0 - 1e-4
    assert float(tau.max()) <= 100.0 + 1e-3
    assert abs(float(tau.mean()) - 51.0) < 1.5
    assert torch.equal(lstm.bias_ih_l0[:4000], -lstm.bias_ih_l0[4000:8000])
    assert not lstm.bias_hh_l0[:8000].any()


def test_parameter_groups_hold_each_parameter_once():
    model = torch.nn.ModuleList([ContinuousRNN(1, 4, bidirectional=True), DiagonalSSM(2, 3, num_layers=2), torch.nn.Linear(2, 2)])
    frozen = next(model[2].parameters()).requires_grad_(False)
    groups = init.parameter_groups(model, lr=1e-2, weight_decay=0.1)
    listed = [p for group in groups for p in group["params"]]
    assert len({id(p) for p in listed}) == len(listed) == sum(p.requires_grad for p in model.parameters())
    assert all(p is not frozen for p in listed)
    recurrent = {id(p) for layer in model[:2] for p in layer.recurrent_parameters()}
    assert {id(p) for p in groups[0]["params"]} == recurrent
    assert (groups[0]["lr"], groups[0]["weight_decay"]) == (1e-3, 0.0)
    torch.optim.AdamW(groups)  # a torch optimiser takes them


@pytest.mark.parametrize(("call", "words"), [
    (lambda: init.timescales(0), "count"),
    (lambda: init.timescales(3, shortest=10.0, longest=1.0), "longest"),
    (lambda: init.timescales(3, law="stretched"), "'polynomial'"),
    (lambda: init.timescales_(torch.nn.RNN(1, 2)), "RNN"),
    (lambda: init.timescales_(torch.nn.LSTM(1, 2, bias=False), longest=10.0, shortest=2.0), "biases"),
    (lambda: init.timescales_(torch.nn.LSTM(1, 2), shortest=1.0), "above 1"),
    (lambda: init.timescales_(torch.nn.LSTM(1, 2), longest=1.5), "`longest` to be at least shortest = 2, but got 1.5"),
    (lambda: init.timescales_(ContinuousRNN(1, 4, structure="complex"), torch.tensor([1.0, 2.0, 3.0, 3.0])), "same for states 0 and 1"),
    (lambda: init.timescales_(ContinuousRNN(1, 4, structure="complex"), torch.ones(3)), r"`times` to be of shape \(2,\) or \(4,\)"),
    (lambda: init.timescales_(DiagonalSSM(1, 4, 2), "ab"), "`times` to be an array of numbers"),
    (lambda: init.timescales_(DiagonalSSM(1, 4, 2), [1.0, float("inf")]), "`times` to be finite"),
    (lambda: init.timescales(4, target=F.polynomial(2.0), longest=3.0), "`target` to be None where there is longest"),
    (lambda: init.timescales(4, target=F.polynomial(2.0), shortest=2.0, law="foo"), "`target` to be None where there is shortest or law"),
    (lambda: init.timescales_(torch.nn.GRU(1, 2), target=F.polynomial(2.0), law="foo"), "`target` to be None where there is law"),
    (lambda: init.timescales(4, target=3.0), "`target` to be a linear functional, but got float"),
    (lambda: init.timescales_(ContinuousRNN(1, 2), torch.ones(3)), "times"),
    (lambda: init.timescales_(ContinuousRNN(1, 2), torch.tensor([1.0, -1.0])), "positive"),
    (lambda: init.chrono_(torch.nn.LSTM(1, 2), 1.0), "longest"),
    (lambda: init.parameter_groups(torch.nn.Linear(1, 1), lr=0.0), "lr"),
    (lambda: init.parameter_groups(torch.nn.Linear(1, 1), lr=0.1, weight_decay=-1), "`weight_decay` to be at least 0, but got -1"),
    (lambda: init.parameter_groups(torch.nn.Linear(1, 1), lr=0.1, recurrent_lr=-1), "`recurrent_lr` to be positive"),
    (lambda: init.parameter_groups("x", lr=0.1), "`module` to be a torch.nn.Module, but got str"),
])  # fmt: skip
@pytest.mark.usefixtures("as_installed")
def test_bad_input(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()
