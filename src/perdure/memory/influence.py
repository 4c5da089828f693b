r"""Which layer looks how far: the influence of an input step on the output of every layer, by lag.

    rms_l(j) = sqrt( mean over channels o of sum_i |d y^l_{s+j, o} / d x_{s, i}|^2 ),      sup_l(j) = max_o sum_i |d y^l_{s+j, o} / d x_{s, i}|

for the output y^l of layer l and the input step s: the first one for causal models, the middle one for others, whose lags j have a sign (negative: the layer
answers before the input comes). Both are taken around given backgrounds: rms as the root mean square over them, sup as the largest; within a bin of lags
likewise.

All layers and all lags come out of one pair of runs of the model for each direction v of the nudge, by central differences

    (y^l(x + h v) - y^l(x - h v)) / 2h = J^l v + O(h^2).

With the d unit vectors for v both numbers are complete. Where d is larger, v are vectors of random signs: E |J_o v|^2 = sum_i J_oi^2, so that rms is an unbiased
estimate in its square (Hutchinson), with a standard error from the spread over directions and backgrounds, and max |J_o v| <= sum_i |J_oi| makes sup a lower bound.

The step h is eps^(1/3), eps being the precision that the outputs really have: a model that works in float32 inside gives no more in float64, which shows in tangents by
h and 2h.

For a linear recurrence y = c h, h' = W h + U x, rms and sup are the row norms of c W^j U.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from perdure import _checks
from perdure._typing import Array, Tensor
from perdure.errors import ArgumentError
from perdure.memory.blocks import Outputs, find, unstacked
from perdure.memory.precision import output_eps, rounding
from perdure.memory.running import Running, backgrounds, directions, listed, run

SINGLE = 16  # lags up to here each have a bin of their own
OCTAVE = 8  # bins for each doubling beyond
CALLED = 2  # directions in a call
AHEAD = 1e3  # roundings: more before the nudge is foresight
WHOLE = "output"


@dataclass(frozen=True)
class Influence:
    """How far the layers of a model look.

    Attributes:
        blocks: names of the layers in order of execution, (L,); the last is "output", the whole model.
        lags: first lag of each bin, (K,), in steps; negative: an answer before the input.
        last: last lag of each bin, (K,).
        rms: see the module, (L, K).
        error: standard error of `rms`, (L, K); 0 where it is exact for one background.
        sup: see the module, (L, K).
        noise_floor: of each layer, (L,): values under it are rounding.
        signed: whether there are negative lags.
        exact: whether all input channels were tried; else rms is an estimate and sup a lower bound.
        directions: nudges for each background.
        backgrounds: how many.
        dt: time between steps.
        seed: of backgrounds and directions.
        dtype: floating-point type of the measurement.
        status: how the numbers are known.
        notes: what a reader of the numbers should know.
    """

    blocks: tuple[str, ...]
    lags: Array = field(repr=False)
    last: Array = field(repr=False)
    rms: Array = field(repr=False)
    error: Array = field(repr=False)
    sup: Array = field(repr=False)
    noise_floor: Array = field(repr=False)
    signed: bool
    exact: bool
    directions: int
    backgrounds: int
    dt: float
    seed: int
    dtype: str
    status: str
    notes: tuple[str, ...] = ()

    @property
    def normalized(self) -> Array:
        """Rms of each layer over its own peak, (L, K)."""
        return self.rms / np.maximum(self.rms.max(1, keepdims=True), 1e-300)

    def reach(self, share: float = 0.99) -> Array:
        """The least |lag| within which that share of each layer's squared influence lies, (L,); of bins their end away from 0.

        Args:
            share: in (0, 1).
        """
        share = _checks.positive(share, "share", "it is a share of the squared influence")
        if share >= 1:
            raise _checks.fail("share", "below 1", share, "the last part of an influence never ends")
        size = np.maximum(np.abs(self.lags), np.abs(self.last))
        order = np.argsort(size, kind="stable")
        power = np.where(self.rms > self.noise_floor[:, None], self.rms, 0.0) ** 2 * (self.last - self.lags + 1)
        sums = np.cumsum(power[:, order], axis=1)
        at = (sums < share * sums[:, -1:]).sum(1)
        return size[order][np.minimum(at, len(order) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON."""
        arrays = {name: listed(getattr(self, name)) for name in ("lags", "last", "rms", "error", "sup", "noise_floor")}
        names = ("signed", "exact", "directions", "backgrounds", "dt", "seed", "dtype", "status")
        reach = {str(share): listed(self.reach(share)) for share in (0.5, 0.9, 0.99)}
        return {
            "blocks": list(self.blocks),
            "reach": reach,
            **{name: getattr(self, name) for name in names},
            "notes": list(self.notes),
            **arrays,
        }

    def to_frame(self) -> Any:
        """A pandas table, one row a layer and bin: block, lag, last_lag, rms, error, sup."""
        import pandas as pd

        count = len(self.lags)
        return pd.DataFrame({
            "block": np.repeat(self.blocks, count), "lag": np.tile(self.lags, len(self.blocks)), "last_lag": np.tile(self.last, len(self.blocks)),
            "rms": self.rms.ravel(), "error": self.error.ravel(), "sup": self.sup.ravel(),
        })  # fmt: skip


def influence(
    model: Any,
    *,
    horizon: int = 256,
    dt: float = 1.0,
    background: Any = "noise",
    count: int = 2,
    bound: float = 1.0,
    directions: int = 8,
    lags: Any = "log",
    input_size: int | None = None,
    batch_first: bool | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    seconds: float | None = None,
    blocks: Any = None,
    causal: bool | None = None,
) -> Influence:
    """The influence of an input step on the output of every layer, by lag.

    Args:
        model: as for `perdure.memory_function`; models that see the future too.
        horizon: steps of the sequences, at least 4.
        dt: time between steps.
        background: input around which to nudge: "noise" (`count` sequences uniform in [-bound, bound]), "zeros", or an array (T, d) or (N, T, d).
        count: backgrounds, at most.
        bound: of the noise.
        directions: nudges tried for each background; input channels up to this number are all tried.
        lags: "log": every lag up to 16, then 8 bins for each doubling; "all"; or the lags themselves, integers.
        input_size: d; None asks the model.
        batch_first: as for `perdure.memory_function`.
        seed: of backgrounds and directions.
        dtype: floating-point type to measure in.
        seconds: time to spend: fewer directions and backgrounds where it is short, at least two nudges.
        blocks: names of the modules to look at, as in `named_modules`; None finds the layers: the entries of the longest list of modules, and recurrent
            layers, where stacks of torch are taken apart.
        causal: True nudges the first step, False the middle one; None tries whether an output moves before the input does.

    Returns:
        An `Influence`.

    Raises:
        ArgumentError: an argument breaks its rule; a name in `blocks` that no module has.
        ModelError: outputs that are not finite.

    >>> layers = torch.nn.Sequential(torch.nn.ConstantPad1d((2, 0), 0.0), torch.nn.Conv1d(1, 1, 3, bias=False))
    >>> with torch.no_grad():
    ...     _ = layers[1].weight.copy_(torch.tensor([[[0.25, 0.5, 1.0]]]))
    >>> found = influence(layers, horizon=8)
    >>> found.blocks, found.rms[-1].round(9).tolist(), found.reach().tolist()
    (('1', 'output'), [1.0, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0], [2, 2])
    """
    horizon = _checks.positive_int(horizon, "horizon", "it takes some steps to see a lag", least=4)
    count = _checks.positive_int(count, "count", "it is the number of backgrounds")
    bound = _checks.positive(bound, "bound", "it is the largest |x|_inf of the inputs")
    nudges = _checks.positive_int(directions, "directions", "a standard error takes two nudges", least=2)
    if isinstance(lags, str):
        _checks.choice(lags, "lags", ("log", "all"))

    def body(running: Running) -> Influence:
        return _Measurement(running, horizon, background, count, bound, nudges, seed, blocks, causal).result(lags, dt, seed)

    return run(model, body, "influence", dtype=dtype, seed=seed, seconds=seconds, dt=dt, input_size=input_size, batch_first=batch_first)


class _Coarsest(TorchDispatchMode):
    """Follows the coarsest floating-point type of the tensors made inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.eps = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for item in out if isinstance(out, tuple | list) else (out,):
            if isinstance(item, torch.Tensor) and item.is_floating_point():
                self.eps = max(self.eps, float(torch.finfo(item.dtype).eps))
        return out


class _Measurement:
    """Nudges so far."""

    def __init__(
        self,
        running: Running,
        horizon: int,
        background: Any,
        count: int,
        bound: float,
        nudges: int,
        seed: int,
        names: Any,
        causal: bool | None,
    ) -> None:
        rng = np.random.default_rng(seed)
        running.call = unstacked(running.call)
        self.running, self.notes = running, list(running.notes)
        self.around = backgrounds(background, count, horizon, running.size, bound, rng)
        y = self._answers(rng, bound)
        self.eps = max(
            float(torch.finfo(running.twin.dtype).eps), output_eps(y[1])
        )  # of a model that works in float32 inside, that of float32
        self.step = self._foresight(y) if causal is None else 0 if causal else horizon // 2
        self.v = directions(running.size, nudges, rng)
        self.exact = len(self.v) == running.size and running.size <= nudges
        self.watched = _named(running, names)
        self._settle()

    def _settle(self) -> None:
        """Where single precision is at work inside, tangents by steps h and 2h differ by more than the outputs' own type explains."""
        single = float(torch.finfo(torch.float32).eps)
        if self.eps >= single:
            return
        try:
            with _Coarsest() as seen:
                one, two = (
                    self._tangents(Outputs(self.running.call.layout), self.around[0], self.v[:1], times)[WHOLE] for times in (1.0, 2.0)
                )
        except NotImplementedError:  # a part of the model that cannot be followed
            return
        if seen.eps >= single and float(np.abs(one[0] - two[0]).max()) > one[1]:
            self.eps = single

    def _answers(self, rng: np.random.Generator, bound: float) -> Tensor:
        """Outputs of a background and of the same changed from the middle step on, (2, T, o)."""
        x = np.repeat(self.around[:1], 2, 0)
        middle = x.shape[1] // 2
        x[1, middle:] += rng.uniform(-bound, bound, x[1, middle:].shape)
        return self.running(self.running.tensor(x))

    def _foresight(self, y: Tensor) -> int:
        """The step to nudge: 0 where outputs stay as they are until the middle step when the input changes from there on, else the middle one."""
        middle = y.shape[1] // 2
        limit = AHEAD * self.eps * float(y.abs().max())
        return middle if float((y[1, :middle] - y[0, :middle]).abs().max()) > limit else 0

    def result(self, lags: Any, dt: float, seed: int) -> Influence:
        running, steps = self.running, self.around.shape[1]
        first, last = _bins(lags, -self.step, steps - self.step - 1)
        squares: dict[str, list[Array]] = {}
        peaks: dict[str, Array] = {}
        floors: dict[str, float] = {}
        done = 0
        outputs = Outputs(running.call.layout)
        with outputs.watching(self.watched):
            for x in self.around:
                if done and not running.affords(2 * len(self.v), steps):
                    self.notes.append(f"{done} of {len(self.around)} backgrounds in the time there was")
                    break
                tried, rows = 0, {}
                for part in np.array_split(self.v, -(-len(self.v) // CALLED)):
                    if tried and not self.exact and not running.affords(2 * len(part), steps):
                        self.notes.append(f"{tried} of {len(self.v)} directions in the time there was")
                        break
                    for name, (tangent, floor) in self._tangents(outputs, x, part).items():
                        rows.setdefault(name, []).append(tangent)
                        floors[name] = max(floors.get(name, 0.0), floor)
                    tried += len(part)
                for name, parts in rows.items():
                    j = np.concatenate(parts)  # (R, T, C)
                    own = (j**2).sum(0)[None] if self.exact else j**2
                    squares.setdefault(name, []).append(_binned(own.mean(-1), first, last, self.step, np.mean))
                    size = np.abs(j).sum(0).max(-1) if self.exact else np.abs(j).max((0, -1))
                    peak = _binned(size[None], first, last, self.step, np.max)[0]
                    peaks[name] = np.maximum(peaks[name], peak) if name in peaks else peak
                done += 1
        names = [*(name for name in squares if name != WHOLE), WHOLE]
        all_ = {name: np.concatenate(squares[name]) for name in names}
        rms = np.stack([np.sqrt(all_[name].mean(0)) for name in names])
        spread = np.stack(
            [all_[name].std(0, ddof=1) / len(all_[name]) ** 0.5 if len(all_[name]) > 1 else np.zeros(len(first)) for name in names]
        )
        error = spread / (2 * np.maximum(rms, 1e-300))
        noise = np.array([floors[name] for name in names])
        self.notes += [f"{name} is left out: {why}" for name, why in outputs.unread.items()]
        how = (
            "every input channel nudged"
            if self.exact
            else f"{len(self.v)} nudges of random signs: rms with its standard error, sup a lower bound"
        )
        status = f"{'exact up to central differences' if self.exact else 'estimate'} around {done} background{'s' * (done > 1)} ({how})"
        return Influence(
            tuple(names), first, last, rms, error, np.stack([peaks[name] for name in names]), noise, self.step > 0, self.exact, len(self.v), done, dt, seed,
            str(running.twin.dtype).removeprefix("torch."), status, tuple(self.notes),
        )  # fmt: skip

    def _tangents(self, outputs: Outputs, x: Array, v: Array, times: float = 1.0) -> dict[str, tuple[Array, float]]:
        """J v by name, (R, T, C), and its rounding."""
        h = times * self.eps ** (1 / 3) * max(1.0, float(np.abs(x).max()))
        found: dict[str, tuple[Array, float]] = {}
        nudge = np.zeros((len(v), *x.shape))
        nudge[:, self.step] = h * v
        given = self.running.tensor(np.concatenate([x + nudge, x - nudge]))
        outputs.begin(len(given), x.shape[0])
        whole = self.running.call(given)
        for name, y in [*outputs.seen.items(), (WHOLE, whole)]:
            if not bool(torch.isfinite(y).all()):
                raise ArgumentError(
                    f"expected argument `model` to give finite outputs, but got NaN or infinity in {name}: it diverges; try a smaller `bound`"
                )
            up, down = y.double().chunk(2)
            noise = rounding(max(self.eps, torch.finfo(y.dtype).eps), float(y.abs().max())) / h
            found[name] = (((up - down) / (2 * h)).cpu().numpy(), noise)
        return found


def _named(running: Running, names: Any) -> list[tuple[str, torch.nn.Module]]:
    module = running.call.module
    if names is None:
        return find(module)
    known = {} if module is None else dict(module.named_modules())
    return [(_checks.choice(name, "blocks", known), known[name]) for name in names]


def _bins(lags: Any, least: int, most: int) -> tuple[Array, Array]:
    """First and last lag of each bin, in order."""
    if isinstance(lags, str):
        if lags == "all":
            every = np.arange(least, most + 1)
            return every, every
        edges = np.unique(np.concatenate([np.arange(SINGLE + 1), np.round(SINGLE * 2 ** (np.arange(1, 128) / OCTAVE))]).astype(int))
        first, last = edges, np.append(edges[1:] - 1, edges[-1])
        forth = [(a, min(b, most)) for a, b in zip(first, last, strict=True) if a <= most]
        back = [(-min(b, -least), -a) for a, b in zip(first, last, strict=True) if 0 < a <= -least][::-1]
        both = np.array(back + forth)
        return both[:, 0], both[:, 1]
    array = np.unique(_checks.finite_array(lags, "lags").ravel())
    if array.size == 0 or (array != np.round(array)).any() or array[0] < least or array[-1] > most:
        raise _checks.fail(
            "lags", f"'log', 'all' or integers from {least} to {most}", np.asarray(lags).tolist(), "a larger horizon has larger lags"
        )
    return array.astype(int), array.astype(int)


def _binned(values: Array, first: Array, last: Array, step: int, how: Any) -> Array:
    """Values by step, (R, T), taken together in bins of lags, (R, K)."""
    return np.stack([how(values[:, a + step : b + step + 1], axis=1) for a, b in zip(first, last, strict=True)], 1)
