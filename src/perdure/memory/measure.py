"""The memory function of any model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from perdure import _checks
from perdure._random import isolated
from perdure._typing import Array, Tensor
from perdure.adapters import Frozen, adapt, frozen
from perdure.adapters.frozen import native_dtype
from perdure.errors import ArgumentError, ArgumentTypeError, PerdureError
from perdure.memory.function import MemoryFunction
from perdure.memory.jacobian import jacobian
from perdure.memory.probes import NAMES, Probe
from perdure.memory.response import ELEMENTS, Responder
from perdure.memory.search import supremum

NORMALIZATIONS = ("linf", "affine")
NOISE_BACKGROUNDS = 8
MORE = 128  # inputs on top, for one channel
SETTLED = 1e-3
BLIND = (
    "nothing is left after the first step: the model has no memory, or this probe is blind to it (attention without positions averages "
    "equal values to the same value); try probe='impulse' or 'jacobian' with a background"
)


def memory_function(
    model: Any,
    *,
    horizon: int = 512,
    dt: float = 1.0,
    input_size: int | None = None,
    probe: str = "heaviside",
    bound: float = 1.0,
    normalization: str = "linf",
    seed: int = 0,
    probes: int | None = None,
    warmup: int | None = None,
    background: Any = None,
    dtype: torch.dtype = torch.float64,
    batch_first: bool | None = None,
) -> MemoryFunction:
    r"""The memory function of a model: how much of an input is left in the output, as time passes.

        M_B(t) = sup_{0 < |x|_inf <= B} |d/dt H_t(u^x)|_inf / |x|_inf,   u^x(s) = x for s >= 0, else 0        (heaviside)

    with |.|_inf over output channels. On a model with steps of dt, with z_k the output after step k less that for no input, this is the sup
    of |z_k - z_{k-1}| / (dt |x|). The other probes: "impulse", sup |z_k| / |x| for a pulse of height x / dt on step 0; "reversed", the
    slope after an input x of `warmup` steps is switched off; "jacobian", the norm from inf to inf of dy_k / dx_0, over dt. For a linear
    functional each of them is |rho(t)|_1. For a nonlinear model they differ, and the bound B matters: a tanh network forgets bounded inputs
    exponentially and unbounded ones like 1 / t.

    For a linear model (superposition is tested) the sup is exact, else the best of `probes` inputs: starts, then moves around the best of
    each stretch of time. The model is measured through a copy in evaluation mode and float64 and is left as it was, also when it raises; a
    model that cannot be copied or run in float64 is measured in its own type, and a note says so. Hooks and side effects of its `forward`
    happen as always.

    Args:
        model: torch module, functional, or callable (B, T, d) -> (B, T, d_out). Recurrent layers of torch with their (T, B, d), models that
            return (output, state), and output objects with `logits` or `last_hidden_state` are understood.
        horizon: T, steps to measure, at least 3; the times are step * dt.
        dt: time between steps; given to callables that have an argument `dt`.
        input_size: d; None asks the model.
        probe: "heaviside", "impulse", "reversed" or "jacobian".
        bound: B, largest |x|_inf, in units of the input.
        normalization: "linf" divides by |x|_inf, "affine" by |x|_inf + 1.
        seed: of the search; the global generators are left alone.
        probes: inputs tried for the sup; None takes 64 for one input channel, and up to 128 more while it looks more than 1 % short;
            else max(256, 2 d + 64). A few more rows serve for checks.
        warmup: steps before the switch of the reversed probe; None takes `horizon`.
        background: input to which the probe is added: None for zeros, "noise" for 8 sequences uniform in [-B, B], or an array (T, d) or
            (N, T, d) at least as long as the probe; the sup over all of them is reported.
        dtype: floating-point type to measure in.
        batch_first: whether the model has the batch on axis 0; None asks its attribute of that name.

    Returns:
        A `MemoryFunction`.

    Raises:
        ArgumentError: an argument breaks its rule, or `input_size` is needed.
        ArgumentTypeError: the model is not callable.
        ModelError: the output is not (B, T, d_out), is empty, is not finite or moves before the input does; the rows of a batch influence
            one another; a weight is NaN.

    >>> from perdure import functionals
    >>> mf = memory_function(functionals.exponential(rate=1.0), horizon=100, dt=0.1)
    >>> mf.status, [round(float(v), 6) for v in mf.values[[0, 10, 20]]]
    ('exact', [1.0, 0.367879, 0.135335])
    >>> integrator = lambda x: 0.5 * torch.cumsum(torch.relu(x), 1)
    >>> memory_function(integrator, horizon=3, input_size=2).values.round(12).tolist()
    [0.5, 0.5, 0.5]

    Reference:
        Wang, Li & Li, "Inverse Approximation Theory for Nonlinear Recurrent Neural Networks", ICLR 2024, Definition 3.1 (heaviside) and
        appendices F and G (impulse, reversed).
    """
    horizon = _checks.positive_int(horizon, "horizon", "a memory function needs at least three steps", least=3)
    dt = _checks.positive(dt, "dt", "it is the time between steps of the model")
    bound = _checks.positive(bound, "bound", "it is the largest |x|_inf of the inputs")
    _checks.choice(probe, "probe", NAMES)
    _checks.choice(normalization, "normalization", NORMALIZATIONS)
    seed = _checks.positive_int(seed, "seed", "pass an integer of at least 0", least=0)
    if probes is not None:
        probes = _checks.positive_int(probes, "probes", "pass the number of inputs to try, at least 8", least=8)
    if warmup is not None:
        warmup = _checks.positive_int(warmup, "warmup", "pass the steps before the switch")
        if probe != "reversed":
            raise _checks.fail("warmup", f"None for the {probe} probe", warmup, "only probe='reversed' has a warm-up")
    if probe == "jacobian" and normalization == "affine":
        raise _checks.fail("normalization", "'linf' for the jacobian probe", normalization, "a derivative is not divided by an input")
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ArgumentTypeError(f"expected argument `dtype` to be a floating-point torch type, but got {dtype!r}: pass torch.float64")
    shape = Probe("impulse" if probe == "jacobian" else probe, horizon, dt, (warmup or horizon) if probe == "reversed" else 0)
    adapt(model, input_size=input_size, dt=dt, batch_first=batch_first)  # bad arguments are reported before any work
    options = _Options(shape, probe, bound, normalization, seed, probes, background, input_size, batch_first)
    try:
        with isolated(seed), torch.inference_mode(False), torch.no_grad():
            return _in_some_type(model, dtype, options)
    except PerdureError:
        raise
    except Exception as error:
        error.add_note("raised while perdure.memory_function called the model")
        raise


def _in_some_type(model: Any, dtype: torch.dtype, options: _Options) -> MemoryFunction:
    """The measurement in `dtype`, or where the model raises in that type, in its own."""
    native = native_dtype(model)
    with frozen(model, dtype) as twin:
        try:
            return options.measure(twin, twin.notes)
        except (RuntimeError, TypeError) as error:
            if isinstance(error, PerdureError) or twin.dtype == native:
                raise
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    note = f"measured in {native}, because in {dtype} the model raises: {reason}"
    with frozen(model, native) as twin:
        return options.measure(twin, (*twin.notes, note))


class _Options:
    """Everything about a measurement but the model."""

    def __init__(self, shape: Probe, probe: str, bound: float, normalization: str, seed: int, probes: int | None, background: Any,
                 input_size: int | None, batch_first: bool | None) -> None:  # fmt: skip
        self.shape, self.probe, self.bound, self.normalization, self.seed = shape, probe, bound, normalization, seed
        self.probes, self.background, self.input_size, self.batch_first = probes, background, input_size, batch_first

    def measure(self, twin: Frozen, notes: tuple[str, ...]) -> MemoryFunction:
        rng = np.random.default_rng(self.seed)
        call = adapt(twin.model, input_size=self.input_size, dt=self.shape.dt, batch_first=self.batch_first)
        width = max((p.shape[0] for p in getattr(twin.model, "parameters", list)() if p.ndim), default=1)
        values, floor, exact, said = np.zeros(self.shape.horizon), 0.0, True, list(notes)
        eps, rows, unsettled = 0.0, 0, 0.0
        for background in self._backgrounds(call.input_size, rng):
            responder = Responder(call, self.shape, background.to(twin.device, twin.dtype), self.bound, width, rng)
            if self.probe == "jacobian":
                part = self._derivative(responder, rng)
                said += [note for note in part.notes if note not in said]
            else:
                probes = self.probes or (64 if call.input_size == 1 else max(256, 2 * call.input_size + 64))
                part = supremum(responder, self.bound, self.normalization == "affine", probes, rng, 0 if self.probes else MORE)
                exact = exact and part.exact
            values = np.maximum(values, part.values)
            floor, eps, unsettled = max(floor, part.noise_floor), max(eps, responder.eps), max(unsettled, responder.unsettled)
            rows += responder.rows
        if isinstance(self.background, str):
            exact = False
        if unsettled > SETTLED:
            said.append(
                f"the warm-up ends at a slope of {unsettled:.1e} of the peak: the reversed probe reads M(t) - M(t + warmup); warm up longer"
            )
        if float(values[1:].max()) <= max(4 * floor, 1e-12 * float(values[0])):
            said.append(BLIND)
        return MemoryFunction(
            times=np.arange(self.shape.horizon) * self.shape.dt,
            values=values,
            noise_floor=floor,
            dt=self.shape.dt,
            probe=self.probe,
            bound=self.bound,
            normalization=self.normalization,
            status="exact" if exact else "lower bound (search)",
            seed=self.seed,
            input_size=call.input_size,
            output_size=int(call.output_size or 0),
            dtype=str(twin.dtype).removeprefix("torch."),
            precision=eps,
            rows=rows,
            notes=tuple(said),
        )

    def _derivative(self, responder: Responder, rng: np.random.Generator):
        check = rng.uniform(-self.bound, self.bound, (1, responder.size))
        for _ in responder.slopes(check):
            pass
        responder.confirm()
        limit = max(1, ELEMENTS // (2 * self.shape.steps * max(responder.size, int(responder.call.output_size or 1))))
        responder.rows += responder.size
        return jacobian(responder.call, responder.background, self.shape.dt, responder.eps, responder.largest, limit)

    def _backgrounds(self, size: int, rng: np.random.Generator) -> list[Tensor]:
        steps = self.shape.steps
        if self.background is None:
            return [torch.zeros(steps, size, dtype=torch.float64)]
        if isinstance(self.background, str):
            _checks.choice(self.background, "background", ("noise",))
            return list(torch.as_tensor(rng.uniform(-self.bound, self.bound, (NOISE_BACKGROUNDS, steps, size))))
        given = self.background.detach().cpu().numpy() if isinstance(self.background, Tensor) else self.background
        array: Array = _checks.finite_array(given, "background")
        array = array[None] if array.ndim == 2 else array
        if array.ndim != 3 or array.shape[0] == 0 or array.shape[1] < steps or array.shape[2] != size:
            raise ArgumentError(
                f"expected argument `background` to be of shape (T, {size}) or (N, T, {size}) with T >= {steps}, but got {array.shape}: "
                "pass input sequences as long as the probe"
            )
        return [torch.as_tensor(sequence[:steps]) for sequence in array]
