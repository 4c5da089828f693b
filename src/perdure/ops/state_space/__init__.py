r"""The diagonal linear recurrence: h_k = a h_{k-1} + b u_k, y_k = Re(c h_k)."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from perdure import _checks
from perdure.ops.state_space import arguments
from perdure.ops.state_space.chunked import chunked as by_chunks
from perdure.ops.state_space.cost import choose
from perdure.ops.state_space.fft import fft as by_fft
from perdure.ops.state_space.finite import causal
from perdure.ops.state_space.reference import reference as by_reference
from perdure.ops.state_space.sequential import sequential as by_steps

METHODS = ("auto", "sequential", "chunked", "fft", "reference")


def state_space(
    u: Tensor,
    log_modulus: Tensor,
    angle: Tensor | None,
    b: Tensor,
    c: Tensor,
    h0: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    method: str = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Outputs and last states of N linear modes that do not touch one another.

        h_k = a h_{k-1} + b u_k,   y_k = Re(c h_k),   a = exp(log_modulus + i angle),   k = 1, ..., T.

    Complex numbers are pairs of real ones, (real, imaginary), on a last axis of 2. Powers of a are formed in float64 from its logarithm, so that a
    memory of 1e5 steps keeps its length in float32: on such, float32 outputs are within about 1e-6 of the float64 ones by "chunked"
    and "fft" and 1e-5 by "sequential", whose states are rounded at every step. Computed in float64 for float64 inputs and in float32 for others,
    also under autocast.

    Args:
        u: inputs, (B, T, d), float64, float32, bfloat16 or float16.
        log_modulus: log|a|, (N,), float64; negative for a memory that fades.
        angle: arg a in radians a step, (N,), float64; None for real poles, and b, c, h0 without their last axis.
        b: input weights, (N, d, 2), float64 or float32 as `u` (float32 for smaller types).
        c: output weights, (o, N, 2).
        h0: initial states, (B, N, 2); None for zeros.
        lengths: steps of each row, (B,), integers from 0 to T; what comes after them counts for nothing, and outputs there are 0.
        method: "sequential" (compiled loops on the CPU, plain torch elsewhere), "chunked" (matrix products over chunks of 128 steps, plain torch), "fft" (one convolution,
            plain torch), "reference" (step by step in float64), or "auto": the one that should be fastest by measured costs. The results are the same.

    Returns:
        y (B, T, o), dtype of `u`, and h (B, N, 2), the state after the last step of each row.

    Raises:
        ArgumentError: shapes that do not fit, lengths out of range, an unknown method.
        ArgumentTypeError: integers, poles not in float64, types that do not go together.

    >>> u = torch.tensor([[[1.0], [0.0], [0.0]]], dtype=torch.float64)
    >>> half = torch.tensor([0.5], dtype=torch.float64).log()
    >>> y, h = state_space(u, half, None, torch.ones(1, 1).double(), torch.ones(1, 1).double())
    >>> y.flatten().tolist(), h.item()
    ([1.0, 0.5, 0.25], 0.25)
    """
    _checks.choice(method, "method", METHODS)
    kind = u.device.type
    mixed = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    with torch.autocast(kind, enabled=False) if mixed else nullcontext():
        system = arguments.system(u, log_modulus, angle, b, c, h0, lengths)
        if u.shape[0] == 0 or u.shape[1] == 0:
            y, last = system.u.new_zeros(*u.shape[:2], c.shape[0]), system.start()
        else:
            name = choose(system) if method == "auto" else method
            if name == "reference":
                y, last = by_reference(system)
            elif name == "sequential":
                y, last = by_steps(system)
            else:
                y, last = causal(by_fft if name == "fft" else by_chunks, system)
        if system.lengths is not None:
            inside = torch.arange(u.shape[1], device=u.device) < system.lengths[:, None]
            y = torch.where(inside[..., None], y, 0.0)
        return y.to(u.dtype), last[..., 0] if angle is None else last


__all__ = ["METHODS", "state_space"]
