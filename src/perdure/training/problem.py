r"""What is minimised: outputs of a model against those wanted, on fixed sequences, with the Jacobian where a method asks for it.

The W1 norm of a difference D of kernels is dt sum |D_j| + |D_0| + sum |D_j - D_{j-1}|: size of the output and of its slope, for the worst input of
unit size. Its quadratic counterpart is the mean of e_k^2 + ((e_k - e_{k-1}) / dt)^2 over outputs e of sequences of unit size: for white ones of
variance s^2

    E e_k^2 = s^2 dt^2 sum_{j <= k} D_j^2,     E ((e_k - e_{k-1}) / dt)^2 = s^2 ( D_0^2 + sum_{j <= k} (D_j - D_{j-1})^2 ).

So the residual of a sequence x is e / |x|_inf and its slope; the loss is the sum of squares over that of the target. For data pairs there is no
slope, and no scaling by the size of the input.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from perdure._typing import Tensor
from perdure.errors import ModelError
from perdure.nn import ContinuousRNN
from perdure.training.sensitivity import has_closed_form, sensitivities
from perdure.training.twin import Twin

NUMBERS = 2**24  # tangents held at a time
RIDGE = 1e-13  # of the largest squared singular value: directions of the readout that the data do not fix stay as they are


class Problem:
    """Sequences x (B, T, d), wanted outputs y (B, T, o), and a model that is to give them.

    Attributes:
        twin: the model, in float64.
        x: inputs.
        y: outputs.
    """

    def __init__(self, twin: Twin, x: Tensor, y: Tensor, dt: float, *, slope: bool, size: Tensor | None = None) -> None:
        self.twin, self.x, self.y = twin, x, y
        self._dt = dt if slope else None
        self._scale = torch.ones((), dtype=x.dtype) if size is None else (1 / size)[:, None, None]
        self._norm = 1.0
        self._norm = float(self._weighed(y).square().sum().sqrt())
        self._readout = _readout(twin.model)

    def _weighed(self, e: Tensor) -> Tensor:
        """(..., B, T, o) -> (..., N): scaled, with slopes beside them."""
        e = e * self._scale
        if self._dt is not None:
            slope = torch.diff(e, dim=-2, prepend=torch.zeros_like(e[..., :1, :])) / self._dt
            e = torch.cat([e, slope], -2)
        return e.flatten(-3) / self._norm

    def residual(self) -> Tensor:
        """(N,), differentiable."""
        return self._weighed(self.twin(self.x) - self.y)

    def loss(self) -> Tensor:
        """Sum of squared residuals, as a share of the target's; differentiable."""
        return self.residual().square().sum()

    def jacobian(self, chosen: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Derivatives (N, P) of the residual, and the residual (N,).

        Args:
            chosen: for some parameters by name, the flat indices of the entries that move; P counts them all.
        """
        if has_closed_form(self.twin.model):
            found = sensitivities(cast(ContinuousRNN, self.twin.model), self.x)
            entries = torch.cat([found[name][..., index] for name, index in chosen.items()], -1)
            return self._weighed(entries.permute(2, 0, 1)[..., None]).T, self.residual().detach()
        return self.forward_mode(chosen)

    def forward_mode(self, chosen: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """`jacobian` by forward-mode differentiation, for any module."""
        values = {f"model.{name}": p.detach() for name, p in self.twin.learned.items()}
        counts = [index.numel() for index in chosen.values()]
        total = sum(counts)

        def outputs(moved: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(self.twin, {**values, **moved}, (self.x,))

        base = {f"model.{name}": values[f"model.{name}"] for name in chosen}

        def push(direction: Tensor) -> Tensor:
            parts = direction.split(counts)
            tangents = {
                f"model.{name}": torch.zeros_like(base[f"model.{name}"]).flatten().index_copy(0, index, part).view_as(base[f"model.{name}"])
                for (name, index), part in zip(chosen.items(), parts, strict=True)
            }
            return self._weighed(torch.func.jvp(outputs, (base,), (tangents,))[1])

        width = max(getattr(part, "hidden_size", 1) for part in self.twin.model.modules())
        rows = max(1, NUMBERS // max(1, self.x.shape[0] * self.x.shape[1] * width))
        directions = torch.eye(total, dtype=self.x.dtype)
        with torch.no_grad():
            pieces = [torch.func.vmap(push)(part) for part in directions.split(rows)]
            return torch.cat(pieces).T, self.residual()

    @property
    def count(self) -> int:
        """N, the number of residuals."""
        return self.y.numel() * (1 if self._dt is None else 2)

    def relative(self, outputs: Tensor) -> float:
        """The loss of given outputs (B, T, o)."""
        return float(self._weighed(outputs - self.y).square().sum())

    @torch.no_grad()
    def solve_readout(self) -> None:
        """The readout of least loss for the states as they are; nothing happens where the model ends in no plain readout.

        Directions that the sequences do not fix keep their value: coefficients that cancel one another to many digits would fit no better and
        break under the least perturbation.
        """
        if self._readout is None:
            return
        features: list[Tensor] = []
        hook = self._readout.register_forward_pre_hook(lambda _, args: features.append(args[0]))
        try:
            found = self.twin(self.x)
        finally:
            hook.remove()
        phi = features[0]
        phi = phi.transpose(0, 1) if phi.shape[0] != self.x.shape[0] or phi.shape[1] != self.x.shape[1] else phi
        columns = torch.stack([self._weighed(phi[..., i : i + 1]) for i in range(phi.shape[-1])], 1)
        missing = torch.stack([self._weighed((self.y - found)[..., i : i + 1]) for i in range(self.y.shape[-1])], 1)
        change = damped(columns, missing, RIDGE)
        if bool(torch.isfinite(change).all()):
            self._readout.weight += change.T


def damped(columns: Tensor, wanted: Tensor, ridge: float) -> Tensor:
    """The least squares solution (m, o) of columns (N, m) against wanted (N, o), columns scaled to length 1, damped by `ridge` of the largest."""
    length = columns.norm(dim=0)
    length = torch.where(length > 0, length, torch.ones_like(length))
    m = columns.shape[1]
    R = torch.linalg.qr(torch.cat([columns / length, wanted], 1), mode="r").R
    U, S, Vh = torch.linalg.svd(R[:m, :m])
    share = S / (S.square() + ridge * S[0].square())
    return (Vh.T @ (share[:, None] * (U.T @ R[:m, m:]))) / length[:, None]


def _readout(model: nn.Module) -> Any:
    """The readout of a ContinuousRNN if it learns, else None."""
    if isinstance(model, ContinuousRNN) and model.readout is not None and model.readout.weight.requires_grad:
        return model.readout
    return None


def everything(twin: Twin) -> dict[str, Tensor]:
    """All entries of all parameters that learn.

    Raises:
        ModelError: a complex parameter.
    """
    for name, p in twin.learned.items():
        if p.is_complex():
            raise ModelError(
                f"expected argument `model` to have real parameters for this method, but got the complex `{name}`: use method='adam'"
            )
    return {name: torch.arange(p.numel()) for name, p in twin.learned.items()}
