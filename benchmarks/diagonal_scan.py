"""The diagonal recurrence by every method, beside JAX where it is installed: forward, and forward with gradients of all arguments.

Run `python benchmarks/diagonal_scan.py`, or with `--quick` for the small cases. Each case is checked before it is timed: outputs of its first and last
row against the float64 loop over time, gradients against it at up to 1000 steps; a method that is wrong there is not timed. The
methods then take turns, each with an untimed call before the timed one, and the table holds the median time in ms with the least and the largest. N = 64 states, float32, D inputs and outputs.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
import random
import statistics
import time
from functools import lru_cache

import numpy as np
import torch

from perdure.ops.state_space import state_space

try:
    import jax
except ImportError:
    jax = None

STATES, LEAST, ROUNDS, SECONDS = 64, 3, 11, 3.0
OURS = ("auto", "sequential", "chunked", "fft")
TOLERANCE = 2e-5  # of the largest output; ten times that for gradients, sums in which much cancels


def case(d, rows, steps, oscillating):
    """Arguments of `state_space`: timescales from 1 to 1000 steps, as a fresh layer has them."""
    g = torch.Generator().manual_seed(0)
    pair = (2,) if oscillating else ()
    return {
        "u": torch.randn(rows, steps, d, generator=g),
        "log_modulus": -torch.logspace(-3, 0, STATES, dtype=torch.float64),
        "angle": torch.linspace(0, 3, STATES, dtype=torch.float64) if oscillating else None,
        "b": torch.randn(STATES, d, *pair, generator=g) * d**-0.5,
        "c": torch.randn(d, STATES, *pair, generator=g) * STATES**-0.5,
    }


def prepared(method, arguments, grad):
    """A function that runs the method once and returns outputs and, with `grad`, gradients, as torch tensors."""
    if method.startswith("jax"):
        return jax_prepared(method, arguments, grad)
    leaves = {k: v if v is None else v.clone().requires_grad_(grad) for k, v in arguments.items()}
    inputs = [v for v in leaves.values() if v is not None]

    def run():
        y, _ = state_space(**leaves, method=method)
        return [y] if not grad else [y.detach(), *torch.autograd.grad(y, inputs, 2 * y.detach())]

    return run


def jax_prepared(method, arguments, grad):
    """The same by jax.lax.scan or jax.lax.associative_scan, complex or real, compiled."""
    from jax import numpy as jnp

    u, log_modulus, angle, b, c = (None if v is None else jnp.asarray(v.float().numpy()) for v in arguments.values())

    def number(t):
        return t if angle is None else jax.lax.complex(t[..., 0], t[..., 1])

    def forward(parameters):
        u, log_modulus, angle, b, c = parameters
        a = jnp.exp(log_modulus if angle is None else jax.lax.complex(log_modulus, angle))
        b, c = number(b), number(c)
        if method == "jax scan":

            def step(h, x):
                h = a * h + x @ b.T
                return h, (h @ c.T).real

            return jax.lax.scan(step, jnp.zeros((u.shape[0], STATES), a.dtype), u.swapaxes(0, 1))[1].swapaxes(0, 1)
        x = u @ b.T
        combined = jax.lax.associative_scan(lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1]), (jnp.broadcast_to(a, x.shape), x), axis=1)
        return (combined[1] @ c.T).real

    def both(parameters):
        y, back = jax.vjp(forward, parameters)
        return y, back(2 * y)[0]

    run = jax.jit(both if grad else forward)
    given = (u, log_modulus, angle, b, c)

    def once():
        out = jax.block_until_ready(run(given))
        return jax.tree.leaves(out)

    return once


def size(method, d, rows, steps, oscillating, grad):
    """About how many GB a method holds at once."""
    states = rows * steps * STATES * (2 if oscillating else 1) * 4e-9
    channels = rows * steps * d * 4e-9
    if method == "fft":
        return 6 * (d * channels + channels) * (2 if grad else 1) + 8e-9 * steps * d * d * 3
    if method == "jax associative":
        return states * (24 if grad else 8)
    if method == "jax scan":
        return channels * 4 + (states * 4 if grad else 0)
    if method == "chunked" and d > 2:
        return states * (10 if grad else 5)
    return channels * 5


def correct(method, d, rows, steps, oscillating, grad):
    """Whether the method gives what the float64 loop gives."""

    def off(found, want):
        return ((tensor(found) - want).abs().max() / want.abs().max()).item()

    y = prepared(method, case(d, rows, steps, oscillating), False)()[0]
    good = off(torch.stack([tensor(y[0]), tensor(y[-1])]), exact_outputs(d, rows, steps, oscillating)) < tolerance(method, steps)
    if good and grad:
        found = prepared(method, case(d, rows, min(steps, 1000), oscillating), True)()
        pairs = zip(found, exact_gradients(d, rows, min(steps, 1000), oscillating), strict=True)
        good = all(off(found, want) < 10 * tolerance(method, steps) for found, want in pairs)
    return good


def exact_case(d, rows, steps, oscillating):
    """The case in float64."""
    return {k: None if v is None else v.double() for k, v in case(d, rows, steps, oscillating).items()}


@lru_cache(maxsize=1)
def exact_outputs(d, rows, steps, oscillating):
    """Of the first and last row, by the float64 loop."""
    arguments = exact_case(d, rows, steps, oscillating)
    return state_space(**(arguments | {"u": arguments["u"][[0, -1]]}), method="reference")[0]


@lru_cache(maxsize=1)
def exact_gradients(d, rows, steps, oscillating):
    """Outputs and gradients, by the float64 loop."""
    return prepared("reference", exact_case(d, rows, steps, oscillating), True)()


def tensor(array):
    """A torch or JAX array in float64."""
    return array.double() if isinstance(array, torch.Tensor) else torch.tensor(np.array(array), dtype=torch.float64)


def tolerance(method, steps):
    """JAX rounds the pole to float32, which by itself costs up to 6e-8 for every step of the memory: it is allowed that."""
    return TOLERANCE + (6e-8 * min(steps, 1000) if method.startswith("jax") else 0.0)


def timed(runs):
    """Times of each method in ms, taking turns."""
    times = {method: [] for method in runs}
    for run in runs.values():
        run()
    start = time.perf_counter()
    rounds = 0
    while rounds < LEAST or (rounds < ROUNDS and time.perf_counter() - start < SECONDS):
        for method, run in turn(list(runs.items()), rounds):
            run()  # threads of the method before may still be waiting for more work, and its data fill the caches
            before = time.perf_counter()
            run()
            times[method].append(1e3 * (time.perf_counter() - before))
        rounds += 1
    return times


def turn(items, k):
    """Another order in every round, so that nobody always follows the same one."""
    return random.Random(k).sample(items, len(items))


def shown(times):
    """Median with the least and the largest."""
    digits = [f"{t:.2f}" if t < 10 else f"{t:.0f}" for t in (statistics.median(times), min(times), max(times))]
    return f"{digits[0]} ({digits[1]}, {digits[2]})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the shortest sequences only")
    parser.add_argument("--memory", type=float, default=4.0, help="GB that a method may need; above that it is left out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--inputs", type=int, nargs="*", default=[1, 64])
    parser.add_argument("--steps", type=int, nargs="*", default=[1000, 10_000, 100_000])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    methods = OURS + (("jax scan", "jax associative") if jax is not None else ())
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}, ", end="")
    print("jax is not installed: no comparison with it" if jax is None else f"jax {jax.__version__}", end="\n\n")
    print("| D | B | T | poles | pass | " + " | ".join(methods) + " | auto / best |\n" + "| --- " * (6 + len(methods)) + "|")
    steps = options.steps if not options.quick else options.steps[:1]
    for d, rows, t, oscillating, grad in itertools.product(options.inputs, (1, 16), steps, (True, False), (False, True)):
        runs = {}
        cells = dict.fromkeys(methods, "")
        for method in methods:
            if size(method, d, rows, t, oscillating, grad) > options.memory or (method == "fft" and d > 1 and rows * t > 2000):
                cells[method] = "left out"
            elif not correct(method, d, rows, t, oscillating, grad):
                cells[method] = "wrong"
            else:
                runs[method] = prepared(method, case(d, rows, t, oscillating), grad)
        times = timed(runs)
        cells |= {method: shown(found) for method, found in times.items()}
        rivals = [statistics.median(found) for method, found in times.items() if method != "auto"]
        ratio = statistics.median(times["auto"]) / min(rivals) if "auto" in times and rivals else math.nan
        kind, what = "complex" if oscillating else "real", "both" if grad else "forward"
        print(f"| {d} | {rows} | {t} | {kind} | {what} | " + " | ".join(cells[m] for m in methods) + f" | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
