"""What a perturbation study returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure import _checks
from perdure._typing import Array

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class PerturbationCurve:
    """The perturbation error E_m(beta) of one model.

    Attributes:
        radii: beta, (R,), in the norm of the trained weights (see `ball`).
        error: E_m(beta), (R,), absolute W1 norm: the running maximum of `raw` (balls are nested), inf from the divergence radius on.
        raw: the value found at each radius by itself, (R,).
        by_group: the same as `error` for each group moved alone, by name.
        divergence_radius: the least beta at which the sup is infinite; inf if there is none.
        upper: an upper bound of the sup, (R,), by the triangle inequality mode by mode; inf where it proves nothing.
        status: how `error` relates to the sup.
        method: "exact" or "sample".
        groups: the groups that move together in `error`.
        parametrization: the map of the trained value to the recurrent eigenvalue.
        ball: which weights move, in which norm.
        horizon: integration time of the norm; None means infinity.
        width: m, real states of the model.
        target_norm: ||H||_{W1}, for relative errors.
        seed: of the random starts or samples.
        slope: dE/dbeta at 0, by derivatives; NaN where it was not taken.
        slope_by_group: the same for each group moved alone.
        dt: time between steps of the model; None for continuous time.
        bound: largest |x|_inf of the inputs; None where it does not matter.
    """

    radii: Array
    error: Array
    raw: Array
    by_group: dict[str, Array]
    divergence_radius: float
    upper: Array
    status: str
    method: str
    groups: tuple[str, ...]
    parametrization: str
    ball: str
    horizon: float | None
    width: int
    target_norm: float
    seed: int
    slope: float = math.nan
    slope_by_group: dict[str, float] = field(default_factory=dict)
    dt: float | None = None
    bound: float | None = None

    @property
    def relative(self) -> Array:
        """Error / ||H||_{W1}."""
        return self.error / self.target_norm

    def radius_below(self, level: float) -> float:
        """The largest beta with E_m(beta) <= level, by log-linear interpolation between the radii; 0 if even E_m(0) is above.

        Args:
            level: an absolute W1 error.
        """
        level = _checks.positive(level, "level")
        below = np.nonzero(self.error <= level)[0]
        if below.size == 0:
            return 0.0
        i = int(below[-1])
        if i + 1 == self.radii.size or not np.isfinite(self.error[i + 1]):
            return float(self.radii[i])
        low, high = self.error[i], self.error[i + 1]
        share = (level - low) / (high - low)
        if self.radii[i] > 0 and low > 0:
            share = np.log(level / low) / np.log(high / low)
            return float(self.radii[i] * (self.radii[i + 1] / self.radii[i]) ** share)
        return float(self.radii[i] + share * (self.radii[i + 1] - self.radii[i]))

    def to_frame(self) -> pd.DataFrame:
        """One row a radius."""
        import pandas as pd

        columns: dict[str, Any] = {
            "radius": self.radii,
            "error": self.error,
            "relative_error": self.relative,
            "raw": self.raw,
            "upper": self.upper,
        }
        columns |= {f"error_{name}": value for name, value in self.by_group.items()}
        return pd.DataFrame(columns).assign(width=self.width, parametrization=self.parametrization, method=self.method)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, valid as strict JSON: infinity is the string "inf"."""
        names = ("status", "method", "parametrization", "ball", "width", "target_norm", "seed", "horizon", "dt", "bound")
        arrays = {name: plain(getattr(self, name)) for name in ("radii", "error", "raw", "upper", "divergence_radius")}
        return (
            arrays
            | {"groups": list(self.groups), "by_group": {k: plain(v) for k, v in self.by_group.items()}}
            | {name: getattr(self, name) for name in names}
            | ({} if math.isnan(self.slope) else {"slope": self.slope, "slope_by_group": dict(self.slope_by_group)})
        )

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """E_m against beta on logarithmic axes; the radius 0 is a short dash at the left edge, the divergence radius a thin vertical line."""
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        finite = (self.radii > 0) & np.isfinite(self.error)
        style = {"marker": "o", "markersize": 3, "label": f"m = {self.width}, {self.parametrization}"} | style
        (line,) = ax.plot(self.radii[finite], self.error[finite], **style)
        if self.radii[0] == 0 and self.error[0] > 0 and finite.any():
            ax.plot(self.radii[finite][:1] / 2, self.error[:1], marker="_", linestyle="", color=line.get_color(), clip_on=False)
        if np.isfinite(self.divergence_radius):
            ax.axvline(self.divergence_radius, color=line.get_color(), linewidth=0.8, linestyle=":")
        ax.set(
            xscale="log", yscale="log", xlabel="perturbation radius β (of the trained weights)", ylabel="perturbation error E(β), W1 norm"
        )
        ax.legend()
        return ax


def plain(value: Any) -> Any:
    """A float or an array as JSON numbers, infinity as "inf"."""
    if np.ndim(value):
        return [plain(v) for v in np.asarray(value).tolist()]
    return float(value) if np.isfinite(value) else "inf"
