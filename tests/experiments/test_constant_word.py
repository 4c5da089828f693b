"""The factor with which a bidirectional LSTM comes to rest, against differences of long runs and a Jacobian written down by hand."""

import copy
import math

import pytest
import torch

from perdure.experiments.constant_word import slowest_factor
from perdure.experiments.sentiment_lstm import SentimentLSTM

WORD = 4


def network(layers, seed, size=4, gain=1.5):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SentimentLSTM(6, 3, size, layers)
        with torch.no_grad():
            for weight in model.lstm.parameters():
                weight.mul_(gain)
    return model


def by_hand(weights, x):
    """State and spectral radius at rest of one direction: the equations of the LSTM run for long, and differentiated one unknown after the other."""
    w_x, w_h, b_x, b_h = weights

    def step(s):
        h, c = s.chunk(2)
        i, f, g, o = (w_x @ x + b_x + w_h @ h + b_h).chunk(4)
        new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.cat([torch.sigmoid(o) * torch.tanh(new), new])

    s = torch.zeros(2 * len(w_h[0]), dtype=torch.float64)
    for _ in range(3000):
        s = step(s)
    near = torch.eye(len(s), dtype=torch.float64) * 1e-5
    jacobian = torch.stack([(step(s + d) - step(s - d)) / 2e-5 for d in near], 1)
    return s[: len(s) // 2], float(torch.linalg.eigvals(jacobian).abs().max())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_largest_of_the_radii_computed_by_hand(layers, seed):
    model = network(layers, seed)
    exact = copy.deepcopy(model).double()
    x, radii = exact.embedding.weight[WORD].detach(), []
    for layer in range(layers):
        found = []
        for ending in ("", "_reverse"):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            found.append(by_hand([getattr(exact.lstm, f"{name}_l{layer}{ending}").detach() for name in names], x))
        x = torch.cat([h for h, _ in found])
        radii += [radius for _, radius in found]
    assert slowest_factor(model, WORD) == pytest.approx(max(radii), rel=1e-7)


@pytest.mark.parametrize("layers", [1, 2])
def test_scores_of_a_word_said_ever_more_often_come_to_rest_by_this_factor(layers):
    model = network(layers, 3)
    radius = slowest_factor(model, WORD)
    exact = copy.deepcopy(model).double()
    numbers = torch.full((500, 500), WORD)
    numbers[:, 0] = 2
    with torch.no_grad():
        memory = exact(numbers, torch.arange(1, 501)).diff().abs()
    last = int((memory > 1e-12).nonzero().max())
    early = last // 2
    assert math.log(memory[early] / memory[last]) / (last - early) == pytest.approx(-math.log(radius), rel=0.01)


def test_a_network_that_goes_back_and_forth_comes_to_no_rest():
    model = network(1, 0, size=1)
    with torch.no_grad():
        for name, weight in model.lstm.named_parameters():
            weight.zero_()
            if "bias_ih" in name:
                weight.copy_(torch.tensor([20.0, -20.0, 1.0, 20.0]))  # gates open, closed, open: h = tanh(tanh(1 - 5 h))
            if "weight_hh" in name:
                weight[2] = -5.0
    assert slowest_factor(model, WORD) is None


def test_measuring_leaves_the_model_and_the_generator_alone():
    model = network(2, 1)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    slowest_factor(model, WORD)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
