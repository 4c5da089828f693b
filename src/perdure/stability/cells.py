r"""One step of torch's recurrent layers as a map of their whole state, written out from the weights.

With a = W_i x + b_i and b = W_h h + b_h, cut into gates in torch's order, and s the logistic function:

* RNN: h' = tanh(a + b), or relu;
* GRU (r, z, n): h' = (1 - z) n + z h with r = s(a_r + b_r), z = s(a_z + b_z), n = tanh(a_n + r b_n). The reset gate multiplies the product
  W_hn h + b_hn, not h, and z keeps the old state: the z of Wang, Li & Li (2024, app. J) is 1 - z here;
* LSTM (i, f, g, o): c' = f c + i tanh(a_g + b_g), h' = P (o tanh(c')), with i, f, o logistic and P the projection, if there is one.

The state of a stack is that of its layers one after the other; layer k + 1 reads the new h of layer k. An LSTM's layer holds (h, c).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from perdure import _checks
from perdure._typing import Tensor
from perdure.errors import ArgumentError

LAYERS = (nn.RNN, nn.GRU, nn.LSTM)
CELLS = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)
Block = tuple[str, tuple[int, ...]]  # a name and a shape


@dataclass(frozen=True)
class Weights:
    """Weights of one layer, float64: W_i (G m, d), W_h (G m, p), their biases (G m,) or None, an LSTM's projection (p, m) or None."""

    input: Tensor
    recurrent: Tensor
    input_bias: Tensor | None
    recurrent_bias: Tensor | None
    projection: Tensor | None

    def drive(self, x: Tensor) -> Tensor:
        """W_i x + b_i."""
        return nn.functional.linear(x, self.input, self.input_bias)

    def feedback(self, h: Tensor) -> Tensor:
        """W_h h + b_h."""
        return nn.functional.linear(h, self.recurrent, self.recurrent_bias)

    def blocks(self, kind: str, number: int) -> list[Block]:
        """Names and shapes of the states of layer `number`."""
        cells = self.recurrent.shape[0] // {"rnn": 1, "gru": 3, "lstm": 4}[kind]
        h: Block = (f"h_l{number}", (self.recurrent.shape[1],))
        return [h, (f"c_l{number}", (cells,))] if kind == "lstm" else [h]


def kind_of(model: Any) -> str | None:
    """The kind, "rnn", "gru" or "lstm", of a layer or cell of `torch.nn`; None for others, also for subclasses with a `forward` of their own.

    >>> kind_of(nn.GRUCell(1, 2)), kind_of(nn.Linear(1, 2))
    ('gru', None)
    """
    for kind in (*LAYERS, *CELLS):
        if isinstance(model, kind) and type(model).forward is kind.forward:
            return kind.__name__.removesuffix("Cell").lower()
    return None


def two_ways() -> ArgumentError:
    """The error for a layer that also reads backwards."""
    fix = "the backward direction starts from the end of the sequence and has no equilibrium in time; copy one direction into a layer of its own"
    return _checks.fail("model", "unidirectional", "bidirectional=True", fix)


def weights_of(model: nn.Module) -> list[Weights]:
    """The weights of each layer of a recurrent layer or cell of `torch.nn`, detached, in float64 on the CPU.

    Raises:
        ArgumentError: the layer is bidirectional.
    """
    if getattr(model, "bidirectional", False):
        raise two_ways()

    def read(name: str) -> Any:
        value = getattr(model, name, None)
        return value.detach().cpu().double() if isinstance(value, Tensor) else None

    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    suffixes = [f"_l{k}" for k in range(model.num_layers)] if isinstance(model, LAYERS) else [""]
    return [Weights(*(read(name + suffix) for name in names)) for suffix in suffixes]


def rnn(w: Weights, x: Tensor, h: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """New h (B, m) of an RNN for the input x (B, d) or (d,)."""
    return activation(w.drive(x) + w.feedback(h))


def gru(w: Weights, x: Tensor, h: Tensor) -> Tensor:
    """New h (B, m) of a GRU."""
    (ar, az, an), (br, bz, bn) = w.drive(x).chunk(3, -1), w.feedback(h).chunk(3, -1)
    z = torch.sigmoid(az + bz)
    return (1 - z) * torch.tanh(an + torch.sigmoid(ar + br) * bn) + z * h


def lstm(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """New h (B, p) and c (B, m) of an LSTM."""
    i, f, g, o = (w.drive(x) + w.feedback(h)).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return (h if w.projection is None else nn.functional.linear(h, w.projection)), c


def stacked(model: nn.Module, kind: str, x: Tensor) -> tuple[Callable[[Tensor], Tensor], list[Block]]:
    """The step map (B, n) -> (B, n) of a layer or cell for the constant input x (d,), and the names and shapes of its states."""
    layers = weights_of(model)
    activation = torch.relu if getattr(model, "nonlinearity", "tanh") == "relu" else torch.tanh
    blocks = [layer.blocks(kind, k) for k, layer in enumerate(layers)]
    sizes = [size for block in blocks for _, (size,) in block]

    def step(state: Tensor) -> Tensor:
        parts, given, new = iter(state.split(sizes, -1)), x, []
        for layer in layers:
            if kind == "lstm":
                given, c = lstm(layer, given, next(parts), next(parts))
                new += [given, c]
            else:
                given = gru(layer, given, next(parts)) if kind == "gru" else rnn(layer, given, next(parts), activation)
                new.append(given)
        return torch.cat(new, -1)

    return step, [b for block in blocks for b in block]
