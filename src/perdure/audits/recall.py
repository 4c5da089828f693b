"""The memory part of an audit: one curve a probe, its law and readings, and the curve that speaks for the model.

The curve that speaks (the headline) is the Heaviside one, the definition of the papers, unless that probe is blind to the model: where a
constant input leaves nothing after its first step (attention that averages equal values), the impulse takes its place, then the derivative amid
noise. For a model without memory all are blind, and the Heaviside curve says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from perdure.audits.reading import crossing, law_of
from perdure.errors import ArgumentError
from perdure.memory import MemoryFunction, memory_function

LEVELS = {"half_life": 0.5, "horizon_10": 0.1, "horizon_1": 0.01, "horizon_01": 0.001}
PREFERENCE = ("heaviside", "impulse", "jacobian", "impulse, noise", "jacobian, noise", "impulse, data", "jacobian, data", "reversed")
BLIND = 1e-12


def summary(memory: MemoryFunction, background: str = "zeros", bound_by: str = "") -> dict[str, Any]:
    """One curve as plain data: the measurement, its law, the readings.

    Args:
        memory: the measurement.
        background: "zeros", "noise" or "data".
        bound_by: what, besides the search, makes it a lower bound; "" for nothing.
    """
    curve = memory.to_dict()
    curve.pop("envelope")
    curve["background"] = background
    if bound_by:
        curve["status"] = f"lower bound ({bound_by})"
    return described(curve)


def described(curve: dict[str, Any]) -> dict[str, Any]:
    """A curve with its law and readings put in."""
    fit = law_of(curve)
    curve["blind"] = blind(curve)
    curve["law"] = None if fit is None else fit.to_dict()
    curve["readings"] = {}
    for name, level in LEVELS.items():
        try:
            curve["readings"][name] = crossing(curve, level, fit).to_dict()
        except ArgumentError:
            curve["readings"][name] = None
    return curve


def blind(curve: Mapping[str, Any]) -> bool:
    """Whether nothing is left after the first step."""
    values = np.asarray(curve["values"])
    return bool(values[1:].max() <= max(4 * float(curve["noise_floor"]), BLIND * float(values[0])))


def headline(curves: Mapping[str, Mapping[str, Any]]) -> str:
    """Name of the curve that speaks for the model.

    >>> seeing, unseeing = ({"values": v, "noise_floor": 0.0} for v in ([1.0, 0.5], [1.0, 0.0]))
    >>> headline({"heaviside": unseeing, "impulse": seeing}), headline({"heaviside": unseeing})
    ('impulse', 'heaviside')
    """
    known = [name for name in PREFERENCE if name in curves]
    return next((name for name in known if not blind(curves[name])), known[0])


def measure_all(
    model: Any,
    jobs: Sequence[tuple[str, str, Any]],
    options: Mapping[str, Any],
    probes: int | None,
    bound_by: str,
    tick: Callable[[str], None],
) -> dict[str, Any]:
    """Curves by name, the failures with their reasons, and the headline.

    Args:
        model: as `perdure.memory_function` takes it.
        jobs: (probe, name of the background, the background itself) for each curve.
        options: horizon, dt, bound, input_size, batch_first, dtype, seed; `warmup` for the reversed probe.
        probes: inputs tried for the sup of each curve.
        bound_by: see `summary`.
        tick: called with a curve's name before it is measured.

    Raises:
        Exception: that of the first curve, where none could be measured.
    """
    curves: dict[str, Any] = {}
    failed: dict[str, str] = {}
    first: Exception | None = None
    for probe, where, background in jobs:
        name = probe if where == "zeros" else f"{probe}, {where}"
        tick(f"memory: {name}")
        given = {k: v for k, v in options.items() if k != "warmup" or probe == "reversed"}
        count = None if probe == "jacobian" else probes
        try:
            found = memory_function(model, probe=probe, background=background, probes=count, **given)
        except (torch.cuda.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # a probe that fails leaves the others standing
            first = first or error
            failed[name] = reason(error)
        else:
            curves[name] = summary(found, where, bound_by)
    if not curves and first is not None:
        raise first
    return {"curves": curves, "failed": failed, "headline": headline(curves)}


def reason(error: BaseException) -> str:
    r"""An error in one line of bounded length.

    >>> reason(ValueError("two\nlines")), reason(KeyError())
    ('two', 'KeyError')
    """
    text = str(error).strip().splitlines()
    return text[0][:400] if text else type(error).__name__
