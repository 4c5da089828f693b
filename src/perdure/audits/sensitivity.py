r"""Which weights carry the risk: how far the outputs and the memory move when one group of weights does.

For a group of weights that move by at most beta_p each (spectral norm for matrices, Euclid's for vectors, as in `perdure.perturbation_error`),

    E = sup_t sup_x |D_t(x)| / |x| + sup_t sup_x |D_t(x) - D_{t-1}(x)| / (dt |x|),      D = responses of the moved model less those of the model as it is.

*First step.* The derivative of an output y_{t,o} by all weights at once takes one backward pass. With G its part in a tensor, the move inside the ball along which
the output changes fastest is beta U V^T for G = U S V^T (beta G / |G| for a vector), and the rate is the sum of the singular values of G. The model is then run with
this move, so that the E reported was attained by weights in the balls: a lower bound, whatever the model does beyond first order. Several outputs and both signs
are tried while there is time.

*Ascent.* Where what is left of the time allows, `perdure.perturbation_error` searches the group with the least of its tensors' radii for all of them, a
smaller set; the larger value counts. It is a lower bound, too. An error is held against the norm of the
model on the inputs of the same search, so that a linear map gives the share moved by either.

By default beta_p is a share of the tensor's own norm, so that groups of different size compare: a share of 0.004 is what rounding to bfloat16 may do to an entry.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from perdure import _checks
from perdure._typing import Array, Tensor
from perdure.audits.moves import kept, moved, moves_along, norms
from perdure.audits.reading import crossing, law_of
from perdure.errors import ArgumentError, ModelError
from perdure.memory.blocks import find
from perdure.memory.precision import rounding
from perdure.memory.running import Running, listed, run
from perdure.stability.nonlinear.groups import kinds

DIRECTIONS = 2  # constant inputs, noises and pulses, each
ASCENT = 12_000  # rows of the horizon that an ascent takes, about
LATE = 0.75  # outputs are differentiated in the last quarter
FUNCTIONALS = 3
ROWS = 3 * DIRECTIONS  # of a call: zeros, constant inputs, noises, pulses


@dataclass(frozen=True)
class GroupRow:
    """One group at one radius.

    Attributes:
        group: its name.
        parameters: how many numbers.
        norm: the largest of its tensors' norms.
        share: of each tensor's own norm; None where radii are absolute.
        radius: the largest radius of its tensors.
        error: E, a lower bound; inf where the moved model diverges, NaN where it was left out.
        relative: E over the norm of the model, on the inputs of the search that found it.
        gain: `relative` over the share (absolute radii: over the radius): 1 where a change of 1 % in the weights makes 1 % in the outputs.
        half_life: of the model with the worst move found, in units of dt; inf for never, None where it cannot be read off the horizon.
        method: "first step", "ascent", or "left out: ..." with the reason.
    """

    group: str
    parameters: int
    norm: float
    share: float | None
    radius: float
    error: float
    relative: float
    gain: float
    half_life: float | None
    method: str


@dataclass(frozen=True)
class Sensitivity:
    """How much the outputs and the memory depend on each group of weights.

    Attributes:
        rows: one a group and radius.
        half_life: of the model as it is, by a few pulses; inf for never, None where it cannot be read off the horizon.
        norm: of the model on the inputs tried, sup |H| + sup |dH/dt| (a lower bound).
        horizon: steps.
        dt, bound, seed, dtype: of the measurement.
        left_out: names of the groups that were not measured.
        seconds: spent.
        status: how the numbers are known.
        notes: what a reader of the numbers should know.
    """

    rows: tuple[GroupRow, ...]
    half_life: float | None
    norm: float
    horizon: int
    dt: float
    bound: float
    seed: int
    dtype: str
    left_out: tuple[str, ...]
    seconds: float
    status: str
    notes: tuple[str, ...] = ()

    @property
    def ranking(self) -> tuple[str, ...]:
        """Names of the groups, the riskiest first: by the largest relative error at the largest radius."""
        last: dict[str, float] = {}
        for row in self.rows:
            if not math.isnan(row.relative):
                last[row.group] = row.relative  # radii increase
        return tuple(sorted(last, key=lambda name: -last[name]))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON; infinity is the string "inf", an infinite half-life "never"."""

        def plain(value: Any, name: str) -> Any:
            if isinstance(value, float) and math.isinf(value):
                return "never" if name == "half_life" else "inf"
            return listed(value)

        names = ("half_life", "norm", "horizon", "dt", "bound", "seed", "dtype", "seconds", "status")
        return {
            "rows": [{k: plain(v, k) for k, v in vars(row).items()} for row in self.rows], "ranking": list(self.ranking),
            **{name: plain(getattr(self, name), name) for name in names}, "left_out": list(self.left_out), "notes": list(self.notes),
        }  # fmt: skip

    def to_frame(self) -> Any:
        """A pandas table, one row a group and radius."""
        import pandas as pd

        return pd.DataFrame([vars(row) for row in self.rows])


def sensitivity(
    model: Any,
    *,
    horizon: int = 64,
    dt: float = 1.0,
    shares: Sequence[float] = (1e-3, 1e-2),
    radii: Sequence[float] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    bound: float = 1.0,
    ascent: bool = True,
    input_size: int | None = None,
    batch_first: bool | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    seconds: float | None = 20.0,
) -> Sensitivity:
    """How far outputs and memory move when one group of weights does, group by group.

    Args:
        model: a torch module, or what holds one.
        horizon: steps, at least 16.
        dt: time between steps.
        shares: radii as shares of each tensor's own norm, increasing.
        radii: absolute radii instead, increasing.
        groups: names of parameters by name of the group; None takes the layers found (entries of the longest list of modules, recurrent layers) and what
            is beside them, or where there is one layer only, its weights by kind: recurrent, input, readout, bias, other.
        bound: size of the inputs.
        ascent: whether to search further by `perdure.perturbation_error` where time allows.
        input_size: d; None asks the model.
        batch_first: as for `perdure.memory_function`.
        seed: of inputs and outputs tried.
        dtype: floating-point type to measure in.
        seconds: time to spend; None for no limit.

    Returns:
        A `Sensitivity`.

    Raises:
        ArgumentError: an argument breaks its rule, an unknown parameter.
        ModelError: the model has no weights, or gives outputs that are not finite.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> row = sensitivity(layer, shares=(0.01,), ascent=False).rows[0]
    >>> round(row.relative, 9), round(row.gain, 6)  # y = w x: 1 % of w is 1 % of y
    (0.01, 1.0)
    """
    horizon = _checks.positive_int(horizon, "horizon", "it takes some steps to see a decay", least=16)
    given = _checks.radii(list(shares) if radii is None else list(radii), "shares" if radii is None else "radii")
    if given[0] <= 0:
        raise _checks.fail("shares" if radii is None else "radii", "above zero", float(given[0]), "nothing moves at radius 0")
    bound = _checks.positive(bound, "bound", "it is the size of the inputs")

    def body(running: Running) -> Sensitivity:
        search = _Search(running, horizon, dt, bound, seed)
        return search.result(given, radii is None, groups, (ascent, batch_first))

    return run(model, body, "sensitivity", dtype=dtype, seed=seed, seconds=seconds, dt=dt, input_size=input_size, batch_first=batch_first)


class _Search:
    """The inputs, the outputs of the model as it is, and its derivatives by the weights."""

    def __init__(self, running: Running, horizon: int, dt: float, bound: float, seed: int) -> None:
        module = running.call.module
        self.weights = {} if module is None else {n: p for n, p in module.named_parameters() if p.is_floating_point() or p.is_complex()}
        if module is None or not self.weights:
            raise ModelError("expected argument `model` to have weights, but got none: nothing can be moved")
        self.running, self.module, self.horizon, self.dt, self.bound, self.seed = running, module, horizon, dt, bound, seed
        self.kinds = {name: kinds(module)[name][1] for name in self.weights}
        self.rng = np.random.default_rng(seed)
        d = running.size
        signs = self.rng.choice([-bound, bound], (DIRECTIONS, d))
        signs[0] = bound
        steps = np.repeat(signs[:, None], horizon, 1)
        noise = self.rng.uniform(-bound, bound, (DIRECTIONS - 1, horizon, d))
        pulses = np.zeros((DIRECTIONS, horizon, d))
        pulses[:, 0] = signs / dt
        self.x = running.tensor(np.concatenate([np.zeros((1, horizon, d)), steps, noise, pulses]))
        self.driven = slice(0, len(steps) + len(noise))  # of the responses
        self.base = self._responses()
        self.norm = self._size(self.base)

    def _responses(self) -> Tensor:
        y = self.running(self.x).double()
        self.noise = rounding(float(torch.finfo(self.running.twin.dtype).eps), float(y.abs().max()))
        return y[1:] - y[:1]

    def _size(self, z: Tensor) -> float:
        """Sup |z| + sup |slope of z| over |x|, of the inputs that are held or noise."""
        z = z[self.driven]
        return float(
            z.abs().max() / self.bound + torch.diff(z, dim=1, prepend=torch.zeros_like(z[:, :1])).abs().max() / (self.dt * self.bound)
        )

    def half_life(self, z: Tensor) -> float | None:
        """Of the pulses."""
        values = z[self.driven.stop :].abs().amax((0, 2)).cpu().numpy() / self.bound
        curve = {"times": np.arange(len(values)) * self.dt, "values": values, "noise_floor": self.noise / self.bound, "status": "searched"}
        fit = law_of(curve)
        try:
            found = crossing(curve, 0.5, fit)
        except ArgumentError:
            return None
        return None if found.is_bound else float(found.value)

    def tried(self, moves: Mapping[str, Tensor], best: float = -math.inf) -> tuple[float, float | None]:
        """E with some weights moved, and the half-life where E is above the best so far (None for no reading, and where it is not)."""
        with moved(self.weights, moves):
            try:
                z = self._responses()
            except ModelError:
                return math.inf, None
        error = self._size(z - self.base)
        return error, None if error <= best else self.half_life(z)

    def gradients(self) -> dict[str, Tensor]:
        """The derivative of one output, at a step of the last quarter, by every weight."""
        late = self.rng.integers(int(LATE * self.horizon), self.horizon)
        row = int(self.rng.integers(1, 1 + self.driven.stop))
        channel = int(self.base[row - 1, late].abs().argmax())
        with torch.enable_grad(), kept(self.weights):
            y = self.running.call(self.x[[0, row]])
            value = y[1, late, channel] - y[0, late, channel]
            if not value.requires_grad:
                raise ModelError("the outputs do not follow the weights differentiably")
            found = torch.autograd.grad(value, list(self.weights.values()), allow_unused=True)
        zero = {name: torch.zeros_like(p) for name, p in self.weights.items()}
        return {name: zero[name] if g is None else g for name, g in zip(self.weights, found, strict=True)}

    def result(self, radii: Array, relative: bool, groups: Any, options: tuple[bool, bool | None]) -> Sensitivity:
        running, notes = self.running, list(self.running.notes)
        table = groups_of(self.module) if groups is None else _given(groups, self.weights)
        sizes = norms(self.weights, self.kinds)
        base_half = self.half_life(self.base)
        rows: dict[tuple[str, int], GroupRow] = {}
        try:
            gradients = [self.gradients()]
        except (ModelError, RuntimeError, NotImplementedError) as error:
            gradients = []
            notes.append(f"no derivatives ({str(error).splitlines()[0][:120]}): random moves were tried")
        each = len(self.x)
        for k in range(FUNCTIONALS):
            if k and gradients and running.affords(4 * 2, self.horizon):
                gradients.append(self.gradients())
            units: dict[str, Tensor] = {}
            for sign in (1.0, -1.0):
                for i in range(len(radii)):
                    for group, names in table.items():
                        if (k or sign < 0) and not running.affords(2 * each, self.horizon):
                            continue
                        key = (group, i)
                        reach = {n: float(radii[i]) * (sizes[n] if relative else 1.0) for n in names}
                        if not running.affords(each, self.horizon):
                            rows.setdefault(
                                key, self._row(group, names, sizes, radii[i], reach, relative, math.nan, None, "left out: no time was left")
                            )
                            continue
                        g = gradients[min(k, len(gradients) - 1)] if gradients else None
                        moves = self._moves(units, g, reach, sign)
                        error, half = self.tried(moves, rows[key].error if key in rows else -math.inf)
                        if key not in rows or not error <= rows[key].error:
                            rows[key] = self._row(
                                group,
                                names,
                                sizes,
                                radii[i],
                                reach,
                                relative,
                                error,
                                half,
                                "first step" if g is not None else "random move",
                            )
        if options[0]:
            notes += self._ascended(rows, table, sizes, radii, relative, options[1])
        ordered = [rows[group, i] for group in table for i in range(len(radii))]
        for j in range(1, len(ordered)):  # balls are nested
            one, two = ordered[j - 1], ordered[j]
            if one.group == two.group and one.error > two.error:
                ordered[j] = replace(
                    two, error=one.error, relative=one.relative, gain=one.relative / float(radii[j % len(radii)]), half_life=one.half_life
                )
        left_out = tuple(dict.fromkeys(row.group for row in ordered if math.isnan(row.error)))
        spent = running.clock.now() - running.clock.began
        status = "lower bounds: attained by weights within the radii and by the inputs tried (constant, noise, pulses)"
        return Sensitivity(
            tuple(ordered), base_half, self.norm, self.horizon, self.dt, self.bound, self.seed, str(running.twin.dtype).removeprefix("torch."),
            left_out, spent, status, tuple(notes),
        )  # fmt: skip

    def _moves(
        self, units: dict[str, Tensor], gradients: Mapping[str, Tensor] | None, reach: Mapping[str, float], sign: float
    ) -> dict[str, Tensor]:
        """Moves of length `reach` along the gradients, by unit moves that are made once; random ones without gradients."""
        if gradients is None:
            return moves_along(self.weights, None, self.kinds, reach, sign, self.rng)
        for name in reach:
            if name not in units:
                units |= moves_along(self.weights, gradients, self.kinds, {name: 1.0}, 1.0, self.rng)
        return {name: sign * radius * units[name] for name, radius in reach.items()}

    def _row(
        self, group: str, names: Sequence[str], sizes: Mapping[str, float], radius: float, reach: Mapping[str, float], relative: bool, error: float,
        half: float | None, method: str,
    ) -> GroupRow:  # fmt: skip
        share = error / self.norm if self.norm > 0 else math.nan
        return GroupRow(
            group, sum(self.weights[n].numel() for n in names), max(sizes[n] for n in names), float(radius) if relative else None, max(reach.values()),
            error, share, share / float(radius), half, method,
        )  # fmt: skip

    def _ascended(
        self, rows: dict[tuple[str, int], GroupRow], table: Mapping[str, Sequence[str]], sizes: Mapping[str, float], radii: Array, relative: bool,
        batch_first: bool | None,
    ) -> list[str]:  # fmt: skip
        """Larger errors by `perdure.perturbation_error`, the riskiest group first, as long as there is time; what a reader should know."""
        from perdure.stability.perturbation import perturbation_error

        model = self.running.call.model
        if not isinstance(model, nn.Module) or self.running.call.layout == "BCT":
            return ["no ascent: the model is not called as a module with time on axis 0 or 1"]
        order = sorted(table, key=lambda group: -max(rows[group, i].relative for i in range(len(radii))))
        cost, searched, notes = ASCENT * len(radii), 0, []
        twin = copy.deepcopy(model).double().requires_grad_(True)
        for group in order:
            names = [n for n in table[group] if sizes[n] > 0 or not relative]
            least = min((sizes[n] if relative else 1.0 for n in names), default=0.0)
            if least == 0.0 or math.isinf(rows[group, len(radii) - 1].error):
                continue
            if not self.running.affords(cost, self.horizon):
                notes.append(f"ascent over {searched} of {len(table)} groups in the time there was")
                break
            begun = self.running.clock.now()
            inside = {id(p): n for n, p in model.named_parameters()}
            own = [inside[id(self.weights[n])] for n in names if id(self.weights[n]) in inside]
            try:
                curve = perturbation_error(
                    twin, None, radii * least, groups=own, horizon=self.horizon * self.dt, dt=self.dt, bound=self.bound, seed=self.seed, perturbations=2,
                    input_size=self.running.size, batch_first=batch_first,
                )  # fmt: skip
            except Exception as error:  # not every model can be run with many weights at once
                notes.append(f"no ascent: {(str(error).splitlines() or [type(error).__name__])[0][:160]}")
                break
            searched += 1
            norm = max(self.norm, curve.target_norm) if math.isfinite(curve.target_norm) else self.norm
            self.running.each = max(self.running.each, (self.running.clock.now() - begun) / (cost * self.horizon))
            for i, value in enumerate(curve.error):
                if value > rows[group, i].error:
                    share = max(rows[group, i].relative, float(value) / norm if norm > 0 else math.nan)
                    rows[group, i] = replace(
                        rows[group, i], error=float(value), relative=share, gain=share / float(radii[i]), method="ascent"
                    )
        return notes


def groups_of(module: nn.Module) -> dict[str, list[str]]:
    """Names of parameters by group: layers, and what is beside them by its first name; of one layer alone its weights by kind.

    >>> list(groups_of(nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1)))), list(groups_of(nn.RNN(1, 1, bias=False)))
    (['0', '1'], ['input', 'recurrent'])
    """
    names = [n for n, p in module.named_parameters() if p.is_floating_point() or p.is_complex()]
    blocks = [name for name, _ in find(module)]
    found: dict[str, list[str]] = {}
    for name in names:
        block = next((b for b in blocks if name.startswith(f"{b}.")), name.split(".", 1)[0])
        found.setdefault(block, []).append(name)
    if len(blocks) > 1 or (len(found) > 1 and blocks):
        return found
    by_kind: dict[str, list[str]] = {}
    table = kinds(module)
    for name in names:
        by_kind.setdefault(table[name][0], []).append(name)
    return by_kind


def _given(groups: Mapping[str, Sequence[str]], weights: Mapping[str, Tensor]) -> dict[str, list[str]]:
    if not groups:
        raise _checks.fail("groups", "a mapping of names to names of parameters, not empty", groups, "leave it out to have groups found")
    found = {str(group): [_checks.choice(name, f"groups[{group!r}]", weights) for name in names] for group, names in groups.items()}
    for group, names in found.items():
        if not names:
            raise _checks.fail(f"groups[{group!r}]", "names of parameters, not empty", names, "leave the group out")
    return found
