r"""Diagonal state-space layers: modes that do not touch one another, between an input and an output matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear
from torch.nn.utils.rnn import PackedSequence

from perdure import _checks, parametrizations
from perdure.errors import ArgumentTypeError
from perdure.nn.arguments import one_state, row_lengths, tensor, weights_dtype
from perdure.nn.sequences import read
from perdure.ops.recurrence.activations import get_activation
from perdure.ops.state_space import state_space
from perdure.ops.state_space.hold import zero_order_hold
from perdure.parametrizations import Parametrization

LOW = (torch.float16, torch.bfloat16)
SLOWEST = 1000.0  # steps: the longest timescale a fresh layer starts with


class DiagonalSSM(nn.Module):
    r"""Linear modes with a nonlinear readout, layer upon layer: (B, T, input_size) -> (B, T, hidden_size) and the states.

        dh/dt = Lambda h + G B x,   y = sigma(Re(C h) + D x + bias),   Lambda = diag(g(v) + i omega)

    stepped by dt with x constant over a step (zero-order hold; the output after step k has seen x_k):

        h_k = e^(dt lambda) h_{k-1} + G (e^(dt lambda) - 1) / lambda B x_k.

    The raw value v of a mode is trained, and its decay rate is -g(v), g a map of `perdure.parametrizations`; the frequency omega is free. With `normalize`
    G = |Re lambda|, so that a mode's kernel |Re lambda| e^(lambda t) has L1 norm 1 however slow it is; without, G = 1. e^(dt lambda) - 1 is
    formed in float64 from dt lambda, so that float32 parameters hold timescales of 1e7 steps and more.

    Rates, frequencies and the recurrence stay in float32 at least, also under `.bfloat16()`, `.half()` and autocast. A fresh layer has timescales spread
    geometrically from 1 to 1000 steps, and frequencies that fill [0, pi) radians a step evenly and independently of them (multiples of the golden
    ratio modulo 1): a ring like the LRU's (Orvieto et al. 2023) but with slow modes as common as fast ones, where S4D-Lin (Gu et al. 2022)
    has one timescale and equally spaced frequencies. Weights are drawn as in torch.nn.Linear, and output weights divided by the standard
    deviation of their mode under white input: outputs are of order 1 for inputs of unit variance.

    Args:
        input_size: channels of the input, d.
        hidden_size: channels of the output, and between layers.
        state_size: modes of each layer, N: complex numbers, or real ones with `real`.
        parametrization: of the decay rates: "direct", "exp", "softplus", "inverse", or a `Parametrization`.
        num_layers: layers, each with its own modes.
        activation: sigma, one of tanh, hardtanh, linear, relu, sigmoid, softplus, elu, gelu, silu, softsign.
        dt: time of a step; rates and frequencies are per unit of time.
        normalize: whether modes have unit L1 norm.
        real: whether modes are real: pure decays.
        skip: whether the input also passes directly, D x.
        dropout: probability with which outputs of all layers but the last are zeroed in training.
        batch_first: whether input and output are (B, T, channels), else (T, B, channels).
        device: of the parameters.
        dtype: of the weights, torch.float32, float64, bfloat16 or float16, None for torch's default; rates and frequencies have float32 at least.

    Raises:
        ArgumentError: a size, probability or dt out of range, an unknown name.
        ArgumentTypeError: a dtype that weights cannot have.

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
        self.normalize, self.real, self.skip, self.batch_first = bool(normalize), bool(real), bool(skip), bool(batch_first)
        g = parametrizations.get(parametrization, fastest=1 / self.dt)
        sizes = [self.input_size] + [self.hidden_size] * (self.num_layers - 1)
        shape = (self.hidden_size, self.state_size, self.real, self.skip, g, device, weights_dtype(dtype))
        self.layers = nn.ModuleList(Layer(size, *shape) for size in sizes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Poles and weights of a fresh layer; weights are drawn from torch's global generator, as in torch.nn.Linear."""
        n = self.state_size
        spread = torch.linspace(0, 1, n, dtype=torch.float64) if n > 1 else torch.tensor([0.5], dtype=torch.float64)
        turns = torch.arange(n, dtype=torch.float64) * (math.sqrt(5) - 1) / 2 % 1
        rates, frequencies = SLOWEST**-spread / self.dt, None if self.real else turns * math.pi / self.dt
        self.assign_poles(rates, frequencies)
        log_modulus, _, gain = zero_order_hold(rates, frequencies, self.dt)
        size = gain.norm(dim=1) * (rates if self.normalize else 1.0) / torch.sqrt(-3 * torch.expm1(2 * log_modulus))
        for layer in self._layers():
            layer.reset_weights(size)

    def _layers(self) -> Iterator[Layer]:
        yield from self.layers  # pyright: ignore[reportReturnType]

    def recurrent_parameters(self) -> Iterator[nn.Parameter]:
        """Raw values v and frequencies: what usually gets a smaller learning rate and no weight decay."""
        for layer in self._layers():
            yield from layer.modes.parameters(recurse=False)

    @torch.no_grad()
    def poles(self) -> tuple[Tensor, Tensor]:
        """Decay rates and angular frequencies of the modes, per unit time, each (num_layers, N), float64: lambda = -rate + i frequency."""
        found = [layer.modes() for layer in self._layers()]
        return torch.stack([r for r, _ in found]), torch.stack([torch.zeros_like(r) if w is None else w for r, w in found])

    def timescales(self) -> Tensor:
        """1 / rate of each mode, in units of time, (num_layers, N), float64: after that time e^-1 of it is left."""
        return 1 / self.poles()[0]

    def assign_poles(self, rates: Any, frequencies: Any = None) -> None:
        """Set decay rates and angular frequencies, per unit time, each (N,) for all layers or (num_layers, N).

        Args:
            rates: within the range of the parametrisation; positive for all but "direct".
            frequencies: None leaves them as they are, and must be None for real modes.

        Raises:
            ArgumentError: a wrong shape, or rates out of range.
        """
        if self.real and frequencies is not None:
            raise _checks.fail("frequencies", "None", "an array", "the modes of this layer are real: build it with real=False")
        waves = [None] * self.num_layers if frequencies is None else self._by_layer(frequencies, "frequencies")
        for layer, rate, wave in zip(self._layers(), self._by_layer(rates, "rates"), waves, strict=True):
            layer.modes.assign(rate, wave)

    def assign_timescales(self, times: Any) -> None:
        """Set the time after which e^-1 of each mode is left, in units of time, (N,) or (num_layers, N); frequencies stay as they are."""
        self.assign_poles(1 / self._by_layer(times, "times"))

    def _by_layer(self, values: Any, name: str) -> Tensor:
        array = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
        if tuple(array.shape) not in ((self.state_size,), (self.num_layers, self.state_size)):
            want = f"of shape ({self.state_size},) or ({self.num_layers}, {self.state_size})"
            raise _checks.fail(name, want, tuple(array.shape), "one number for each mode")
        _checks.finite_array(array.numpy(), name)
        return array.expand(self.num_layers, -1)

    def forward(
        self, x: Tensor | PackedSequence, state: Tensor | None = None, lengths: Tensor | Sequence[int] | np.ndarray | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Outputs and last states.

        Args:
            x: (B, T, input_size), or (T, B, input_size) if not `batch_first`, or (T, input_size), or a PackedSequence; of the layer's dtype,
                or bfloat16 or float16 for a float32 layer.
            state: from an earlier call, one tensor (num_layers, B, N, 2), or (num_layers, B, N) for real modes, without B for one sequence alone; None for zeros.
            lengths: steps of each row, (B,), integers in a tensor, a list or an array: what comes after them counts for nothing, and outputs there are 0.

        Returns:
            y like `x`, with hidden_size channels; the states after the last step of each row, like `state`.

        Raises:
            ArgumentError: a shape that does not fit, lengths out of range.
            ArgumentTypeError: integers, or types that do not go together.
        """
        data = x.data if isinstance(x, PackedSequence) else x
        if isinstance(data, Tensor):
            self._check_dtype(data)
        batch = read(x, self.input_size, getattr(data, "dtype", torch.float32), self.batch_first, "x")
        if lengths is not None and (batch.lengths is not None or not batch.batched):
            raise _checks.fail(
                "lengths", "None for packed or unbatched input", type(lengths).__name__, "pass x of shape (B, T, input_size)"
            )
        rows = batch.x.transpose(0, 1)
        counts = batch.lengths if lengths is None else row_lengths(lengths, rows)
        y, last = self._run(rows, self._states(state, data, batch.x.shape[1], batch.batched), counts)
        return batch.restore(y.transpose(0, 1)), last if batch.batched else last[:, 0]

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step: what `forward` does with a sequence of length 1, without its axis of time, to rounding.

        Args:
            x: (B, input_size), or (input_size,).
            state: as in `forward`.

        Returns:
            y (B, hidden_size), the new states.

        Raises:
            ArgumentError: a shape that does not fit. ArgumentTypeError: no tensors, or types that do not go together.
        """
        self._check_dtype(tensor(x, "x", f"(B, {self.input_size})"))
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise _checks.fail(
                "x", f"of shape (B, {self.input_size}) or ({self.input_size},)", tuple(x.shape), "one step has no axis of time"
            )
        batched = x.ndim == 2
        x = x if batched else x[None]
        y, last = self._run(x[:, None], self._states(state, x, x.shape[0], batched), None)
        return (y[:, 0], last) if batched else (y[0, 0], last[:, 0])

    def _run(self, x: Tensor, states: list[Tensor | None], lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        inside = None
        if lengths is not None:
            lengths = lengths.to(x.device)
            inside = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]
            x = torch.where(inside, x, 0.0)  # what stands in the padding must not reach the gradients of the weights either
        last = []
        sigma = get_activation(self.activation).value
        for k, (layer, state) in enumerate(zip(self._layers(), states, strict=True)):
            if k and self.dropout:
                x = dropout(x, self.dropout, self.training)
            x, h = layer(x, state, lengths, sigma, self.dt, self.normalize)
            x = x if inside is None else torch.where(inside, x, 0.0)
            last.append(h)
        return x, torch.stack(last)

    def _check_dtype(self, x: Tensor) -> None:
        """Refuse integers and mixtures."""
        if not x.is_floating_point():
            raise ArgumentTypeError(f"expected argument `x` to be floating point, but got {x.dtype}: convert it, x.float()")
        own = self.layers[0].input_weight.dtype
        kind = x.device.type
        mixed = own in (*LOW, torch.float32) and torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        if x.dtype != own and not (x.dtype in LOW and own == torch.float32) and not (mixed and x.dtype in (*LOW, torch.float32)):
            raise ArgumentTypeError(
                f"expected argument `x` to be {own}, as the layer, but got {x.dtype}: convert one of them, for example x.to({own})"
            )

    def _states(self, state: Tensor | None, x: Tensor, rows: int, batched: bool) -> list[Tensor | None]:
        """The state of each layer, (B, N, 2) or (B, N), from what the user passed."""
        if state is None:
            return [None] * self.num_layers
        shape = (self.num_layers, *((rows,) if batched else ()), self.state_size, *(() if self.real else (2,)))
        if tuple(one_state(state, "state", shape).shape) != shape:
            raise _checks.fail("state", f"of shape {shape}", tuple(state.shape), "pass the one that an earlier call returned")
        dtype = torch.float32 if x.dtype in LOW else x.dtype
        if state.dtype != dtype:
            raise ArgumentTypeError(f"expected argument `state` to be {dtype}, but got {state.dtype}: convert it, state.to({dtype})")
        return list((state if batched else state[:, None]).unbind(0))

    def extra_repr(self) -> str:
        """Sizes, and what differs from the defaults."""
        defaults = {
            "num_layers": 1,
            "activation": "gelu",
            "dt": 1.0,
            "normalize": True,
            "real": False,
            "skip": True,
            "dropout": 0.0,
            "batch_first": True,
        }
        changed = [f"{name}={getattr(self, name)!r}" for name, value in defaults.items() if getattr(self, name) != value]
        g = next(self._layers()).modes.g
        return ", ".join([f"{self.input_size}, {self.hidden_size}, state_size={self.state_size}, parametrization={g.name!r}", *changed])


class Modes(nn.Module):
    """Decay rates and frequencies, trained as v and omega, which keep float32 at least whatever the module is converted to."""

    g: Parametrization
    frequency: nn.Parameter | None

    def __init__(self, count: int, real: bool, g: Parametrization, device: Any, dtype: torch.dtype | None) -> None:
        super().__init__()
        kind = torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)
        self.g = g
        self.v = nn.Parameter(torch.empty(count, device=device, dtype=kind))
        self.register_parameter("frequency", None if real else nn.Parameter(torch.empty(count, device=device, dtype=kind)))

    def forward(self) -> tuple[Tensor, Tensor | None]:
        """Rates and frequencies per unit time, (N,), float64."""
        return -self.g(self.v.double()), None if self.frequency is None else self.frequency.double()

    @torch.no_grad()
    def assign(self, rates: Tensor, frequencies: Tensor | None) -> None:
        """Set them, (N,), float64; None leaves the frequencies."""
        self.v.copy_(self.g.right_inverse(-rates))
        if frequencies is not None and self.frequency is not None:
            self.frequency.copy_(frequencies)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def gently(t: Tensor) -> Tensor:
            done = fn(t)
            return t.to(done.device, torch.float32) if done.dtype in LOW else done

        return super()._apply(gently, recurse)


class Layer(nn.Module):
    """One layer: modes, and the weights around them.

    Attributes:
        modes: rates and frequencies.
        input_weight: B, (N, d, 2), or (N, d) for real modes.
        output_weight: C, (hidden, N, 2), or (hidden, N).
        skip_weight: D, (hidden, d), or None.
        bias: (hidden,).
    """

    modes: Modes
    skip_weight: nn.Parameter | None

    def __init__(
        self, size: int, hidden: int, count: int, real: bool, skip: bool, g: Parametrization, device: Any, dtype: torch.dtype | None
    ) -> None:
        super().__init__()
        pair = () if real else (2,)

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        self.modes = Modes(count, real, g, device, dtype)
        self.input_weight, self.output_weight = weight(count, size, *pair), weight(hidden, count, *pair)
        self.register_parameter("skip_weight", weight(hidden, size) if skip else None)
        self.bias = weight(hidden)

    @torch.no_grad()
    def reset_weights(self, size: Tensor) -> None:
        """Draw the weights; `size` (N,) is the standard deviation of a coordinate of each mode under white input of unit variance."""
        bound = self.input_weight.shape[1] ** -0.5
        for weight in (self.input_weight, self.skip_weight, self.bias):
            if weight is not None:
                weight.uniform_(-bound, bound)
        bound = self.output_weight[0].numel() ** -0.5
        self.output_weight.uniform_(-bound, bound)
        size = size.to(self.output_weight)
        self.output_weight.div_(size if self.output_weight.ndim == 2 else size[:, None])

    def forward(
        self, x: Tensor, state: Tensor | None, lengths: Tensor | None, sigma: Callable[[Tensor], Tensor], dt: float, normalize: bool
    ) -> tuple[Tensor, Tensor]:
        """Outputs (B, T, hidden), dtype of `x`, and last states."""
        work = torch.float32 if x.dtype in LOW else x.dtype
        rates, frequencies = self.modes()
        log_modulus, angle, gain = zero_order_hold(rates, frequencies, dt)
        if normalize:
            gain = gain * rates.abs()[:, None]
        gain, b, c = gain.to(work), self.input_weight.to(work), self.output_weight.to(work)
        if angle is None:
            b = gain * b
        else:
            (gr, gi), (br, bi) = gain[:, None].unbind(-1), b.unbind(-1)
            b = torch.stack((gr * br - gi * bi, gr * bi + gi * br), -1)
        y, last = state_space(x, log_modulus, angle, b, c, state, lengths=lengths)
        own = self.bias.dtype
        direct = self.bias if self.skip_weight is None else linear(x.to(own), self.skip_weight, self.bias)
        return sigma(y + direct).to(x.dtype), last
