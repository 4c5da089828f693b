"""Which method should be fastest: a model of their times, with constants measured.

Each method's time is a sum of a few products of sizes. The coefficients were fitted to the processor time of 320 calls from 1e3 to 1e9 state steps, float32, one
thread of an AMD EPYC (Zen 4, AVX-512) with torch 2.13 and its MKL; the model is within 30 % of nearly all of them. Elsewhere the coefficients differ, less so
their ratios, which alone decide; a wrong choice costs time and nothing else.
"""

from __future__ import annotations

import math

import torch

from perdure.ops.state_space.arguments import transformed
from perdure.ops.state_space.chunked import LONGEST, SHORTEST, ideal_length
from perdure.ops.state_space.fft import good_size
from perdure.ops.state_space.sequential import can_compile
from perdure.ops.state_space.system import System

COMPILED, PLAIN = ("sequential", "chunked", "fft"), ("chunked", "fft")
# seconds: the first of a call, the others of one of the `_terms`, forward and forward + backward
FUSED = (1.7e-4, 6.7e-11, 8.9e-10), (3.6e-4, 2.6e-10, 3.2e-9)
PROJECTED = (2.0e-4, 2.5e-11, 7.0e-10), (5.6e-4, 7.7e-11, 2.5e-9)
CHUNKS = (5.4e-4, 2.1e-8, 2.9e-11, 6.0e-9, 1.0e-9), (1.6e-3, 5.9e-8, 9.3e-11, 1.35e-8, 4.5e-9)
STATES = (1.6e-3, 6.2e-11), (4.9e-3, 1.7e-10)
FFT = (2.5e-4, 3.2e-8, 1.6e-10, 2.1e-9, 4.3e-11, 1.6e-10), (8.4e-4, 5.5e-8, 4.8e-10, 5.6e-9, 3.8e-11, 5.3e-10)


def choose(system: System) -> str:
    """The method for these tensors.

    On the CPU the one with the least modelled time of those that can run. On other devices, where nothing has been measured, and inside torch.compile and
    torch.func, which prefer real numbers, "chunked".
    """
    compiled = can_compile(system)
    if not compiled and (system.u.device.type != "cpu" or torch.compiler.is_compiling() or transformed()):
        return "chunked"
    grad = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in system)
    if compiled and seconds("sequential", system.sizes, grad, 1) < FFT[grad][0]:
        return "sequential"  # nothing else starts that fast
    return min(COMPILED if compiled else PLAIN, key=lambda name: seconds(name, system.sizes, grad, torch.get_num_threads()))


def seconds(method: str, sizes: tuple[int, int, int, int, int, int], grad: bool, threads: int) -> float:
    """Time of one call, with its backward pass if `grad`, from the sizes B, T, d, o, N, P.

    >>> sizes = (16, 100_000, 1, 1, 64, 2)
    >>> round(1e3 * seconds("sequential", sizes, grad=False, threads=2), 1), round(1e3 * seconds("fft", sizes, grad=False, threads=2), 1)
    (7.7, 23.3)
    """
    (first, *others), terms, most = _model(method, *sizes, grad)
    return first + sum(c * x for c, x in zip(others, terms, strict=True)) / min(threads, most)


def _model(
    method: str, rows: int, steps: int, d: int, o: int, n: int, p: int, grad: bool
) -> tuple[tuple[float, ...], tuple[int | float, ...], int]:
    """Coefficients, the sizes they belong to, and how many threads can share the work."""
    every, both = rows * steps, d + o
    if method == "sequential":
        registers = -(-n // 16)
        numbers = every * 16 * registers * p
        if d == o == 1:
            return FUSED[grad], (numbers, every), max(rows, registers)
        return PROJECTED[grad], (numbers * both, numbers), LONGEST
    length = min(ideal_length(d * o, n * p), steps)
    if method == "chunked" and (length >= SHORTEST or length == steps):
        product = every * (length * d * o + n * p * both)
        return CHUNKS[grad], (length * n * p * both, product, every * n * p / length, every * both), LONGEST
    if method == "chunked":
        return STATES[grad], (every * n * p * both,), LONGEST
    size = good_size(2 * steps - 1)
    transforms = (rows * both + d * o) * size * math.log2(size)
    powers, last, kernel = n * p * (LONGEST + steps / LONGEST), every * d * n * p, steps * n * p * d * o
    return FFT[grad], (powers, transforms, rows * size * d * o, last, kernel), LONGEST
