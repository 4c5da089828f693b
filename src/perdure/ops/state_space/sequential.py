"""The recurrence step by step in compiled loops, on the CPU; where those cannot run, plain torch with the same results."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from perdure.ops.state_space.arguments import transformed
from perdure.ops.state_space.chunked import chunked
from perdure.ops.state_space.finite import causal
from perdure.ops.state_space.system import System

try:
    from perdure.ops.state_space.fused import Fused
    from perdure.ops.state_space.projected import Projected
except ImportError:  # no numba
    Fused = Projected = None

ORDINARY = (Tensor, torch.nn.Parameter)
SHORT = 64  # a state that is passed on after so few steps is worked on in float64: a rounded pole at every call would shorten its memory


def sequential(system: System) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, o) and last states (B, N, P)."""
    if Fused is None or Projected is None or not can_compile(system):
        return causal(chunked, system)
    _, steps, d, o, _, _ = system.sizes
    if steps < SHORT and system.h0 is not None and system.u.dtype == torch.float32:
        y, last = sequential(system.double())
        return y.float(), last.float()
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in system)
    return (Fused if d == o == 1 else Projected).apply(*system, keep)  # pyright: ignore[reportReturnType]


def can_compile(system: System) -> bool:
    """Whether the compiled loops can take these tensors: plain ones on the CPU, outside torch.compile, torch.func and forward-mode differentiation."""
    if Fused is None or torch.compiler.is_compiling() or transformed():
        return False
    for t in system:
        if t is None:
            continue
        if type(t) not in ORDINARY or t.device.type != "cpu":
            return False
        if t.is_floating_point() and forward_ad.unpack_dual(t).tangent is not None:
            return False
    return True
