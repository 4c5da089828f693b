"""The continuous-time recurrent network as a layer: torch.nn.RNN's habits, a recurrent weight that cannot grow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from perdure import _checks
from perdure.errors import ArgumentTypeError
from perdure.nn.arguments import one_state, tensor, weights_dtype
from perdure.nn.sequences import Batch, read
from perdure.ops.recurrence import get_activation, integrators, recurrence
from perdure.ops.recurrence.driven import driven
from perdure.ops.recurrence.outputs import outputs, serves
from perdure.parametrizations import Parametrization, get
from perdure.parametrizations.structures import Complex, Diagonal, Structure, get_structure

INTEGRATORS = ("euler", "exponential", "rk4")
WIDE = (torch.float32, torch.float64)  # what the recurrence runs in
TIMESCALES = (1.0, 100.0)  # steps: the initial time constants span this range evenly in logarithm


class ContinuousRNN(nn.Module):
    r"""dh/dt = sigma(W h + U x + b), y = h or c^T h: a recurrent network in continuous time (Wang, Li & Li 2024, eq. 1).

    Discretised with a step dt, Euler by default: h_k = h_{k-1} + dt sigma(W h_{k-1} + U x_k + b). W is never trained as it is (unless you
    ask for it): raw parameters go through a structure and a scalar map g that say what W may be. With the default, a diagonal of
    -e^v, no value of the weights makes a mode of the differential equation grow; `recurrent_l0.guarantee` says what holds for the
    others. Euler's method adds a bound of its own: a mode whose rate exceeds 2 / dt grows in its steps. The exponential integrator
    has no such bound, and the map "inverse", chosen by name, stays within it.

    The states of a diagonal W do not see one another within a layer; to replace a `torch.nn.RNN` one for one, "dissipative" is the guarded
    structure whose states do.

    Used like `torch.nn.RNN`: (output, h_n) = layer(input, h_0). Packed sequences, one sequence without a batch axis, several layers,
    dropout between them and both directions work as there.

    Args:
        input_size: d.
        hidden_size: m, states of each layer.
        num_layers: L; each reads the output of the one before.
        activation: sigma: tanh, hardtanh, linear, relu, sigmoid, softplus, elu, gelu, silu or softsign. Sigmoid and softplus never reach
            dh/dt = 0, so that their memory fades like 1/t.
        parametrization: g: "exp", "softplus", "inverse", "direct", or a `perdure.parametrizations.Parametrization`.
        structure: of W: "diagonal", "complex", "symmetric", "dissipative" or "dense" (see `perdure.parametrizations.structures`).
        dt: time between steps. Euler needs dt times the fastest rate below 2.
        bias: whether there is a b.
        batch_first: (B, T, d) in place of (T, B, d).
        device: of the parameters.
        dtype: of the parameters: torch.float32, float64, bfloat16 or float16; None for torch's default.
        dropout: on the output of each layer but the last, in training.
        bidirectional: a second network reads the sequence backwards; the outputs stand side by side.
        output_size: with a number, the layer ends in a readout y = c^T h of that size; else the states are the output.
        integrator: "euler" (the paper's), "exponential" (exact for linear sigma) or "rk4" (order 4 for inputs held over the step).

    Shapes:
        input (T, B, d); output (T, B, D m) or (T, B, output_size), with D = 2 for both directions; h_0 and h_n (D L, B, m).

    Attributes:
        recurrent_l0, recurrent_l0_reverse, ...: the `Structure` of each layer, called for W.
        weight_ih_l0, bias_l0, ...: U (m, d) and b (m,).
        readout: c as `torch.nn.Linear` without bias, or None.

    Raises:
        ValueError: a size below 1, an unknown name, dt <= 0, dropout outside [0, 1].
        TypeError: a dtype that weights cannot have.

    >>> layer = ContinuousRNN(1, 2, activation="linear", parametrization="direct", dt=0.5, dtype=torch.float64)
    >>> layer.recurrent_l0.assign(torch.diag(torch.tensor([-1.0, -0.5], dtype=torch.float64)))
    >>> with torch.no_grad():
    ...     _ = layer.weight_ih_l0.fill_(1.0)
    >>> output, h_n = layer(torch.ones(3, 1, 1, dtype=torch.float64))
    >>> output[:, 0].tolist()  # 1 - 0.5^k and 2 (1 - 0.75^k)
    [[0.5, 0.5], [0.75, 0.875], [0.875, 1.15625]]
    """

    weight_ih_l0: nn.Parameter

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        activation: str = "tanh",
        parametrization: str | Parametrization = "exp",
        structure: str = "diagonal",
        dt: float = 1.0,
        bias: bool = True,
        batch_first: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        dropout: float = 0.0,
        bidirectional: bool = False,
        output_size: int | None = None,
        integrator: str = "euler",
    ) -> None:
        super().__init__()
        self.input_size = _checks.positive_int(input_size, "input_size")
        self.hidden_size = _checks.positive_int(hidden_size, "hidden_size", "a recurrent layer needs at least one state")
        self.num_layers = _checks.positive_int(num_layers, "num_layers")
        get_activation(activation)
        self.activation, self.structure, self.bias, self.batch_first = activation, structure, bool(bias), bool(batch_first)
        self.dt = _checks.positive(dt, "dt", "it is the time between steps")
        self.dropout = _checks.number(dropout, "dropout")
        if not 0 <= self.dropout <= 1:
            raise _checks.fail("dropout", "in [0, 1]", self.dropout, "it is a probability")
        self.bidirectional = bool(bidirectional)
        self.integrator = _checks.choice(integrator, "integrator", INTEGRATORS)
        self.output_size = None if output_size is None else _checks.positive_int(output_size, "output_size")
        options = {"device": device, "dtype": weights_dtype(dtype)}
        map_ = get(parametrization, fastest=1.0 / (TIMESCALES[0] * self.dt))
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else self.directions * self.hidden_size
            for suffix in self._suffixes(layer):
                self.add_module(f"recurrent{suffix}", get_structure(structure, self.hidden_size, map_, **options))
                self.register_parameter(f"weight_ih{suffix}", nn.Parameter(torch.empty(self.hidden_size, width, **options)))
                self.register_parameter(f"bias{suffix}", nn.Parameter(torch.empty(self.hidden_size, **options)) if bias else None)
        self.readout = None
        if self.output_size is not None:
            self.readout = nn.Linear(self.directions * self.hidden_size, self.output_size, bias=False, **options)
        self.reset_parameters()

    @property
    def directions(self) -> int:
        """D: 2 when bidirectional."""
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}"] + ([f"_l{layer}_reverse"] if self.bidirectional else [])

    def reset_parameters(self) -> None:
        """Time constants spread evenly in logarithm from 1 to 100 steps; U such that no state is driven beyond its own scale.

        A single mode has 100 steps. The pairs of "complex" have ceil(m / 2) time constants and turn as `assign_timescales` says. State i sees U_i x of variance min(1, rate_i dt) for white inputs of unit variance, which keeps slow states, who add up many steps, and
        fast ones alike. b = 0, so that no input means no output. Other time constants: `perdure.nn.init`.
        """
        if next(self.parameters()).is_meta:
            return
        cell = next(self.cells())
        low, high = (math.log10(t * self.dt) for t in TIMESCALES)
        times = cell.by_state(torch.logspace(low if cell.rate_count > 1 else high, high, cell.rate_count, dtype=torch.float64))
        rates = 1 / times
        for layer in range(self.num_layers):
            for suffix in self._suffixes(layer):
                self._assign_timescales(cast(Structure, self.get_submodule(f"recurrent{suffix}")), times)
                weight, bias = getattr(self, f"weight_ih{suffix}"), getattr(self, f"bias{suffix}")
                nn.init.uniform_(weight, -((3 / weight.shape[1]) ** 0.5), (3 / weight.shape[1]) ** 0.5)
                with torch.no_grad():
                    weight.mul_((rates * self.dt).clamp(max=1).sqrt()[:, None].to(weight))
                if bias is not None:
                    nn.init.zeros_(bias)
        if self.readout is not None:
            self.readout.reset_parameters()

    @torch.no_grad()
    def assign_timescales(self, times: Any) -> None:
        """Set the time after which e^-1 of each mode is left, in every layer, in the unit of dt.

        The pairs of "complex" then turn by a radian in their time constant, w = r = 1 / tau. Euler's step multiplies such a mode by
        |1 - (r - i w) dt|, which at r dt = 1 is 1: no decay at all. There w is such that this is e^{-r dt}, about r again for slow modes, and 0 where a
        real mode already decays by less. Other structures get real modes, "symmetric", "dissipative" and "dense" in a random basis, drawn by
        torch's global generator.

        Args:
            times: (m,), one a state; for "complex" (ceil(m / 2),), one a pair, or (m,), the same for both states of a pair.

        Raises:
            ArgumentError: a wrong shape, a time that is not positive and finite or that the map does not reach, two times in a pair.

        >>> layer = ContinuousRNN(1, 4, structure="complex", dtype=torch.float64)
        >>> layer.assign_timescales([1.0, 1000.0])
        >>> layer.recurrent_l0.frequency.detach().round(decimals=6).tolist()  # of the fast one 1 / e, as |1 - 1 + i / e| = 1 / e
        [0.367879, 0.000999]
        """
        cell = next(self.cells())
        times = torch.as_tensor(times, dtype=torch.float64).detach().cpu()
        if tuple(times.shape) not in ((self.hidden_size,), (cell.rate_count,)):
            want = " or ".join(f"({n},)" for n in dict.fromkeys((cell.rate_count, self.hidden_size)))
            raise _checks.fail("times", f"of shape {want}", tuple(times.shape), "one time constant a mode")
        if not bool((times.isfinite() & (times > 0)).all()):
            raise _checks.fail("times", "positive and finite", times.min().item(), "a time constant is a time")
        for cell in self.cells():
            self._assign_timescales(cell, times if len(times) == self.hidden_size else cell.by_state(times))

    def _assign_timescales(self, cell: Structure, times: Tensor) -> None:
        rates = 1 / times
        if not isinstance(cell, Complex):
            return cell.assign_spectrum(rates)
        turns = rates[0 : 2 * (self.hidden_size // 2) : 2]
        if self.integrator == "euler":
            x = turns * self.dt  # |1 - x + i w dt| = e^-x, and e^-x - (1 - x) through expm1, as slow modes have x near 0
            turns = ((torch.expm1(-x) + x) * (torch.exp(-x) + 1 - x)).clamp(min=0).sqrt() / self.dt
        return cell.assign_spectrum(rates, turns)

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """Output sequence and last states.

        Args:
            input: (T, B, d), (B, T, d) with batch_first, (T, d), or a packed sequence.
            hx: h_0, (D L, B, m), or (D L, m) for one sequence; None for zeros. One tensor, as for torch.nn.RNN.

        Returns:
            Output, in the form of the input, and h_n. NaN and infinity in the input are passed on, from their step on.

        Raises:
            ArgumentError: shapes that do not fit. ArgumentTypeError: tensors of another type than the layer's.
        """
        batch = read(input, self.input_size, self.weight_ih_l0.dtype, self.batch_first)
        start = self._start(hx, batch)
        if batch.lengths is None and (found := self._outputs(batch.x, start[0])) is not None:
            return batch.restore(found[0]), found[1][None] if batch.batched else found[1]
        y, last = batch.x, []
        for layer in range(self.num_layers):
            states = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                given = batch.reverse(y) if direction else y
                found, end = self._layer(suffix, given, start[self.directions * layer + direction])
                last.append(batch.last(found, end))
                states.append(batch.reverse(found) if direction else found)
            y = states[0] if len(states) == 1 else torch.cat(states, -1)
            if self.dropout and self.training and layer + 1 < self.num_layers:
                y = functional.dropout(y, self.dropout)
        if self.readout is not None:
            y = self.readout(y)
        h_n = torch.stack(last)
        return batch.restore(y), h_n if batch.batched else h_n[:, 0]

    def step(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step: x (B, d) and states (L, B, m) to the output (B, m) and new states, as `forward` on a sequence of one.

        Raises:
            ArgumentError: the layer is bidirectional, or x is not (B, d).
        """
        if self.bidirectional:
            raise _checks.fail("bidirectional", "False for step()", True, "the backward direction starts at the end of the sequence")
        if tensor(x, "x", f"(B, {self.input_size})").ndim != 2:
            raise _checks.fail("x", "of shape (B, d)", tuple(x.shape), "step() takes one time step of a batch")
        y, h_n = self(x[:, None] if self.batch_first else x[None], hx)
        return y[:, 0] if self.batch_first else y[0], h_n

    def cells(self) -> Iterator[Structure]:
        """The recurrent weight of every layer and direction, in order."""
        return (module for module in self.children() if isinstance(module, Structure))

    def recurrent_parameters(self) -> Iterator[nn.Parameter]:
        """The raw parameters of every W: those that set time constants."""
        return (parameter for cell in self.cells() for parameter in cell.parameters())

    def flatten_parameters(self) -> None:
        """Nothing to do; here for code written for torch.nn.RNN."""

    def _start(self, hx: Tensor | None, batch: Batch) -> Tensor:
        shape = (self.directions * self.num_layers, batch.x.shape[1], self.hidden_size)
        if hx is None:
            return torch.zeros(shape, dtype=self.weight_ih_l0.dtype, device=batch.x.device)
        want = shape if batch.batched else (shape[0], shape[2])
        hx = one_state(hx, "hx", want)
        given = hx if batch.batched else hx[:, None] if hx.ndim == 2 else hx
        if tuple(given.shape) != shape:
            raise _checks.fail(
                "hx", f"of shape {want}", tuple(hx.shape), "(directions x layers, B, hidden_size), without B for one sequence"
            )
        if hx.dtype != self.weight_ih_l0.dtype:
            raise ArgumentTypeError(
                f"expected argument `hx` to be of {self.weight_ih_l0.dtype}, as the layer, but got {hx.dtype}: convert it"
            )
        return given

    def _outputs(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor] | None:
        """Outputs (T, B, output_size) and the last state where nothing needs the states between: no gradient, no hook on the readout; else None."""
        readout = self.readout
        if self.num_layers > 1 or self.bidirectional or self.integrator != "euler" or type(readout) is not nn.Linear:
            return None
        cell, into, bias = cast(Structure, self.recurrent_l0), self.weight_ih_l0, cast(Tensor | None, self.bias_l0)
        tensors = [x, into, readout.weight, h0, *cell.parameters()] + ([] if bias is None else [bias])
        if readout.bias is not None or _watched(readout) or torch.is_autocast_enabled(x.device.type) or not serves(*tensors):
            return None
        weight = cell.vector() if isinstance(cell, Diagonal) else cell()
        if weight.dtype != x.dtype:
            return None
        return outputs(x, into, bias, weight, readout.weight, step=self.dt, activation=self.activation, h0=h0)

    def _layer(self, suffix: str, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        """States (T, B, m) of one layer in one direction, and the last one.

        The recurrence runs in float32 at least: half precision would hold no time constant beyond a few hundred steps.
        """
        into, bias = getattr(self, f"weight_ih{suffix}"), getattr(self, f"bias{suffix}")
        cell = cast(Structure, self.get_submodule(f"recurrent{suffix}"))
        weight = cell.vector() if isinstance(cell, Diagonal) else cell()
        kind = x.dtype
        if kind in WIDE and kind == into.dtype == weight.dtype == h0.dtype and not torch.is_autocast_enabled(x.device.type):
            return self._integrate(x, into, bias, weight, h0)
        drive = functional.linear(x, into, bias)
        wide = torch.promote_types(torch.promote_types(drive.dtype, weight.dtype), torch.float32)
        with torch.autocast(drive.device.type, enabled=False):
            states, last = self._integrate(drive.to(wide), None, None, weight.to(wide), h0.to(wide))
        return states.to(drive.dtype), last.to(h0.dtype)

    def _integrate(self, u: Tensor, into: Tensor | None, bias: Tensor | None, weight: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        """States driven by U u + b, or by u itself where U is None."""
        gain = self.dt if self.integrator == "euler" else None
        if self.integrator == "exponential":
            gain = integrators.exponential_gain(weight, self.dt)
        if gain is None or (weight.ndim == 2 and isinstance(gain, Tensor)):
            drive = u if into is None else functional.linear(u, into, bias)
            if gain is None:
                return integrators.rk4(drive, weight, h0, self.dt, self.activation)
            return integrators.with_gain(drive, weight, gain, h0, self.activation)
        if into is None:
            return recurrence(u, weight, h0, step=gain, activation=self.activation)
        return driven(u, into, bias, weight, h0, step=gain, activation=self.activation)

    def extra_repr(self) -> str:
        """The arguments that are not defaults."""
        parts = [
            f"{self.input_size}, {self.hidden_size}",
            f"activation={self.activation!r}",
            f"structure={self.structure!r}",
            f"dt={self.dt:g}",
        ]
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "output_size": None,
            "integrator": "euler",
        }
        return ", ".join(parts + [f"{name}={getattr(self, name)!r}" for name, value in defaults.items() if getattr(self, name) != value])


def _watched(module: nn.Module) -> bool:
    """Whether anything but the module's own code runs when it is called."""
    hooks = module._forward_hooks or module._forward_pre_hooks or torch.nn.modules.module._has_any_global_hook()
    return bool(hooks) or "forward" in vars(module)
