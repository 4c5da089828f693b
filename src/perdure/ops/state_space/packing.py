"""Poles, weights and states as the compiled loops take them: rounded to the type of the input, states last, padded to whole registers.

numpy throughout: on arrays of some hundred numbers its calls cost a quarter of torch's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from perdure._typing import Array
from perdure.ops.state_space.simd import BYTES


class Poles(NamedTuple):
    """The poles, and what rounding them costs.

    Attributes:
        exact: a, (N,), complex128, or float64 for real poles.
        a: the same rounded to the type of the loops.
        correction: (exact / a)^tile - 1, type of the loops: what the rounding of a has cost after `tile` steps.
    """

    exact: Array
    a: Array
    correction: Array

    @classmethod
    def of(cls, log_modulus: Tensor, angle: Tensor | None, dtype: Any, tile: int) -> Poles:
        """From log a."""
        log_a = log_modulus.detach().numpy()
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):  # NaN and infinite poles give such results
            exact = np.exp(log_a if angle is None else log_a + 1j * angle.detach().numpy())
            a = exact.astype(dtype if angle is None else np.result_type(dtype, np.complex64))
            # where a is as small as that, nothing is left after `tile` steps, whatever the correction
            ratio = np.where(np.abs(a) < 1e-30, 1.0, exact / a)
            return cls(exact, a, (ratio**tile - 1.0).astype(a.dtype))

    def log_gradients(self, by_a: Array) -> tuple[Tensor, Tensor | None]:
        """Derivatives by log|a| and arg a of what has the derivative `by_a` (N,), real and imaginary part, by a."""
        product: Array = np.conj(by_a) * self.exact
        if not np.iscomplexobj(product):
            return torch.from_numpy(product), None
        return torch.from_numpy(np.real(product).copy()), torch.from_numpy(-np.imag(product))


def numbers(t: Tensor) -> Array:
    """Real coordinates (..., N, P) as (..., N) real or complex numbers."""
    array = np.ascontiguousarray(t.detach().numpy())
    return array[..., 0] if array.shape[-1] == 1 else array.view(np.result_type(array.dtype, np.complex64))[..., 0]


def coordinates(array: Array) -> Array:
    """(..., N) numbers as (..., P, N) real coordinates."""
    return np.stack((array.real, array.imag), -2) if np.iscomplexobj(array) else array[..., None, :]


def tensor(array: Array, dtype: torch.dtype) -> Tensor:
    """(..., N) numbers as real coordinates (..., N, P) of type `dtype`."""
    return torch.from_numpy(np.ascontiguousarray(coordinates(array).swapaxes(-1, -2))).to(dtype)


def padded(array: Array, dtype: Any) -> Array:
    """A copy of `array` (..., N) with zeros up to whole registers, as `dtype`."""
    n, unit = array.shape[-1], BYTES // np.dtype(dtype).itemsize
    out = np.zeros((*array.shape[:-1], n + -n % unit), dtype)
    out[..., :n] = array
    return out


def joined(array: Array) -> Array:
    """Real coordinates (..., P, N) as (..., N) numbers."""
    return array[..., 0, :] if array.shape[-2] == 1 else array[..., 0, :] + 1j * array[..., 1, :]
