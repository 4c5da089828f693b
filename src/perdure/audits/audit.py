"""The audit of a model: parts in order of worth, each held against the budget and each standing alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch

from perdure import _checks
from perdure._random import isolated
from perdure.adapters import adapt, frozen
from perdure.adapters.frozen import native_dtype
from perdure.audits import advice
from perdure.audits import parts as plans
from perdure.audits.context import Context, Way
from perdure.audits.cost import Budget, Cost, estimate
from perdure.audits.limits import longest
from perdure.audits.provenance import describe, name_of
from perdure.audits.recall import reason
from perdure.audits.result import MEASURED, MISSING, REDUCED, Audit, Part, plain
from perdure.errors import ArgumentError, ArgumentTypeError, PerdureError
from perdure.memory.probes import NAMES

PARTS = plans.PARTS
FIRST = 16  # steps of the first call
FULL = 96  # rows of the memory part that float64 must leave room for
BUDGET = 110.0


def audit(
    model: Any,
    input_size: int | None = None,
    horizon: int = 1024,
    *,
    dt: float = 1.0,
    data: Any = None,
    lengths: Iterable[int] = (1, 2, 4, 8),
    parts: Iterable[str] | None = None,
    probes: Iterable[str] = NAMES,
    bound: float = 1.0,
    budget: float | None = BUDGET,
    memory: float = 2e9,
    name: str | None = None,
    batch_first: bool | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    tick: Callable[[str], None] | None = None,
) -> Audit:
    """What a sequence model remembers, and how fragile that memory is.

    The parts, in the order in which a budget is spent: what the model is (causal? time-homogeneous?), its memory by three probes and the
    derivative with decay law, half-life and horizons, its recurrent matrices, its memory beyond the training length, influence, fading,
    precision, sensitivity, capacity, and what the probes' agreement means. Before anything long is run its cost is estimated; a part that does
    not fit is measured with less (few inputs, few input directions: still lower bounds, said in the part) or left out, and the audit says so.
    A part that fails becomes "not measured: reason"; a model that fails in its first call is an error. The model is left bit for bit as it was,
    also when it raises.

    Args:
        model: torch module, functional or callable (B, T, d) -> (B, T, d_out); see `perdure.memory_function`.
        input_size: d; None asks the model.
        horizon: steps to measure, the length the model is trained on, at least 16.
        dt: time between steps; half-life and horizons come out in this unit.
        data: typical inputs, (N, T, d) or (T, d) with T >= horizon; the memory amid them is measured too.
        lengths: multiples of the horizon over which memory is followed.
        parts: names of `perdure.audits.audit.PARTS`; None takes all.
        probes: of the memory part: "heaviside", "impulse", "reversed", "jacobian".
        bound: largest |x|_inf of the inputs.
        budget: seconds, None for no limit. An aim, not an alarm: a part is begun when it is foreseen to fit.
        memory: bytes that one call of the model may take; longer batches are cut.
        name: of the model on the page; None takes its class.
        batch_first: whether the model has the batch on axis 0; None asks its attribute of that name.
        dtype: to measure in; None takes float64, or float32 where the budget is too small for float64 (said in the provenance).
        seed: of all searches; the global generators are left alone.
        tick: called with a few words whenever something begins.

    Returns:
        An `Audit`: `.half_life`, `.law`, `.reading(0.01)`, `.recommendations`, `.save("audit.html")`, `.to_dict()`, `.to_json(path)`.

    Raises:
        ArgumentError: an argument breaks its rule.
        ArgumentTypeError: the model is not callable.
        ModelError: the model's output is not (B, T, d_out), or its weights are NaN.

    >>> from perdure import functionals
    >>> found = audit(functionals.exponential(rate=0.1), horizon=100, parts=("memory",))
    >>> found.law, round(found.half_life, 2), found.reading(0.01).status
    ('exponential', 6.93, 'exact')
    """
    horizon = _checks.positive_int(horizon, "horizon", "it counts steps of the model", least=FIRST)
    dt = _checks.positive(dt, "dt", "it is the time between steps of the model")
    bound = _checks.positive(bound, "bound", "it is the largest |x|_inf of the inputs")
    seed = _checks.positive_int(seed, "seed", "pass an integer of at least 0", least=0)
    memory = _checks.positive(memory, "memory", "it is the number of bytes that a call may take")
    wanted = _names(parts, "parts", PARTS)
    probes = _names(probes, "probes", NAMES)
    multiples = tuple(sorted({_checks.positive_int(n, "lengths", "they multiply the horizon") for n in lengths}))
    if dtype is not None and (not isinstance(dtype, torch.dtype) or not dtype.is_floating_point):
        raise ArgumentTypeError(
            f"expected argument `dtype` to be a floating-point torch type, but got {dtype!r}: pass torch.float64 or None"
        )
    clock = Budget(budget)
    call = adapt(model, input_size=input_size, dt=dt, batch_first=batch_first)
    sequences = _sequences(data, call.input_size, horizon)
    say = tick or (lambda _: None)
    say("what a call costs")
    with isolated(seed):
        kind, cost, limit = _first_calls(call, horizon, multiples, dtype, clock)
    hurried = dtype is None and kind == torch.float32 and native_dtype(call) != torch.float64
    context = Context(call, horizon, dt, bound, seed, kind, sequences, multiples, probes, memory, cost, clock, say, {}, limit, hurried)
    done: dict[str, Part] = {}
    for part in (p for p in PARTS if p in wanted):
        done[part] = _measured(part, context)
        if done[part].data is not None:
            context.found[part] = done[part].data
    options = {"horizon": horizon, "dt": dt, "bound": bound, "seed": seed, "dtype": str(kind).removeprefix("torch."), "lengths": list(multiples),
               "probes": list(probes), "parts": list(wanted), "budget": budget, "limit": limit}  # fmt: skip
    made = Audit(name or name_of(call.model), call.input_size, horizon, dt, done, (), describe(call.module, options, cost, clock))
    found = tuple(advice.recommend(made))
    return Audit(made.name, made.input_size, horizon, dt, done, found, made.provenance)


def _measured(name: str, context: Context) -> Part:
    """One part, in the fullest way that the budget affords; whatever it raises is kept as its reason."""
    plan, begun = PARTS[name], time.monotonic()
    try:
        with isolated(context.seed), torch.inference_mode(False):
            ways = plan.ways(context)
            way = next((w for w in ways if context.budget.affords(w.seconds, plan.share)), None)
            if way is None:
                return Part(name, MISSING, _too_dear(ways, context.budget, plan.share))
            context.tick(plan.title)
            begun = time.monotonic()
            data = plain(way.run())
    except PerdureError as error:
        return Part(name, MISSING, reason(error), time.monotonic() - begun)
    except MemoryError:
        return Part(name, MISSING, "out of memory: pass a smaller horizon, or a smaller `memory`", time.monotonic() - begun)
    except Exception as error:  # a part of an audit that fails leaves the others standing
        return Part(name, MISSING, f"{type(error).__name__}: {reason(error)}", time.monotonic() - begun)
    used = time.monotonic() - begun
    context.budget.record(way.seconds, used)
    return Part(name, REDUCED if way.note else MEASURED, way.note, used, data)


def _too_dear(ways: list[Way], budget: Budget, share: float) -> str:
    least = budget.corrected(min(w.seconds for w in ways))
    return f"over budget: even the shortest way needs about {least:.2g} s, and {share * budget.left:.2g} s could be spent on it"


def _first_calls(
    call: Any, horizon: int, lengths: tuple[int, ...], dtype: torch.dtype | None, clock: Budget
) -> tuple[torch.dtype, Cost, int | None]:
    """The type to measure in, the cost of a call, and the longest sequence the model takes (None: no limit within what is asked)."""
    error: Exception | None = None
    for asked in dict.fromkeys((dtype or torch.float64, native_dtype(call))):
        try:
            kind, cost, limit = _first_call(call, horizon, lengths, asked, clock)
            slow = clock.seconds is not None and 4 * cost.forward(FULL, horizon) > 0.4 * clock.seconds
            if dtype is None and kind == torch.float64 and slow:
                kind, cost, limit = _first_call(call, horizon, lengths, torch.float32, clock)
            return kind, cost, limit
        except PerdureError:
            raise
        except Exception as caught:  # not in this type, then
            error = error or caught
    if error is None:  # pragma: no cover - one of the two ways out above was taken
        raise ArgumentError("expected argument `model` to be callable, but no call was made")
    error.add_note("raised in the first call of the model in perdure.audit")
    raise error


def _first_call(
    call: Any, horizon: int, lengths: tuple[int, ...], dtype: torch.dtype, clock: Budget
) -> tuple[torch.dtype, Cost, int | None]:
    with torch.no_grad(), frozen(call, dtype) as twin:
        run = adapt(twin.model)
        run(torch.zeros(2, FIRST, run.input_size, dtype=twin.dtype, device=twin.device))
        cost = estimate(run, run.input_size, horizon, twin.dtype, twin.device)
        return twin.dtype, cost, longest(run, horizon, lengths, cost, clock, twin.dtype, twin.device)


def _names(given: Iterable[str] | None, argument: str, allowed: Iterable[str]) -> tuple[str, ...]:
    """Names out of `allowed`, without repeats, at least one."""
    if given is None:
        return tuple(allowed)
    names = (given,) if isinstance(given, str) else tuple(given)
    if not names:
        raise _checks.fail(argument, "at least one name", (), "choose of " + ", ".join(allowed))
    return tuple(dict.fromkeys(_checks.choice(name, argument, allowed) for name in names))


def _sequences(data: Any, size: int, horizon: int) -> Any:
    """The user's data as (N, T, d) with T >= horizon, or None."""
    if data is None:
        return None
    array = _checks.finite_array(data.detach().cpu() if isinstance(data, torch.Tensor) else data, "data")
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[0] == 0 or array.shape[1] < horizon or array.shape[2] != size:
        raise _checks.fail(
            "data",
            f"of shape (N, T, {size}) or (T, {size}) with T >= {horizon}",
            array.shape,
            "pass longer sequences, or a smaller horizon",
        )
    return array
