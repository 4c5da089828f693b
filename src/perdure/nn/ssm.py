r"""Diagonal state-space layers: modes that do not touch one another, between an input and an output matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from perdure import _checks, parametrizations
from perdure.errors import ArgumentTypeError
from perdure.ops.recurrence.activations import get_activation
from perdure.ops.state_space import state_space
from perdure.parametrizations import Parametrization

LOW = (torch.float16, torch.bfloat16)
SLOWEST = 1000.0  # steps: the longest timescale a fresh layer starts with


class DiagonalSSM(nn.Module):
    r"""Linear modes with a nonlinear readout, layer upon layer; (B, T, d) -> (B, T, hidden_size) and the states.

        dh/dt = Lambda h + G B x,   y = sigma(Re(C h) + D x + bias),   Lambda = diag(g(v) + i omega)

    between steps of length dt on which x is constant (zero-order hold; the output after step k has seen x_k):

        h_k = e^(dt lambda) h_{k-1} + G (e^(dt lambda) - 1) / lambda B x_k.

    The raw value v of a mode is trained, and its decay rate is -g(v), g a map of `perdure.parametrizations`; the frequency omega is free. G = |Re lambda|
    with `normalize`, so that a mode's kernel |Re lambda| e^(lambda t) has L1 norm 1, however slow it is, and 1 without. e^(dt lambda) - 1 is
    formed in float64 from dt lambda, so that float32 weights hold timescales of 1e7 steps and more.

    Rates and frequencies stay in float32 under `.bfloat16()`, `.half()` and autocast, and so does the recurrence. A fresh layer has timescales
    spread geometrically from 1 to 1000 steps, and frequencies that fill [0, pi) radians a step evenly and independently of them (multiples of the golden ratio, modulo 1):
    a ring like the LRU's (Orvieto et al. 2023), with slow modes as common as fast ones, where S4D-Lin (Gu et al. 2022) has one
    timescale and equally spaced frequencies. The weights are drawn as in torch.nn.Linear, the output weights then divided by the standard deviation
    of their state under white input: outputs are of order 1 for inputs of unit variance.

    Args:
        input_size: channels of the input, d.
        hidden_size: channels of the output, and between layers.
        state_size: N modes of each layer: N complex numbers, or N real ones with `real`.
        parametrization: of the decay rates: "direct", "exp", "softplus", "inverse", or a `Parametrization`.
        num_layers: layers, each with its own modes.
        activation: sigma, one of tanh, hardtanh, linear, relu, sigmoid, softplus, elu, gelu, silu, softsign.
        dt: time of a step; rates and frequencies are per unit of time.
        normalize: whether modes have unit L1 norm.
        real: whether modes are real: pure decays.
        skip: whether the input is also passed on directly, D x.
        dropout: probability with which outputs of all layers but the last are zeroed in training.
        batch_first: input and output are (B, T, channels), or (T, B, channels) without.
        device: of the parameters.
        dtype: of the weights; rates and frequencies have float32 at least.

    Raises:
        ArgumentError: a size, probability or dt out of range, an unknown name.

    >>> layer = DiagonalSSM(2, 3, state_size=8)
    >>> y, state = layer(torch.zeros(5, 100, 2))
    >>> y.shape, state.shape, [round(t) for t in layer.timescales()[0, [0, -1]].tolist()]
    (torch.Size([5, 100, 3]), torch.Size([1, 5, 8, 2]), [1, 1000])
    """

    def __init__(
        self, input_size: int, hidden_size: int, state_size: int = 64, parametrization: str | Parametrization = "exp", *, num_layers: int = 1,
        activation: str = "gelu", dt: float = 1.0, normalize: bool = True, real: bool = False, skip: bool = True, dropout: float = 0.0,
        batch_first: bool = True, device: Any = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.input_size = _checks.positive_int(input_size, "input_size", "it counts input channels")
        self.hidden_size = _checks.positive_int(hidden_size, "hidden_size", "it counts output channels")
        self.state_size = _checks.positive_int(state_size, "state_size", "it counts modes")
        self.num_layers = _checks.positive_int(num_layers, "num_layers", "pass 1 for a single layer")
        get_activation(activation)
        self.activation, self.dt = activation, _checks.positive(dt, "dt", "it is the time between two inputs")
        self.dropout = _checks.number(dropout, "dropout")
        if not 0 <= self.dropout <= 1:
            raise _checks.fail("dropout", "from 0 to 1", self.dropout, "it is the probability with which an output is zeroed")
        self.normalize, self.real, self.batch_first = bool(normalize), bool(real), bool(batch_first)
        g = parametrizations.get(parametrization, fastest=1 / self.dt)
        sizes = [self.input_size] + [self.hidden_size] * (self.num_layers - 1)
        self.layers = nn.ModuleList(Layer(size, self, g, skip, {"device": device, "dtype": dtype}) for size in sizes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Timescales, frequencies and weights of a fresh layer; the weights are drawn with torch's global generator, as in torch.nn.Linear."""
        n = self.state_size
        steps = SLOWEST ** torch.linspace(0, 1, n, dtype=torch.float64) if n > 1 else torch.tensor([SLOWEST**0.5], dtype=torch.float64)
        turns = torch.arange(n, dtype=torch.float64) * (math.sqrt(5) - 1) / 2 % 1
        self.assign_poles(1 / (steps * self.dt), None if self.real else turns * math.pi / self.dt)
        for layer in self.layers:
            layer.reset_weights(1 / steps, turns * math.pi)  # pyright: ignore[reportCallIssue]

    def poles(self) -> tuple[Tensor, Tensor]:
        """Decay rates and angular frequencies of the modes, per unit time, each (num_layers, N), float64: lambda = -rate + i frequency."""
        with torch.no_grad():
            found = [layer.modes() for layer in self.layers]  # pyright: ignore[reportCallIssue]
        return torch.stack([r for r, _ in found]), torch.stack([torch.zeros_like(r) if w is None else w for r, w in found])

    def timescales(self) -> Tensor:
        """1 / rate of each mode, in units of time, (num_layers, N), float64: after that time e^-1 of it is left."""
        return 1 / self.poles()[0]

    def assign_poles(self, rates: Any, frequencies: Any = None) -> None:
        """Set the decay rates and angular frequencies, per unit time, each (N,) for all layers or (num_layers, N).

        Args:
            rates: within the range of the parametrisation: positive for all but "direct".
            frequencies: None for 0; must be None for real modes.

        Raises:
            ArgumentError: a wrong shape, or rates out of range.
        """
        rates = self._by_layer(rates, "rates")
        if self.real and frequencies is not None:
            raise _checks.fail("frequencies", "None", "an array", "the modes of this layer are real; build it with real=False")
        waves = torch.zeros_like(rates) if frequencies is None else self._by_layer(frequencies, "frequencies")
        for layer, rate, wave in zip(self.layers, rates, waves, strict=True):
            layer.modes.assign(rate, wave)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]

    def _by_layer(self, values: Any, name: str) -> Tensor:
        array = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
        if array.shape not in ((self.state_size,), (self.num_layers, self.state_size)):
            want = f"of shape ({self.state_size},) or ({self.num_layers}, {self.state_size})"
            raise _checks.fail(name, want, tuple(array.shape), "one number for each mode")
        if not bool(array.isfinite().all()):
            raise _checks.fail(name, "finite", array[~array.isfinite()][0].item(), "replace the NaN or infinity")
        return array.expand(self.num_layers, -1)

    def forward(
        self, x: Tensor | PackedSequence, state: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Outputs and last states.

        Args:
            x: (B, T, input_size), or (T, B, input_size) if not `batch_first`, or (T, input_size), or a PackedSequence; the dtype of the
                layer, or a smaller one.
            state: from an earlier call, (num_layers, B, N, 2), or (num_layers, B, N) for real modes, without B for unbatched input; None for zeros.
            lengths: steps of each row, (B,), integers: what comes after them counts for nothing, and outputs there are 0.

        Returns:
            y like `x` with hidden_size channels; the states after the last step of each row, like `state`.

        Raises:
            ArgumentError: a shape that does not fit, lengths out of range.
            ArgumentTypeError: integers, or types that do not go together.
        """
        if isinstance(x, PackedSequence):
            return self._packed(x, state, lengths)
        self._check(x, (2, 3))
        batched = x.ndim == 3
        if not batched and lengths is not None:
            raise _checks.fail("lengths", "None for unbatched input", "a tensor", "pass x of shape (B, T, input_size)")
        if batched and not self.batch_first:
            x = x.transpose(0, 1)
        y, last = self._run(x if batched else x[None], self._states(state, x, x.shape[0] if batched else None), lengths)
        if not batched:
            return y[0], last[:, 0]
        return (y if self.batch_first else y.transpose(0, 1)), last

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step: `forward` on a sequence of length 1, to rounding, without its axis of time.

        Args:
            x: (B, input_size), or (input_size,).
            state: as in `forward`.

        Returns:
            y (B, hidden_size) and the new states.
        """
        self._check(x, (1, 2))
        states = self._states(state, x, x.shape[0] if x.ndim == 2 else None)
        y, last = self._run(x[:, None] if x.ndim == 2 else x[None, None], states, None)
        return (y[:, 0], last) if x.ndim == 2 else (y[0, 0], last[:, 0])
