r"""Every recurrent matrix of a model: eigenvalues, time constants, distance from instability, transient growth.

A recurrent layer near its equilibrium at zero input is h_{k+1} - h* = J (h_k - h*). An eigenvalue mu of J fades by |mu| a step: time constant
-1 / log|mu| steps. The stability radius is the norm of the least complex change of J that puts an eigenvalue on the unit circle, exact to rounding (level sets).
The growth is max_{k <= K} |J^k|_2: how much a disturbance can swell before it fades.

* RNN, GRU, LSTM of torch, each layer and direction by itself at the equilibrium it reaches under the resting outputs of the layer below (`perdure.linearise`); where
  none is found, at h = 0, which the status says: such a Jacobian is shown, and counts neither for the least radius nor for the slowest time. Of a stack
  as a whole the eigenvalues are those of its layers together; the radius is given by layer, since it is there that weights are changed.
* `perdure.nn.ContinuousRNN` likewise; `DiagonalSSM` through its poles e^{dt lambda}, of which the radius is 1 - max|mu| under changes of the poles.
* State-space parameters by the names that publications use: A_log with a step from dt_bias or dt_proj (Mamba; at zero input, where the step depends on
  it), log_A_real, A_imag and log_dt (S4D), nu_log and theta_log (LRU), time_decay (RWKV), recurrent_param (RG-LRU; at gates half open by the bias alone).
* Square matrices under names that sound recurrent, in modules nothing is known of, are listed as candidates: their eigenvalues, without a claim.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from perdure import _checks
from perdure._random import isolated
from perdure._typing import Array, Tensor
from perdure.adapters import Adapted
from perdure.adapters.owner import owner
from perdure.audits.poles import poles
from perdure.audits.stable_maps import protected
from perdure.errors import PerdureError
from perdure.memory.running import Clock, listed
from perdure.stability.cells import kind_of
from perdure.stability.equilibrium import NoEquilibriumError
from perdure.stability.gates import gru_jacobian, lstm_jacobian
from perdure.stability.linearisation import spectrum
from perdure.stability.linearise import linearise
from perdure.stability.radius import stability_radius

SOUNDS = re.compile(r"(hh|recurrent|w_?rec|reservoir|hidden_to_hidden|transition)|(^|\.)[WA]$")
EIGEN = 2048  # states: eigenvalues of more take minutes
POWERS = 512  # K
NOWHERE = "no equilibrium was found"


@dataclass(frozen=True)
class RecurrentMatrix:
    """One recurrent matrix, as the map of a step.

    Attributes:
        name: of the module or parameter.
        kind: "rnn", "gru", "lstm", "continuous", "diagonal", "gated" or "candidate".
        what: where it was taken, in a sentence.
        eigenvalues: mu, (n,), by falling modulus.
        stability_radius: least change of the map that ends its stability; 0 where it is unstable; None where it was not computed.
        growth: max_k |J^k|_2 over k <= 512; None where it was not computed (1 for diagonal maps).
        growth_step: that k.
        status: how the numbers are known.
        notes: what a reader of the numbers should know.
        stable_map: whether the weights behind it are trained through maps that keep it stable for every value (`perdure.audits.stable_maps`).
    """

    name: str
    kind: str
    what: str
    eigenvalues: Array = field(repr=False)
    stability_radius: float | None
    growth: float | None
    growth_step: int | None
    status: str
    notes: tuple[str, ...] = ()
    stable_map: bool = False

    @property
    def counts(self) -> bool:
        """Whether it says something about the model: neither a candidate nor taken where there is no equilibrium."""
        return self.kind != "candidate" and not self.status.startswith(NOWHERE)

    @property
    def spectral_radius(self) -> float:
        """The largest |mu|."""
        return float(np.abs(self.eigenvalues).max())

    @property
    def time_constants(self) -> Array:
        """-1 / log|mu|, (n,), in steps: inf from |mu| = 1 on, 0 for mu = 0."""
        size = np.abs(self.eigenvalues)
        with np.errstate(divide="ignore"):
            return np.where(size >= 1, np.inf, -1.0 / np.log(np.minimum(size, 1 - 1e-17)))

    @property
    def slowest(self) -> float:
        """The longest time constant, in steps."""
        return float(self.time_constants.max())

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON; an eigenvalue is [re, im], an infinite time None."""
        names = ("name", "kind", "what", "stability_radius", "growth", "growth_step", "status", "spectral_radius", "slowest")
        return {
            **{name: listed(getattr(self, name)) for name in names}, "notes": list(self.notes),
            "eigenvalues": [[float(mu.real), float(mu.imag)] for mu in self.eigenvalues], "time_constants": listed(self.time_constants),
        }  # fmt: skip


@dataclass(frozen=True)
class RecurrentMatrices:
    """The recurrent matrices of a model.

    Attributes:
        matrices: one a layer and direction.
        left_out: names with the reason.
        seconds: spent.
    """

    matrices: tuple[RecurrentMatrix, ...]
    left_out: dict[str, str]
    seconds: float

    @property
    def stability_radius(self) -> float | None:
        """The least over matrices that are no mere candidates and were taken at an equilibrium; None without one."""
        found = [m.stability_radius for m in self.matrices if m.counts and m.stability_radius is not None]
        return min(found) if found else None

    @property
    def slowest(self) -> float | None:
        """The longest time constant in steps, over the same; None without one."""
        found = [m.slowest for m in self.matrices if m.counts]
        return max(found) if found else None

    @property
    def status(self) -> str:
        """How the numbers are known."""
        return (
            "exact to rounding, of the linear map around each layer's equilibrium at zero input"
            if self.matrices
            else "no recurrent matrix was found"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers should know."""
        return tuple(f"{name} is left out: {why}" for name, why in self.left_out.items())

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON."""
        return {
            "matrices": [m.to_dict() for m in self.matrices], "stability_radius": listed(self.stability_radius), "slowest": listed(self.slowest),
            "left_out": dict(self.left_out), "seconds": self.seconds, "status": self.status, "notes": list(self.notes),
        }  # fmt: skip

    def to_frame(self) -> Any:
        """A pandas table, one row a matrix."""
        import pandas as pd

        return pd.DataFrame([
            {"name": m.name, "kind": m.kind, "states": m.eigenvalues.size, "spectral_radius": m.spectral_radius, "slowest": m.slowest,
             "stability_radius": m.stability_radius, "growth": m.growth, "status": m.status} for m in self.matrices
        ])  # fmt: skip


def recurrent_matrices(model: Any, *, largest: int = 512, seconds: float | None = None, seed: int = 0) -> RecurrentMatrices:
    """Eigenvalues, time constants, stability radius and transient growth of every recurrent matrix in a model.

    Args:
        model: a torch module, or what holds one (an adapted model, a bound method, a partial); of anything else nothing is found.
        largest: states up to which the stability radius is computed: it costs their cube, many times. Eigenvalues are computed up to 2048.
        seconds: time to spend: layers that come after its end are left out.
        seed: of what a model may draw.

    Returns:
        A `RecurrentMatrices`.

    Raises:
        ArgumentError: `largest`, `seconds` or `seed` out of range.
        ModelError: NaN in the weights of a recurrent layer.

    >>> layer = nn.RNN(1, 2, bias=False)
    >>> with torch.no_grad():
    ...     _ = layer.weight_hh_l0.copy_(torch.tensor([[0.9, 1.0], [0.0, 0.5]]))
    >>> (found,) = recurrent_matrices(layer).matrices
    >>> found.eigenvalues.real.round(6).tolist(), round(found.slowest, 3), round(found.stability_radius, 4), round(found.growth, 3)
    ([0.9, 0.5], 9.491, 0.0446, 1.681)
    """
    largest = _checks.positive_int(largest, "largest", "it is the number of states up to which the radius is computed")
    seed = _checks.positive_int(seed, "seed", "pass an integer of at least 0", least=0)
    clock = Clock(seconds)
    begun = clock.now()
    module = owner(model.model if isinstance(model, Adapted) else model)
    found: list[RecurrentMatrix] = []
    left_out: dict[str, str] = {}
    with isolated(seed), torch.inference_mode(False), torch.no_grad():
        for label, _, part, read in _all(module, largest):
            if clock.left <= 0:
                left_out[label] = "no time was left"
                continue
            try:
                made = read()
            except PerdureError as error:
                left_out[label] = str(error).splitlines()[0][:300]
            else:
                found.append(replace(made, stable_map=protected(part, made.eigenvalues if made.kind == "continuous" else None)))
    return RecurrentMatrices(tuple(found), left_out, clock.now() - begun)


def sizes(model: Any) -> dict[str, int]:
    """States of the dense matrices that `recurrent_matrices` finds in a model, by name; 0 for those that are diagonal or candidates, which cost little.

    >>> sizes(nn.Sequential(nn.LSTM(1, 4), nn.GRU(4, 3, bidirectional=True)))
    {'0.l0': 8, '1.l0': 3, '1.l0_reverse': 3}
    """
    with torch.inference_mode(False), torch.no_grad():
        return {label: states for label, states, _, _ in _all(owner(model.model if isinstance(model, Adapted) else model), 1)}


def _all(module: nn.Module | None, largest: int) -> Iterator[tuple[str, int, nn.Module, Any]]:
    """(label, states, part, function that makes the `RecurrentMatrix`) of every matrix in a model."""
    done: set[int] = set()
    for name, part in [] if module is None else module.named_modules():
        if id(part) in done:
            continue
        readers = _readers(name or type(part).__name__, part, largest)
        for label, states, read in readers:
            yield label, states, part, read
        if readers:
            done |= {id(inner) for inner in part.modules()}


def _readers(name: str, part: Any, largest: int) -> list[tuple[str, int, Any]]:
    """(label, states of a dense matrix, function that makes the `RecurrentMatrix`) for what a module itself holds."""
    if isinstance(part, nn.RNNBase) and kind_of(part):
        rest = _Resting(part)
        states = part.hidden_size * (2 if isinstance(part, nn.LSTM) else 1)
        return [
            (f"{name}.l{k}{'_reverse' if way else ''}", states, lambda k=k, way=way: _layer(rest, name, k, way, largest))
            for k in range(part.num_layers) for way in range(2 if part.bidirectional else 1)
        ]  # fmt: skip
    if isinstance(part, nn.RNNCellBase) and kind_of(part):
        states = part.hidden_size * (2 if isinstance(part, nn.LSTMCell) else 1)
        return [(name, states, lambda: _at_rest(name, str(kind_of(part)), part, None, largest, "of the cell"))]
    if hasattr(part, "poles") and hasattr(part, "timescales"):
        return [(f"{name}.l{k}", 0, lambda k=k: _diagonal_layer(name, part, k)) for k in range(part.poles()[0].shape[0])]  # pyright: ignore[reportCallIssue]
    if hasattr(part, "step") and hasattr(part, "hidden_size") and not getattr(part, "bidirectional", False):
        states = int(part.hidden_size) * int(getattr(part, "num_layers", 1))
        return [(name, states, lambda: _at_rest(name, "continuous", part, None, largest, "of a step, all layers together"))]
    known = poles(part)
    if known is not None:
        return [(name, 0, lambda: _diagonal(name, known.kind, known.what, known.values))]
    own = [
        (leaf, p) for leaf, p in part.named_parameters(recurse=False) if p.ndim == 2 and p.shape[0] == p.shape[1] and SOUNDS.search(leaf)
    ]
    return [(f"{name}.{leaf}", 0, lambda leaf=leaf, p=p: _candidate(f"{name}.{leaf}", p)) for leaf, p in own]


class _Resting:
    """Single layers of a stack of torch, with the resting input of each: the resting outputs of the layer below."""

    def __init__(self, stack: nn.RNNBase) -> None:
        self.stack, self.inputs = stack, {0: None}

    def single(self, k: int, way: int) -> nn.RNNBase:
        """One layer, one direction."""
        stack, suffix = self.stack, f"_l{k}{'_reverse' if way else ''}"
        names = [n for group in stack._all_weights for n in group if n.endswith(suffix)]  # by attribute: a weight may be parametrised
        own = {n.replace(suffix, "_l0"): getattr(stack, n).detach() for n in names}
        more = {"nonlinearity": stack.nonlinearity} if isinstance(stack, nn.RNN) else {}
        if stack.proj_size:
            more["proj_size"] = stack.proj_size
        like: Tensor = own["weight_ih_l0"]
        kind: Any = next(c for c in (nn.RNN, nn.GRU, nn.LSTM) if isinstance(stack, c))
        layer = kind(like.shape[1], stack.hidden_size, bias=stack.bias, device=like.device, dtype=like.dtype, **more)
        layer.load_state_dict(own)
        return layer

    def input(self, k: int) -> Any:
        """Of layer k; None for zeros, also where the layer below has no equilibrium."""
        if k not in self.inputs:
            outputs = []
            for way in range(2 if self.stack.bidirectional else 1):
                below = self.single(k - 1, way)
                try:
                    outputs.append(linearise(below, self.input(k - 1)).part("h_l0"))
                except NoEquilibriumError:
                    outputs.append(np.zeros(self.stack.proj_size or self.stack.hidden_size))
            self.inputs[k] = np.concatenate(outputs)  # pyright: ignore[reportArgumentType]
        return self.inputs[k]


def _layer(rest: _Resting, name: str, k: int, way: int, largest: int) -> RecurrentMatrix:
    label = f"{name}.l{k}{'_reverse' if way else ''}"
    return _at_rest(label, str(kind_of(rest.stack)), rest.single(k, way), rest.input(k), largest, "of the layer by itself")


def _at_rest(name: str, kind: str, layer: nn.Module, x: Any, largest: int, of: str) -> RecurrentMatrix:
    states = int(getattr(layer, "hidden_size", 1)) * int(getattr(layer, "num_layers", 1))
    if states > EIGEN:
        raise _checks.fail("model", f"of at most {EIGEN} states a layer", f"{states} in {name}", "eigenvalues of more take minutes")
    try:
        point = linearise(layer, x)
        return _dense(name, kind, f"Jacobian {of} at its equilibrium under no input", point.jacobian, largest, point.status, point.notes)
    except NoEquilibriumError as error:
        if kind == "gru":
            J = gru_jacobian(layer, x=x)
        elif kind == "lstm":
            J = lstm_jacobian(layer, x=x)
        else:
            raise
        return _dense(name, kind, f"Jacobian {of} at h = 0, which is no equilibrium", J, largest, f"{NOWHERE}: {error.kind}", ())


def _dense(name: str, kind: str, what: str, J: Array, largest: int, status: str, notes: tuple[str, ...]) -> RecurrentMatrix:
    mu = spectrum(J)
    radius = growth = step = None
    said = list(notes)
    if J.shape[0] <= largest:
        radius = float(stability_radius(J, discrete=True))
        growth, step = _growth(J)
    else:
        radius = 0.0 if float(np.abs(mu).max()) >= 1 else None  # unstable as it is
        said.append(f"{'growth is' if radius == 0 else 'radius and growth are'} left out: {J.shape[0]} states, computed up to {largest}")
    return RecurrentMatrix(name, kind, what, mu, radius, growth, step, status, tuple(said))


def _growth(J: Array) -> tuple[float, int]:
    """max_{k <= K} |J^k|_2 and the k; k = 0 gives 1. By powers, until they have decayed below a thousandth or grown beyond 1e12."""
    power, best, at = np.eye(J.shape[0]), 1.0, 0
    for k in range(1, POWERS + 1):
        power = power @ J
        bound = np.linalg.norm(power)
        if bound > best and (size := float(np.linalg.norm(power, 2))) > best:
            best, at = size, k
        if bound < 1e-3 or bound > 1e12:
            break
    return best, at


def _diagonal_layer(name: str, layer: Any, k: int) -> RecurrentMatrix:
    rates, frequencies = (t[k].double().cpu().numpy() for t in layer.poles())
    return _diagonal(
        f"{name}.l{k}",
        "diagonal",
        "poles e^(dt lambda) of the layer's modes",
        np.exp(float(layer.dt) * (-rates + 1j * frequencies)),
        -np.expm1(-float(layer.dt) * rates.min()),
    )


def _diagonal(name: str, kind: str, what: str, mu: Array, radius: float | None = None) -> RecurrentMatrix:
    mu = mu.ravel().astype(complex)
    mu = mu[np.lexsort((-mu.imag, -np.abs(mu)))]
    least = max(0.0, float(1 - np.abs(mu[0]))) if radius is None else max(0.0, float(radius))
    return RecurrentMatrix(
        name, kind, what, mu, least, max(1.0, float(np.abs(mu[0]) ** POWERS)) if math.isfinite(np.abs(mu[0])) else None, 0, "exact", ()
    )


def _candidate(name: str, p: Tensor) -> RecurrentMatrix:
    if p.shape[0] > EIGEN:
        raise _checks.fail("model", f"of at most {EIGEN} states", f"{p.shape[0]} in {name}", "eigenvalues of more take minutes")
    what = "a square matrix whose name sounds recurrent: its eigenvalues as it is, without knowing what the module does with it"
    return RecurrentMatrix(name, "candidate", what, spectrum(p.detach().double().cpu().numpy()), None, None, None, "candidate", ())
