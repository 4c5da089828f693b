"""Which memory does a task demand? Two records, one of an exponential memory and one of a power law, and what they say about a layer.

Run `python examples/memory_of_a_task.py` (some seconds), or `python examples/memory_of_a_task.py memory.png` to see the estimates and their bands as well.
"""

from __future__ import annotations

import sys

import numpy as np

from perdure.memory.data import estimate_memory

LAGS, STEPS = 200, 20_000
LAG = np.arange(LAGS)
TASKS = {"leaky integrator": np.exp(-LAG / 15), "power law": (1.0 + LAG) ** -1.5}


def main():
    rng = np.random.default_rng(0)
    found = {}
    for name, response in TASKS.items():
        u = rng.standard_normal(STEPS)
        y = np.convolve(u, response)[:STEPS]
        found[name] = estimate_memory(u, y + 0.2 * y.std() * rng.standard_normal(STEPS), horizon=LAGS)
    for name, estimate in found.items():
        low, high = estimate.interval(0.5)
        print(
            f"{name}: half-life {estimate.half_life:.3g} (95 %: {low:g} to {high:g}), explained {estimate.explained[0]:.3f}, prior {estimate.priors[0]}"
        )
        print(f"{estimate.advice}\n")
    if len(sys.argv) > 1:
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(1, len(found), figsize=(5 * len(found), 4), layout="constrained")
        for ax, (name, estimate) in zip(axes, found.items(), strict=True):
            estimate.plot(ax).set_title(name)
            ax.plot(estimate.times, TASKS[name], color="0.2", lw=0.8, ls="--", label="truth")
            ax.set_ylim(bottom=1e-4)
            ax.legend(frameon=False)
        figure.savefig(sys.argv[1], dpi=120)


if __name__ == "__main__":
    main()
