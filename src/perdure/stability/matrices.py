"""Square matrices as arguments: checked, in double precision, and scaled by a power of two."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from perdure import _checks
from perdure._typing import Array, Tensor


def square(value: Any, argument: str = "W", *, real: bool = False) -> Array:
    """`value` as a finite square float64 or complex128 array, or an error that names `argument`.

    Args:
        value: (n, n), array, nested list or torch tensor on any device; real or complex.
        argument: its name.
        real: refuse numbers with an imaginary part.
    """
    array = dense(value, argument)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise _checks.fail(argument, "a square matrix (n, n) with n >= 1", array.shape, "pass the recurrent weight of dh/dt = W h + ...")
    if real and np.iscomplexobj(array):
        raise _checks.fail(
            argument, "real", f"entries such as {_imaginary(array)}", 'real perturbations need a real W; use field="complex"'
        )
    return array


def dense(value: Any, argument: str) -> Array:
    """`value` as a finite float64 array, complex128 where it has an imaginary part."""
    if isinstance(value, Tensor):
        if value.device.type == "meta":
            raise _checks.fail(argument, "a tensor with values", "one on the meta device", "materialise the model first")
        wide = torch.complex128 if value.is_complex() else torch.float64
        value = value.detach().to_dense().to("cpu", wide).resolve_conj().resolve_neg().numpy()
    array: Array = _checks.finite_array(value, argument, dtype=complex)
    return array if array.imag.any() else np.ascontiguousarray(array.real)


def _imaginary(array: Array) -> complex:
    return complex(array[tuple(np.argwhere(array.imag != 0)[0])])


def scaled(W: Array) -> tuple[Array, int]:
    """W / 2^k and k, with the largest entry between 1/2 and 1 (exact): no square in what follows overflows."""
    largest = max(float(np.abs(W.real).max()), float(np.abs(W.imag).max()))
    exponent = int(np.frexp(largest)[1])
    if np.iscomplexobj(W):
        return np.ldexp(W.real, -exponent) + 1j * np.ldexp(W.imag, -exponent), exponent
    return np.ldexp(W, -exponent), exponent


def unscaled(value: float, exponent: int) -> float:
    """`value` times 2^exponent."""
    with np.errstate(over="ignore"):
        return float(np.ldexp(value, exponent))


def rightmost(W: Array) -> complex:
    """The eigenvalue of largest real part, as computed: exact for a matrix within rounding of W."""
    eigenvalues = np.linalg.eigvals(W)
    return complex(eigenvalues[np.argmax(eigenvalues.real)])
