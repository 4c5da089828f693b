"""How often `perdure.fit_decay` is right: 250 generated noisy curves of known law, as a confusion table in markdown.

Run `python benchmarks/decay_confusion.py [seeds | --coverage]`; docs/decay-laws.md holds what seed 0 prints. The curves are written down
here, not taken from the fitted families, and none is left out: some are hard (they hardly fall, or drown in their floor) and stand under
their true law.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

import numpy as np

from perdure.memory.law import fit_decay

LAWS = ("exponential", "polynomial", "stretched", "finite", "persistent")
EACH = 50


def grid(rng, span):
    """Sampling times 0, dt, 2 dt, ... up to `span`: 64 to 4096 of them."""
    return np.linspace(0.0, span, int(2 ** rng.uniform(6, 12)))


def exponential(rng):
    """Rates over four decades, 3 to 25 time constants seen; t^k (k <= 3) in a third, a second faster mode or a cosine in another third."""
    rate = 10 ** rng.uniform(-3, 1)
    t = grid(rng, rng.uniform(3, 25) / rate)
    kind = rng.integers(6)
    x = rate * t
    if kind <= 1:
        return t, x ** rng.integers(1, 4) * np.exp(-x)
    if kind == 2:
        return t, np.exp(-x) + rng.uniform(0.2, 3) * np.exp(-x * rng.uniform(2, 10))
    if kind == 3:
        swings = rng.uniform(4, t.size / 12)  # at least six samples a half-period
        return t, np.exp(-x) * np.abs(np.cos(2 * np.pi * swings * t / t[-1] + rng.uniform(0, np.pi)))
    return t, np.exp(-x)


def polynomial(rng):
    """Powers 0.6 to 3, seen for 30 to 3000 times their scale; a quarter of them oscillate in logarithmic time."""
    power, scale = rng.uniform(0.6, 3), 10 ** rng.uniform(-2, 2)
    t = grid(rng, scale * 10 ** rng.uniform(1.5, 3.5))
    kernel = (scale / (scale + t)) ** power
    if rng.integers(4) == 0:
        swings = rng.uniform(8, max(9.0, min(40.0, t.size / 24)))
        kernel = kernel * np.abs(np.sin(2 * np.pi * swings * t / t[-1] + 1))
    return t, kernel


def stretched(rng):
    """Exponents 0.3 to 0.7, time constants over three decades, a fall by 3 to 14 nats."""
    exponent, tau = rng.uniform(0.3, 0.7), 10 ** rng.uniform(-1, 2)
    t = grid(rng, tau * rng.uniform(3, 14) ** (1 / exponent))
    return t, np.exp(-((t / tau) ** exponent))


def finite(rng):
    """A window (flat, ramped, sloping or swinging) that ends at a lag, or a Gaussian pulse at a delay."""
    t = grid(rng, 10 ** rng.uniform(0, 3))
    lag = t[-1] * rng.uniform(0.2, 0.8)
    x = t / lag
    kind = rng.integers(5)
    if kind == 0:
        return t, np.exp(-0.5 * ((t - 0.5 * lag) / (lag * rng.uniform(0.04, 0.12))) ** 2)
    inside = [np.ones_like(x), 1 - 0.7 * x, np.exp(-rng.uniform(0, 2) * x), np.abs(np.cos(rng.uniform(10, 20) * x)) + 0.2][kind - 1]
    return t, np.where(t < lag, inside, 0.0)


def persistent(rng):
    """A level of 2 to 100 % of the peak after a transient that is over within 5 to 50 % of the record; some swing for ever."""
    t = grid(rng, 10 ** rng.uniform(0, 4))
    level, rate = 10 ** rng.uniform(-1.7, 0), 3 / (t[-1] * rng.uniform(0.05, 0.5))
    kernel = level + (1 - level) * np.exp(-rate * t)
    if rng.integers(4) == 0:
        kernel = kernel * (0.3 + 0.7 * np.abs(np.sin(2 * np.pi * rng.uniform(5, t.size / 12) * t / t[-1])))
    return t, kernel


MAKERS = {"exponential": exponential, "polynomial": polynomial, "stretched": stretched, "finite": finite, "persistent": persistent}


def curves(seed, each=EACH):
    """(true law, times, values): kernel times log-normal noise of 2 to 20 %, times a scale, plus a floor of 1e-16 to 1e-4 of the peak."""
    rng = np.random.default_rng(seed)
    for law, make in MAKERS.items():
        for _ in range(each):
            t, kernel = make(rng)
            sigma, floor = 10 ** rng.uniform(math.log10(0.02), math.log10(0.2)), 10 ** rng.uniform(-16, -4)
            noisy = kernel * np.exp(sigma * rng.standard_normal(t.size)) + floor * kernel.max() * np.abs(rng.standard_normal(t.size))
            yield law, t, noisy * 10 ** rng.uniform(-6, 6)


def confusion(seeds, each=EACH):
    """Counts: true law -> called law -> number of curves."""
    table = {law: dict.fromkeys((*LAWS, "undecided"), 0) for law in LAWS}
    for seed in seeds:
        for law, t, values in curves(seed, each):
            table[law][fit_decay(t, values).law] += 1
    return table


def rates(table):
    """Shares of all curves that were called right, wrong, and not at all."""
    total = sum(sum(row.values()) for row in table.values())
    right, open_ = sum(table[law][law] for law in LAWS), sum(row["undecided"] for row in table.values())
    return right / total, (total - right - open_) / total, open_ / total


def markdown(table):
    """The confusion table, one row a true law, and its summary."""
    head = ("true law", *LAWS, "undecided")
    rows = [(law, *(str(table[law][called] or "·") for called in (*LAWS, "undecided"))) for law in LAWS]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1), *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join([*lines, "", summary(table)])


def summary(table):
    """One line: how many are right, wrong and undecided."""
    right, wrong, open_ = rates(table)
    return f"Right {right:.1%}, wrong {wrong:.1%}, undecided {open_:.1%} of {sum(sum(row.values()) for row in table.values())} curves."


TIMES = np.arange(300.0)
KNOWN = {
    ("exponential", "rate"): (0.04, np.exp(-0.04 * TIMES)),
    ("polynomial", "power"): (1.5, (1 + TIMES) ** -1.5),
    ("stretched", "exponent"): (0.5, np.exp(-np.sqrt(TIMES / 5))),
    ("persistent", "level"): (0.1, 0.1 + np.exp(-0.05 * TIMES)),
}


def coverage(law, name, count=300, seed=0):
    """Share of 95 % intervals that hold the true value, over `count` curves of 300 points with 10 % noise."""
    truth, kernel = KNOWN[law, name]
    rng = np.random.default_rng(seed)
    fits = [fit_decay(TIMES, kernel * np.exp(0.1 * rng.standard_normal(TIMES.size))) for _ in range(count)]
    held = [low <= truth <= high for low, high in (fit.interval[name] for fit in fits if fit.best_law == law)]
    return sum(held) / len(held)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0], help="several seeds are pooled into one table")
    parser.add_argument("--coverage", action="store_true", help="measure the 95 %% intervals instead")
    options = parser.parse_args()
    if options.coverage:
        for law, name in KNOWN:
            print(f"| {law} | {name} | {coverage(law, name):.1%} |")
        return
    start = time.perf_counter()
    table = confusion(options.seeds)
    print(markdown(table))
    print(f"{1e3 * (time.perf_counter() - start) / (EACH * len(LAWS) * len(options.seeds)):.0f} ms a curve", file=sys.stderr)


if __name__ == "__main__":
    main()
