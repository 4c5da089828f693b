"""sigma of dh/dt = sigma(W h + U x + b): the names, and each as a function of torch with its derivative."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from perdure import _checks


@dataclass(frozen=True)
class Activation:
    """An elementwise sigma.

    Attributes:
        value: sigma(z).
        slope: sigma'(z); at a kink the derivative from torch's own convention (0 at 0 for relu, 0 at the ends of hardtanh). Where sigma(z) is
            NaN, so is sigma'(z), but for linear, so that no gradient passes a NaN unseen; torch's autograd has 1 there for relu and elu.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


def _tanh_slope(z: Tensor) -> Tensor:
    return 1 - torch.tanh(z).square()


def _gelu_slope(z: Tensor) -> Tensor:
    bump = torch.where(z > 40, 0.0, z * torch.exp(-0.5 * z.square()))  # and not NaN at infinity
    return 0.5 * (1 + torch.erf(z * math.sqrt(0.5))) + bump / math.sqrt(2 * math.pi)


def _silu_slope(z: Tensor) -> Tensor:
    return torch.sigmoid(z) * (1 + z * torch.sigmoid(-z))


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(torch.tanh, _tanh_slope),
    "hardtanh": Activation(functional.hardtanh, lambda z: torch.where(z.isnan(), z, ((z > -1) & (z < 1)).to(z.dtype))),
    "linear": Activation(lambda z: z, torch.ones_like),
    "relu": Activation(torch.relu, lambda z: torch.where(z.isnan(), z, (z > 0).to(z.dtype))),
    "sigmoid": Activation(torch.sigmoid, lambda z: torch.sigmoid(z) * torch.sigmoid(-z)),
    "softplus": Activation(lambda z: torch.logaddexp(z, torch.zeros_like(z)), torch.sigmoid),
    "elu": Activation(functional.elu, lambda z: torch.exp(z.clamp(max=0))),
    "gelu": Activation(functional.gelu, _gelu_slope),
    "silu": Activation(functional.silu, _silu_slope),
    "softsign": Activation(functional.softsign, lambda z: torch.where(z.isinf(), math.nan, (1 + z.abs()).reciprocal().square())),
}
CODES = {name: code for code, name in enumerate(ACTIVATIONS)}


def get_activation(name: str) -> Activation:
    """The activation of that name; the error lists the valid ones."""
    return ACTIVATIONS[_checks.choice(name, "activation", ACTIVATIONS)]
