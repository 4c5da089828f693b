r"""A linear recurrent network in its diagonal form, the balls its weights may move in, and the kernel after a move.

Mode k contributes Re( c_k u_k^T e^{-lambda_k t} ): a real mode has real c_k and u_k in R^d, and one state; a conjugate pair has complex
ones and lambda_k = alpha_k + i omega_k, and two states. The trained values are v_k with -alpha_k = g(v_k), omega_k, the rows u_k and
the readout c_k. Of a coefficient a_k the readout takes the length and the input row the direction: c_k = |a_k|_2, |u_k|_2 = 1.

Balls of radius beta, each in the spectral norm of the weight that is trained (Wang, Li & Li 2024, Def. 3.4):

* recurrent: diagonal stays diagonal, so max_k |dv_k| <= beta, and |dv_k + i d omega_k| <= beta for a pair;
* input: the spectral norm of the (m, d) matrix of rows; Euclid's norm when d = 1;
* readout: Euclid's norm.

Several groups together move in the product of their balls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from perdure import _checks
from perdure._typing import Array, Tensor
from perdure.functionals.exponential import ExponentialSum
from perdure.parametrizations import Parametrization
from perdure.parametrizations.direct import Direct

GROUPS = ("recurrent", "input", "readout")


@dataclass(frozen=True)
class Move:
    """Perturbations of the trained values, a batch (B, ...): v (B, K), omega (B, K), u (B, K, d) and c (B, K), complex where the model is."""

    v: Tensor
    omega: Tensor
    u: Tensor
    c: Tensor

    def __getitem__(self, at: Tensor | slice) -> Move:
        return Move(self.v[at], self.omega[at], self.u[at], self.c[at])

    def scaled(self, factor: Tensor | float) -> Move:
        """Every part times a factor (B,) or a number."""
        f = torch.as_tensor(factor, dtype=torch.float64).reshape(-1, 1)
        return Move(self.v * f, self.omega * f, self.u * f[..., None], self.c * f)

    def mixed(self, other: Move, weight: Tensor) -> Move:
        """(1 - weight) self + weight other, weight (B,)."""
        a, b = self.scaled(1 - weight), other.scaled(weight)
        return Move(a.v + b.v, a.omega + b.omega, a.u + b.u, a.c + b.c)

    @staticmethod
    def joined(moves: list[Move]) -> Move:
        """One batch of several."""
        return Move(*(torch.cat([getattr(m, name) for m in moves]) for name in ("v", "omega", "u", "c")))


class Network:
    """The diagonal form of an exponential sum under a parametrisation.

    Attributes:
        rates: (K,) with Im >= 0; pair: (K,) whether a mode is a conjugate pair; v, omega, u, c as above (float64 or complex128 tensors).
    """

    def __init__(self, model: ExponentialSum, parametrization: Parametrization, groups: tuple[str, ...], fold: bool = True) -> None:
        rates, weights = model.modes()
        silent = np.linalg.norm(weights, axis=1) == 0
        if groups == ("recurrent",) and not silent.all():  # what is not read out changes nothing, decaying or not
            rates, weights = rates[~silent], weights[~silent]
            if fold:  # modes of one rate move together in a worst case; random ones move each by itself
                rates, weights = folded(rates, weights)
        self.groups, self.map = groups, parametrization
        self.pair = torch.as_tensor(rates.imag > 0)
        self.is_complex = bool(self.pair.any())
        kind = torch.complex128 if self.is_complex else torch.float64
        length = np.linalg.norm(weights, axis=1)
        direction: Array = np.where(length[:, None] > 0, weights / np.where(length > 0, length, 1.0)[:, None], np.eye(1, weights.shape[1]))
        self.u = _tensor(direction if self.is_complex else direction.real, kind)
        self.c = _tensor(length, kind)
        self.rates, self.excited = rates, length > 0
        alpha, self.omega = _tensor(rates.real, torch.float64), _tensor(rates.imag, torch.float64)
        if not bool(parametrization.reaches(-alpha).all()):
            raise _checks.fail(
                "parametrization",
                f"a map that reaches all rates of the model, {alpha.min():.3g} to {alpha.max():.3g}",
                type(parametrization).__name__,
                f"its eigenvalues lie in {parametrization.range_text(torch.float64)}; {parametrization.advice()}",
            )
        self.v = parametrization.right_inverse(-alpha).detach()
        self.input_size = weights.shape[1]

    @property
    def size(self) -> int:
        """Number of modes K."""
        return self.v.numel()

    def zero(self, batch: int) -> Move:
        """No move."""
        k, d = self.size, self.input_size
        return Move(torch.zeros(batch, k, dtype=torch.float64), torch.zeros(batch, k, dtype=torch.float64),
                    torch.zeros(batch, k, d, dtype=self.u.dtype), torch.zeros(batch, k, dtype=self.c.dtype))  # fmt: skip

    def moved(self, move: Move) -> tuple[Tensor, Tensor]:
        """Rates (B, K) and coefficients c u (B, K, d) after a move."""
        v = self.v + move.v
        alpha = -self.map(v).detach()
        rates = torch.complex(alpha, self.omega + move.omega) if self.is_complex else alpha
        return rates, (self.c + move.c)[..., None] * (self.u + move.u)

    def slope(self, move: Move) -> Tensor:
        """D alpha / d v (B, K)."""
        return -self.map.derivative(self.v + move.v).detach()

    def toward(self, gradient: Move, radius: Tensor) -> Move:
        """The move of the ball that a linear functional likes best: argmax <gradient, move>, for radii (B,).

        Gradients are such that a change of the error is Re sum G * d for complex parts.
        """
        r = radius[:, None]
        move = self.zero(radius.numel())
        v, omega, u, c = move.v, move.omega, move.u, move.c
        if "recurrent" in self.groups:
            size = torch.where(self.pair, torch.hypot(gradient.v, gradient.omega), gradient.v.abs()).clamp_min(1e-300)
            v = r * torch.where(self.pair, gradient.v / size, torch.where(gradient.v >= 0, 1.0, -1.0))
            omega = torch.where(self.pair, r * gradient.omega / size, 0.0)
        if "readout" in self.groups:
            best = self._real_where_single(gradient.c.conj().resolve_conj())
            c = r * best / best.abs().square().sum(1, keepdim=True).sqrt().clamp_min(1e-300)
        if "input" in self.groups:
            best = self._real_where_single(gradient.u.conj().resolve_conj())
            real = torch.cat([best.real, best.imag], dim=1) if self.is_complex else best  # (B, states, d)
            polar = real / real.norm(dim=(1, 2), keepdim=True).clamp_min(1e-300) if self.input_size == 1 else _polar(real)
            u = r[..., None] * (torch.complex(polar[:, : self.size], polar[:, self.size :]) if self.is_complex else polar)
        return Move(v, omega, u, c)

    def _real_where_single(self, value: Tensor) -> Tensor:
        if not self.is_complex:
            return value
        pair = self.pair if value.ndim == 2 else self.pair[:, None]
        return torch.where(pair, value, value.real.to(value.dtype))

    def random(self, radius: Tensor, generator: torch.Generator) -> Move:
        """Random moves on the boundary of every ball: Gaussian directions, scaled to the radius in the ball's own norm."""
        b, k, d = radius.numel(), self.size, self.input_size

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        v, omega = normal(b, k), torch.where(self.pair, normal(b, k), 0.0)
        largest = torch.hypot(v, omega).amax(1, keepdim=True)
        c, u = normal(b, k).to(self.c.dtype), normal(b, k, d).to(self.u.dtype)
        if self.is_complex:
            c = torch.where(self.pair, torch.complex(c.real, normal(b, k)), c)
            u = torch.where(self.pair[:, None], torch.complex(u.real, normal(b, k, d)), u)
        stacked = torch.cat([u.real, u.imag], dim=1) if self.is_complex else u
        r = radius[:, None]
        zero = self.zero(b)
        spectral = torch.linalg.matrix_norm(stacked, 2)[:, None, None]
        return Move(r * v / largest if "recurrent" in self.groups else zero.v, r * omega / largest if "recurrent" in self.groups else zero.omega,
                    r[..., None] * u / spectral if "input" in self.groups else zero.u,
                    r * c / c.abs().square().sum(1, keepdim=True).sqrt() if "readout" in self.groups else zero.c)  # fmt: skip

    def extremes(self, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Moves of v (R, K) that make each mode slowest and fastest within its interval, for radii (R,)."""
        r = radius[:, None]
        options = torch.stack(
            [(0.0 * r - self.v).clamp(-r, r), -r.expand(-1, self.size), r.expand(-1, self.size)]
        )  # a map may turn at v = 0
        alpha = -self.map(self.v + options).detach()
        pick = lambda at: options.gather(0, at[None])[0]  # noqa: E731
        return pick(alpha.argmin(0)), pick(alpha.argmax(0))

    def slowest_and_fastest(self, radius: float) -> tuple[float, float]:
        """The least and the largest alpha that a move of that radius reaches."""
        r = radius if "recurrent" in self.groups else 0.0
        nearest = torch.zeros_like(self.v).clamp(self.v - r, self.v + r)  # the inverse map turns at v = 0
        alpha = -self.map(torch.stack([self.v - r, self.v, self.v + r, nearest])).detach()
        return float(alpha.min()), float(alpha.max())

    def swings(self, radius: float) -> list[tuple[float, float]]:
        """(frequency, lifetime) of each conjugate pair, the longest a move of that radius can make it last."""
        r = radius if "recurrent" in self.groups else 0.0
        alpha = (-self.map(torch.stack([self.v - r, self.v + r]))).detach().amin(0).clamp_min(1e-290)
        return [(float(w) + r, 45.0 / float(a)) for w, a, pair in zip(self.omega, alpha, self.pair, strict=True) if bool(pair)]

    def divergence_radius(self, groups: tuple[str, ...] | None = None) -> float:
        """The least beta at which a perturbed mode that is excited and read out no longer decays, for these groups or its own: inf for stable maps."""
        groups = self.groups if groups is None else groups
        if "recurrent" not in groups or self.map.stable:
            return float("inf")
        counts = torch.as_tensor(self.excited) | ("readout" in groups or "input" in groups)
        if not bool(counts.any()):
            return float("inf")
        v = self.v[counts]
        if isinstance(self.map, Direct):
            return float((-v).min())
        low, high = 0.0, 1.0
        while not self._crosses(v, high):
            low, high = high, 2 * high
            if high > 1e6:
                return float("inf")
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if self._crosses(v, middle) else (middle, high)
        return high

    def _crosses(self, v: Tensor, radius: float) -> bool:
        return bool((torch.maximum(self.map(v + radius), self.map(v - radius)) >= 0).any())

    def functional(self, move: Move, at: int) -> tuple[Array, Array]:
        """Rates (K,) and coefficients (K, d) of one member of a batch, for Re sum a e^{-lambda t}."""
        rates, weights = self.moved(move[at : at + 1])
        return rates[0].numpy(), weights[0].numpy()


def folded(rates: Array, weights: Array) -> tuple[Array, Array]:
    """Modes of the same rate whose coefficients are positive multiples of one another, made one.

    Moving the copies together is as bad as moving them apart: the error is convex in the kernel, so among the copies' rates, coefficients
    being positive shares, one alone taken by all of them gives an error at least as large.
    """
    length = np.linalg.norm(weights, axis=1)
    kept_rates: list[complex] = []
    kept: list[Array] = []
    for rate, weight, size in zip(rates, weights, length, strict=True):
        for i, (other, held) in enumerate(zip(kept_rates, kept, strict=True)):
            norm = max(float(np.linalg.norm(held)), 1e-300)
            if rate == other and np.linalg.norm(weight / max(float(size), 1e-300) - held / norm) <= 1e-12:
                kept[i] = held + weight
                break
        else:
            kept_rates.append(rate)
            kept.append(weight)
    return np.array(kept_rates), np.array(kept)


def _polar(matrix: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def _tensor(array: Array, dtype: torch.dtype) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(array)).to(dtype)
