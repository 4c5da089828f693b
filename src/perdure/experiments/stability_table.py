"""For each activation, parametrisation and perturbed group: the radius beta_0 up to which networks of growing width keep the memory, or none.

Run `python -m perdure.experiments.stability_table`; docs/verdict.md holds what it printed. The target is (1 + t)^-1.5. Linear networks are judged exactly and on the infinite
horizon; the others are placed and trained by `perdure.fit` and searched on a finite one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from perdure import functionals as F
from perdure.stability.verdict import stable_approximation as exactly
from perdure.training.verdict import RISING, Searched, judged, trained, usual_structure

POWER, DT, HORIZON, THRESHOLD = 1.5, 0.1, 25.6, 0.1
ACTIVATIONS = ("tanh", "hardtanh", "relu", "elu", "gelu", "silu", "softsign", "sigmoid", "softplus")
MAPS = ("direct", "exp", "softplus", "inverse")
GROUPS = ("recurrent", "input", "readout", "all")
LINEAR_WIDTHS, WIDTHS = (4, 8, 16, 32, 64), (4, 8, 16)
RISING_WIDTHS = (
    8,
    12,
    16,
    24,
    32,
)  # where a linear state takes a pair; the radius falls slowly there, so that more widths are needed to tell
RADII = np.concatenate([[0.0], np.geomspace(1e-3, 2.0, 8)])


def widths_of(activation: str) -> tuple[int, ...]:
    """Of the networks that are judged.

    >>> widths_of("tanh"), widths_of("relu")
    ((4, 8, 16), (8, 12, 16, 24, 32))
    """
    return RISING_WIDTHS if activation in RISING else WIDTHS


def cell(outcome: str, beta0: float | None) -> str:
    """beta_0, "none" or "undecided".

    >>> cell("stable", 0.2345), cell("unstable", 0.0), cell("undecided", None)
    ('0.23', 'none', 'undecided')
    """
    if outcome == "stable" and beta0 is not None:
        return f"{beta0:.2g}"
    return "none" if outcome == "unstable" else "undecided"


def rows(
    activations: Sequence[str] = ACTIVATIONS,
    maps: Sequence[str] = MAPS,
    widths: Sequence[int] | None = None,
    groups: Sequence[str] = GROUPS,
):
    """(activation, map, cells by group, E_m(0) at the largest width over the norm, seconds), one after the other; `widths` None: `widths_of`."""
    target = F.polynomial(POWER)
    for name in maps:
        start = time.perf_counter()
        found = {g: exactly(target, parametrization=name, widths=LINEAR_WIDTHS, groups=g, threshold=THRESHOLD) for g in groups}
        last = found[groups[0]].curves[max(LINEAR_WIDTHS)]
        yield (
            "linear, exact",
            name,
            {g: cell(v.outcome, v.beta0) for g, v in found.items()},
            float(last.raw[0] / last.target_norm),
            time.perf_counter() - start,
        )
    for activation in activations:
        for name in maps:
            start = time.perf_counter()
            structure = usual_structure(activation, name)
            sizes = tuple(widths_of(activation) if widths is None else widths)
            models, stops = trained(target, sizes, activation, name, structure, DT, HORIZON, 0)
            cells, nominal = {}, float("nan")
            for group in groups:
                options = Searched(target, 1.0, RADII, THRESHOLD, group, name, 0, HORIZON, 1.0, 8)
                verdict = judged(models, f"{structure} {activation} networks ({stops})", options)
                curve = verdict.curves[max(sizes)]
                cells[group], nominal = cell(verdict.outcome, verdict.beta0), float(curve.raw[0] / curve.target_norm)
            yield activation, name, cells, nominal, time.perf_counter() - start


def main() -> None:
    """Print the table, row by row."""
    print("| activation | map | " + " | ".join(GROUPS) + " | E(0), relative | seconds |")
    print("| --- | --- | " + "--- | " * len(GROUPS) + "---: | ---: |")
    for activation, name, cells, nominal, seconds in rows():
        print(f"| {activation} | {name} | " + " | ".join(cells[g] for g in GROUPS) + f" | {nominal:.1e} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
