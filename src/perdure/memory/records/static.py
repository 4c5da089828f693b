r"""A static nonlinearity before or after the linear part, where held-out steps say that there is one.

* Wiener, y = f(v), v = the linear response: for Gaussian inputs the linear estimate is proportional to the response inside (Bussgang), and f is a cubic
  spline of v, by least squares, continued as a straight line beyond the values seen. Other inputs bend the response; the held-out part then tells less.
* Hammerstein, y = sum_k g_k * phi_k(u): each power of an input, up to the third and made orthogonal to the lower ones, has a response of its own. This is the
  linear estimate again, with more inputs.

Both are fitted on the first steps and compared on those held out; the better one is kept if it leaves at least 2 % less there than the linear part, and
is then fitted to all steps. Its memory is measured as that of any model, by the Heaviside probe for inputs as large as those of the records. A memory of
another kind, in which what is remembered depends on the input, is not seen: train a network on the records and measure that.

References:
    Bussgang 1952; Schoukens & Tiels, Automatica 85, 2017 (block-oriented models, a survey).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.interpolate import make_lsq_spline

from perdure._typing import Array, Tensor
from perdure.memory.function import MemoryFunction
from perdure.memory.measure import memory_function
from perdure.memory.records.arguments import Records
from perdure.memory.records.gram import moments
from perdure.memory.records.linear import explained, predict
from perdure.memory.records.marginal_likelihood import search
from perdure.memory.records.posterior import point

if TYPE_CHECKING:
    from perdure.memory.records.result import MemoryEstimate

PIECES = 8  # of f, with as many values each
POWERS = 3  # of an input
GAIN = 0.02  # of what the linear part leaves


@dataclass(frozen=True)
class StaticPart:
    """The nonlinear model that was fitted.

    Attributes:
        kind: "wiener" (after the linear part) or "hammerstein" (before it).
        explained: share of the variance explained on held-out steps, the mean over outputs.
        explained_linear: the same of the linear part alone.
        memory: the memory function of the model.
        model: (B, T, d) -> (B, T, o), tensors of deviations of the inputs from their mean; float64 inside.
    """

    kind: str
    explained: float
    explained_linear: float
    memory: MemoryFunction = field(repr=False)
    model: Any = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {"kind": self.kind, "explained": self.explained, "explained_linear": self.explained_linear, "memory": self.memory.to_dict()}


class Curve:
    """A cubic spline with knots at quantiles of v, by least squares, straight beyond the values seen."""

    def __init__(self, v: Array, y: Array) -> None:
        self.low, self.high = float(v.min()), float(v.max())
        inner = np.unique(np.quantile(v, np.linspace(0, 1, PIECES + 1)[1:-1]))
        knots = np.concatenate([[self.low] * 4, inner[(inner > self.low) & (inner < self.high)], [self.high] * 4])
        order = np.argsort(v)
        self.spline = make_lsq_spline(v[order], y[order], knots, k=3)
        self.slope = self.spline.derivative()

    def __call__(self, v: Array) -> Array:
        """f(v)."""
        inside = np.clip(v, self.low, self.high)
        return self.spline(inside) + self.slope(inside) * (v - inside)


class Features:
    """Powers of standardised inputs, each orthogonal to the lower ones over the records and of unit size."""

    def __init__(self, u: Array) -> None:
        self.rows = []
        for j in range(u.shape[2]):
            powers = np.stack([u[..., j].ravel() ** k for k in range(POWERS + 1)], axis=1)
            _, triangle = np.linalg.qr(powers / math.sqrt(powers.shape[0]))
            self.rows.append(np.linalg.pinv(triangle, rcond=1e-8))

    def __call__(self, u: Array) -> Array:
        """(B, T, d) -> (B, T, d POWERS)."""
        parts = []
        for j, solved in enumerate(self.rows):
            powers = np.stack([u[..., j] ** k for k in range(POWERS + 1)], axis=-1)
            parts.append((powers @ solved)[..., 1:])
        return np.concatenate(parts, axis=-1)


class Model:
    """The fitted model as a sequence map on deviations of the inputs from their mean, zero in, zero out."""

    def __init__(self, outer: list[Curve] | None, inner: Features | None, response: Array, u_size: Array, y_size: Array) -> None:
        self.outer, self.inner, self.response, self.u_size, self.y_size = outer, inner, response, u_size, y_size

    def raw(self, u: Array) -> Array:
        """In scaled units, (B, T, d) -> (B, T, o), zero before the first step."""
        n = self.response.shape[2]
        u = u if self.inner is None else self.inner(u) - self.inner(np.zeros((1, 1, u.shape[2])))
        padded = np.concatenate([np.zeros((u.shape[0], n - 1, u.shape[2])), u], axis=1)
        v = np.stack([predict(padded, g) for g in self.response], axis=2)
        if self.outer is None:
            return v
        return np.stack([f(v[..., o]) - f(np.zeros(1)) for o, f in enumerate(self.outer)], axis=2)

    def __call__(self, x: Tensor) -> Tensor:
        """In the units of the records."""
        y = self.raw(x.detach().cpu().numpy().astype(float) / self.u_size) * self.y_size
        return torch.as_tensor(y, device=x.device, dtype=x.dtype)


def with_static_part(
    result: MemoryEstimate, records: Records, names: Sequence[str], scaled: tuple[Array, Array], *, split: int, intercept: bool, seed: int
) -> MemoryEstimate:
    """The result with the better of the two nonlinear parts, or with a note that there is none.

    Args:
        result: of the linear part.
        records: as they were given.
        names: families of priors.
        scaled: inputs and outputs in scaled units.
        split: first step held out.
        intercept: whether there is one.
        seed: of the search for the memory function.
    """
    u, y = scaled
    if split == records.steps:
        note = "no nonlinear part was looked for: nothing was held out to tell whether it helps (longer records, or holdout above 0)"
        return replace(result, method="nonlinear", notes=(*result.notes, note))
    shared: dict[str, Any] = {"names": [n for n in names if n in result.priors] or list(names), "intercept": intercept}
    linear = _score(*_responses(u, y, records.lags, split, **shared), u, y, split)
    scores = {kind: _score(*_FITS[kind](u, y, records.lags, split, **shared), u, y, split) for kind in _FITS}
    kind = max(scores, key=lambda k: scores[k])
    if 1.0 - scores[kind] > (1.0 - GAIN) * (1.0 - linear):
        tried = ", ".join(f"{k} {s:.3f}" for k, s in scores.items())
        note = f"no static nonlinearity helps on held-out steps (explained: linear {linear:.3f}, {tried}): the memory is that of the linear part"
        return replace(result, method="nonlinear", notes=(*result.notes, note))
    outer, inner, response, _ = _FITS[kind](u, y, records.lags, records.steps, **shared)
    model = Model(outer, inner, response, result.input_sd, result.output_sd)
    bound = float(np.abs(u * result.input_sd).max())
    measured = memory_function(model, horizon=records.lags, dt=records.dt, input_size=u.shape[2], bound=bound, seed=seed)
    note = (
        f"the memory is that of a fitted {kind.capitalize()} model (a static nonlinearity {'after' if kind == 'wiener' else 'before'} the linear part), by the "
        f"Heaviside probe with |x| <= {bound:.3g}: it explains {scores[kind]:.3f} of the held-out variance, the linear part {linear:.3f}; no bands"
    )
    part = StaticPart(kind, scores[kind], linear, measured, model)
    return replace(result, method="nonlinear", memory=measured.values, static=part, notes=(*result.notes, note))


Fitted = tuple[list[Curve] | None, Features | None, Array, Array]


def _responses(u: Array, y: Array, lags: int, stop: int, *, names: Sequence[str], intercept: bool) -> Fitted:
    """The linear part from the steps before `stop`: responses (o, d, n) and intercepts (o,)."""
    rows, levels = [], []
    for m in moments(u, y, lags, (lags - 1, stop), intercept):
        best = search(m, names, lags, u.shape[2], intercept)[0]
        mean, level = point(m, best, lags, intercept)
        rows.append(mean.reshape(u.shape[2], lags))
        levels.append(level)
    return None, None, np.array(rows), np.array(levels)


def _wiener(u: Array, y: Array, lags: int, stop: int, *, names: Sequence[str], intercept: bool) -> Fitted:
    _, _, response, levels = _responses(u, y, lags, stop, names=names, intercept=intercept)
    curves = []
    for o, g in enumerate(response):
        v, target = predict(u, g)[:, : stop - lags + 1], y[:, lags - 1 : stop, o]
        seen = np.isfinite(target)
        curves.append(Curve(v[seen], target[seen]))
    return curves, None, response, 0.0 * levels


def _hammerstein(u: Array, y: Array, lags: int, stop: int, *, names: Sequence[str], intercept: bool) -> Fitted:
    features = Features(u)
    _, _, response, levels = _responses(features(u), y, lags, stop, names=names, intercept=True)
    return None, features, response, levels


_FITS = {"wiener": _wiener, "hammerstein": _hammerstein}


def _score(outer: list[Curve] | None, inner: Features | None, response: Array, levels: Array, u: Array, y: Array, split: int) -> float:
    """Share of the variance explained on the steps from `split` on, the mean over outputs."""
    lags = response.shape[2]
    inputs = u if inner is None else inner(u)
    out = []
    for o, g in enumerate(response):
        v = predict(inputs, g)[:, split - lags + 1 :]
        guess = v + levels[o] if outer is None else outer[o](v)
        out.append(explained(y[:, split:, o], guess, float(np.nanmean(y[:, lags - 1 : split, o]))))
    return float(np.mean(out))
