"""Fig. 1 and Fig. 4 by the exact method, and `approximate` at width 64; correctness first."""

import time
from functools import cache

import numpy as np

from perdure import functionals as F
from perdure.approximation import approximate
from perdure.stability import perturbation_error, sobolev_distance

RADII = np.concatenate([[0.0], 5e-4 * 2.0 ** np.arange(21)])
SLOW = F.polynomial(1.1)
PANELS = [(F.exponential(-np.log(0.9)), "direct", (2, 4, 6, 8, 14)), (SLOW, "direct", (2, 4, 6, 8, 14))]
PANELS += [(SLOW, name, (2, 4, 6, 8, 14, 16, 32, 64)) for name in ("exp", "softplus")]


def main() -> None:
    one = F.exponential(1.0)
    found = perturbation_error(one, one, [0.5], groups="recurrent").error[0]
    if abs(found - 1.5) > 1e-9:
        raise SystemExit(f"not timed: E(0.5) of one mode is {found}, and 1.5 in closed form")
    start = time.perf_counter()
    model = cache(approximate)  # the panels share their models
    for target, name, widths in PANELS:
        for width in widths:
            perturbation_error(model(target, width), target, RADII, groups="recurrent", parametrization=name)
    print(f"Fig. 1 and Fig. 4, {sum(len(w) for *_, w in PANELS)} curves: {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    model = approximate(F.polynomial(2.0), 64)
    print(
        f"approximate, width 64: {time.perf_counter() - start:.2f} s, relative W1 error {sobolev_distance(model, F.polynomial(2.0)) / 3:.1e}"
    )


if __name__ == "__main__":
    main()
