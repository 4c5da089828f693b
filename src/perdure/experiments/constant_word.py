r"""Where a bidirectional LSTM comes to rest when one word is said forever, and how fast it gets there: the closed-form reason for the tails of Fig. 5.

A direction of a layer is a map f of its state (h, c) under a constant input. Near a point of rest, f(s*) = s*, a difference d becomes J d, J = df/ds at s*; where
the spectral radius r of J is below 1, s(k) - s* falls as r^k, with a polynomial factor only where the leading eigenvalue is defective. In a stack the input of the second
layer is (h*, h*) of both directions of the first, constant but for transients that fall as r^k of the first: so the score of k words differs from its limit by

    p(k) - p* = O(r^k),   r = the largest spectral radius of all directions and layers,   |p(k + 1) - p(k)| ~ C r^k where C is not 0.

Each direction is taken at the word alone; the start of a text is one step among k, and changes C, not r.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perdure._random import isolated
from perdure.experiments.sentiment_lstm import SentimentLSTM
from perdure.stability.equilibrium import NoEquilibriumError
from perdure.stability.linearise import linearise

DIRECTIONS = ("", "_reverse")


def slowest_factor(model: SentimentLSTM, number: int) -> float | None:
    """The largest spectral radius at rest over all directions and layers, of a word said forever; None where one of them comes to no rest.

    Args:
        model: trained; left as it is, a copy in float64 is measured.
        number: of the word in the vocabulary.

    >>> with torch.random.fork_rng():
    ...     _ = torch.manual_seed(0)
    ...     model = SentimentLSTM(5, 2, 3, layers=2)
    >>> 0 < (slowest_factor(model, 4) or 1) < 1
    True
    """
    here: Tensor = model.embedding.weight[number].detach().double()
    largest = 0.0
    for layer in range(model.lstm.num_layers):
        states = []
        for direction in DIRECTIONS:
            try:
                rest = linearise(one_direction(model.lstm, layer, direction), here.numpy())
            except NoEquilibriumError:
                return None
            if rest.status == "not reached":
                return None
            largest = max(largest, float(abs(rest.eigenvalues[0])))
            states.append(torch.as_tensor(rest.part("h_l0").copy()).flatten())
        here = torch.cat(states)
    return largest


def one_direction(lstm: nn.LSTM, layer: int, direction: str) -> nn.LSTM:
    """One layer of one direction by itself, in float64; `direction` is "" or "_reverse"."""
    weights = {
        name: getattr(lstm, f"{name}_l{layer}{direction}").detach().double() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    with isolated(0):  # the first weights, drawn at random, are overwritten
        alone = nn.LSTM(weights["weight_ih"].shape[1], lstm.hidden_size, dtype=torch.float64)
    alone.load_state_dict({f"{name}_l0": value for name, value in weights.items()})
    return alone
