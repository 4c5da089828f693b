r"""The two suprema of which the Sobolev distance is the sum, for some inputs.

    ||H - H^||_{W1} = sup_t ( sup_x |D_t(x)| / |x| + sup_x |dD_t(x)/dt| / |x| ),   D_t(x) = (H^_t(x) - H^_t(0)) - (H_t(x) - H_t(0)),

|x| = sup_t |x(t)|_inf, |D| over output channels the largest. For time-homogeneous maps an input that reaches its value at a time t < T reaches it at T when
it comes later by T - t, so that both suprema may be taken over the steps 1, ..., T as well, each at its own time; T then says how much past an input may
have. Where the maps turn out not to be time-homogeneous, as with positions that are encoded, only the step T counts for both. dD/dt is the difference of two outputs over dt. For Euler's method, as in `perdure.nn.ContinuousRNN`, that is the model's own dy/dt at the step
before; for a linear map with inputs held over steps it is a mean of dD/dt over a step, so that the values are never above the supremum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from perdure import _checks
from perdure._typing import Tensor
from perdure.errors import ModelError
from perdure.stability.nonlinear.balls import Moves
from perdure.stability.nonlinear.copies import Copies

ALIKE = 1e-3  # of the largest response: a model that has not quite settled may still differ by so much
FAINT = 1e-7  # weight of the rows that are not the largest, in the common gradient


@dataclass(frozen=True)
class Scores:
    """Values of each input of each copy, (E, R), and the steps at which they are attained.

    Attributes:
        level: |D| / |x|, the largest over time; infinite where the outputs are not finite.
        slope: |dD/dt| / |x|, likewise.
        when: the step that counts for a row: rows of the first half are there for the level, the others for the slope.
    """

    level: Tensor
    slope: Tensor
    when: Tensor

    def __getitem__(self, at: Tensor) -> Scores:
        return Scores(self.level[at], self.slope[at], self.when[at])

    def total(self) -> Tensor:
        """The sum of the two suprema, (E,)."""
        return self.level.amax(1) + self.slope.amax(1)

    def where(self, mask: Tensor, other: Scores) -> Scores:
        """These where `mask` (E, R) says so, else the other's."""
        pairs = ((self.level, other.level), (self.slope, other.slope), (self.when, other.when))
        return Scores(*(torch.where(mask, mine, theirs) for mine, theirs in pairs))

    def own(self) -> Tensor:
        """What each row is there for, (E, R)."""
        half = self.level.shape[1] // 2
        return torch.cat([self.level[:, :half], self.slope[:, half:]], 1)

    @staticmethod
    def joined(parts: Sequence[Scores]) -> Scores:
        """Several batches as one."""
        return Scores(*(torch.cat([getattr(part, name) for part in parts]) for name in ("level", "slope", "when")))


class Gap:
    """The difference of a model's copies and a target.

    Args:
        copies: the model.
        target: (N, T, d) -> (N, T, o); None for 0.
        dt: time between steps.
        steps: T.
        size: d.

    Attributes:
        warmup: steps without input that come first, so that a model that does not rest at its initial state has settled.
        late: whether only the last step counts, where the two suprema may not be taken at their own times.
        blind: whether derivatives were missing, so that nothing could climb.
    """

    def __init__(self, copies: Copies, target: Callable[[Tensor], Tensor] | None, dt: float, steps: int, size: int) -> None:
        self.copies, self.target, self.dt, self.steps, self.size = copies, target, dt, steps, size
        self.warmup, self.late, self.blind = 0, False, False
        self._still: tuple[int, Tensor] | None = None

    def responses(self, moves: Moves, x: Tensor) -> Tensor:
        """Outputs of the copies less those without input, (E, R, T, o), for inputs (E, R, T, d)."""
        return self.outputs(moves, x)[0]

    def outputs(self, moves: Moves, x: Tensor) -> tuple[Tensor, Tensor]:
        """Responses, and the outputs for no input, (E, 1, T, o)."""
        y = self.copies.outputs(moves, self._given(x))[:, :, self.warmup :]
        return y[:, :-1] - y[:, -1:], y[:, -1:]

    def _given(self, x: Tensor) -> Tensor:
        """Inputs with one row of zeros more, after the warm-up."""
        return torch.nn.functional.pad(x, (0, 0, self.warmup, 0, 0, 1))

    def settle(self, moved: bool) -> None:
        """Take a warm-up as long as the horizon where the outputs without input change in time, or where `moved` says that they may."""
        self.warmup = 0 if not moved and self._rests() else self.steps

    def _rests(self) -> bool:
        with torch.no_grad():
            zero = torch.zeros(1, 1, self.steps, self.size, dtype=torch.float64)
            outputs = [self.copies.outputs({}, zero)[0, 0]]
            if self.target is not None:
                outputs.append(self.target(zero[0])[0])
        return all(bool((y - y[:1]).abs().max() <= 1e-12 * (1 + y.abs().max())) for y in outputs)

    def set_late(self, x: Tensor) -> None:
        """Count the last step alone where a map (with its weights as they are) answers a delayed input (R, T, d) otherwise than delayed."""
        delay = self.steps // 3
        both = torch.stack([x, torch.nn.functional.pad(x[:, :-delay], (0, 0, delay, 0))]).flatten(0, 1)[None]
        with torch.no_grad():
            answers = [self.responses({}, both)[0]]
            if self.target is not None:
                given = self._given(both)[0]
                z = self.target(given)[:, self.warmup :]
                answers.append(z[:-1] - z[-1:])
        for answer in answers:
            now, later = answer.chunk(2)
            off = (later[:, delay:] - now[:, :-delay]).abs().max()
            self.late = self.late or bool(off > ALIKE * now.abs().max())

    def differences(self, moves: Moves, x: Tensor) -> Tensor:
        """D for inputs (E, R, T, d), (E, R, T, o)."""
        y = self.responses(moves, x)
        if self.target is None:
            return y
        given = self._given(x)
        z = self.target(given[:, :-1].flatten(0, 1)).unflatten(0, x.shape[:2])[:, :, self.warmup :]
        if self._still is None or self._still[0] != self.warmup:
            self._still = self.warmup, self.target(given[:1, -1]).detach()[None, :, self.warmup :]
        if z.shape[-1] != y.shape[-1]:
            raise ModelError(
                f"expected argument `model` to have as many output channels as `target`, {z.shape[-1]}, but got {y.shape[-1]}: add a readout of that "
                "size (ContinuousRNN: output_size), or choose a target of the model's size"
            )
        return y - (z - self._still[1])

    def scores(self, moves: Moves, x: Tensor) -> Scores:
        """Values without gradients, piece by piece."""
        parts = []
        with torch.no_grad():
            for piece in self.copies.pieces(x.shape[0], x.shape[1], x.shape[2]):
                parts.append(self._scores({name: move[piece] for name, move in moves.items()}, x[piece]))
        return Scores.joined(parts)

    def gradients(self, moves: Moves, x: Tensor) -> tuple[Scores, Moves, Tensor]:
        """Values, the gradient of `Scores.total` in the moves, and for every input the direction in which its own value grows."""
        parts, by_moves, by_x = [], {name: [] for name in moves}, []
        for piece in self.copies.pieces(x.shape[0], x.shape[1], x.shape[2]):
            leaves = {name: move[piece].detach().requires_grad_() for name, move in moves.items()}
            given = x[piece].detach().requires_grad_()
            with torch.enable_grad():
                scores = self._climbing(leaves, given)
                finite = torch.isfinite(scores.level) & torch.isfinite(scores.slope)
                largest = torch.where(finite.all(1), scores.total(), torch.zeros(()).to(x))
                own = torch.where(finite, scores.own(), torch.zeros(()).to(x))
                wanted, value = [*leaves.values(), given], largest.sum() + FAINT * own.sum()
                self.blind |= not value.requires_grad
                found = torch.autograd.grad(value, wanted, allow_unused=True) if value.requires_grad else [None] * len(wanted)
            found = [
                torch.zeros_like(t) if g is None else torch.nan_to_num(g, posinf=0.0, neginf=0.0)
                for g, t in zip(found, wanted, strict=True)
            ]
            for name, gradient in zip(leaves, found[:-1], strict=True):
                by_moves[name].append(gradient)
            by_x.append(found[-1])
            parts.append(Scores(scores.level.detach(), scores.slope.detach(), scores.when))
        return Scores.joined(parts), {name: torch.cat(g) for name, g in by_moves.items()}, torch.cat(by_x)

    def _climbing(self, moves: Moves, x: Tensor) -> Scores:
        """With their graph; without one where the model or the target leaves it, through numpy for instance."""
        try:
            return self._scores(moves, x)
        except RuntimeError:
            with torch.no_grad():
                return self._scores({name: move.detach() for name, move in moves.items()}, x.detach())

    def sizes(self, d: Tensor) -> tuple[Tensor, Tensor]:
        """|D| and |D(t) - D(t - dt)| over output channels, (E, R, T), for D (E, R, T, o); 0 at the steps that do not count."""
        steps = torch.cat([d[:, :, :1], d.diff(dim=2)], 2)
        counts = torch.ones(d.shape[2], dtype=d.dtype)
        if self.late:
            counts[:-1] = 0
        return d.abs().amax(3) * counts, steps.abs().amax(3) * counts

    def _scores(self, moves: Moves, x: Tensor) -> Scores:
        d = self.differences(moves, x)
        size = x.detach().abs().flatten(2).amax(2)
        bad = ~torch.isfinite(d).flatten(2).all(2)
        d = torch.where(bad[..., None, None], torch.zeros_like(d), d)
        levels, steps = self.sizes(d)
        level, at_level = (levels / size[..., None]).max(2)
        slope, at_slope = (steps / (self.dt * size[..., None])).max(2)
        endless = torch.full_like(level, torch.inf)
        half = level.shape[1] // 2
        when = torch.cat([at_level[:, :half], at_slope[:, half:]], 1)
        return Scores(torch.where(bad, endless, level), torch.where(bad, endless, slope), when)


def whole_steps(horizon: float, dt: float, argument: str = "horizon") -> int:
    """Steps of dt up to a horizon, at least three."""
    steps = round(_checks.positive(horizon, argument, "it is a time") / dt)
    if steps < 3:
        raise _checks.fail(argument, f"at least three steps of dt = {dt:g}", horizon, "make it longer, or dt shorter")
    return steps
