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
        with np.errstate(all="ignore"):  # NaN and infinite poles give such results
            exact = np.exp(log_a if angle is None else log_a + 1j * angle.detach().numpy())
            a = exact.astype(dtype if angle is None else np.result_type(dtype, np.complex64))
            correction = tile * ((exact - a) / a)  # 1 is added by the loops; the next term of the power is below 1e-12
            correction[np.abs(a) < 1e-30] = 0.0  # then nothing is left after `tile` steps anyway
            return cls(exact, a, correction)

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
    if not np.iscomplexobj(array):
        return array[..., None, :]
    out = np.empty((*array.shape[:-1], 2, array.shape[-1]), array.real.dtype)
    out[..., 0, :], out[..., 1, :] = array.real, array.imag
    return out


def stacked(dtype: Any, *arrays: Array) -> Array:
    """Real coordinates of (N,) numbers, one array below the other, as `dtype`, with zeros up to whole registers."""
    n, unit = arrays[0].shape[-1], BYTES // np.dtype(dtype).itemsize
    out = np.zeros((sum(1 + np.iscomplexobj(array) for array in arrays), n + -n % unit), dtype)
    row = 0
    for array in arrays:
        out[row, :n] = array.real
        if np.iscomplexobj(array):
            row += 1
            out[row, :n] = array.imag
        row += 1
    return out


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
