"""A memory function beside one plain batched forward of the same size: a one-layer LSTM, 64 units, 2000 steps, 64 inputs.

Run `python benchmarks/memory_function.py`. The two are timed in turn and the median ratio is printed, with the least and the largest. First
the result is checked against a plain computation: for inputs so small that the layer is linear, the sup is the l1 norm over input channels.
The plain forward is timed in the type of the measurement and, for float64, also in float32, torch's default, which has a faster kernel.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from perdure.memory import memory_function

STEPS, UNITS, ROWS, PAIRS = 2000, 64, 64, 7


def plain(layer, x):
    with torch.no_grad():
        return layer(x)[0]


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def correct(layer, size):
    """Whether values for tiny inputs are 0.8 to 1.01 times the largest l1 norm over input channels of the slopes, for 64 steps."""
    tiny = 1e-5
    found = memory_function(layer, horizon=64, probes=ROWS, bound=tiny).values
    twin = torch.nn.LSTM(size, UNITS, batch_first=True).double()
    twin.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
    z = plain(twin, tiny * torch.eye(size, dtype=torch.float64)[:, None].expand(-1, 64, -1)) - plain(
        twin, torch.zeros(1, 64, size).double()
    )
    linear = z.diff(dim=1, prepend=torch.zeros_like(z[:, :1])).abs().sum(0).amax(-1).numpy() / tiny
    ratio = (found / linear)[linear > 1e-6]
    return bool(ratio.min() > 0.8 and ratio.max() < 1.01)


def main():
    torch.manual_seed(0)
    print(f"LSTM of {UNITS} units, {STEPS} steps, {ROWS} inputs, 2 threads; median ratio of {PAIRS} (least, largest)")
    for size in (1, 16):
        layer = torch.nn.LSTM(size, UNITS, batch_first=True)
        if not correct(layer, size):
            print(f"input size {size}: the values are wrong, no speed reported")
            sys.exit(1)
        for measured, forward in ((torch.float64, torch.float64), (torch.float32, torch.float32), (torch.float64, torch.float32)):
            twin = torch.nn.LSTM(size, UNITS, batch_first=True).to(forward).eval()
            x = torch.randn(ROWS, STEPS, size, dtype=forward)
            plain(twin, x)
            ratios, times = [], []
            for _ in range(PAIRS):
                a = seconds(lambda layer=layer, d=measured: memory_function(layer, horizon=STEPS, probes=ROWS, dtype=d))
                b = seconds(lambda twin=twin, x=x: plain(twin, x))
                ratios.append(a / b)
                times.append(a)
            name = f"memory in {measured}, forward in {forward}".replace("torch.", "")
            least, middle, largest = min(ratios), statistics.median(ratios), max(ratios)
            print(
                f"input size {size:2d}: {name}: {middle:.2f} ({least:.2f}, {largest:.2f}); memory function {statistics.median(times):.3f} s"
            )


if __name__ == "__main__":
    main()
