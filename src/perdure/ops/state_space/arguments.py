"""What the public function accepts, brought into the one form that the methods take."""

from __future__ import annotations

import torch
from torch import Tensor

from perdure import _checks
from perdure.errors import ArgumentTypeError
from perdure.ops.state_space.system import System

LOW = (torch.float16, torch.bfloat16)


def system(u: Tensor, log_modulus: Tensor, angle: Tensor | None, b: Tensor, c: Tensor, h0: Tensor | None, lengths: Tensor | None) -> System:
    """The arguments of `state_space` as a `System`.

    Raises:
        ArgumentError: a wrong shape, or lengths out of range.
        ArgumentTypeError: a wrong type, or types that do not go together.
    """
    if not u.is_floating_point():
        raise ArgumentTypeError(f"expected argument `u` to be floating point, but got {u.dtype}: convert it, u.float()")
    _shape(u, "u", ("B", "T", "d"), (None, None, None))
    _shape(log_modulus, "log_modulus", ("N",), (None,))
    (rows, _, d), (n,) = u.shape, log_modulus.shape
    tail, letters = ((), ()) if angle is None else ((2,), ("2",))
    _shape(b, "b", ("N", "d", *letters), (n, d, *tail))
    _shape(c, "c", ("o", "N", *letters), (None, n, *tail))
    for name, t in (("log_modulus", log_modulus), ("angle", angle)):
        if t is not None and t.dtype != torch.float64:
            raise ArgumentTypeError(
                f"expected argument `{name}` to be float64, but got {t.dtype}: convert it, {name}.double(); a rounded logarithm shortens a long memory"
            )
    if angle is not None:
        _shape(angle, "angle", ("N",), (n,))
    if h0 is not None:
        _shape(h0, "h0", ("B", "N", *letters), (rows, n, *tail))
    work = torch.float32 if u.dtype in LOW else u.dtype
    if work not in (torch.float32, torch.float64):
        raise ArgumentTypeError(f"expected argument `u` to be float64, float32, bfloat16 or float16, but got {u.dtype}: convert it")
    for name, t in (("b", b), ("c", c), ("h0", h0)):
        if t is not None and t.dtype not in (work, u.dtype):
            raise ArgumentTypeError(
                f"expected argument `{name}` to be {work}, to go with `u` of {u.dtype}, but got {t.dtype}: convert one of them"
            )
    u, b, c, h0 = u.to(work), b.to(work), c.to(work), None if h0 is None else h0.to(work)
    if angle is None:
        b, c, h0 = b[:, None], c[..., None], None if h0 is None else h0[..., None]
    else:
        b, c = b.movedim(2, 1), torch.stack((c[..., 0], -c[..., 1]), -1)
    if lengths is None:
        return System(u, log_modulus, angle, b, c, h0, None)
    lengths = within(lengths, u)
    inside = torch.arange(u.shape[1], device=u.device) < lengths[:, None]
    return System(torch.where(inside[..., None], u, 0.0), log_modulus, angle, b, c, h0, lengths)


def within(lengths: Tensor, u: Tensor) -> Tensor:
    """`lengths` as int64 on the device of `u` (B, T, d), checked to count steps of its rows (not inside torch.compile or torch.func)."""
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise ArgumentTypeError(
            f"expected argument `lengths` to hold integers, but got {lengths.dtype}: pass steps of each row, for example lengths.long()"
        )
    _shape(lengths, "lengths", ("B",), (u.shape[0],))
    lengths = lengths.to(u.device, torch.int64)
    if not (torch.compiler.is_compiling() or transformed() or lengths.device.type == "meta"):
        outside = lengths[(lengths < 0) | (lengths > u.shape[1])]
        if outside.numel():
            raise _checks.fail(
                "lengths", f"from 0 to T = {u.shape[1]}", int(outside[0]), "it counts the steps of each row that are not padding"
            )
    return lengths


def transformed() -> bool:
    """Whether this runs inside a transform of torch.func (vmap, grad, jvp, ...)."""
    return torch._C._are_functorch_transforms_active()


def _shape(t: Tensor, name: str, letters: tuple[str, ...], sizes: tuple[int | None, ...]) -> None:
    """Refuse a tensor whose shape is not that; None leaves a size open, but not zero states or channels."""
    if t.ndim != len(sizes) or any(size is not None and size != got for size, got in zip(sizes, t.shape, strict=True)):
        raise _checks.fail(name, f"of shape {_wanted(letters, sizes)}", tuple(t.shape), "see the shapes in the docstring of state_space")
    for letter, got in zip(letters, t.shape, strict=True):
        if got == 0 and letter in ("N", "d", "o"):
            rule = f"of shape {_wanted(letters, sizes)} with {letter} at least 1"
            raise _checks.fail(name, rule, tuple(t.shape), "a system has a state, an input and an output")


def _wanted(letters: tuple[str, ...], sizes: tuple[int | None, ...]) -> str:
    names = [letter if size is None or letter == str(size) else f"{letter} = {size}" for letter, size in zip(letters, sizes, strict=True)]
    return "(" + ", ".join(names) + ")"
