"""The memory of an LSTM: how far back it looks as torch initialises it, and with its forget gates opened.

Run `python examples/memory_of_an_lstm.py memory.png` (a few seconds). The picture shows both layers under two probes; the text, the laws.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch

from perdure.memory import memory_function


def lstm(forget_bias):
    torch.manual_seed(0)
    layer = torch.nn.LSTM(1, 16)
    with torch.no_grad():
        layer.bias_ih_l0[16:32] += forget_bias  # the gates come in the order input, forget, cell, output
    return layer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", type=Path, help="where to save the picture, such as memory.png")
    path = parser.parse_args().figure
    if not path.resolve().parent.is_dir():
        parser.error(f"no such folder: {path.resolve().parent}")
    _, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for ax, probe in zip(axes, ("heaviside", "impulse"), strict=True):
        for name, forget_bias in (("as initialised", 0.0), ("forget bias + 2", 2.0)):
            memory = memory_function(lstm(forget_bias), horizon=600, probe=probe)
            law = memory.fit()
            memory.plot(ax, label=name)
            print(f"{probe:9s}  {name:15s}  half-life {law.half_life:6.2f} steps, 1 % left after {law.horizon(0.01):6.1f}; law: {law.law}")
        ax.set_title(probe)
        handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        ax.legend(handles.values(), handles.keys(), frameon=False)
    axes[0].set_ylim(1e-18, 1)
    plt.savefig(path, dpi=150)
    print(f"saved {path}")


if __name__ == "__main__":
    main()
