"""Everything a module holds, written down, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from perdure._typing import Tensor


@contextmanager
def put_back(owner: nn.Module) -> Iterator[None]:
    """Whatever happens inside, afterwards the module and its parts hold the same attributes, with the same values, as before.

    What is put back: every attribute of every part (so modes, parameters, buffers, parts and hooks, also those added or removed inside), the
    contents of attributes that are dictionaries, lists or sets (one level deep), the values of all tensors among these, and gradients. What
    lies deeper, such as in an object of a class of the user's, is not seen.
    """
    parts = [(part, dict(vars(part)), _contents(part)) for part in owner.modules()]
    values = {id(t): (t, _copy(t), t.grad, None if t.grad is None else _copy(t.grad)) for t in tensors(owner)}
    try:
        yield
    finally:
        for part, attributes, contents in parts:
            vars(part).clear()
            vars(part).update(attributes)
            for held, before in contents:
                _refill(held, before)
        for t, value, grad, slope in values.values():
            _write(t, value)
            if t.grad is not grad:
                t.grad = grad
            if grad is not None and slope is not None:
                _write(grad, slope)


def make_plain(owner: nn.Module) -> None:
    """Inside `put_back`: plain tensors in the place of those made in inference mode, which neither derivatives nor writing outside of it allow."""
    plain = {
        id(t): nn.Parameter(_copy(t), requires_grad=False) if isinstance(t, nn.Parameter) else _copy(t)
        for t in tensors(owner)
        if t.is_inference()
    }
    for part in owner.modules():
        for held in (part._parameters, part._buffers):
            for name, t in list(held.items()):
                if t is not None and id(t) in plain:
                    setattr(part, name, plain[id(t)])  # not held[name]: recurrent layers keep a second list of their weights


def tensors(owner: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers, and tensors that the parts hold as plain attributes or in lists and dictionaries of these; each once."""
    seen: set[int] = set()
    for part in owner.modules():
        for value in vars(part).values():
            inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            for t in inside:
                if isinstance(t, Tensor) and id(t) not in seen:
                    seen.add(id(t))
                    yield t


def _contents(part: nn.Module) -> list[tuple[Any, Any]]:
    return [(value, value.copy()) for value in vars(part).values() if isinstance(value, dict | list | set)]


def _refill(held: Any, before: Any) -> None:
    if isinstance(held, list):
        held[:] = before
    else:
        held.clear()
        held.update(before)


def _copy(t: Tensor) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return t.detach().clone()


def _write(t: Tensor, value: Tensor) -> None:
    """The value, unless it is there: writing would move the tensor's version, which a pending backward pass looks at."""
    if t.shape == value.shape and torch.equal(_bits(t), _bits(value)):
        return
    with torch.inference_mode(t.is_inference()), torch.no_grad():
        if t.shape != value.shape:
            t.data = value
        else:
            t.copy_(value)


def _bits(t: Tensor) -> Tensor:
    """The numbers so that NaN equals NaN."""
    t = torch.view_as_real(t.detach()) if t.is_complex() else t.detach()
    return torch.nan_to_num(t, nan=1.2345e30) if t.dtype == torch.float64 or t.dtype == torch.float32 else t
