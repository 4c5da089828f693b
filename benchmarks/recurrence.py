"""The nonlinear recurrence beside what one would use otherwise: a training step, many weight sets at once, a long stream.

Run `python benchmarks/recurrence.py [--quick]`; docs/continuous-rnn.md holds what it printed. Every variant is first compared with plain torch
operations in float64; a wrong one stops the run. Variants of a case are timed in turn and medians of their times are given, with the ratio to
torch.nn.RNN (median of the ratios; least and largest behind it). "GEMMs" are the matrix products alone, one after the other: no
implementation that multiplies step by step can be faster. JAX takes part where it is installed.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import time

import torch

from perdure.nn import ContinuousRNN
from perdure.ops.recurrence import recurrence
from perdure.ops.recurrence.outputs import outputs

SIZES = ((8, 32), (16, 32), (8, 512), (16, 512), (64, 32), (64, 512), (256, 512))
STEPS, DT = 100, 0.3


def timed(variants, rounds):
    """Seconds of each variant, by name, interleaved."""
    found = {name: [] for name in variants}
    for work in variants.values():
        work()
        work()
    for turn in range(rounds):
        order = list(variants)
        random.Random(turn).shuffle(order)  # what ran before leaves caches and threads in a state: nobody always follows the same
        for name in order:
            start = time.perf_counter()
            variants[name]()
            found[name].append(time.perf_counter() - start)
    return found


def loop(x, w, dt):
    """A plain loop over unbound steps."""
    h, states = torch.zeros_like(x[0]), []
    for drive in x.unbind(0):
        h = h + dt * torch.tanh(torch.addmm(drive, h, w.T))
        states.append(h)
    return torch.stack(states)


def check(m, dtype):
    """States and gradients against the float64 reference."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(20, 7, m, generator=g, dtype=torch.float64)
    for w in (torch.randn(m, m, generator=g, dtype=torch.float64) / m**0.5, -torch.rand(m, generator=g, dtype=torch.float64)):
        results = []
        for kernel, kind in (("reference", torch.float64), ("fast", dtype)):
            leaves = [t.to(kind).requires_grad_() for t in (x, w)]
            states, _ = recurrence(*leaves, step=DT, kernel=kernel)
            results.append([states, *torch.autograd.grad(states.square().sum(), leaves)])
        for wanted, found in zip(*results, strict=True):
            error = float((found.double() - wanted).detach().abs().max() / wanted.detach().abs().max())
            if error > (1e-12 if dtype == torch.float64 else 2e-5):
                raise SystemExit(f"not timed: m = {m}, {dtype}: off by {error:.1e}")


def jax_scan(x, w, grad):
    """Forward and backward by jax.lax.scan, compiled; None without JAX."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    xs, ws, gs = (jnp.asarray(t.detach().numpy()) for t in (x, w, grad))

    def loss(w, x):
        def step(h, drive):
            h = h + DT * jnp.tanh(h @ w.T + drive)
            return h, h

        return jnp.sum(jax.lax.scan(step, jnp.zeros_like(x[0]), x)[1] * gs)

    run = jax.jit(jax.grad(loss, (0, 1)))
    return lambda: [a.block_until_ready() for a in run(ws, xs)]


def training_step(m, batch, dtype, rounds):
    """Forward and backward over 100 steps."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(STEPS, batch, m, generator=g, dtype=dtype).requires_grad_()
    w = (torch.randn(m, m, generator=g, dtype=dtype) / m**0.5 - torch.eye(m, dtype=dtype)).requires_grad_()
    diagonal = (-torch.rand(m, generator=g, dtype=dtype)).requires_grad_()
    grad = torch.randn(STEPS, batch, m, generator=g, dtype=dtype)
    rnn = torch.nn.RNN(m, m, dtype=dtype)
    layers = {
        "layer, dense": ContinuousRNN(m, m, structure="dense", parametrization="direct", dt=DT, dtype=dtype),
        "layer, diagonal": ContinuousRNN(m, m, dt=DT, dtype=dtype),
    }
    h, z, weight = grad[0].clone(), torch.empty_like(grad[0]), w.detach()
    flat = grad.reshape(-1, m)

    def gemms():
        for _ in range(2 * STEPS):
            torch.mm(h, weight, out=z)
        flat.T @ flat

    variants = {
        "dense": lambda: recurrence(x, w, step=DT)[0].backward(grad),
        "diagonal": lambda: recurrence(x, diagonal, step=DT)[0].backward(grad),
        **{name: (lambda layer=layer: layer(x)[0].backward(grad)) for name, layer in layers.items()},
        "torch.nn.RNN": lambda: rnn(x)[0].backward(grad),
        "GEMMs": gemms,
    }
    if m * batch <= 64 * 512:
        variants["plain loop"] = lambda: loop(x, w, DT).backward(grad)
    if (scan := jax_scan(x, w, grad)) is not None:
        variants["JAX lax.scan"] = scan
    return timed(variants, rounds)


def report(title, found, base):
    """One markdown row: milliseconds, and the ratio to the base."""
    cells = []
    for name, seconds in found.items():
        cell = f"{1e3 * statistics.median(seconds):.3g}"
        if name != base:
            ratios = [b / a for a, b in zip(seconds, found[base], strict=True)]
            cell += f" ({statistics.median(ratios):.1f}x; {min(ratios):.1f} to {max(ratios):.1f})"
        cells.append(cell)
    print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


def stream(dtype, steps, rounds):
    """Forward only, m = 64, one sequence."""
    m = 64
    x, w = torch.randn(steps, 1, m, dtype=dtype), torch.randn(m, m, dtype=dtype) / m - torch.eye(m, dtype=dtype)
    rnn = torch.nn.RNN(m, m, dtype=dtype)
    short = x[: max(1, steps // 20)]
    with torch.no_grad():
        found = timed({"perdure": lambda: recurrence(x, w, step=DT), "torch.nn.RNN": lambda: rnn(short)}, rounds)
    ours, theirs = steps / statistics.median(found["perdure"]), len(short) / statistics.median(found["torch.nn.RNN"])
    print(f"| {dtype} | {ours:.2g} | {theirs:.2g} | {ours / theirs:.1f}x |".replace("torch.", "", 1), flush=True)


def check_outputs(found, u, into, bias, w, c):
    """Outputs and last states of every copy against the plain loop."""
    for e, (y, last) in enumerate(zip(*found, strict=True)):
        states = loop(u @ into[e].T + bias[e], w[e], DT)
        for part, wanted in ((y, states @ c[e].T), (last, states[-1])):
            error = float((part - wanted).abs().max() / wanted.abs().max())
            if error > 1e-4:
                raise SystemExit(f"not timed: outputs of copy {e} of m = {w.shape[-1]} are off by {error:.1e}")


def ensemble(m, dtype, copies, rounds, batch=128, together=8):
    """Forward of perturbed copies on one batch: eight at a time, so that their states stay in memory that is used again.

    "Outputs only" does more than the others, which are given one drive for all: every copy has its own U and b, and a readout.
    """
    x = torch.randn(STEPS, batch, m, dtype=dtype)
    w = torch.randn(copies, m, m, dtype=dtype) / m - torch.eye(m, dtype=dtype)
    u, into, bias, c = (torch.randn(*shape, dtype=dtype) for shape in ((STEPS, batch, 1), (copies, m, 1), (copies, m), (copies, 1, m)))

    def only():
        return outputs(u, into, bias, w, c, step=DT)

    def ours():
        return [recurrence(x, part, step=DT)[1] for part in w.split(together)]

    def singly():
        return [recurrence(x, part, step=DT)[1] for part in w]

    def looped():
        return [loop(x, part, DT)[-1] for part in w]

    h = torch.randn(together, batch, m, dtype=dtype)
    z, turned = torch.empty_like(h), w.transpose(1, 2).contiguous()

    def gemms():
        for part in turned.split(together):
            for _ in range(STEPS):
                torch.bmm(h[: len(part)], part, out=z[: len(part)])

    with torch.no_grad():
        error = float((torch.cat(ours()) - torch.stack(looped())).abs().max())
        if error > 1e-4:
            raise SystemExit(f"not timed: copies of m = {m} are off by {error:.1e}")
        check_outputs(only(), u, into, bias, w, c)
        found = timed(
            {
                "outputs only": only,
                "eight at a time": ours,
                "one by one, fast kernel": singly,
                "one by one, plain loop": looped,
                "GEMMs": gemms,
            },
            rounds,
        )
    report(f"{copies}, {m}, {dtype}".replace("torch.", ""), found, "one by one, plain loop")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, small sizes")
    quick = parser.parse_args().quick
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}\n")
    sizes = SIZES[:2] if quick else SIZES
    header = None
    for dtype in (torch.float32, torch.float64):
        for m, batch in sizes:
            check(m, dtype)
            found = training_step(m, batch, dtype, 3 if quick else (31 if m * batch < 5000 else 9))
            found.setdefault("plain loop", [float("nan")] * len(found["dense"]))
            if header is None:
                header = list(found)
                print("forward + backward, 100 steps; ms (times faster than torch.nn.RNN; least to largest)\n")
                print("| m x B, type | " + " | ".join(header) + " |\n| --- |" + " ---: |" * len(header))
            report(f"{m} x {batch}, {dtype}".replace("torch.", ""), {name: found[name] for name in header if name in found}, "torch.nn.RNN")
    print("\nstream, m = 64, one sequence; steps a second\n\n| type | perdure | torch.nn.RNN | ratio |\n| --- | ---: | ---: | ---: |")
    for dtype in (torch.float32, torch.float64):
        stream(dtype, 20_000 if quick else 1_000_000, 3)
    print("\ncopies of one network, batch 128, 100 steps, forward; ms (times faster than the plain loop)\n")
    print("| copies, m, type | outputs only | eight at a time | one by one, fast kernel | one by one, plain loop | GEMMs |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for copies, rounds in ((16, 1),) if quick else ((132, 5), (660, 3)):
        for m in (8,) if quick else (8, 16, 64):
            for dtype in (torch.float32, torch.float64):
                ensemble(m, dtype, copies, rounds)


if __name__ == "__main__":
    main()
