"""The module behind whatever a user passes as a model."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn


def owner(model: Any) -> nn.Module | None:
    """The module to be protected: the model, the one whose bound method it is, or the one a `functools.partial` calls; else None.

    >>> layer = nn.Linear(1, 1)
    >>> owner(layer.forward) is layer, owner(functools.partial(layer.forward)) is layer, owner(abs) is None
    (True, True, True)
    """
    if isinstance(model, functools.partial):
        return owner(model.func)
    return next((found for found in (model, getattr(model, "__self__", None)) if isinstance(found, nn.Module)), None)


def moved(model: Any, twin: nn.Module) -> Any:
    """The model with `twin` in the place of the module behind it."""
    if isinstance(model, functools.partial):
        return functools.partial(moved(model.func, twin), *model.args, **model.keywords)
    return twin if isinstance(model, nn.Module) else getattr(twin, model.__name__)
