"""What a model is called with besides its input: a mask, the time step, whatever the user names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from perdure._typing import Tensor
from perdure.adapters.sizes import parameters_of
from perdure.errors import ArgumentError, ArgumentTypeError

MASKS = {"mask": "is_causal", "src_mask": "src_is_causal", "tgt_mask": "tgt_is_causal", "attn_mask": "is_causal"}


class Arguments:
    """The keyword arguments of every call of a model, made for the input at hand.

    Args:
        model: what is called.
        dt: given to a model with an argument `dt`.
        mask: None, or "causal".
        given: name -> value, or a function of the input as the model gets it. Floating-point tensors follow the input's type and device.

    Raises:
        ArgumentError: the model takes no mask, or no argument of a name given.
        ArgumentTypeError: `given` is no mapping.
    """

    def __init__(self, model: Any, dt: float, mask: Any, given: Any) -> None:
        taken = parameters_of(model)
        self.masks = tuple(name for name in MASKS if name in taken) if mask is not None else ()
        if mask not in (None, "causal"):
            fix = "for another mask pass arguments={'name': lambda x: mask for an input x}"
            raise ArgumentError(f"expected argument `mask` to be None or 'causal', but got {mask!r}: {fix}")
        if mask is not None and not self.masks:
            raise ArgumentError(
                f"expected argument `mask` to be None, because {type(model).__name__} takes none of {', '.join(MASKS)}, but got {mask!r}: "
                "pass a function that masks, such as lambda x: model(x, my_mask)"
            )
        if given is not None and not isinstance(given, Mapping):
            raise ArgumentTypeError(
                f"expected argument `arguments` to be a dictionary, but got {type(given).__name__}: pass {{'name': value}}"
            )
        self.given = dict(given or {})
        unknown = sorted(set(self.given) - taken)
        if unknown and taken and not _open(model):
            raise ArgumentError(
                f"expected argument `arguments` to name arguments of the model, but got {', '.join(map(repr, unknown))}: "
                f"it takes {', '.join(sorted(taken))}"
            )
        self.hints = tuple(dict.fromkeys(hint for name in self.masks for hint in (MASKS[name], "is_causal") if hint in taken))
        self.fixed: dict[str, Any] = {"dt": dt} if "dt" in taken else {}
        if "use_cache" in taken and "inputs_embeds" in taken:
            self.fixed["use_cache"] = False  # whole sequences are given: a cache costs memory and serves nothing

    def of(self, x: Tensor, steps: int) -> dict[str, Any]:
        """The arguments to go with an input x of so many steps."""
        found = dict(self.fixed)
        if self.masks:
            mask = torch.full((steps, steps), -torch.inf, dtype=x.dtype, device=x.device).triu(1)
            found |= dict.fromkeys(self.masks, mask) | dict.fromkeys(self.hints, True)
        for name, value in self.given.items():
            value = value(x) if callable(value) and not isinstance(value, torch.nn.Module) else value
            found[name] = value.to(x) if isinstance(value, Tensor) and value.is_floating_point() else value
        return found


def _open(model: Any) -> bool:
    import inspect

    try:
        signature = inspect.signature(model.forward if isinstance(model, torch.nn.Module) else model)
    except (TypeError, ValueError):
        return True
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
