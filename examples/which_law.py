"""Which law does a memory follow? Five filters with known answers, each with 5 % noise on its memory function.

Run `python examples/which_law.py` (a second), or `python examples/which_law.py laws.png` to see the fits as well.
"""

from __future__ import annotations

import sys

import numpy as np

from perdure import fit_decay

TIMES = np.arange(1000.0)
RATES = np.geomspace(1e-4, 1, 40)
FILTERS = {
    "leaky integrator": np.exp(-0.02 * TIMES),
    "three leaks in a row": TIMES**2 * np.exp(-0.02 * TIMES),
    "forty leaks side by side": (RATES**1.5 * np.exp(-np.outer(TIMES, RATES))).sum(axis=1),
    "moving average of 300": np.where(TIMES < 300, 1.0, 0.0),
    "integrator": 0.8 + 0.2 * np.exp(-0.02 * TIMES),
}


def main():
    rng = np.random.default_rng(0)
    fits = {name: fit_decay(TIMES, memory * np.exp(0.05 * rng.standard_normal(TIMES.size))) for name, memory in FILTERS.items()}
    for name, fit in fits.items():
        found = ", ".join(f"{key} {value:.3g}" for key, value in fit.parameters.items() if key != "amplitude")
        print(f"{name:25s} {fit.law:12s} {found:40s} half-life {fit.half_life:.3g}")
    if len(sys.argv) > 1:
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(1, len(fits), figsize=(4 * len(fits), 4), layout="constrained")
        for ax, (name, fit) in zip(axes, fits.items(), strict=True):
            fit.plot(ax).set_title(f"{name}: {fit.law}")
        figure.savefig(sys.argv[1], dpi=120)


if __name__ == "__main__":
    main()
