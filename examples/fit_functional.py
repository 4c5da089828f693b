"""Train a tanh network on a memory that fades like a power law, then ask what it learnt and how far a nudge of its weights takes it.

Run `python examples/fit_functional.py [PNG]`; some seconds on one core. The picture shows the kernel that was asked for beside the memory that was measured.
"""

from __future__ import annotations

import sys

import torch

import perdure
from perdure import functionals as F
from perdure.nn import ContinuousRNN


def main() -> None:
    target = F.polynomial(power=1.5)
    print("width   relative W1 error   E(0.05), relative   law of the memory")
    for width in (4, 8, 16):
        torch.manual_seed(0)
        model = ContinuousRNN(
            1, width, activation="tanh", parametrization="exp", dt=0.1, output_size=1, batch_first=True, dtype=torch.float64
        )
        result = perdure.fit(model, target, dt=0.1, horizon=20.0)
        curve = perdure.perturbation_error(model, target, [0.0, 0.05], groups="recurrent", horizon=20.0, perturbations=4)
        memory = perdure.memory_function(model, horizon=400, dt=0.1)
        print(f"{width:5d}   {result.error:17.1e}   {curve.relative[1]:17.3f}   {memory.fit().law}")
    if len(sys.argv) > 1:
        axes = memory.plot()
        axes.plot(memory.times, target.memory(memory.times), linestyle="--", color="black", label="target, (1 + t)^-1.5")
        axes.legend()
        axes.figure.savefig(sys.argv[1], dpi=150)


if __name__ == "__main__":
    main()
