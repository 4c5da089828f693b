"""The scalar maps as functions of a matrix, with their inverses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from perdure._typing import Array
from perdure.errors import ModelError
from perdure.parametrizations import Direct, Exp, Inverse, Parametrization, Softplus
from perdure.parametrizations.structures.softplus_matrix import log_obstacle, principal_log, softplus_matrix


@dataclass(frozen=True)
class MatrixMap:
    """W = g(V) for matrices: an eigenvalue v of V becomes g(v) of W, complex ones included.

    Attributes:
        forward: V (..., m, m) to W, differentiable.
        inverse: a real W (m, m), float64, to a real V, or None where the principal inverse is not real or does not exist.
        pole: the inverse for complex eigenvalues (k,).
        reach: which W the inverse reaches, in words.
        turn: the fastest frequency that `forward` returns unchanged.
    """

    forward: Callable[[Any, Tensor], Tensor]
    inverse: Callable[[Any, Array], Array | None]
    pole: Callable[[Any, Array], Array]
    reach: str
    turn: float = math.inf


def matrix_map(map_: Parametrization) -> MatrixMap | None:
    """The matrix function of a scalar map, if it has one here."""
    return next((function for kind, function in MATRIX_MAPS.items() if isinstance(map_, kind)), None)


def _exp_forward(map_: Exp, V: Tensor) -> Tensor:
    return -torch.linalg.matrix_exp(V)


def _inverse_forward(map_: Inverse, V: Tensor) -> Tensor:
    D = map_.a * (V @ V) + map_.b * torch.eye(V.shape[-1], dtype=V.dtype, device=V.device)
    try:
        return -torch.linalg.inv(D)
    except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
        raise ModelError(
            f'a V^2 + b I is singular in the matrix function of "inverse" ({error}): move V, or choose another structure'
        ) from error


def _exp_inverse(map_: Exp, W: Array) -> Array | None:
    return None if log_obstacle(-W) is not None else principal_log(-W)


def _softplus_inverse(map_: Softplus, W: Array) -> Array | None:
    """log(e^Y - I) as Y + log(I - e^-Y) with Y = -W, and e^W - I read off e^[[W, W], [0, 0]] without cancellation."""
    m = len(W)
    B = -linalg.expm(np.block([[W, W], [np.zeros_like(W), np.zeros_like(W)]]))[:m, m:]
    return None if not np.isfinite(B).all() or log_obstacle(B) is not None else principal_log(B) - W


def _inverse_inverse(map_: Inverse, W: Array) -> Array | None:
    if np.linalg.cond(W) > 1 / np.finfo(float).eps:
        return None
    A = (-np.linalg.inv(W) - map_.b * np.eye(len(W))) / map_.a
    if np.abs(A).max() <= 8 * np.finfo(float).eps * map_.b / map_.a:  # all rates at 1/b, where V = 0
        return np.zeros_like(A)
    return None if log_obstacle(A) is not None else np.real(linalg.sqrtm(A))


def _softplus_pole(map_: Softplus, w: Array) -> Array:
    return -w + np.log(-np.expm1(w))


MATRIX_MAPS: dict[type[Parametrization], MatrixMap] = {
    Direct: MatrixMap(lambda _, V: V, lambda _, W: W, lambda _, w: w, "any W"),
    Exp: MatrixMap(
        _exp_forward,
        _exp_inverse,
        lambda _, w: np.log(-w),
        "-W with no eigenvalue on the closed negative axis, so that a real principal logarithm exists",
    ),
    Softplus: MatrixMap(
        lambda _, V: -softplus_matrix(V),
        _softplus_inverse,
        _softplus_pole,
        "I - e^W with no eigenvalue on the closed negative axis, and eigenvalues of W with imaginary parts inside (-pi, pi)",
        turn=math.pi,
    ),
    Inverse: MatrixMap(
        _inverse_forward,
        _inverse_inverse,
        lambda g, w: np.sqrt((-1 / w - g.b) / g.a),
        "-W^-1 - b I with no eigenvalue on the closed negative axis, so that a real principal root exists: real rates below 1/b",
    ),
}
