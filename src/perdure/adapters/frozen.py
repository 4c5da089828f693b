"""A stand-in for the model that can be measured without the model noticing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from perdure._typing import Tensor
from perdure.adapters.owner import moved, owner
from perdure.adapters.sequence import Adapted
from perdure.adapters.snapshot import make_plain, put_back, tensors
from perdure.errors import ModelError, PerdureError

COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}
Result = TypeVar("Result")


@dataclass(frozen=True)
class Frozen:
    """What to call in place of the model.

    Attributes:
        model: a copy in evaluation mode without gradients, or the model itself where it cannot be copied or is no module.
        dtype: floating-point type of the inputs to give it.
        device: device of the inputs to give it.
        notes: what a reader of the result should know.
    """

    model: Any
    dtype: torch.dtype
    device: torch.device
    notes: tuple[str, ...]


def native_dtype(model: Any) -> torch.dtype:
    """The floating-point type the model lives in: that of its first real parameter or buffer, else torch's default."""
    found = _named(owner(model.model if isinstance(model, Adapted) else model))
    return next((t.dtype for t in found.values() if t.is_floating_point()), torch.get_default_dtype())


@contextmanager
def frozen(model: Any, dtype: torch.dtype) -> Iterator[Frozen]:
    """A copy of `model` in evaluation mode and `dtype`; afterwards, whatever happened, the model is as it was.

    Complex parameters go to the complex type of the same precision. Weights that are tied stay tied; weights made in inference mode, and tensors
    computed from others that a module holds, become plain ones in the copy. A module that cannot be copied is run itself, in its own type, and
    all that it holds is put back (see `perdure.adapters.snapshot`). Of an adapted model the copy is adapted in the same way. A plain function
    is called as it is: a module inside it keeps its mode.

    Raises:
        ModelError: a parameter or buffer holds NaN or infinity, or has no shape yet (a lazy module).
    """
    if isinstance(model, Adapted):
        with frozen(model.model, dtype) as twin:
            yield replace(twin, model=model.on(twin.model))
        return
    module = owner(model)
    if module is None:
        yield Frozen(model, dtype, torch.device("cpu"), ())
        return
    named = _named(module)
    _check(named)
    device = next((t.device for t in named.values()), torch.device("cpu"))
    try:
        twin = _copy(module)
    except Exception as error:  # whatever a user's __deepcopy__ may raise
        note = f"the model cannot be copied ({type(error).__name__}: {error}): measured in place, in {native_dtype(model)}"
        with put_back(module):
            for part in module.modules():
                part.training = False
            make_plain(module)
            yield Frozen(model, native_dtype(model), device, (note,))
        return
    twin.eval()
    twin.requires_grad_(False)
    twin._apply(lambda t: _cast(t, dtype))
    yield Frozen(moved(model, twin), dtype, device, ())


def in_some_type(model: Any, dtype: torch.dtype, body: Callable[[Frozen, tuple[str, ...]], Result]) -> Result:
    """`body` of a frozen copy in `dtype` and its notes; where the model raises in that type, of one in the model's own type, with a note."""
    native = native_dtype(model)
    with frozen(model, dtype) as twin:
        try:
            return body(twin, twin.notes)
        except (RuntimeError, TypeError) as error:
            if isinstance(error, PerdureError) or twin.dtype == native:
                raise
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    with frozen(model, native) as twin:
        return body(twin, (*twin.notes, f"measured in {native}, because in {dtype} the model raises: {reason}"))


def _named(module: nn.Module | None) -> dict[str, Tensor]:
    return {} if module is None else {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _copy(module: nn.Module) -> nn.Module:
    """A deep copy, in which each tensor of a plain type is a new one with the same values and nothing of its history."""
    memo: dict[int, Any] = {}
    with torch.inference_mode(False), torch.no_grad():
        for t in tensors(module):
            if type(t) is Tensor:
                memo[id(t)] = t.detach().clone()
            elif type(t) is nn.Parameter:
                memo[id(t)] = nn.Parameter(t.detach().clone(), requires_grad=False)
        return copy.deepcopy(module, memo)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if tensor.is_complex():
        return tensor.to(COMPLEX.get(dtype, torch.complex64))  # Module.to would drop the imaginary part
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _check(named: dict[str, Tensor]) -> None:
    for name, tensor in named.items():
        if is_lazy(tensor):
            raise ModelError(
                f"expected argument `model` to be initialised, but got a lazy parameter `{name}`: call the model once on data first"
            )
        if (tensor.is_floating_point() or tensor.is_complex()) and bool(torch.isnan(tensor.detach()).any()):
            raise ModelError(f"expected argument `model` to have weights without NaN, but got NaN in `{name}`: load or train it anew")
        if isinstance(tensor, nn.Parameter) and not bool(torch.isfinite(tensor.detach()).all()):
            raise ModelError(f"expected argument `model` to have finite weights, but got infinity in `{name}`: load or train it anew")
