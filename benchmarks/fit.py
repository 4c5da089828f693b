"""A width-16 tanh network learns (1 + t)^-1.5: a plain autograd loop with Adam, and `perdure.fit`, to the same loss.

Run `python benchmarks/fit.py [--seconds 60] [--figure PATH]`, or `--widths` for errors and seconds of "auto" by width. The protocol is that of Wang, Li & Li (2024): dt 0.1, 32 steps, 12 800 Gaussian sequences in batches of 128, mean
square error, Adam at 0.005. The plain loop gets so many seconds, and the loss it reaches in them, on sequences that nobody trained on, is the mark; every other way is timed
until it is below. First the loop is compared with `ContinuousRNN` on outputs and gradients: a wrong one is not timed.
"""

from __future__ import annotations

import argparse
import copy
import platform
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from perdure import functionals as F
from perdure.nn import ContinuousRNN
from perdure.stability import sobolev_distance
from perdure.training import fit

DT, STEPS, WIDTH, RATE = 0.1, 32, 16, 0.005
TARGET = F.polynomial(power=1.5)
WIDTHS = (4, 8, 16, 32, 64)
TABLE = [
    *[(activation, "direct", "dense", {}) for activation in ("tanh", "hardtanh", "relu", "sigmoid")],
    *[(activation, name, "diagonal", {}) for activation in ("tanh", "hardtanh") for name in ("softplus", "exp")],
    *[("relu", name, "symmetric", {}) for name in ("softplus", "exp")],
    ("tanh", "direct", "dense", {"tail": False}),
    ("relu", "direct", "dense", {"tail": False}),
    ("tanh", "softplus", "diagonal", {"dtype": torch.float32}),
    ("tanh", "direct", "dense", {"dtype": torch.float32}),
    *[("relu", name, "diagonal", {}) for name in ("softplus", "exp")],
]


class Plain(nn.Module):
    """The same network, written as one writes it."""

    input_size = 1

    def __init__(self, model: ContinuousRNN) -> None:
        super().__init__()
        self.W, self.U, self.b, self.c = (
            nn.Parameter(p.detach().clone()) for p in (model.recurrent_l0(), model.weight_ih_l0, model.bias_l0, model.readout.weight)
        )

    def forward(self, x):
        """Outputs (B, T, 1)."""
        drive = nn.functional.linear(x, self.U, self.b)
        h, states = drive.new_zeros(x.shape[0], WIDTH), []
        for part in drive.unbind(1):
            h = h + DT * torch.tanh(torch.addmm(part, h, self.W.T))
            states.append(h)
        return torch.stack(states, 1) @ self.c.T


def build(seed: int = 0) -> ContinuousRNN:
    torch.manual_seed(seed)
    return ContinuousRNN(1, WIDTH, activation="tanh", parametrization="direct", structure="dense", dt=DT, output_size=1, batch_first=True)


def check(model: ContinuousRNN, x: torch.Tensor) -> None:
    """Outputs and gradients of the loop are those of the layer."""
    plain = Plain(model)
    y, z = model(x)[0], plain(x)
    ours = torch.autograd.grad(y.square().sum(), [model.recurrent_l0.raw, model.weight_ih_l0, model.bias_l0, model.readout.weight])
    theirs = torch.autograd.grad(z.square().sum(), list(plain.parameters()))
    for a, b in zip((y, *ours), (z, *theirs), strict=True):
        off = float((a - b).detach().abs().max() / b.detach().abs().max())
        if off > 1e-4:
            raise SystemExit(f"not timed: the plain loop and ContinuousRNN differ by {off:.1e}")


class Judge:
    """Mean square error on sequences that nobody trains on, in double precision."""

    def __init__(self) -> None:
        self.x = torch.randn(2000, STEPS, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(99))
        self.y = TARGET(self.x, dt=DT)

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> float:
        """The error of a model."""
        out = copy.deepcopy(model).double()(self.x)
        return float(((out[0] if isinstance(out, tuple) else out) - self.y).square().mean())


def plain_loop(model: Plain, seconds: float, judge: Judge) -> tuple[list[tuple[float, float]], int]:
    """(Seconds, loss) after each epoch, and the epochs; judging is not timed."""
    x = torch.randn(12_800, STEPS, 1, generator=torch.Generator().manual_seed(0))
    y = TARGET(x, dt=DT)
    optimizer, order = torch.optim.Adam(model.parameters(), lr=RATE), torch.Generator().manual_seed(0)
    curve, spent = [(0.0, judge(model))], 0.0
    while spent < seconds:
        start = time.perf_counter()
        for rows in torch.randperm(len(x), generator=order).split(128):
            optimizer.zero_grad()
            (model(x[rows]) - y[rows]).square().mean().backward()
            optimizer.step()
        spent += time.perf_counter() - start
        curve.append((spent, judge(model)))
    return curve, len(curve) - 1


def by_fit(model: ContinuousRNN, judge: Judge, mark: float, most: int, **options) -> list[tuple[float, float]]:
    """(Seconds, loss) after each step of `fit`, which goes on from its own checkpoint, until the loss is below the mark."""
    curve = []
    with tempfile.TemporaryDirectory() as folder:
        for steps in range(1, most + 1):
            one = copy.deepcopy(model)
            result = fit(one, TARGET, dt=DT, horizon=DT * STEPS, steps=steps, checkpoint=Path(folder) / "fit", **options)
            curve.append((result.seconds, judge(one)))
            if curve[-1][1] <= mark or result.steps[-1] < steps:
                break
    model.load_state_dict(one.state_dict())
    return curve


def first_below(curve: list[tuple[float, float]], mark: float) -> float | None:
    return next((seconds for seconds, loss in curve if loss <= mark), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of the plain loop")
    parser.add_argument("--figure", help="write the curves there")
    parser.add_argument("--widths", action="store_true", help="errors and seconds by width, and nothing else")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the fastest for the plain loop: its products are small
    if arguments.widths:
        return by_width()
    judge = Judge()
    check(build(), judge.x[:64].float())
    warm = build()
    fit(warm, TARGET, dt=DT, horizon=DT * STEPS, method="adam", sequences=256, steps=1)  # compiles, once on a machine
    plain = Plain(build())
    curves = {}
    curves["plain loop, Adam"], epochs = plain_loop(plain, arguments.seconds, judge)
    mark = min(loss for _, loss in curves["plain loop, Adam"])
    models = {name: build() for name in ("fit, auto", "fit, gauss-newton", "fit, adam")}
    start = time.perf_counter()
    result = fit(models["fit, auto"], TARGET, dt=DT, horizon=DT * STEPS)
    curves["fit, auto"] = [(time.perf_counter() - start, judge(models["fit, auto"]))]
    curves["fit, gauss-newton"] = by_fit(models["fit, gauss-newton"], judge, mark, 60, method="gauss-newton", bound=3.0)
    curves["fit, adam"] = by_fit(models["fit, adam"], judge, mark, epochs, method="adam")
    norm = sobolev_distance(TARGET, 0.0 * TARGET, horizon=DT * STEPS)
    print(f"{platform.machine()}, one thread, torch {torch.__version__}; plain loop: {epochs} epochs of 100 batches; mark {mark:.2e}\n")
    print("| way | seconds to the mark | times faster | least loss | relative W1 error, in the end |\n| --- | ---: | ---: | ---: | ---: |")
    base = first_below(curves["plain loop, Adam"], mark)
    assert base is not None
    for name, curve in curves.items():
        model = models.get(name, plain)
        seconds = first_below(curve, mark)
        error = float(sobolev_distance(model, TARGET, dt=DT, horizon=DT * STEPS) / norm)
        reached = f"{seconds:.2f} | {base / seconds:.1f}" if seconds is not None else f"not in {curve[-1][0]:.1f} | "
        print(f"| {name} | {reached} | {min(loss for _, loss in curve):.1e} | {error:.1e} |")
    print(f"\nauto: {'; '.join(result.notes)}; {result.stopped}")
    if arguments.figure:
        draw(curves, arguments.figure)
    fastest = first_below(curves["fit, auto"], mark)
    if fastest is None or fastest > 0.1 * base:
        raise SystemExit("perdure.fit takes more than a tenth of the plain loop's time")


def by_width() -> None:
    """Relative W1 error on the time to 10, and seconds, of "auto" in double and single precision."""
    print("| activation, map, structure | " + " | ".join(f"m = {m}" for m in WIDTHS) + " |\n| --- |" + " --- |" * len(WIDTHS), flush=True)
    for activation, parametrization, structure, options in TABLE:
        cells = []
        for m in WIDTHS:
            torch.manual_seed(0)
            kinds = {"activation": activation, "parametrization": parametrization, "structure": structure}
            model = ContinuousRNN(1, m, dt=DT, output_size=1, dtype=options.get("dtype", torch.float64), **kinds)
            start = time.perf_counter()
            result = fit(model, TARGET, dt=DT, horizon=10.0, max_seconds=18.0, tail=options.get("tail", True))
            cells.append(f"{result.error:.1e} ({time.perf_counter() - start:.1f} s)")
        more = "".join(f", {name}={value}" for name, value in options.items()).replace("torch.", "")
        print(f"| {activation}, {parametrization}, {structure}{more} | " + " | ".join(cells) + " |", flush=True)


def draw(curves: dict[str, list[tuple[float, float]]], path: str) -> None:
    """The loss against the time spent, both in decades."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for name, curve in curves.items():
        seconds, losses = zip(*[point for point in curve if point[0] > 0], strict=True)
        ax.plot(seconds, losses, marker="o" if len(seconds) == 1 else "", label=name)
    ax.set(xscale="log", yscale="log", xlabel="seconds", ylabel="mean square error on new sequences")
    ax.set_title("width-16 tanh network, target (1 + t)^-1.5, 32 steps", fontsize=10)
    ax.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
