"""The inputs that ask a model what it remembers, and how the answer is read off its outputs.

For a linear functional y_k = dt sum_j rho(t_j)^T x_{k-j} each of them reads rho(t_k)^T x, so that the sup over |x|_inf <= 1 is
|rho(t_k)|_1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from perdure._typing import Float, Tensor

NAMES = ("heaviside", "impulse", "reversed", "jacobian")


@dataclass(frozen=True)
class Probe:
    """A family of inputs x -> u^x and what is read from the response z to it (the response to no input subtracted).

    * heaviside: u = x from step 0 on; (z_k - z_{k-1}) / dt, with z_{-1} = 0.
    * impulse: u = x / dt on step 0; z_k.
    * reversed: u = x for `warmup` steps, then 0; (z_k - z_{k-1}) / dt, k counted from the switch.

    Attributes:
        name: one of the three above ("jacobian" is a derivative: see `perdure.memory.jacobian`).
        horizon: steps that are read.
        dt: time between steps.
        warmup: steps before the switch, reversed probe only, else 0.
    """

    name: str
    horizon: int
    dt: float
    warmup: int = 0

    @property
    def steps(self) -> int:
        """Steps of the input."""
        return self.warmup + self.horizon

    @property
    def unit(self) -> float:
        """What a difference of outputs is divided by: dt for slopes, 1 for the impulse."""
        return 1.0 if self.name == "impulse" else self.dt

    def inputs(self, x: Float[Tensor, "R d"]) -> Float[Tensor, "R T d"]:
        """u^x for each row of `x`, `steps` long."""
        u = x.new_zeros(x.shape[0], self.steps, x.shape[1])
        if self.name == "impulse":
            u[:, 0] = x / self.dt
        elif self.name == "reversed":
            u[:, : self.warmup] = x[:, None]
        else:
            u[:] = x[:, None]
        return u

    def read(self, z: Float[Tensor, "R T o"]) -> Float[Tensor, "R H o"]:
        """Slopes (impulse: values) at steps 0 .. horizon - 1 of the responses `z`, not yet divided by the size of x."""
        if self.name == "impulse":
            return z
        if self.name == "heaviside":
            slopes = torch.empty_like(z)
            slopes[:, 0] = z[:, 0]
            torch.sub(z[:, 1:], z[:, :-1], out=slopes[:, 1:])
            return slopes.div_(self.dt) if self.dt != 1.0 else slopes
        return (z[:, self.warmup :] - z[:, self.warmup - 1 : -1]) / self.dt

    def unsettled(self, z: Float[Tensor, "R T o"]) -> float:
        """Reversed probe: largest slope at the end of the warm-up, relative to the largest after the switch. 0 for the others."""
        if self.name != "reversed" or self.warmup < 2:
            return 0.0
        before = (z[:, self.warmup - 1] - z[:, self.warmup - 2]).abs().max() / self.dt
        peak = self.read(z).abs().max()
        return float(before / peak) if float(peak) > 0 else 0.0
