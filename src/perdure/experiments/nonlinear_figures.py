"""The verdicts behind Fig. 2, 7 and 8 of Wang, Li & Li (ICLR 2024): nonlinear networks on the polynomial memory (1 + t)^-1.5.

Run `python -m perdure.experiments.nonlinear_figures` (about ten minutes on one core); docs/verdict.md holds what it printed. What the paper trains from random weights on sequences up to
time 3.2 is here placed by `perdure.fit` after the exponential sum of least error on [0, inf), and trained where that does not settle it; what the paper samples is searched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from perdure import functionals as F
from perdure.stability.verdict import Verdict
from perdure.training.verdict import stable_approximation

POWER, WIDTHS = 1.5, (4, 8, 16, 32, 64)
FIGURES = (
    ("Fig. 2", "tanh", "direct"),
    ("Fig. 7a", "relu", "direct"),
    ("Fig. 7b", "relu", "softplus"),
    ("Fig. 8a", "hardtanh", "softplus"),
    ("Fig. 8b", "tanh", "softplus"),
)


def verdicts(widths: Sequence[int] = WIDTHS) -> Iterator[tuple[str, str, str, Verdict, float]]:
    """(figure, activation, map, verdict, seconds)."""
    for figure, activation, name in FIGURES:
        start = time.perf_counter()
        verdict = stable_approximation(F.polynomial(POWER), activation=activation, parametrization=name, widths=widths)
        yield figure, activation, name, verdict, time.perf_counter() - start


def main() -> None:
    """Print one row a figure."""
    columns = " | ".join(f"r, m = {m}" for m in WIDTHS)
    print(f"| figure | activation | map | verdict | {columns} | E(0), m = 4 | E(0), m = 64 | seconds |")
    print("| --- | --- | --- | --- | " + "---: | " * (len(WIDTHS) + 3))
    for figure, activation, name, verdict, seconds in verdicts():
        radii = " | ".join(f"{verdict.radius[m]:.2g}" for m in WIDTHS)
        nominal = " | ".join(f"{verdict.curves[m].raw[0] / verdict.curves[m].target_norm:.1e}" for m in (WIDTHS[0], WIDTHS[-1]))
        print(f"| {figure} | {activation} | {name} | {verdict.outcome} | {radii} | {nominal} | {seconds:.0f} |", flush=True)
        print(f"  {verdict.reason}", flush=True)


if __name__ == "__main__":
    main()
