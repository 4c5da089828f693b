"""The derivative dy_k / dx_0 around a background input: what remains of an infinitesimal nudge."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from perdure._typing import Array, Float, Tensor
from perdure.adapters.sequence import Adapted
from perdure.memory.precision import rounding

AGREE = 1e-3


@dataclass(frozen=True)
class Derivative:
    """(1 / dt) |dy_k / dx_0| from inf to inf, (T,), its noise, and what to say about it."""

    values: Array
    noise_floor: float
    notes: tuple[str, ...]


def jacobian(call: Adapted, background: Float[Tensor, "T d"], dt: float, eps: float, largest: float, limit: int) -> Derivative:
    """The derivative by forward-mode differentiation, all input channels in a batch; by central differences where that fails or disagrees.

    Args:
        call: the model.
        background: input around which to differentiate, (T, d).
        dt: time between steps.
        eps: relative precision of the outputs.
        largest: largest output.
        limit: rows in a batch.
    """
    d = background.shape[1]
    step = eps ** (1 / 3) * max(1.0, float(background.abs().max()))
    direction = torch.ones(1, d).to(background)
    direction[:, 1::2] = -1.0
    secant = _secants(call, background, direction, step)
    load()
    with plain_kernels():
        try:
            tangent = _tangents(call, background, direction)
            failed = None if tangent is not None else "the output does not follow the input differentiably"
            if (
                tangent is not None
                and float((tangent - secant).abs().max()) > AGREE * float(secant.abs().max()) + 2 * rounding(eps, largest) / step
            ):
                failed = "the derivative disagrees with the secant (a kink at the background, or a part that is not differentiated)"
        except (RuntimeError, NotImplementedError, TypeError) as error:
            failed = f"forward-mode differentiation fails ({str(error).splitlines()[0][:100]})"
        if failed is None:
            values = _norm(lambda v: _tangents(call, background, v), background, limit) / dt
            return Derivative(values, rounding(eps, float(values.max())), ())
    values = _norm(lambda v: _secants(call, background, v, step), background, limit) / dt
    return Derivative(
        values, rounding(eps, largest) * d / (step * dt), (f"derivatives by central differences of step {step:.1e}: {failed}",)
    )


def load() -> None:
    """The first dual tensor makes torch load its decompositions, which in some versions warn about torch's own deprecated parts."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Without cuDNN, oneDNN and fused attention: they have no forward derivative (and cuDNN's recurrent layers none at all in evaluation mode)."""
    cudnn: Any = torch.backends.cudnn
    onednn: Any = torch.backends.mkldnn
    before = cudnn.enabled, getattr(onednn, "enabled", None), torch.backends.mha.get_fastpath_enabled()
    try:
        cudnn.enabled = False
        torch.backends.mha.set_fastpath_enabled(False)
        if before[1] is not None:
            onednn.enabled = False
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        cudnn.enabled = before[0]
        torch.backends.mha.set_fastpath_enabled(before[2])
        if before[1] is not None:
            onednn.enabled = before[1]


def _norm(derivative, background: Tensor, limit: int) -> Array:
    """Largest over outputs, at each step, of the sum over inputs of |dy_k / dx_0|, (T,)."""
    total = torch.zeros(())
    for rows in torch.eye(background.shape[1]).to(background).split(limit):
        part = derivative(rows)
        total = part.abs().sum(0) + total
    return total.amax(-1).cpu().double().numpy()


def _tangents(call: Adapted, background: Tensor, directions: Tensor) -> Tensor | None:
    base = background.expand(directions.shape[0], *background.shape).contiguous()
    tangent = torch.zeros_like(base)
    tangent[:, 0] = directions
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(call(forward_ad.make_dual(base, tangent))).tangent


def _secants(call: Adapted, background: Tensor, directions: Tensor, step: float) -> Tensor:
    nudge = torch.zeros(directions.shape[0], *background.shape).to(background)
    nudge[:, 0] = step * directions
    up, down = call(torch.cat([background + nudge, background - nudge])).chunk(2)
    return (up - down) / (2 * step)
