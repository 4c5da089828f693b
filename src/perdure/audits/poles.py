"""Poles of diagonal state-space layers, read off parameters by the names that publications use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from perdure._typing import Array, Tensor

GATE = 8.0  # of RG-LRU: log a = -8 r softplus(Lambda)


@dataclass(frozen=True)
class Poles:
    """Poles of one step.

    Attributes:
        values: mu, complex, any shape.
        kind: "diagonal", or "gated" where the step depends on the input.
        what: in a sentence.
    """

    values: Array
    kind: str
    what: str


def poles(module: nn.Module) -> Poles | None:
    """The poles that a module's own parameters spell out; None where they do not.

    >>> layer = nn.Module()
    >>> layer.nu_log = nn.Parameter(torch.log(-torch.log(torch.tensor([0.9, 0.5]))))
    >>> found = poles(layer)
    >>> found.kind, found.values.real.round(6).tolist()
    ('diagonal', [0.9, 0.5])
    """
    own = {name: p.detach().double().cpu() for name, p in module.named_parameters(recurse=False) if not p.is_complex()}
    if "A_log" in own:
        return _mamba(module, own)
    if {"log_A_real", "A_imag", "log_dt"} <= own.keys():
        real, turn, dt = -own["log_A_real"].exp(), own["A_imag"], own["log_dt"].exp()
        step = dt.view(-1, *[1] * (real.ndim - 1)) if dt.ndim < real.ndim else dt
        return Poles(
            np.exp((step * torch.complex(real, turn)).numpy()), "diagonal", "poles e^(dt A) from log_A_real, A_imag and log_dt (S4D)"
        )
    if "nu_log" in own:
        angle = own["theta_log"].exp() if "theta_log" in own else own.get("theta", torch.zeros((), dtype=torch.float64))
        return Poles(
            np.exp(torch.complex(-own["nu_log"].exp(), angle.expand_as(own["nu_log"])).numpy()),
            "diagonal",
            "poles from nu_log and theta_log (LRU)",
        )
    if "time_decay" in own:
        return Poles(np.exp(-own["time_decay"].exp().numpy()).astype(complex), "diagonal", "poles e^(-e^v) from time_decay (RWKV)")
    if "recurrent_param" in own and "recurrent_gate_bias" in own:
        gate = torch.sigmoid(own["recurrent_gate_bias"]).reshape(-1)
        a = torch.exp(-GATE * gate * torch.nn.functional.softplus(own["recurrent_param"]).reshape(-1))
        return Poles(
            a.numpy().astype(complex), "gated", "poles from recurrent_param at zero input, where the gate is its bias alone (RG-LRU)"
        )
    return None


def _mamba(module: nn.Module, own: dict[str, Tensor]) -> Poles:
    """e^(-dt e^A_log) with dt = softplus(bias) at zero input; for dt = 1 where no bias is found."""
    rate = own["A_log"].exp()
    bias: Any = own.get("dt_bias")
    if bias is None:
        bias = getattr(getattr(module, "dt_proj", None), "bias", None)
        bias = None if bias is None else bias.detach().double().cpu()
    if bias is None or bias.numel() != rate.shape[0]:
        return Poles(np.exp(-rate.numpy()).astype(complex), "gated", "poles e^(-e^A_log) for a step of 1: no bias of the step was found")
    step = torch.nn.functional.softplus(bias.reshape(-1)).view(-1, *[1] * (rate.ndim - 1))
    return Poles(
        np.exp(-(step * rate).numpy()).astype(complex),
        "gated",
        "poles e^(-dt e^A_log) with dt = softplus(bias), its value at zero input (Mamba)",
    )
