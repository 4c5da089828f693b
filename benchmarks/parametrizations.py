"""What a map of the recurrent weight changes, and what it does not: the tables and the picture of docs/choosing-a-parametrization.md.

Run `python benchmarks/parametrizations.py` (two minutes on one core), with `--quick` for a shorter one, with `--figure docs/img/choosing.png` to draw
the picture as well. Two closed forms are checked before anything is printed: the perturbation error of one mode, and the gradient of its loss.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import perdure
from perdure import functionals as F
from perdure.nn import ContinuousRNN, init
from perdure.parametrizations import get

MAPS = ("direct", "exp", "softplus", "inverse")
WIDTH = 16
RADII = np.geomspace(1e-8, 1.0, 33)
SLOW, FAST = F.polynomial(1.5), F.exponential_sum(np.geomspace(0.3, 3, WIDTH), np.full(WIDTH, 1 / WIDTH))
TARGETS = {"slow: (1 + t)^-1.5": SLOW, "fast: 16 rates from 0.3 to 3": FAST}
TAUS = np.geomspace(1, 1e4, 17)
TASK = F.polynomial(1.5, 10.0)  # times in steps
STEPS, LONGER, ROWS = 400, 4000, 32
STYLES = {
    "direct": ("#111111", "-", "o"),
    "exp": ("#c0392b", "--", "s"),
    "softplus": ("#2e86c1", ":", "^"),
    "inverse": ("#e0a000", "-.", "D"),
}


def perturbed() -> dict[str, dict[str, np.ndarray]]:
    """E_m(beta) / |H| by target and map, sixteen modes, only the recurrent values moved."""
    curves: dict[str, dict[str, np.ndarray]] = {}
    for name, target in TARGETS.items():
        model = target if target is FAST else perdure.approximate(target, WIDTH)
        found = {g: perdure.perturbation_error(model, target, RADII, groups="recurrent", parametrization=g) for g in MAPS}
        curves[name] = {g: curve.error / curve.target_norm for g, curve in found.items()}
        print(f"\nE(beta) relative to the target's norm, {name}, width {WIDTH}, slowest mode {1 / model.rates.real.min():.3g}")
        print(f"{'map':10s}" + "".join(f"{f'beta {b:g}':>12s}" for b in RADII[::8]) + f"{'bfloat16':>12s}{'8 bits':>12s}")
        for g in MAPS:
            rounded = [rounded_error(model, target, g, bits) for bits in ("bfloat16", "8 bits")]
            print(f"{g:10s}" + "".join(f"{e:12.2g}" for e in [*curves[name][g][::8], *rounded]))
    return curves


def rounded_error(model, target, name: str, kind: str) -> float:
    """The same norm once the raw values are stored in bfloat16 (relative rounding) or in 8 bits with one scale (absolute rounding)."""
    g = get(name, fastest=float(model.rates.real.max()))
    v = g.right_inverse(-torch.as_tensor(model.rates.real.copy()))
    scale = v.abs().max() / 127
    rates = -g(v.bfloat16().double() if kind == "bfloat16" else scale * torch.round(v / scale))
    if bool((rates <= 0).any()):
        return float("inf")  # a mode that never fades
    moved = F.exponential_sum(rates.numpy(), model.coefficients)
    return perdure.sobolev_distance(moved, target) / perdure.sobolev_distance(target, 0.0 * target)


def gradients() -> dict[str, np.ndarray]:
    """|dL/dv| for e^(-rt) fitted to e^(-t/tau), L = 1/2 int (difference)^2 dt, where r is still twice too fast."""
    found: dict[str, np.ndarray] = {}
    print("\n|dL/dv| of one mode with half the time constant tau of its target, and what one Adam step of 0.01 does to its time constant")
    print(
        f"{'map':10s}{'tau 1':>10s}{'tau 100':>10s}{'tau 1e4':>10s}{'power':>8s}{'over |v|':>10s}   Adam: {'tau 1':>10s}{'tau 100':>10s}{'tau 1e4':>10s}"
    )
    for name in MAPS:
        g, rows = get(name, fastest=2.0), []
        for tau in TAUS:
            v = g.right_inverse(torch.tensor(-2 / tau, dtype=torch.float64)).requires_grad_()
            rate = -g(v)
            loss = 0.25 / rate - 1 / (rate + 1 / tau) + 0.25 * tau
            (slope,) = torch.autograd.grad(loss, v)
            with torch.no_grad():
                step = max(abs((rate / -g(v + d)).item() - 1) if -g(v + d) > 0 else float("inf") for d in (0.01, -0.01))
            rows.append((abs(slope.item()), abs(slope.item() / v.item()), step))
        table = np.array(rows)
        power, relative = (np.log(table[-1, k] / table[8, k]) / np.log(TAUS[-1] / TAUS[8]) for k in (0, 1))
        print(f"{name:10s}" + "".join(f"{e:10.2g}" for e in table[::8, 0]) + f"{power:8.2f}{abs(relative):10.2f}         "
              + "".join(f"{100 * e:9.2g}%" for e in table[::8, 2]))  # fmt: skip
        found[name] = table[:, 0]
    return found


def descent(limit: int = 50_000) -> None:
    """Updates of plain gradient descent, at the best learning rate, until modes for tau = 1, 100 and 1e4 are all right to 1 %."""
    wanted = 1 / torch.tensor([1.0, 100.0, 1e4], dtype=torch.float64)
    rates = torch.logspace(-14, 2, 65, dtype=torch.float64)[:, None]
    print(
        "\nplain gradient descent, one learning rate of 65 for three modes (tau 1, 100, 1e4, each twice too fast): updates until all are right to 1 %"
    )
    for name in MAPS:
        g = get(name, fastest=2.0)
        v = g.right_inverse(-2 * wanted).expand(len(rates), 3).clone()
        count = next((k for k in range(limit + 1) if step(g, v, wanted, rates)), None)
        print(f"{name:10s}{f'over {limit}' if count is None else count:>14}")


def step(g, v, wanted, rates) -> bool:
    """One update of v in place; whether some learning rate had arrived before it."""
    rate = -g(v)
    if bool(((rate / wanted - 1).abs() < 0.01).all(dim=1).any()):
        return True
    v += rates * g.derivative(v) * (-0.25 / rate**2 + 1 / (rate + wanted) ** 2)
    return False


def train(name: str, rate: float, seed: int, updates: int, longest: float, integrator: str) -> tuple[float, float, float, bool]:
    """Relative errors after training at its length, at ten times its length, and after a nudge; whether a mode grows or the run diverged."""
    source = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    layer = ContinuousRNN(
        1, WIDTH, activation="linear", parametrization=name, bias=False, output_size=1, batch_first=True, integrator=integrator
    )
    init.timescales_(layer, shortest=2.0, longest=longest)
    optimiser = torch.optim.Adam(init.parameter_groups(layer, lr=0.01, recurrent_lr=rate))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    x, y = data(8 * ROWS, STEPS, source)
    for _ in range(updates):
        rows = torch.randint(len(x), (ROWS,), generator=source)
        optimiser.zero_grad()
        (layer(x[rows])[0] - y[rows]).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    short, long = data(ROWS, STEPS, source), data(ROWS // 4, LONGER, source)
    errors = [error(layer, *pairs) for pairs in (short, long)]
    raw = next(layer.recurrent_parameters())
    with torch.no_grad():
        grows = not bool((next(layer.cells()).spectrum().real < 0).all())  # NaN counts: the run diverged
        raw.add_(0.01 * torch.randn(raw.shape, generator=source).sign())
    return errors[0], errors[1], error(layer, *long), grows


def data(rows: int, steps: int, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """White noise, and what the target makes of it, (B, T, 1)."""
    x = torch.randn(rows, steps, 1, generator=source)
    return x, TASK(x.double(), dt=1.0).float()


@torch.no_grad()
def error(layer: ContinuousRNN, x: torch.Tensor, y: torch.Tensor) -> float:
    """Relative, root mean square."""
    return ((layer(x)[0] - y).square().mean() / y.square().mean()).sqrt().nan_to_num(nan=float("inf")).item()


def training(quick: bool) -> dict[str, list[tuple[float, float, float]]]:
    """Means over seeds with standard errors, by map and learning rate of the raw recurrent values, (rate, mean, standard error)."""
    rates, seeds, updates = ((0.03,), 3, 40) if quick else ((0.001, 0.003, 0.01, 0.03, 0.1, 0.3), 3, 300)
    starts = [(10.0, "euler", rates), (400.0, "euler", (0.001,)), (10.0, "exponential", (0.3,))]  # slowest initial mode, integrator, rates
    found: dict[str, list[tuple[float, float, float]]] = {}
    for longest, integrator, chosen in starts[: 1 if quick else 3]:
        print(
            f"\ntraining on (1 + t/10)^-1.5, {STEPS} steps long, {updates} updates of Adam, {seeds} seeds; initial time constants 2 to {longest:g} steps, {integrator}"
        )
        print(f"{'map':10s}{'learning rate':>14s}{'error':>18s}{'10 x longer':>18s}{'there, v +- 0.01':>20s}{'runs lost':>16s}")
        for name in MAPS:
            for rate in chosen:
                runs = [train(name, rate, seed, updates, longest, integrator) for seed in range(seeds)]
                columns = [summary([run[k] for run in runs]) for k in range(3)]
                text = "".join(
                    f"{f'{mean:.3g} ± {spread:.1g}' if mean < 100 else 'diverges':>{w}s}"
                    for (mean, spread), w in zip(columns, (18, 18, 20), strict=True)
                )
                print(f"{name:10s}{rate:14g}{text}{f'{sum(run[3] for run in runs)} of {seeds}':>16s}", flush=True)
                if (longest, integrator) == starts[0][:2]:
                    found.setdefault(name, []).append((rate, *columns[0]))
    return found


def summary(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error; infinity if one run is."""
    if not np.isfinite(values).all():
        return float("inf"), float("nan")
    return statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5


def structures(quick: bool) -> None:
    """Milliseconds of forward and backward, interleaved medians, and the guarantee."""
    size, rows, steps = 64, 32, 100
    layers: dict[str, torch.nn.Module] = {"torch.nn.RNN": torch.nn.RNN(1, size)}
    for name in ("diagonal", "complex", "symmetric", "dissipative"):
        layers[name] = ContinuousRNN(1, size, structure=name)
    layers["dense, direct"] = ContinuousRNN(1, size, structure="dense", parametrization="direct")
    layers["dense, exp"] = ContinuousRNN(1, size, structure="dense", parametrization="exp")
    x, times = torch.randn(steps, rows, 1), {name: [] for name in layers}
    for turn in range(6 if quick else 51):
        for name, layer in layers.items():
            begin = time.perf_counter()
            layer(x)[0].square().mean().backward()
            if turn:  # the first may compile
                times[name].append(1e3 * (time.perf_counter() - begin))
    print(
        f"\nforward and backward, {size} states, {rows} rows, {steps} steps, float32, {torch.get_num_threads()} threads: median ms (least, largest)"
    )
    for name, layer in layers.items():
        cell = next(layer.cells()) if isinstance(layer, ContinuousRNN) else None
        promise = "none" if cell is None else cell.guarantee
        print(f"{name:15s}{statistics.median(times[name]):7.2f} ({min(times[name]):.2f}, {max(times[name]):.2f})  {promise}")


def draw(path: Path, curves, slopes, errors) -> None:
    """Four panels; each map has its colour, line and marker."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
    figure, panels = plt.subplots(2, 2, figsize=(9.6, 7.2), layout="constrained")
    for ax, (title, found) in zip(panels[0], curves.items(), strict=True):
        for name, values in found.items():
            line(ax, name, RADII, np.where(np.isfinite(values), values, np.nan), 4)
            gone = np.nonzero(~np.isfinite(values))[0]
            if gone.size:
                ax.axvline(RADII[gone[0]], color="0.6", lw=0.9, ls=(0, (2, 2)))
                ax.text(RADII[gone[0]] * (1.4 if gone[0] < 20 else 0.7), 1.5, "direct: infinite\nfrom here on", va="top",
                        ha="left" if gone[0] < 20 else "right", fontsize=9)  # fmt: skip
        ax.set(xscale="log", yscale="log", ylim=(1e-5, 3), xlabel="nudge β of the raw values v (max norm)")
        ax.set_title(title.replace("^-1.5", "$^{-1.5}$"))
        ax.set_ylabel("error E₁₆(β) / norm of the target")
    for name, values in slopes.items():
        line(panels[1, 0], name, TAUS, values, 2)
    panels[1, 0].set(xscale="log", yscale="log", xlabel="time constant τ of the target (time)", ylabel="gradient |dL/dv|")
    panels[1, 0].set_title("one mode, still twice too fast")
    for name, rows in errors.items():
        rate, mean, spread = np.array([row for row in rows if row[1] < 100]).T
        line(panels[1, 1], name, rate, mean, 1)
        panels[1, 1].errorbar(rate, mean, spread, color=STYLES[name][0], lw=0, elinewidth=1.2, capsize=3)
    panels[1, 1].set(xscale="log", yscale="log", xlabel="learning rate of v (Adam)", ylabel="relative error after training")
    for name, rows in errors.items():
        lost = [rate for rate, mean, _ in rows if not mean < 100]
        if lost:
            panels[1, 1].axvline(lost[0], color="0.6", lw=0.9, ls=(0, (2, 2)))
            panels[1, 1].text(0.97 * lost[0], 0.98, f"{name}: diverges", transform=panels[1, 1].get_xaxis_transform(),
                              va="top", ha="right", rotation=90, fontsize=9)  # fmt: skip
    panels[1, 1].set_title("trained from 2–10 steps to (1 + t/10)$^{-1.5}$")
    for ax in panels.flat:
        ax.grid(color="0.92")
    for ax in (panels[0, 1], panels[1, 0]):
        ax.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    print(f"\nsaved {path}")


def line(ax, name: str, x, y, every: int) -> None:
    """One curve in the style of its map."""
    colour, dash, marker = STYLES[name]
    ax.plot(x, y, color=colour, ls=dash, marker=marker, ms=5, markevery=every, mfc="white", lw=1.8, label=name)


def check() -> None:
    """Two closed forms, or no tables."""
    one = F.exponential(1.0)
    found = perdure.perturbation_error(one, one, [0.5], groups="recurrent").error[0]
    if abs(found - 1.5) > 1e-9:
        raise SystemExit(f"no tables: E(0.5) of one mode is {found}, and 1.5 in closed form")
    t, rate = np.linspace(0, 400, 400001), 0.1
    difference = np.exp(-rate * t) - np.exp(-0.5 * rate * t)
    slope = np.trapezoid(-t * np.exp(-rate * t) * difference, t)
    if abs(slope / (-0.25 / rate**2 + 1 / (1.5 * rate) ** 2) - 1) > 1e-5:
        raise SystemExit("no tables: the gradient of the loss of one mode is not what integration gives")


def main() -> None:
    """Check, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one learning rate and few updates")
    parser.add_argument("--figure", type=Path, help="where to save the picture, such as docs/img/choosing.png")
    options = parser.parse_args()
    check()
    curves, slopes = perturbed(), gradients()
    descent(1000 if options.quick else 50_000)
    errors = training(options.quick)
    structures(options.quick)
    if options.figure:
        draw(options.figure, curves, slopes, errors)


if __name__ == "__main__":
    main()
