"""Zero-order hold: the step of length dt of dh/dt = lambda h + x under an input that is constant over the step."""

from __future__ import annotations

import torch
from torch import Tensor


def zero_order_hold(rates: Tensor, frequencies: Tensor | None, dt: float) -> tuple[Tensor, Tensor | None, Tensor]:
    r"""log|a|, arg a and the gain of the input, for lambda = -rate + i frequency.

        a = e^(dt lambda),   gain = (a - 1) / lambda.

    a - 1 is formed without forming a: with dt lambda = x + i w,  a - 1 = expm1(x) cos w - 2 sin^2(w / 2) + i e^x sin w. A slow mode keeps all its digits.

    Args:
        rates: (N,), float64, per unit time.
        frequencies: (N,), float64, radians per unit time; None for real modes.
        dt: length of the step.

    Returns:
        log_modulus (N,); angle (N,), or None; gain (N, P), real and imaginary part (P = 2), or P = 1 for real modes.

    >>> log_modulus, _, gain = zero_order_hold(torch.tensor([1e-12], dtype=torch.float64), None, 1.0)
    >>> log_modulus.item(), gain.item()  # 1 - 1e-12 / 2, rounded to what float64 can show of it
    (-1e-12, 0.9999999999995)
    """
    x = -rates * dt
    if frequencies is None:
        nothing = x.abs() < TINY
        safe = torch.where(nothing, 1.0, x)
        return x, None, dt * torch.where(nothing, 1.0 + x / 2, torch.expm1(safe) / safe)[:, None]
    w = frequencies * dt
    size = x.square() + w.square()
    nothing = size < TINY
    real = torch.expm1(x) * torch.cos(w) - 2.0 * torch.sin(w / 2).square()
    imaginary = torch.exp(x) * torch.sin(w)
    safe = torch.where(nothing, 1.0, size)
    by_real = torch.where(nothing, 1.0 + x / 2, (real * x + imaginary * w) / safe)
    by_imaginary = torch.where(nothing, w / 2, (imaginary * x - real * w) / safe)
    return x, w, dt * torch.stack((by_real, by_imaginary), -1)


TINY = 1e-60  # of |dt lambda|^2 (of |dt lambda| for real modes): there the quotient is 1 + dt lambda / 2
