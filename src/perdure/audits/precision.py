r"""What coarser number formats do to a memory.

*Measured.* The weights of a copy are rounded to a format, everything else staying as it is ("weights"); or the whole model is run in it, weights, states and
sums ("activations"). The same inputs x, pulses or steps, are given to the model as it is and to the changed one: with responses z and z',

    M(k) = max_x |z_k| / |x|,     error = max_k max_x |z'_k - z_k| / |x|  over  max_k M(k)

(|.| over output channels the largest). With as many inputs as channels, M is that of unit vectors; it serves to compare and is a lower bound of the memory function.

*Formats.* bfloat16, float16 and float32 round each number to 8, 11 and 24 significant bits. int8: a matrix is scaled so that its largest entry is 127 and
rounded to integers ("int8": one scale for a tensor, "int8 per channel": one for each row); recurrent vectors likewise, biases and other vectors stay.

*What a format can hold.* The largest number below 1 is 1 - u, with u = 2^-p for p significant bits, so that a pole stored as it is, h' = a h, holds no finite
time constant longer than -1 / log(1 - u), about 1/u steps: 256 for bfloat16, 2048 for float16, 1.7e7 for float32, and 126.5 for int8 where the largest weight is 1.
A time constant T stored as v = log T is off by the factor e^dv with |dv| <= u |v|: 5.5 % at T = 1e6 in bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from perdure import _checks
from perdure._typing import Array, Tensor
from perdure.adapters import adapt, frozen
from perdure.audits.reading import crossing, law_of
from perdure.errors import ArgumentError
from perdure.memory.precision import output_eps, rounding
from perdure.memory.probes import Probe
from perdure.memory.running import Running, backgrounds, directions, listed, run
from perdure.stability.nonlinear.groups import kinds

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FORMATS = (*TYPES, "int8", "int8 per channel")
LONG = 1e6  # steps: the time constant for which the error of its logarithm is given
INPUTS = 4
LARGEST_INT8 = 127


@dataclass(frozen=True)
class Row:
    """One format beside the model as it is.

    Attributes:
        format: its name.
        where: "weights" alone or also "activations".
        half_life: of the changed model, inf for never, None where it cannot be read off the horizon measured.
        horizon_1: the time after which 1 % is left, likewise.
        ratio: half-life over that of the model as it is, None where one is missing or infinite, or where both are below a step.
        error: largest change of a response, over the peak of the memory; NaN where it was not run.
        status: "measured", "measured; half-life (1 %) at least ..." where it is beyond the horizon and no law is called, or below the format's own rounding, or "not run: ..." with the reason.
    """

    format: str
    where: str
    half_life: float | None
    horizon_1: float | None
    ratio: float | None
    error: float
    status: str


@dataclass(frozen=True)
class Holds:
    """What a format can hold of a time constant.

    Attributes:
        format: its name.
        pole: the longest finite time constant of a pole a < 1 stored as it is, in steps.
        log_error: largest relative error of a time constant of 1e6 steps stored as its logarithm.
    """

    format: str
    pole: float
    log_error: float


@dataclass(frozen=True)
class Precision:
    """What number formats do to a memory.

    Attributes:
        reference: the model as it is, format "as it is".
        rows: one a format and place.
        holds: what each format can hold.
        times: step * dt, (T,).
        curves: M by "format where", (T,), with "as it is" first.
        probe: "impulse" or "heaviside".
        inputs: how many.
        dt, seed, dtype: of the measurement.
        status: how the numbers are known.
        notes: what a reader of the numbers should know.
        noise_floor: of the curve of the model as it is.
    """

    reference: Row
    rows: tuple[Row, ...]
    holds: tuple[Holds, ...]
    times: Array = field(repr=False)
    curves: dict[str, Array] = field(repr=False)
    probe: str
    inputs: int
    dt: float
    seed: int
    dtype: str
    status: str
    notes: tuple[str, ...] = ()
    noise_floor: float = 0.0

    def row(self, format: str, where: str = "weights") -> Row:
        """The row of a format.

        Raises:
            ArgumentError: it was not asked for.
        """
        name = _checks.choice(f"{format} {where}", "format", [f"{r.format} {r.where}" for r in self.rows])
        return next(r for r in self.rows if f"{r.format} {r.where}" == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON; an infinite time is the string "never"."""

        def plain(row: Any) -> dict[str, Any]:
            return {k: "never" if isinstance(v, float) and math.isinf(v) else listed(v) for k, v in vars(row).items()}

        names = ("probe", "inputs", "dt", "seed", "dtype", "status")
        return {
            "reference": plain(self.reference), "rows": [plain(row) for row in self.rows], "holds": [plain(row) for row in self.holds],
            "times": listed(self.times), "curves": {name: listed(values) for name, values in self.curves.items()},
            **{name: getattr(self, name) for name in names}, "notes": list(self.notes),
        }  # fmt: skip

    def to_frame(self) -> Any:
        """A pandas table, one row a format and place, the model as it is first."""
        import pandas as pd

        return pd.DataFrame([vars(row) for row in (self.reference, *self.rows)])


def precision(
    model: Any,
    *,
    horizon: int = 512,
    dt: float = 1.0,
    probe: str = "impulse",
    background: Any = None,
    formats: Iterable[str] = FORMATS,
    activations: bool = True,
    inputs: int | None = None,
    bound: float = 1.0,
    input_size: int | None = None,
    batch_first: bool | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    seconds: float | None = None,
) -> Precision:
    """What coarser number formats do to the memory of a model.

    Args:
        model: as for `perdure.memory_function`.
        horizon: steps to measure, at least 16.
        dt: time between steps.
        probe: "impulse" or "heaviside".
        background: input to which the probe is added: "zeros" (None), "noise", or an array (T, d) or (N, T, d), of which the first sequence is taken.
        formats: names out of `FORMATS`.
        activations: whether to run the model in each floating-point format, too.
        inputs: how many; up to this number of channels each has one of its own, else they are random signs. None takes 4.
        bound: their size.
        input_size: d; None asks the model.
        batch_first: as for `perdure.memory_function`.
        seed: of the inputs.
        dtype: floating-point type of the model as it is.
        seconds: time to spend: what does not fit is not run, and its row says so.

    Returns:
        A `Precision`.

    Raises:
        ArgumentError: an argument breaks its rule.
        ModelError: outputs that are not finite.

    >>> [(h.format, round(h.pole)) for h in holds(FORMATS)]
    [('float32', 16777215), ('bfloat16', 255), ('float16', 2047), ('int8', 126), ('int8 per channel', 126)]
    """
    horizon = _checks.positive_int(horizon, "horizon", "it takes some steps to see a decay", least=16)
    _checks.choice(probe, "probe", ("impulse", "heaviside"))
    names = (formats,) if isinstance(formats, str) else tuple(formats)
    wanted = tuple(dict.fromkeys(_checks.choice(name, "formats", FORMATS) for name in names))
    inputs = INPUTS if inputs is None else _checks.positive_int(inputs, "inputs", "it is the number of inputs")
    bound = _checks.positive(bound, "bound", "it is the size of the inputs")

    def body(running: Running) -> Precision:
        given = _Given(running, Probe(probe, horizon, dt), background, inputs, bound, seed)
        return _measure(model, running, given, wanted, activations, seed)

    return run(model, body, "precision", dtype=dtype, seed=seed, seconds=seconds, dt=dt, input_size=input_size, batch_first=batch_first)


class _Given:
    """The inputs, and the responses to them."""

    def __init__(self, running: Running, probe: Probe, background: Any, inputs: int, bound: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.probe, self.bound = probe, bound
        around = backgrounds(background, 1, probe.horizon, running.size, bound, rng)[0]
        x = bound * directions(running.size, inputs, rng)
        u = around + probe.inputs(torch.as_tensor(x)).numpy()
        self.u, self.count = np.concatenate([around[None], u]), len(x)

    def responses(self, running: Running) -> tuple[Tensor, float]:
        """Slopes over the size of x, (R, T, o) in float64, and their noise."""
        y = running(running.tensor(self.u)).double()
        eps = max(output_eps(y[1]), float(torch.finfo(running.twin.dtype).eps))
        noise = rounding(eps, float(y.abs().max())) / (self.probe.unit * self.bound)
        return self.probe.read(y[1:] - y[:1]) / self.bound, noise


def _measure(model: Any, running: Running, given: _Given, wanted: tuple[str, ...], activations: bool, seed: int) -> Precision:
    module = running.call.module
    reference, noise = given.responses(running)
    rows_each, steps = len(given.u), given.probe.horizon
    peak = float(reference.abs().max())
    first = _row("as it is", "weights and activations", reference, noise, reference, None, given)
    rows, curves = [], {"as it is": _curve(reference)}

    def add(name: str, where: str, call: Running) -> None:
        z, floor = given.responses(call)
        rows.append(_row(name, where, z, floor, reference, first.half_life, given))
        curves[f"{name} {where}"] = _curve(z)

    notes = list(running.notes)
    if module is None:
        notes.append("a function without weights that can be seen: nothing was rounded")
    for name in wanted:
        if module is None:
            break
        if not running.affords(rows_each, steps):
            rows.append(_missing(name, "weights", "no time was left"))
            continue
        with _rounded(module, name):
            try:
                add(name, "weights", running)
            except (ArgumentError, ValueError) as error:
                rows.append(_missing(name, "weights", str(error).splitlines()[0][:160]))
    for name in (n for n in wanted if n in TYPES and module is not None and activations):
        if not running.affords(2 * rows_each, steps):
            rows.append(_missing(name, "activations", "no time was left"))
            continue
        try:
            with frozen(model, TYPES[name]) as twin:
                if twin.dtype != TYPES[name]:
                    raise TypeError("the model cannot be copied into another type")
                call = adapt(twin.model, input_size=running.size, dt=given.probe.dt, batch_first=None)
                own = Running(running.call.on(call.model), twin, (), running.clock)
                if not own.times(rows_each, steps):
                    rows.append(_missing(name, "activations", "no time was left"))
                    continue
                add(name, "activations", own)
        except Exception as error:  # a model need not run in every type
            rows.append(_missing(name, "activations", f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"))
    if peak == 0:
        notes.append("the inputs leave no response: errors are absolute")
    status = f"{given.probe.name} responses to {given.count} input{'s' * (given.count > 1)} of size {given.bound:g}, the same for all formats: errors are lower bounds over inputs"
    return Precision(
        first, tuple(rows), holds(wanted), np.arange(steps) * given.probe.dt, curves, given.probe.name, given.count, given.probe.dt, seed,
        str(running.twin.dtype).removeprefix("torch."), status, tuple(notes), noise,
    )  # fmt: skip


def _curve(z: Tensor) -> Array:
    return z.abs().amax((0, 2)).cpu().numpy()


def _row(name: str, where: str, z: Tensor, noise: float, reference: Tensor, half: float | None, given: _Given) -> Row:
    curve = {"times": np.arange(z.shape[1]) * given.probe.dt, "values": _curve(z), "noise_floor": noise, "status": "searched"}
    times: list[float | None] = []
    fit, status = law_of(curve), "measured"
    for level in (0.5, 0.01):
        try:
            found = crossing(curve, level, fit)
            times.append(None if found.is_bound else float(found.value))
            if found.is_bound:
                what = "half-life" if level == 0.5 else "1 %"
                status += f"; {what} at least {found.value:.4g}" if found.value > 0 else f"; {what} is within rounding"
        except ArgumentError:
            times.append(None)
    mine = times[0]
    ratio = None
    if (
        half is not None
        and mine is not None
        and math.isfinite(half)
        and math.isfinite(mine)
        and half > 0
        and max(half, mine) > given.probe.dt
    ):
        ratio = mine / half
    peak = float(reference.abs().max())
    error = float((z - reference).abs().max()) / (peak if peak > 0 else 1.0)
    return Row(name, where, times[0], times[1], ratio, error, status)


def _missing(name: str, where: str, why: str) -> Row:
    return Row(name, where, None, None, None, math.nan, f"not run: {why}")


class _rounded:
    """The weights of a frozen copy rounded to a format, and put back afterwards."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module, self.name = module, name
        self.before: list[tuple[Tensor, Tensor]] = []

    def __enter__(self) -> None:
        table = kinds(self.module)
        for name, p in self.module.named_parameters():
            if p.is_floating_point() or p.is_complex():
                self.before.append((p, p.detach().clone()))
                p.data.copy_(rounded(p.detach(), self.name, recurrent=table[name][0] == "recurrent"))

    def __exit__(self, *_: object) -> None:
        for p, value in self.before:
            p.data.copy_(value)


def rounded(weight: Tensor, format: str, *, recurrent: bool = False) -> Tensor:
    """A weight as a format holds it, in its own type.

    Args:
        weight: any shape, real or complex.
        format: one of `FORMATS`.
        recurrent: int8 rounds vectors only if they are recurrent.

    >>> rounded(torch.tensor([[1.0, 0.999], [0.5, 0.01]]), "bfloat16").tolist()
    [[1.0, 1.0], [0.5, 0.010009765625]]
    >>> rounded(torch.tensor([[127.0, 3.4], [1.27, 0.014]]), "int8 per channel").tolist()[0]
    [127.0, 3.0]
    """
    if weight.is_complex():
        return torch.view_as_complex(rounded(torch.view_as_real(weight), format, recurrent=recurrent))
    if format in TYPES:
        return weight.to(TYPES[format]).to(weight)
    if weight.ndim < 2 and not recurrent:
        return weight
    largest = weight.abs().flatten(1).amax(1) if format == "int8 per channel" and weight.ndim > 1 else weight.abs().max()
    scale = (largest / LARGEST_INT8).clamp_min(torch.finfo(weight.dtype).tiny)
    scale = scale.view(-1, *[1] * (weight.ndim - 1)) if scale.ndim else scale
    return (weight / scale).round() * scale


def holds(formats: Iterable[str]) -> tuple[Holds, ...]:
    """What formats can hold of a time constant, in closed form."""
    found = []
    for name in formats:
        if name in TYPES:
            below = float(torch.finfo(TYPES[name]).eps) / 2
            step = below * math.log(LONG)
        else:
            below, step = 1 / LARGEST_INT8, math.log(LONG) / LARGEST_INT8 / 2
        found.append(Holds(name, -1 / math.log1p(-below), math.expm1(step)))
    return tuple(found)
