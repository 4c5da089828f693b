"""Random systems, and what a method makes of them: outputs, last states and the gradient of every argument."""

from __future__ import annotations

import torch

from perdure.ops.state_space import state_space

NAMES = ("y", "h", "u", "log_modulus", "angle", "b", "c", "h0")


def system(rows=3, steps=129, d=1, o=1, n=5, oscillating=True, start=True, dtype=torch.float32, slowest=1e-3, seed=0):
    """Arguments of `state_space`, poles in float64; None where there are none."""
    g = torch.Generator().manual_seed(seed)
    pair = (2,) if oscillating else ()

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return {
        "u": draw(rows, steps, d).to(dtype),
        "log_modulus": -(slowest ** torch.rand(n, generator=g, dtype=torch.float64)),
        "angle": 2 * draw(n) if oscillating else None,
        "b": (draw(n, d, *pair) / d**0.5).to(dtype),
        "c": (draw(o, n, *pair) / n**0.5).to(dtype),
        "h0": draw(rows, n, *pair).to(dtype) if start else None,
    }


def cast(arguments, dtype):
    """The same, with everything but the poles in `dtype`."""
    return {k: v if v is None or k in ("log_modulus", "angle") else v.to(dtype) for k, v in arguments.items()}


def outcome(arguments, method, lengths=None, last=True):
    """Outputs, last states and gradients of a fixed random functional of both, by name."""
    leaves = {k: None if v is None else v.detach().clone().requires_grad_() for k, v in arguments.items()}
    y, h = state_space(**leaves, lengths=lengths, method=method)
    g = torch.Generator().manual_seed(1)
    loss = (y * torch.randn(y.shape, generator=g, dtype=torch.float64)).sum()
    if last:
        loss = loss + (h * torch.randn(h.shape, generator=g, dtype=torch.float64)).sum()
    loss.backward()
    return {"y": y.detach(), "h": h.detach()} | {k: v.grad for k, v in leaves.items() if v is not None}


def assert_same(found, expected, tolerance, method=""):
    """Every entry within `tolerance` of the largest number of the expected one; ten times that for float32 gradients, sums in which much cancels."""
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        error = (found[name].double() - want.double()).abs().max() if want.numel() else torch.zeros(())
        scale = max(want.abs().max().item(), 1e-12) if want.numel() else 1.0
        allowed = tolerance if name in ("y", "h") or tolerance < 1e-8 else 10 * tolerance
        assert error <= allowed * scale, f"{method} {name}: {error / scale:.1e} off, {allowed:.1e} allowed"
