"""What a linearisation returns: an equilibrium, the Jacobian of a step there, and its modes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from perdure import _checks
from perdure._typing import Array
from perdure.stability.cells import Block
from perdure.stability.curve import plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Linearisation:
    """A model at an equilibrium.

    Attributes:
        state: h*, (n,), the parts in `blocks` one after the other.
        jacobian: J, (n, n), J[i, j] = df_i/dh_j.
        eigenvalues: mu, (n,), by falling modulus.
        residual: |f(h*) - h*|_inf.
        correction: the next step of Newton's method, with rounding counted in, |.|_inf: how far off h* may be.
        status: "settled": the run from the start ends within 1e-6 of h*; "approached": it was still on its way, following the linearisation
            of a stable equilibrium or at least coming nearer; "not reached": it is not seen to go there, and `notes` say what it does.
        steps: length of the run.
        x: the constant input.
        dt: time of a step.
        euler: whether a step is Euler's for a differential equation, so that `generator` is the equation's own Jacobian.
        blocks: name and shape of each part of the state.
        model: its type.
        notes: what a reader of the numbers should know.
    """

    state: Array = field(repr=False)
    jacobian: Array = field(repr=False)
    eigenvalues: Array = field(repr=False)
    residual: float
    correction: float
    status: str
    steps: int
    x: Array | None
    dt: float
    euler: bool
    blocks: tuple[Block, ...]
    model: str
    notes: tuple[str, ...]

    def part(self, name: str) -> Array:
        """One part of h* in its own shape, for example "h_l0" or "c_l1"."""
        _checks.choice(name, "name", [block for block, _ in self.blocks])
        at = 0
        for block, shape in self.blocks:
            size = int(np.prod(shape))
            if block == name:
                return self.state[at : at + size].reshape(shape)
            at += size
        raise AssertionError  # the name was checked

    @property
    def spectral_radius(self) -> float:
        """The largest |mu|: below 1, every small perturbation of the state fades."""
        return float(np.abs(self.eigenvalues[0]))

    @property
    def stable(self) -> bool:
        """Whether the spectral radius is below 1: small perturbations of h* fade."""
        return self.spectral_radius < 1.0

    @property
    def time_constant(self) -> float:
        """Steps in which the slowest mode falls to 1/e, -1 / log max|mu|; inf where it does not fall, 0 where all is forgotten at once."""
        rho = self.spectral_radius
        return 0.0 if rho == 0.0 else math.inf if rho >= 1.0 else -1.0 / math.log(rho)

    @property
    def log_eigenvalues(self) -> Array:
        """log(mu) / dt, (n,), per unit time: the growth and frequency of the modes of the steps; -inf for mu = 0."""
        with np.errstate(divide="ignore"):
            return (np.log(np.abs(self.eigenvalues)) + 1j * np.angle(self.eigenvalues)) / self.dt

    @property
    def generator(self) -> Array:
        """(J - I) / dt, (n, n), per unit time."""
        return (self.jacobian - np.eye(self.state.size)) / self.dt

    @property
    def generator_eigenvalues(self) -> Array:
        """(mu - 1) / dt, (n,), per unit time: eigenvalues of `generator`."""
        return (self.eigenvalues - 1.0) / self.dt

    @property
    def stability_radius(self) -> float:
        """The least spectral norm of a complex change of `generator` that ends the decay of dh/dt = (J - I)/dt h, per unit time; 0 if unstable."""
        from perdure.stability.radius import stability_radius

        return float(stability_radius(self.generator, field="complex"))

    @property
    def step_radius(self) -> float:
        """The same for the steps themselves: the least change of `jacobian` that puts an eigenvalue on the unit circle; 0 if unstable."""
        from perdure.stability.radius import stability_radius

        return float(stability_radius(self.jacobian, field="complex", discrete=True))

    def to_frame(self) -> pd.DataFrame:
        """One row a mode: mu, |mu|, its time constant and period in steps, log(mu) / dt and (mu - 1) / dt."""
        import pandas as pd

        mu, log, gen = self.eigenvalues, self.log_eigenvalues, self.generator_eigenvalues
        size, turn = np.abs(mu), np.abs(np.angle(mu))
        with np.errstate(divide="ignore"):
            times = np.where(size >= 1.0, np.inf, -1.0 / np.minimum(np.log(size), -1e-300))
            periods = np.where(turn > 0, 2 * np.pi / np.maximum(turn, 1e-300), np.inf)
        return pd.DataFrame({
            "real": mu.real, "imag": mu.imag, "modulus": size, "time_constant": times, "period": periods,
            "log_real": log.real, "log_imag": log.imag, "generator_real": gen.real, "generator_imag": gen.imag,
        })  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, valid as strict JSON: infinity is the string "inf", an eigenvalue a pair [real, imaginary]."""
        return {
            "state": plain(self.state), "eigenvalues": [[float(mu.real), float(mu.imag)] for mu in self.eigenvalues], "jacobian": plain(self.jacobian),
            "spectral_radius": self.spectral_radius, "time_constant": plain(self.time_constant), "stable": self.stable,
            "residual": self.residual, "correction": self.correction, "status": self.status, "steps": self.steps, "dt": self.dt,
            "euler": self.euler, "x": None if self.x is None else plain(np.atleast_1d(self.x)),
            "blocks": [[name, list(shape)] for name, shape in self.blocks], "model": self.model, "notes": list(self.notes),
        }  # fmt: skip

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Eigenvalues of J in the complex plane, with the unit circle."""
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        turn = np.linspace(0.0, 2 * np.pi, 400)
        ax.plot(np.cos(turn), np.sin(turn), color="0.6", linewidth=0.8)
        style = {"marker": "o", "markersize": 4, "linestyle": "", "label": f"{self.model}, |μ| ≤ {self.spectral_radius:.3g}"} | style
        ax.plot(self.eigenvalues.real, self.eigenvalues.imag, **style)
        ax.set(aspect="equal", xlabel="Re μ", ylabel="Im μ", title="Jacobian of one step")
        ax.legend(loc="lower left", fontsize="small")
        return ax


def spectrum(matrix: Array) -> Array:
    """Eigenvalues (n,), by falling modulus, of a matrix (n, n), block by block where exact zeros make it block triangular.

    Layers on top of one another, and modes beside one another, are such blocks. Two layers of the same poles make a Jordan block, whose
    eigenvalues the whole matrix gives to half of the digits only.

    >>> spectrum(np.array([[0.5, 0.0], [1.0, 0.5]])).tolist()
    [(0.5+0j), (0.5+0j)]
    """
    _, part = connected_components(csr_array(matrix), directed=True, connection="strong")
    order = np.argsort(part, kind="stable")
    groups = np.split(order, np.nonzero(np.diff(part[order]))[0] + 1)
    mu: Array = np.concatenate([np.linalg.eigvals(matrix[np.ix_(g, g)]) for g in groups]).astype(complex)
    return mu[np.lexsort((-mu.imag, -np.abs(mu)))]
