"""Which probes make sense for a model of given properties, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from perdure.adapters.calls import Calls
from perdure.adapters.measured import Measured
from perdure.adapters.rounding import NOISES
from perdure.adapters.trials import Lengths

MEMORY = ("heaviside", "impulse", "reversed", "jacobian")
FAR = 100.0  # times rounding: an echo that stands out
NAMES = (*MEMORY, "influence")


def probes(found: Mapping[str, Measured], calls: Calls, lengths: Lengths) -> dict[str, str | None]:
    """Name of a probe -> None if it applies, else why not.

    * A memory function needs outputs that depend on the input alone, row by row, and on its past only.
    * "heaviside" is blind to a model that answers a constant input with a constant, and a pulse with an echo.
    * "reversed" needs twice the horizon: a warm-up, then the decay.
    * "jacobian" and "influence" need a derivative that is not zero everywhere.
    """
    reasons: dict[str, str | None] = dict.fromkeys(NAMES)
    for name, reason in (("random", "the model is random"), ("stateful", "the model keeps a state from call to call")):
        if found[name].holds is not False:
            said = reason if found[name].holds else "its outputs differ from call to call"
            reasons = {key: old or f"{said}: {found[name].reason}" for key, old in reasons.items()}
    if found["rows_independent"].holds is not True:
        why = f"the rows of a batch are not alone: {found['rows_independent'].reason}"
        reasons = {key: old or why for key, old in reasons.items()}
    if found["causal"].holds is not True:
        for name in MEMORY:
            reasons[name] = reasons[name] or f"the model is not causal: {found['causal'].reason}"
    if any(reason is None for reason in reasons.values()):
        for name, reason in _tried(calls, lengths).items():
            reasons[name] = reasons[name] or reason
    return reasons


def _tried(calls: Calls, lengths: Lengths) -> dict[str, str]:
    """What calls with steps, pulses and tiny nudges show."""
    said = {}
    steps = 2 * calls.horizon
    if lengths.longest < steps:
        said["reversed"] = f"the model does not run on {steps} steps, a warm-up and the decay after it"
    x = calls.x[:2, :1].sign() * calls.bound
    step, pulse = torch.zeros_like(calls.x), torch.zeros_like(calls.x)
    step[:], pulse[:, :1] = x, x
    y = calls.each(torch.cat([torch.zeros_like(step[:1]), step, pulse]))
    z = y[1:] - y[0]
    slopes = (z[:2, 1:] - z[:2, :-1]).abs().max()
    echo = z[2:, 1:].abs().max()
    noise = NOISES * calls.eps * calls.largest
    if float(slopes) <= 2 * noise and float(echo) > FAR * noise:  # else the model is too quiet to tell
        said["heaviside"] = (
            f"blind: after the first step a constant input is answered by a constant, where a pulse leaves an echo of {float(echo):.2g}; "
            "attention without positions does so"
        )
    eps = float(torch.finfo(calls.x.dtype).eps)
    tiny = eps**0.5 * calls.bound * calls.x[:, :1].sign()
    nudged = calls.x.clone()
    nudged[:, :1] += tiny
    moved = torch.cat([calls.each(calls.x), calls.each(nudged)])
    if float((moved[2:] - moved[:2]).abs().max()) == 0.0 < float((z[2:]).abs().max()):
        flat = f"flat: a nudge of {float(tiny.abs().max()):.1g} moves no output at all, where a pulse does; the model is a step function of its input"
        said["jacobian"] = said["influence"] = flat
    return said
