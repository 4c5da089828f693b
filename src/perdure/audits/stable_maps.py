"""Whether a layer's modes fade for every value of its trained weights: no small step of training can then make it unstable."""

from __future__ import annotations

from torch import nn

from perdure._typing import Array
from perdure.audits.poles import poles
from perdure.parametrizations.base import Parametrization
from perdure.parametrizations.structures.base import Structure

OVERSHOT = -0.9  # real part of an eigenvalue of the step below which a faster mode would soon grow


def through_stable_maps(layer: nn.Module) -> bool:
    """Whether every recurrent weight of a layer is trained through a map that gives fading modes for every value.

    Those are the stable parametrisations of `perdure.nn`, and the poles that `perdure.audits.poles` reads, e^(-e^v) in one form or another.

    >>> from perdure.nn import ContinuousRNN, DiagonalSSM
    >>> through_stable_maps(DiagonalSSM(1, 2)), through_stable_maps(ContinuousRNN(1, 2, structure="dense", parametrization="direct")), through_stable_maps(nn.RNN(1, 2))
    (True, False, False)
    """
    if poles(layer) is not None:
        return True
    structures = [part for part in layer.modules() if isinstance(part, Structure)]
    maps = structures or [part for part in layer.modules() if isinstance(part, Parametrization)]
    return bool(maps) and all(part.stable for part in maps)


def protected(layer: nn.Module, eigenvalues: Array | None) -> bool:
    """Whether stable maps keep a layer's step stable.

    Args:
        layer: with weights behind maps, or not.
        eigenvalues: of the step, where it is an integrator's: Euler's throws fast modes past -1 whatever the map of their rates. None where the step is exact, as that of
            diagonal modes e^(dt lambda), which may turn by any angle.

    >>> import numpy as np
    >>> from perdure.nn import ContinuousRNN, DiagonalSSM
    >>> layer = ContinuousRNN(1, 2, structure="diagonal", parametrization="exp")
    >>> protected(layer, np.array([0.5])), protected(layer, np.array([-0.95])), protected(DiagonalSSM(1, 2), None)
    (True, False, True)
    """
    return through_stable_maps(layer) and (eigenvalues is None or float(eigenvalues.real.min()) > OVERSHOT)
