"""What was audited, with what: enough to tell two audits apart and to make one again."""

from __future__ import annotations

import hashlib
import platform
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from perdure.audits.cost import Budget, Cost


def name_of(model: Any) -> str:
    """Class of a module, name of a function.

    >>> name_of(nn.LSTM(1, 2)), name_of(abs)
    ('LSTM', 'abs')
    """
    if isinstance(model, nn.Module):
        return type(model).__name__
    return getattr(model, "__name__", type(model).__name__)


def fingerprint(model: Any) -> str:
    """SHA-256 over names, shapes, types and bytes of all parameters and buffers, first 16 digits; "" for what has none."""
    if not isinstance(model, nn.Module):
        return ""
    digest = hashlib.sha256()
    for name, tensor in sorted({**dict(model.named_parameters()), **dict(model.named_buffers())}.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def describe(model: Any, options: dict[str, Any], cost: Cost, budget: Budget) -> dict[str, Any]:
    """Versions, the model's size and fingerprint, the options, what a call costs, the seconds used."""
    import perdure

    module = isinstance(model, nn.Module)
    return {
        "perdure": perdure.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "parameters": sum(p.numel() for p in model.parameters()) if module else 0,
        "weights": fingerprint(model),
        "threads": torch.get_num_threads(),
        "options": options,
        "seconds_per_call": {"one row": cost.forward(1, options["horizon"]), "64 rows": cost.forward(64, options["horizon"])},
        "seconds": budget.spent,
    }
