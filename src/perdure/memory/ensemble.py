"""The memory function around several inputs: for models whose memory depends on what they are reading.

A linear model has one memory function. Gates, attention and saturating units have one around every input: M(t) around zeros, around noise, and amid the
user's data may differ by orders of magnitude. Each member is `perdure.memory_function` around one background, with the same seed; the ensemble keeps
all of them, so that median, quantiles and the worst case can be read at every lag.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from perdure import _checks
from perdure._typing import Array
from perdure.adapters import adapt
from perdure.memory.function import MemoryFunction
from perdure.memory.measure import memory_function
from perdure.memory.probes import NAMES
from perdure.memory.running import Clock, backgrounds, listed

DIFFERS = 0.05  # relative difference of two members of which no search and no rounding is the cause


@dataclass(frozen=True)
class MemoryEnsemble:
    """Memory functions of one model around several backgrounds.

    Attributes:
        curves: the members; the first is around zeros.
        labels: of the members: "zeros", "noise 1", ..., "data 1", ...
        notes: what a reader of the numbers should know.
    """

    curves: tuple[MemoryFunction, ...] = field(repr=False)
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def times(self) -> Array:
        """Step * dt, (T,)."""
        return self.curves[0].times

    @property
    def values(self) -> Array:
        """(N, T)."""
        return np.stack([curve.values for curve in self.curves])

    @property
    def noise_floor(self) -> float:
        """The largest of the members'."""
        return max(curve.noise_floor for curve in self.curves)

    @property
    def median(self) -> Array:
        """Over members, (T,)."""
        return np.median(self.values, axis=0)

    @property
    def worst(self) -> Array:
        """The largest over members, (T,): the longest memory that any of these inputs shows."""
        return self.values.max(0)

    def quantile(self, q: float) -> Array:
        """Over members, (T,), for q in [0, 1]."""
        q = _checks.number(q, "q")
        if not 0 <= q <= 1:
            raise _checks.fail("q", "from 0 to 1", q, "it is the share of members below")
        return np.quantile(self.values, q, axis=0)

    @property
    def spread(self) -> float:
        """The largest ratio of two members' values at a lag where the larger is above noise, in decades; the smaller counts as noise at least."""
        values = np.maximum(self.values, max(self.noise_floor, 1e-300))
        above = values.max(0) > 4 * self.noise_floor
        return float(np.log10(values.max(0)[above] / values.min(0)[above]).max()) if above.any() else 0.0

    @property
    def input_dependent(self) -> bool:
        """Whether some member differs from that around zeros by more than 5 % of its peak: beyond search and rounding."""
        gap = np.abs(self.values - self.values[0]).max()
        return bool(gap > max(DIFFERS * self.values.max(), 8 * self.noise_floor))

    @property
    def status(self) -> str:
        """How the numbers are known."""
        exact = all(curve.status == "exact" for curve in self.curves)
        return "exact around each background" if exact else f"lower bounds by search around each of {len(self.curves)} backgrounds"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON."""
        first = self.curves[0]
        arrays = {"times": self.times, "median": self.median, "worst": self.worst, "lower": self.quantile(0.1), "upper": self.quantile(0.9)}
        numbers = {name: getattr(self, name) for name in ("noise_floor", "spread", "input_dependent", "status")}
        return {
            **{name: listed(value) for name, value in (arrays | numbers).items()},
            "labels": list(self.labels), "values": listed(self.values), "probe": first.probe, "bound": first.bound, "seed": first.seed, "notes": list(self.notes),
        }  # fmt: skip

    def to_frame(self) -> Any:
        """A pandas table with columns time, background and memory, one row a member and lag."""
        import pandas as pd

        parts = [
            pd.DataFrame({"time": c.times, "background": label, "memory": c.values})
            for label, c in zip(self.labels, self.curves, strict=True)
        ]
        return pd.concat(parts, ignore_index=True)


def memory_ensemble(
    model: Any,
    *,
    horizon: int = 512,
    dt: float = 1.0,
    probe: str = "impulse",
    background: Any = "noise",
    count: int = 8,
    bound: float = 1.0,
    probes: int | None = None,
    input_size: int | None = None,
    batch_first: bool | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    seconds: float | None = None,
) -> MemoryEnsemble:
    """The memory function of a model around zeros and around several other inputs.

    Args:
        model: as for `perdure.memory_function`.
        horizon: steps to measure.
        dt: time between steps.
        probe: "impulse" or "jacobian" (what is left of a pulse amid the background), "heaviside" or "reversed".
        background: "noise", `count` sequences uniform in [-bound, bound]; "zeros" for that alone; or the user's data, (T, d) or (N, T, d) with T at
            least the steps of the probe (for "reversed" twice the horizon), of which the first `count` are taken.
        count: members beside the one around zeros.
        bound: largest |x|_inf of the probe and of the noise.
        probes: inputs tried for each supremum.
        input_size: d; None asks the model.
        batch_first: as for `perdure.memory_function`.
        seed: of noise and search; the same for each member.
        dtype: floating-point type to measure in.
        seconds: time to spend: fewer members where it is short, at least the one around zeros.

    Returns:
        A `MemoryEnsemble`.

    Raises:
        ArgumentError, ModelError: as `perdure.memory_function`.

    >>> gated = lambda x: torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :-1] * (1 + x.abs())  # the past counts for more when the present is loud
    >>> found = memory_ensemble(gated, horizon=4, input_size=1, count=3)
    >>> found.labels, round(found.values[0, 1], 6), found.input_dependent
    (('zeros', 'noise 1', 'noise 2', 'noise 3'), np.float64(1.0), True)
    """
    count = _checks.positive_int(count, "count", "it is the number of backgrounds")
    _checks.choice(probe, "probe", NAMES)
    horizon = _checks.positive_int(horizon, "horizon", "a memory function needs at least three steps", least=3)
    bound = _checks.positive(bound, "bound", "it is the largest |x|_inf of the inputs")
    seed = _checks.positive_int(seed, "seed", "pass an integer of at least 0", least=0)
    clock = Clock(seconds)
    size = adapt(model, input_size=input_size, dt=_checks.positive(dt, "dt"), batch_first=batch_first).input_size
    steps = horizon * (2 if probe == "reversed" else 1)
    others = [] if background is None or (isinstance(background, str) and background == "zeros") else list(
        backgrounds(background, count, steps, size, bound, np.random.default_rng(seed))
    )  # fmt: skip
    word = "noise" if isinstance(background, str) else "data"
    options: dict[str, Any] = {"horizon": horizon, "dt": dt, "probe": probe, "bound": bound, "probes": probes, "seed": seed, "dtype": dtype}
    if probe == "jacobian":
        options.pop("probes")
    curves, labels, notes, longest = [], [], [], 0.0
    for i, given in enumerate([None, *others]):
        begun = clock.now()
        if curves and longest > clock.left:
            notes.append(f"{len(curves) - 1} backgrounds beside zeros in the time there was, where {len(others)} were wanted")
            break
        curves.append(memory_function(model, background=given, input_size=input_size, batch_first=batch_first, **options))
        labels.append(f"{word} {i}" if i else "zeros")
        longest = max(longest, clock.now() - begun)
    said = [note for curve in curves for note in curve.notes]
    return MemoryEnsemble(tuple(curves), tuple(labels), tuple(dict.fromkeys([*notes, *said])))
