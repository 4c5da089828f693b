"""Eigenvalues do not tell how stable a memory is: the counterexample to Lemma A.8 of Wang, Li & Li (2024).

The lemma bounds ||P||_2, W^T P + P W = -I, by 1 / (2 beta) where every eigenvalue of W has a real part of at most -beta. That holds for normal W only. Two states of rate 1,
one feeding the other with strength 100, have the eigenvalues -1, -1.

Run `python examples/lemma_counterexample.py` (a second), or `python examples/lemma_counterexample.py certificates.png` for the picture.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.linalg import expm

from perdure import destabilising, kreiss_constant, lyapunov, perturbation_bound, pseudospectral_abscissa, stability_radius
from perdure.stability.level_sets import least_singular_values

W = np.array([[-1.0, 100.0], [0.0, -1.0]])
INPUT, READOUT = np.array([0.0, 1.0]), np.array([1.0, 0.0])  # the kernel is 100 t e^{-t}


def main():
    radius, eigenvalues = stability_radius(W), np.linalg.eigvals(W)
    real = destabilising(W, "real")
    print(f"{'largest real part of the eigenvalues':44s}{eigenvalues.real.max():.4g}")
    print(f"{'||P||_2 as the lemma has it':44s}{1 / (2 * -eigenvalues.real.max()):.4g}")
    print(f"{'||P||_2':44s}{np.linalg.norm(lyapunov(W).P, 2):.6g}")
    print(f"{'stability radius':44s}{radius:.6f}  (1.0 if W were normal)")
    print(f"{'  with real perturbations':44s}{real.radius:.6f}")
    print(f"{'  the smallest one':44s}{(real.perturbation + 0.0).round(6).tolist()}")
    print(f"{'  eigenvalues with it':44s}{(np.sort(np.linalg.eigvals(W + real.perturbation).real).round(6) + 0.0).tolist()}")
    print(f"{'Kreiss constant':44s}{kreiss_constant(W):.4f}  (1 if W were normal)")
    print(f"{'largest ||e^{tW}||_2':44s}{max(np.linalg.norm(expm(t * W), 2) for t in np.linspace(0, 5, 501)):.4f}")
    if len(sys.argv) > 1:
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt

        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
        pseudospectra(left, radius)
        bracket(right, radius)
        figure.savefig(sys.argv[1], dpi=110, metadata={"Software": None})


def pseudospectra(ax, radius):
    """Where eigenvalues can go under perturbations of several sizes."""
    levels = radius * np.array([0.01, 0.1, 0.3, 1.0, 3.0])
    x, y = np.linspace(-3, 1.2, 200), np.linspace(-2, 2, 200)
    size = least_singular_values(W, (x + 1j * y[:, None]).ravel()).reshape(200, 200)
    lines = ax.contour(x, y, size, levels=levels, cmap="viridis_r")
    ax.clabel(lines, fmt=lambda level: f"{level / radius:g} r")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.plot(-1, 0, "k.")
    ax.axvline(pseudospectral_abscissa(W, float(levels[-1])), color="grey", linewidth=0.8, linestyle=":")
    ax.set(xlabel="real part", ylabel="imaginary part", title=f"eigenvalues under perturbations, r = {radius:.4f}", aspect="equal")


def bracket(ax, radius):
    """The growth of the perturbation error: at least what one move does, at most what the certificate says."""
    ends = np.geomspace(1e-3, 0.5, 40)
    beta = radius * np.concatenate([ends, 1 - ends[-2::-1]])
    bound = perturbation_bound(W, INPUT, READOUT, beta)
    ax.fill_between(beta / radius, [growth(b) for b in beta], bound.growth, alpha=0.3)
    ax.plot(beta / radius, bound.growth, label="upper bound, every move")
    ax.plot(beta / radius, [growth(b) for b in beta], label="lower bound, one move")
    ax.axvline(1, color="black", linewidth=0.8, linestyle=":")
    ax.set(
        xlabel="β / r, ‖ΔW‖₂ ≤ β", ylabel="growth of the error, W1 norm", yscale="log", title="perturbation error of 100 t e⁻ᵗ, bracketed"
    )
    ax.legend()


def growth(beta):
    """||H(W + Delta) - H(W)||_{W1} for Delta = [[0, 0], [beta, 0]].

    The kernel becomes 100 e^{-t} sinh(q t) / q, q = 10 sqrt(beta), which is above 100 t e^{-t}: the integral of the difference is 100 / (1 - q^2) - 100, and its derivative,
    which changes its sign once, adds twice the largest difference.
    """
    q, t = 10 * np.sqrt(beta), np.linspace(0, 40, 40001)
    difference = 100 * (np.exp((q - 1) * t) - np.exp(-(q + 1) * t)) / (2 * q) - 100 * t * np.exp(-t)
    return 100 / (1 - q * q) - 100 + 2 * difference.max()


if __name__ == "__main__":
    main()
