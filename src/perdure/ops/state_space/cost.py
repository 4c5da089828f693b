"""Which method should be fastest: a model of their times, with constants measured.

Seconds in float32 on two threads of an AMD EPYC (Zen 4, AVX-512), torch 2.13, by `benchmarks/diagonal_scan.py`. On another processor the constants
differ, less so their ratios, which alone decide; a wrong choice costs time and nothing else.
"""

from __future__ import annotations

import math

import torch

from perdure.ops.state_space.chunked import SHORTEST, ideal_length
from perdure.ops.state_space.fft import good_size
from perdure.ops.state_space.sequential import can_compile
from perdure.ops.state_space.system import System

COMPILED, PLAIN = ("sequential", "fft"), ("chunked", "fft")
PRODUCT = 1.0e-11  # a multiplication within a matrix product, one thread


def choose(system: System) -> str:
    """The method for these tensors.

    Compiled loops where they can run, unless the convolution costs less; elsewhere chunks or the convolution on the CPU, and chunks on other
    devices, where nothing has been measured, and inside torch.compile and torch.func, which like real numbers better than complex ones.
    """
    if (
        system.u.device.type != "cpu"
        or torch.compiler.is_compiling()
        or (not (compiled := can_compile(system)) and torch._C._are_functorch_transforms_active())
    ):
        return "chunked"
    grad = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in system)
    return min(COMPILED if compiled else PLAIN, key=lambda name: seconds(name, system.sizes, grad, torch.get_num_threads()))


def seconds(method: str, sizes: tuple[int, int, int, int, int, int], grad: bool, threads: int) -> float:
    """Time of one call, with its backward pass if `grad`, from sizes B, T, d, o, N, P.

    >>> seconds("sequential", (16, 100_000, 1, 1, 64, 2), grad=False, threads=2) < seconds("fft", (16, 100_000, 1, 1, 64, 2), False, 2)
    True
    """
    rows, steps, d, o, n, p = sizes
    numbers = rows * steps * n * p
    if method == "sequential":
        n = 16 * -(-n // 16)
        numbers = rows * steps * n * p
        if d == o == 1:
            work = numbers * (2.6e-10 if grad else 6.5e-11)
        else:
            work = numbers * ((d + o) * PRODUCT * (4 if grad else 1) + (3.5e-10 if grad else 7e-11))
        return (4e-4 if grad else 1.5e-4) + work / min(threads, rows if d * o > 1 else max(rows, n // 16))
    if method == "chunked":
        if d * o <= FEW:
            work = (numbers * (d + o) + rows * steps * d * o * LENGTH) * PRODUCT + 4e-10 * numbers / LENGTH + 4e-9 * rows * steps * (d + o)
        else:
            work = numbers * ((d + o) * PRODUCT + 2.5e-9)
        return (4e-3 if grad else 1.5e-3) + work * (3 if grad else 1) / threads
    size = good_size(2 * steps - 1)
    transforms = (rows * (d + o) + d * o) * size * (math.log2(size) * 4e-10 + 4e-9)
    work = transforms + rows * size * d * o * 1e-9 + (rows * d + d * o) * steps * n * p * PRODUCT
    return (2.5e-3 if grad else 1e-3) + work * (2.5 if grad else 1) / threads
