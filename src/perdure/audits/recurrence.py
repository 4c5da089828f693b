"""The recurrent layers inside a model, each linearised at rest: eigenvalues of its step, time constants, distance to instability.

Near the equilibrium h* that the layer reaches under no input, a disturbance d becomes J^k d after k steps (`perdure.linearise`). An eigenvalue mu of
J fades by |mu| a step: time constant -1 / log |mu| steps. The radius is the norm of the smallest (complex) change of J that puts an eigenvalue on
the unit circle; it is 0 where one is there already.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from perdure.audits.context import Context, Way
from perdure.audits.recall import reason
from perdure.errors import ModelError
from perdure.parametrizations.base import Parametrization
from perdure.parametrizations.structures.base import Structure
from perdure.stability.linearise import linearise
from perdure.stability.radius import stability_radius

LARGEST = 768  # states of a layer: the radius costs their cube
MOST = 12  # layers
OVERSHOT = -0.9  # real part of an eigenvalue of the step below which a faster mode would soon grow


def recurrent_layers(module: nn.Module | None) -> list[tuple[str, nn.Module]]:
    """Names and modules of the recurrent layers: torch's, and those with `step(x, state)`; not the parts of one already listed."""
    found: list[tuple[str, nn.Module]] = []
    for name, part in () if module is None else module.named_modules():
        if any(name.startswith(f"{above}.") or above == "" for above, _ in found):
            continue
        if isinstance(part, nn.RNNBase) or (callable(getattr(part, "step", None)) and hasattr(part, "hidden_size")):
            found.append((name, part))
    return found


def recurrence(context: Context) -> list[Way]:
    """Every recurrent layer found; the largest sizes are left out."""
    layers = recurrent_layers(context.call.module)
    if not layers:
        raise ModelError("no recurrent layer was found (torch's RNN, GRU and LSTM, and layers with step(x, state) are known)")

    def run() -> dict[str, Any]:
        made, failed = [], {}
        for name, layer in layers[:MOST]:
            label = name or type(layer).__name__
            context.tick(f"recurrent layer {label}")
            try:
                made.append({"name": label, **layer_data(layer)})
            except Exception as error:  # a layer that fails leaves the others standing
                failed[label] = reason(error)
        if not made:
            raise ModelError("; ".join(f"{name}: {why}" for name, why in failed.items()))
        return {"layers": made, "failed": failed, "left_out": [name for name, _ in layers[MOST:]]}

    return [Way(0.5 * len(layers[:MOST]), run)]


def through_stable_maps(layer: nn.Module) -> bool:
    """Whether every recurrent weight of a layer is trained through a map that gives fading modes for every value, as those of `perdure.nn` can be.

    >>> from perdure.nn import ContinuousRNN, DiagonalSSM
    >>> through_stable_maps(DiagonalSSM(1, 2)), through_stable_maps(ContinuousRNN(1, 2, structure="dense", parametrization="direct")), through_stable_maps(nn.RNN(1, 2))
    (True, False, False)
    """
    structures = [part for part in layer.modules() if isinstance(part, Structure)]
    maps = structures or [part for part in layer.modules() if isinstance(part, Parametrization)]
    return bool(maps) and all(part.stable for part in maps)


def layer_data(layer: nn.Module) -> dict[str, Any]:
    """Eigenvalues and what follows from them, of one layer.

    Raises:
        ModelError: the layer is too large, or no equilibrium is found.
    """
    states = int(getattr(layer, "hidden_size", 1)) * int(getattr(layer, "num_layers", 1)) * (2 if isinstance(layer, nn.LSTM) else 1)
    if states > LARGEST:
        raise ModelError(f"{states} states: linearised up to {LARGEST}")
    point = linearise(layer)
    largest = float(np.abs(point.eigenvalues).max())
    with np.errstate(divide="ignore"):
        slowest = float(-1 / np.log(largest)) if 0 < largest < 1 else (0.0 if largest == 0 else float("inf"))
    return {
        "kind": type(layer).__name__,
        "states": int(point.eigenvalues.size),
        "eigenvalues": [[float(z.real), float(z.imag)] for z in point.eigenvalues],
        "spectral_radius": largest,
        "time_constant": slowest,
        "stability_radius": stability_radius(point.jacobian, discrete=True),
        # an Euler step throws fast modes past -1 whatever the map of their rates
        "stable_map": through_stable_maps(layer) and float(point.eigenvalues.real.min()) > OVERSHOT,
        "equilibrium": point.status,
        "notes": list(point.notes),
    }
