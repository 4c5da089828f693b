"""A Sobolev distance that knows how it was found."""

from __future__ import annotations

from typing import Any

from perdure import _checks
from perdure._typing import Array
from perdure.errors import ArgumentError


def no_target(target: Any) -> ArgumentError:
    """The error for a target that is 0 on the horizon (to be raised by the caller)."""
    return _checks.fail("target", "other than zero", repr(target), "nothing is to be remembered: every model with readout 0 is exact")


class SobolevDistance(float):
    """||H - H^||_{W1}: a number, with where it comes from.

    Attributes:
        status: "exact", or a lower bound and how it was searched.
        level: the part of the values, sup |D_t(x)| / |x|; None where it was not taken apart.
        slope: the part of the time derivatives.
        level_input, slope_input: the inputs that attain them, (T, d).
        horizon: time that the inputs last; None means infinity.
        dt: time between steps; None for continuous time.
        bound: largest |x|_inf of the inputs; None where it does not matter.
    """

    status: str
    level: float | None
    slope: float | None
    level_input: Array | None
    slope_input: Array | None
    horizon: float | None
    dt: float | None
    bound: float | None

    def __new__(cls, value: float, **_: Any) -> SobolevDistance:
        """A float."""
        return super().__new__(cls, value)

    def __init__(
        self,
        value: float,
        *,
        status: str = "exact",
        level: float | None = None,
        slope: float | None = None,
        level_input: Array | None = None,
        slope_input: Array | None = None,
        horizon: float | None = None,
        dt: float | None = None,
        bound: float | None = None,
    ) -> None:
        self.status, self.level, self.slope = status, level, slope
        self.level_input, self.slope_input = level_input, slope_input
        self.horizon, self.dt, self.bound = horizon, dt, bound

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, without the inputs."""
        return {"distance": float(self)} | {name: getattr(self, name) for name in ("status", "level", "slope", "horizon", "dt", "bound")}
