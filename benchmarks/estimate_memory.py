"""Memory from records beside plain least squares: 100 000 steps, 512 lags, one core.

Run `python benchmarks/estimate_memory.py`. First the result is checked: the true response must lie inside the simultaneous band, and the estimate be at least
three times nearer to it than least squares. Least squares is timed as one writes it (the matrix of lagged inputs, `numpy.linalg.lstsq` of its normal equations) and
is given no bands, no choice of a prior and no held-out part. For the memory both take, the matrix of lagged inputs is counted: the estimate never forms it.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from perdure._threads import one_thread
from perdure.memory.data import estimate_memory

STEPS, LAGS, SNR = 100_000, 512, 4.0
RESPONSES = {
    "exponential, time constant 40": np.exp(-np.arange(LAGS) / 40.0),
    "power law, (1 + s)^-1.5": (1.0 + np.arange(LAGS)) ** -1.5,
}


def least_squares(u, y):
    rows = np.lib.stride_tricks.sliding_window_view(u, LAGS)[:, ::-1]
    x, target = rows - rows.mean(0), y[LAGS - 1 :] - y[LAGS - 1 :].mean()
    return np.linalg.solve(x.T @ x, x.T @ target)


@one_thread()
def main():
    rng = np.random.default_rng(0)
    print(f"{STEPS} steps, {LAGS} lags, signal to noise {SNR:g}, one thread")
    for name, response in RESPONSES.items():
        u = rng.standard_normal(STEPS + LAGS)
        clean = np.convolve(u, response)[LAGS : STEPS + LAGS]
        u, y = u[LAGS:], clean + rng.standard_normal(STEPS) * clean.std() / np.sqrt(SNR)
        begun = time.perf_counter()
        found = estimate_memory(u, y, horizon=LAGS)
        mine = time.perf_counter() - begun
        begun = time.perf_counter()
        plain = least_squares(u, y)
        theirs = time.perf_counter() - begun
        size = np.linalg.norm(response)
        error, other = np.linalg.norm(found.kernel[:, 0] - response) / size, np.linalg.norm(plain - response) / size
        low, high = (end[:, 0] for end in found.band(simultaneous=True))
        inside = float(((low <= response) & (response <= high)).mean())
        if error > other / 3 or inside < 0.99:
            print(f"{name}: relative error {error:.2g} against {other:.2g}, {inside:.3f} inside the band: wrong, no speed reported")
            sys.exit(1)
        print(
            f"{name}: {mine:.2f} s with bands, choice of prior and held-out part (relative error {error:.2g}, prior {found.priors[0]}); "
            f"least squares {theirs:.2f} s (relative error {other:.2g}) and {STEPS * LAGS * 8 / 2**20:.0f} MiB of lagged inputs"
        )


if __name__ == "__main__":
    main()
