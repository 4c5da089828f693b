"""How much of the growth of E_m(beta) the best of 30 random perturbations finds, against the number of weights that move.

Run `python benchmarks/sampling.py [--figure docs/img/sampling.png]`. Dense tanh networks of width m, drawn at random, stay beside themselves, so that E(0) = 0; the recurrent matrix moves in its
spectral norm by a third of its slowest rate. Both methods search the inputs of each perturbation; both are lower bounds of the same supremum. Linear networks come from
`perdure.approximate`, with exact norms, and all their weights move.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from perdure import functionals as F
from perdure.approximation import approximate
from perdure.nn import ContinuousRNN
from perdure.stability import perturbation_error

WIDTHS, SEEDS, SLOWEST = (1, 2, 4, 8, 16, 32), 3, 0.3


def nonlinear(m, seed):
    """Share of the growth of a tanh network that sampling finds."""
    torch.manual_seed(seed)
    layer = ContinuousRNN(1, m, activation="tanh", parametrization="direct", structure="dense", dt=0.1, output_size=1, dtype=torch.float64)
    rates = torch.logspace(torch.log10(torch.tensor(SLOWEST)), 0.3, m, dtype=torch.float64)
    layer.recurrent_l0.assign_spectrum(rates)
    found = {
        method: perturbation_error(layer, None, [SLOWEST / 3], groups="recurrent", method=method, horizon=20.0, seed=seed).error[0]
        for method in ("ascent", "sample")
    }
    return found["sample"] / found["ascent"]


def linear(m, seed):
    """The same of an exponential sum, with exact norms."""
    target = F.polynomial(2.0)
    model = approximate(target, m)
    beta = float(model.rates.real.min()) / 3
    found = {
        method: perturbation_error(model, model, [beta], groups="all", method=method, seed=seed).error[0] for method in ("exact", "sample")
    }
    return found["sample"] / found["exact"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", help="write a picture here")
    figure = parser.parse_args().figure
    print(
        "| m | weights moved, tanh | share of the growth found | weights moved, linear | share found |\n| ---: | ---: | ---: | ---: | ---: |"
    )
    points = {"tanh network, recurrent matrix": [], "exponential sum, all weights": []}
    for m in WIDTHS:
        shares = [[measure(m, seed) for seed in range(SEEDS)] for measure in (nonlinear, linear)]
        for found, dimension, shown in zip(points.values(), (m * m, 3 * m), shares, strict=True):
            found.append((dimension, statistics.median(shown), min(shown), max(shown)))
        words = [f"{statistics.median(s):.2f} ({min(s):.2f} to {max(s):.2f})" for s in shares]
        print(f"| {m} | {m * m} | {words[0]} | {3 * m} | {words[1]} |", flush=True)
    if figure:
        draw(points, figure)


def draw(points, path):
    """Share against dimension, logarithmic."""
    import matplotlib.pyplot as plt

    ax = plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    for (name, found), marker in zip(points.items(), "os", strict=True):
        x, middle, low, high = zip(*found, strict=True)
        errors = [[a - b for a, b in zip(middle, low, strict=True)], [b - a for a, b in zip(middle, high, strict=True)]]
        ax.errorbar(x, middle, errors, marker=marker, capsize=3, label=name)
    ax.set(
        xscale="log",
        ylim=(0, 1.05),
        xlabel="number of weights that move",
        ylabel="share of the error's growth found\nby the best of 30 samples",
    )
    ax.legend()
    ax.grid(alpha=0.3)
    ax.figure.savefig(path, dpi=160)


if __name__ == "__main__":
    main()
