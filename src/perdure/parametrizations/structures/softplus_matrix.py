"""log(I + e^V) as a matrix function, with its exact derivative."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from perdure._typing import Array
from perdure.errors import ModelError


def softplus_matrix(V: Tensor) -> Tensor:
    """log(I + e^V), principal branch, of V (..., m, m); computed in float64 by scipy, returned in the dtype and on the device of V.

    Eigenvalues v of V become log(1 + e^v), with an imaginary part taken into (-pi, pi]. Differentiable once, forwards and backwards,
    also under torch.func: the derivative in direction E is the upper right block of the function of [[V, E], [0, V]].

    Raises:
        ModelError: I + e^V has an eigenvalue on the closed negative axis (no real principal logarithm), or e^V overflows.

    >>> V = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)  # as a complex number: i
    >>> softplus_matrix(V)[0].round(decimals=6).tolist()  # log(1 + e^i) = log(2 cos(1/2)) + i/2
    [0.562563, 0.5]
    """
    return torch.empty_like(V) if V.is_meta else _eager(V)


def log_obstacle(A: Array) -> complex | None:
    """An eigenvalue of A (m, m) on the closed negative axis, where no real principal logarithm exists, or None."""
    values = np.linalg.eigvals(A)
    rounding = 64 * len(A) * np.finfo(float).eps * np.abs(values).max()
    bad = values[(values.real <= 0) & (np.abs(values.imag) <= rounding)]
    return complex(bad[0]) if bad.size else None


def principal_log(A: Array) -> Array:
    """The principal logarithm of a real A (m, m) without `log_obstacle`, real up to rounding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy estimates its error in a norm that is strict for graded matrices
        return np.real(linalg.logm(A))


class _Softplus(torch.autograd.Function):
    """The function; its derivative is `_Derivative`."""

    @staticmethod
    def forward(V: Tensor) -> Tensor:
        A = _numpy(V)
        return _tensor(np.stack([_softplus(a, check=True) for a in A.reshape(-1, *A.shape[-2:])]).reshape(A.shape), V)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (V,) = ctx.saved_tensors
        return _Derivative.apply(V.mT, grad_outputs[0])

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        (V,) = ctx.saved_tensors
        return _Derivative.apply(V, grad_inputs[0])

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, int]:
        return _Softplus.apply(args[0].movedim(in_dims[0], 0)), 0


class _Derivative(torch.autograd.Function):
    """Frechet derivative of the function at V in direction E; its adjoint is the derivative at V^T."""

    @staticmethod
    def forward(V: Tensor, E: Tensor) -> Tensor:
        m = V.shape[-1]
        shape = torch.broadcast_shapes(V.shape, E.shape)
        points, directions = (_numpy(x.expand(shape)).reshape(-1, m, m) for x in (V, E))
        results = np.empty_like(points)
        for k, (a, e) in enumerate(zip(points, directions, strict=True)):
            size = float(np.abs(e).max())
            if size == 0 or not np.isfinite(size):
                results[k] = size
                continue
            e = e / size * max(float(np.abs(a).max()), 1.0)  # linear in E: keep the blocks of one size, whatever that of the gradient
            block = np.block([[a, e], [np.zeros_like(a), a]])
            results[k] = _softplus(block, check=False)[:m, m:] * (size / max(float(np.abs(a).max()), 1.0))
        return _tensor(results.reshape(shape), V)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise ModelError('the matrix function of "softplus" is differentiable once only: use "exp" or "inverse", or another structure')

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, int]:
        size = info.batch_size
        moved = [x.expand(size, *x.shape) if d is None else x.movedim(d, 0) for x, d in zip(args, in_dims, strict=True)]
        return _Derivative.apply(*moved), 0


_eager: Any = torch.compiler.disable(_Softplus.apply)  # scipy cannot be traced: torch.compile breaks its graph here


def _softplus(A: Array, check: bool) -> Array:
    if not np.isfinite(A).all():
        return np.full_like(A, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        B = np.eye(len(A)) + linalg.expm(A)
    if not np.isfinite(B).all():
        raise ModelError(f"e^V overflows in softplus of a matrix V of norm {np.linalg.norm(A, 2):.3g}: rates above 700 need another map")
    if check and (value := log_obstacle(B)) is not None:
        raise ModelError(
            f"I + e^V has the eigenvalue {value.real:.6g}, so it has no real principal logarithm: move V, or choose another structure"
        )
    return principal_log(B)


def _numpy(V: Tensor) -> Array:
    return V.detach().cpu().double().numpy()


def _tensor(A: Array, like: Tensor) -> Tensor:
    return torch.as_tensor(A).to(device=like.device, dtype=like.dtype)
