"""The recurrence step by step in float64: what every other method is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from perdure.ops.state_space.system import System


def reference(system: System) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, o) and last states (B, N, P), computed in float64 with complex numbers, returned in the dtype of `u`."""
    u, lengths = system.u.double(), system.lengths
    a = torch.exp(system.log_modulus if system.angle is None else torch.complex(system.log_modulus, system.angle))
    b, c, h = (_number(t.double().movedim(axis, -1)) for t, axis in ((system.b, 1), (system.c, 2), (system.start(), 2)))
    outputs = []
    for k, x in enumerate(u.unbind(1)):
        after = a * h + (x.to(b.dtype)[:, None] * b).sum(-1)
        h = after if lengths is None else torch.where((k < lengths)[:, None], after, h)
        outputs.append((h[:, None] * c.conj()).sum(-1).real)  # c holds (Re, -Im)
    y = torch.stack(outputs, 1) if outputs else u.new_zeros(u.shape[0], 0, c.shape[0])
    last = torch.view_as_real(h.resolve_conj()) if h.is_complex() else h[..., None]
    return y.to(system.u.dtype), last.to(system.u.dtype)


def _number(t: Tensor) -> Tensor:
    return torch.view_as_complex(t.contiguous()) if t.shape[-1] == 2 else t[..., 0]
