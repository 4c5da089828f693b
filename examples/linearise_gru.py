"""How long does a GRU remember? Its slowest mode at rest, by update-gate bias and by input, beside the late fall of the measured memory.

Run `python examples/linearise_gru.py` (some seconds), or `python examples/linearise_gru.py modes.png` to see the eigenvalues as well.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from perdure import gru_jacobian, linearise, memory_function

SIZE = 16
BIASES = (0.0, 2.0, 3.0)


def gru(update_bias):
    """A GRU whose gate z keeps the old state: with b_z = log(tau - 1), an update takes about tau steps."""
    torch.manual_seed(0)
    layer = torch.nn.GRU(1, SIZE)
    with torch.no_grad():
        layer.bias_ih_l0[SIZE : 2 * SIZE] += update_bias  # the gates come in the order reset, update, new
    return layer


def late_time_constant(layer, x, horizon):
    """Steps in which the derivative of the output by the first input falls to 1/e, late: between 1e-8 and 1e-11 of its peak."""
    memory = memory_function(layer, probe="jacobian", background=torch.full((horizon, 1), x), horizon=horizon)
    tail = (memory.envelope < 1e-8 * memory.envelope[0]) & (memory.envelope > 1e-11 * memory.envelope[0])
    return -1 / np.polyfit(memory.times[tail], np.log(memory.envelope[tail]), 1)[0]


def main():
    points = {}
    print(f"{'update bias':>11s} {'input':>6s} {'time constant':>14s} {'measured, late':>15s}   (steps)")
    for bias in BIASES:
        layer = gru(bias)
        for x in (0.0, 2.0):
            points[bias, x] = point = linearise(layer, x)
            late = late_time_constant(layer, x, horizon=100 + int(30 * point.time_constant))
            print(f"{bias:11.1f} {x:6.1f} {point.time_constant:14.2f} {late:15.2f}")
    rest = points[2.0, 0.0]
    closed = gru_jacobian(gru(2.0), rest.state, rest.x)
    print(f"closed form of the Jacobian: differs by {abs(closed - rest.jacobian).max():.0e}")
    if len(sys.argv) > 1:
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(5, 5), layout="constrained")
        for bias in BIASES:
            points[bias, 0.0].plot(ax, label=f"update bias {bias:g}")
        plt.savefig(sys.argv[1], dpi=150)


if __name__ == "__main__":
    main()
