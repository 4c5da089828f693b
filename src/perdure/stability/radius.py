r"""The stability radius: the size of the smallest perturbation of W after which dh/dt = W h no longer decays.

r(W) = min { ||Delta||_2 : W + Delta has an eigenvalue on the boundary of the stable region } (Hinrichsen & Pritchard 1986), 0 where W is not stable itself.
A linear model's perturbation error over the recurrent weight, on the infinite horizon, is finite for beta < r(W).
Complex and real perturbations differ; for normal W (W W^T = W^T W) both radii are the distance of the eigenvalues from the boundary. That holds for
diagonal W under diagonal perturbations too: the radius is the least rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure import _checks
from perdure._threads import one_thread
from perdure._typing import Array
from perdure.stability.level_sets import Circle, Line, Minimum, minimum
from perdure.stability.matrices import scaled, square, unscaled
from perdure.stability.real_radius import real_minimum, real_perturbation

FIELDS = ("complex", "real")


@dataclass(frozen=True)
class Destabilising:
    """The smallest perturbation that ends the decay.

    Attributes:
        radius: its norm as found by the level sets, which is the stability radius: no smaller perturbation does it.
        lower: proved lower bound of the radius, equal to `radius` up to 1e-10 of it and to rounding, unless `status` says otherwise.
        frequency: omega of the eigenvalue i omega (angle theta of e^{i theta} in discrete time) that W + perturbation has.
        eigenvalue: that eigenvalue.
        perturbation: Delta, (n, n), of rank 1 (complex) or at most 2 (real); zeros where W is not stable to begin with.
        norm: ||Delta||_2, to be compared with `radius`.
        residual: sigma_min(eigenvalue - W - Delta), zero up to rounding.
        field: "complex" or "real".
        discrete: whether the boundary is the unit circle.
        status: what is proved.
    """

    radius: float
    lower: float
    frequency: float
    eigenvalue: complex
    perturbation: Array
    norm: float
    residual: float
    field: str
    discrete: bool
    status: str

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists; complex numbers as [re, im]."""
        numbers = {
            name: getattr(self, name) for name in ("radius", "lower", "frequency", "norm", "residual", "field", "discrete", "status")
        }
        parts = np.stack([self.perturbation.real, self.perturbation.imag], -1) if self.field == "complex" else self.perturbation
        return numbers | {"eigenvalue": [self.eigenvalue.real, self.eigenvalue.imag], "perturbation": parts.tolist()}


def stability_radius(W: Any, *, field: str = "complex", discrete: bool = False) -> float:
    r"""The norm of the smallest perturbation of W after which dh/dt = W h no longer decays.

    r_C(W) = min_omega sigma_min(i omega I - W) = 1 / ||(s I - W)^{-1}||_{H_inf}; the real radius r_R >= r_C allows real perturbations only.
    Both are global minima over all frequencies, by level sets (`perdure.stability.level_sets`, `perdure.stability.real_radius`), accurate to
    1e-10 of themselves and rounding of about n * 1e-15 * ||W||.

    Args:
        W: (n, n), array, nested list or tensor: the recurrent weight, in units of 1 / time. Complex entries with field="complex" only.
        field: perturbations allowed, "complex" or "real".
        discrete: h_{k+1} = W h_k, stable inside the unit circle, instead of dh/dt = W h; with field="complex" only.

    Returns:
        The radius, in the units of W; 0.0 where W is not stable (an eigenvalue on or outside the boundary, to rounding).

    Raises:
        ValueError: W is not a finite square matrix, or complex where field="real"; an unknown field.
        TypeError: W does not hold numbers.

    References:
        Hinrichsen & Pritchard 1986; Byers 1988; Boyd & Balakrishnan 1990; Qiu et al. 1995, Theorem 1.

    >>> W = [[-1.0, 100.0], [0.0, -1.0]]  # both eigenvalues at -1
    >>> round(stability_radius(W), 8), round(stability_radius(W, field="real"), 8)
    (0.009999, 0.009999)
    >>> stability_radius([[0.9, 0.0], [0.0, -0.5]], discrete=True).__round__(12)
    0.1
    """
    task = _task(W, field, discrete)
    return unscaled(_least(task).value, task.exponent) if task.stable else 0.0


def destabilising(W: Any, field: str = "complex", *, discrete: bool = False) -> Destabilising:
    r"""The smallest perturbation that ends the decay, with the frequency it ends at and what is proved about it.

    Complex: Delta = -sigma u v^* with (W - z) v = sigma u. Real: Delta = ([x y] R - W [x y]) [x y]^+ with the eigenvector x + iy of W + Delta
    (`perdure.stability.real_radius`).

    Args:
        W: as for `stability_radius`.
        field: "complex" or "real".
        discrete: as for `stability_radius`.

    Raises:
        ValueError: as for `stability_radius`.
        TypeError: W does not hold numbers.

    >>> found = destabilising([[-0.1, 1.0], [-1.0, -0.1]], "real")
    >>> round(found.radius, 9), round(found.norm, 9), round(found.frequency, 9)
    (0.1, 0.1, 1.0)
    """
    task = _task(W, field, discrete)
    if not task.stable:
        z = task.furthest
        eigenvalue = complex(unscaled(z.real, task.exponent), unscaled(z.imag, task.exponent))
        return Destabilising(
            radius=0.0,
            lower=0.0,
            frequency=float(np.angle(z)) if task.discrete else eigenvalue.imag,
            eigenvalue=eigenvalue,
            perturbation=np.zeros(task.W.shape, complex if field == "complex" else float),
            norm=0.0,
            residual=0.0,
            field=field,
            discrete=task.discrete,
            status="W is not stable: the radius is 0, `eigenvalue` the one that is furthest out",
        )
    return _found(task)


@dataclass(frozen=True)
class _Task:
    """W / 2^exponent, where perturbed eigenvalues are looked for, and the eigenvalue that is nearest to it or beyond."""

    W: Array
    exponent: int
    curve: Line | Circle
    furthest: complex
    field: str
    discrete: bool

    @property
    def stable(self) -> bool:
        return abs(self.furthest) < 1 if self.discrete else self.furthest.real < 0


def _task(W: Any, field: str, discrete: bool) -> _Task:
    field = _checks.choice(field, "field", FIELDS)
    if discrete and field == "real":
        raise _checks.fail("field", '"complex" in discrete time', field, "the complex radius is a lower bound of the real one")
    matrix, exponent = square(W, real=field == "real"), 0
    if not discrete:
        matrix, exponent = scaled(matrix)
    eigenvalues = np.linalg.eigvals(matrix)
    furthest = complex(eigenvalues[np.argmax(np.abs(eigenvalues) if discrete else eigenvalues.real)])
    return _Task(matrix, exponent, Circle() if discrete else Line(), furthest, field, discrete)


@one_thread()
def _least(task: _Task) -> Minimum:
    diagonal: Array = np.diagonal(task.W)
    if not task.discrete and not (task.W - np.diag(diagonal)).any():  # the least rate, to the last digit
        slowest = complex(diagonal[diagonal.real.argmax()])
        return Minimum(-slowest.real, slowest.imag, -slowest.real)
    return real_minimum(task.W) if task.field == "real" else minimum(task.W, task.curve)


@one_thread()
def _found(task: _Task) -> Destabilising:
    W, eye = task.W, np.eye(task.W.shape[0])
    least = _least(task)
    z = complex(task.curve.points(np.array([least.at]))[0])
    if task.field == "real":
        move = real_perturbation(W, abs(least.at))
    else:
        u, s, vh = np.linalg.svd(W - z * eye)
        move = -s[-1] * np.outer(u[:, -1], vh[-1])
    residual = float(np.linalg.svd(z * eye - W - move, compute_uv=False)[-1])
    return Destabilising(
        radius=unscaled(least.value, task.exponent),
        lower=unscaled(least.lower, task.exponent),
        frequency=unscaled(least.at, task.exponent),
        eigenvalue=complex(unscaled(z.real, task.exponent), unscaled(z.imag, task.exponent)),
        perturbation=np.ldexp(move.real, task.exponent) + (1j * np.ldexp(move.imag, task.exponent) if task.field == "complex" else 0.0),
        norm=unscaled(float(np.linalg.norm(move, 2)), task.exponent),
        residual=unscaled(residual, task.exponent),
        field=task.field,
        discrete=task.discrete,
        status="radius proved over all frequencies" if least.closed else "`radius` is attained; only `lower` is proved",
    )
