"""The recurrence and its gradients in plain torch: for every device and type, and where nothing can be compiled."""

from __future__ import annotations

import torch
from torch import Tensor

from perdure.ops.recurrence.activations import Activation


def states(
    sigma: Activation, x: Tensor, w: Tensor, h0: Tensor, p: Tensor, keep_slope: bool, keep_value: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """States (E, T, B, m), sigma'(z) and sigma(z), empty where not kept; arguments as in `perdure.ops.recurrence.kernels`."""
    dense, gain = w.ndim == 3, p[:, None]
    copies, steps = w.shape[0], x.shape[1]
    h = h0.expand(copies, -1, -1)
    turned = w.transpose(1, 2) if dense else w[:, None]
    out, slopes, values = [], [], []
    for drive in x.unbind(1):
        z = torch.baddbmm(drive.expand(copies, -1, -1), h, turned) if dense else drive + turned * h
        value = sigma.value(z)
        h = h + gain * value
        out.append(h)
        if keep_slope:
            slopes.append(sigma.slope(z))
        if keep_value:
            values.append(value)
    empty = x.new_empty(0)
    if steps == 0:
        none = x.new_empty(copies, 0, *x.shape[2:])
        return none, none if keep_slope else empty, none if keep_value else empty
    return torch.stack(out, 1), torch.stack(slopes, 1) if keep_slope else empty, torch.stack(values, 1) if keep_value else empty


def gradients(
    w: Tensor, p: Tensor, grad_out: Tensor | None, grad_last: Tensor, slope: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """dL/dx = q (E, T, B, m), dL/dh0 (E, B, m), dL/dp (E, m) or None."""
    dense, gain = w.ndim == 3, p[:, None]
    g, by_p = grad_last, None
    q = [grad_last] * slope.shape[1]
    for k in range(slope.shape[1] - 1, -1, -1):
        if grad_out is not None:
            g = g + grad_out[:, k]
        if value.numel():
            part = (g * value[:, k]).sum(1)
            by_p = part if by_p is None else by_p + part
        q[k] = gain * slope[:, k] * g
        g = torch.baddbmm(g, q[k], w) if dense else g + w[:, None] * q[k]
    return (torch.stack(q, 1) if q else slope), g, by_p
