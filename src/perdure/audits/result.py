"""What an audit returns: its parts as plain data, the numbers read off them, and the page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perdure import _checks
from perdure.audits.reading import Reading, crossing
from perdure.errors import ArgumentError

FORMAT = 2
MEASURED, REDUCED, MISSING = "measured", "reduced", "not measured"


@dataclass(frozen=True)
class Part:
    """One part of an audit.

    Attributes:
        name: as in `perdure.audits.audit.PARTS`.
        status: "measured", "reduced" (less was measured than is usual) or "not measured".
        reason: of a reduced or missing part, else "".
        seconds: it took.
        data: plain numbers, lists and text; None where nothing was measured.
    """

    name: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    data: dict[str, Any] | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for strict JSON."""
        return {"name": self.name, "status": self.status, "reason": self.reason, "seconds": self.seconds, "data": self.data}


@dataclass(frozen=True)
class Audit:
    """What a model remembers and how fragile that memory is.

    Attributes:
        name: of the model, on the page.
        input_size: channels in.
        horizon: steps measured, the training length.
        dt: time between steps; half-life and horizons are times, steps * dt.
        parts: by name, in the order in which they were measured.
        recommendations: sentences, each with the number behind it and the section of the page that shows it.
        provenance: what was measured with what: versions, weights' fingerprint, options, seconds.
    """

    name: str
    input_size: int
    horizon: int
    dt: float
    parts: dict[str, Part] = field(repr=False)
    recommendations: tuple[dict[str, str], ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)

    def part(self, name: str) -> dict[str, Any] | None:
        """Data of a part, or None where it was not measured."""
        part = self.parts.get(name)
        return part.data if part is not None else None

    @property
    def curve(self) -> dict[str, Any] | None:
        """The memory curve that speaks for the model; None where none was measured."""
        memory = self.part("memory")
        return memory["curves"][memory["headline"]] if memory else None

    @property
    def law(self) -> str:
        """Decay law of that curve, "undecided", or "none" where there is no memory to fit one to."""
        curve = self._curve("law")
        return curve["law"]["law"] if curve["law"] else "none"

    @property
    def parameters(self) -> dict[str, float]:
        """Parameters of the likeliest law; see `DecayFit.parameters`."""
        law = self._curve("parameters")["law"]
        return dict(law["parameters"]) if law else {}

    @property
    def half_life(self) -> float:
        """Time after which the memory stays below half of its peak; `reading(0.5)` says how that is known."""
        return self.reading(0.5).value

    def horizon_at(self, level: float) -> float:
        """Time after which the memory stays below `level` of its peak; `reading(level)` says how that is known."""
        return self.reading(level).value

    def reading(self, level: float) -> Reading:
        """The time after which the memory stays below `level` of its peak, and how that is known.

        Args:
            level: share of the peak, in (0, 1).

        Raises:
            ArgumentError: `level` is outside, or no memory curve was measured, or the curve is noise.
        """
        level = _checks.number(level, "level")
        if not 0 < level < 1:
            raise _checks.fail(
                "level", "between 0 and 1, both excluded", level, "pass the share of the peak you call forgotten, such as 0.01"
            )
        return crossing(self._curve("a horizon"), level)

    def _curve(self, what: str) -> dict[str, Any]:
        curve = self.curve
        if curve is None:
            part = self.parts.get("memory")
            why = part.reason if part else "the part `memory` was left out"
            raise ArgumentError(f"expected the audit to hold a memory curve for {what}, but got none: {why}")
        return curve

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, from which `Audit.from_dict` makes the audit again."""
        return {
            "format": FORMAT,
            "name": self.name,
            "input_size": self.input_size,
            "horizon": self.horizon,
            "dt": self.dt,
            "headline": self._headline(),
            "recommendations": [dict(r) for r in self.recommendations],
            "parts": {name: part.to_dict() for name, part in self.parts.items()},
            "provenance": dict(self.provenance),
        }

    def _headline(self) -> dict[str, Any]:
        curve = self.curve
        if curve is None:
            return {}
        return {"law": self.law, **{name: value for name, value in curve["readings"].items()}}

    @classmethod
    def from_dict(cls, data: Any) -> Audit:
        """The audit that `to_dict` wrote down.

        Raises:
            ArgumentError: the data are not those of an audit of this format.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT or "parts" not in data:
            got = data.get("format") if isinstance(data, Mapping) else type(data).__name__
            raise ArgumentError(
                f"expected an audit saved as JSON (format {FORMAT}), but got {got!r}: save one with perdure audit ... --json FILE"
            )
        try:
            parts = {name: Part(**_loose(part)) for name, part in data["parts"].items()}
            return cls(data["name"], int(data["input_size"]), int(data["horizon"]), float(data["dt"]), parts,
                       tuple(data["recommendations"]), dict(data["provenance"]))  # fmt: skip
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ArgumentError(f"expected an audit saved as JSON, but got one with a broken entry ({error!r}): save it again") from None

    def to_json(self, path: str | Path) -> Path:
        """Write `to_dict` as strict JSON: infinity is "inf", NaN is null."""
        from perdure.report.files import write
        from perdure.report.page import strict_json

        return write(file_path(path, "path"), strict_json(self.to_dict(), indent=1) + "\n")

    @classmethod
    def from_json(cls, path: str | Path) -> Audit:
        """Read what `to_json` wrote.

        Raises:
            ArgumentError: there is no such file, or it is no audit.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ArgumentError(
                f"expected `path` to be an audit saved as JSON, but got {Path(path).name} ({why}): check the name"
            ) from None
        except ValueError as error:
            raise ArgumentError(
                f"expected `path` to be an audit saved as JSON, but got {Path(path).name} ({error}): save it again"
            ) from None
        return cls.from_dict(data)

    def save(self, path: str | Path) -> Path:
        """Write the page: one HTML file that needs nothing else."""
        from perdure.audits.page import page
        from perdure.report.files import write

        return write(file_path(path, "path"), page(self, pictures=True))

    def to_frame(self) -> Any:
        """A pandas table of all memory curves: curve, time, memory, envelope, above_noise."""
        import numpy as np
        import pandas as pd

        memory = self.part("memory")
        frames = []
        for name, curve in (memory["curves"] if memory else {}).items():
            values = np.asarray(curve["values"])
            envelope = np.maximum.accumulate(values[::-1])[::-1]
            columns = {"time": curve["times"], "memory": values, "envelope": envelope, "above_noise": values > curve["noise_floor"]}
            frames.append(pd.DataFrame({"curve": name, **columns}))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"curve": [], "time": [], "memory": []})

    def plot(self, ax: Any = None) -> Any:
        """The memory curves on matplotlib axes, memory logarithmic; returns the axes."""
        import matplotlib.pyplot as plt

        from perdure.audits.charts import memory_charts
        from perdure.report.plots import draw

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        draw(memory_charts(self)[0], ax)
        return ax


def _loose(value: Any) -> Any:
    """The inverse of strict JSON: "inf" is infinity again."""
    if isinstance(value, Mapping):
        return {k: _loose(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_loose(v) for v in value]
    return {"inf": math.inf, "-inf": -math.inf}.get(value, value) if isinstance(value, str) else value


def file_path(path: str | Path, argument: str) -> Path:
    """`path` as a file that can be written: its folder exists.

    Raises:
        ArgumentError: the folder does not exist, or `path` is a folder.
    """
    target = Path(path)
    if not str(path).strip() or target.is_dir():
        raise _checks.fail(argument, "a file name", str(path), "pass for example audit.html")
    if not target.resolve().parent.is_dir():
        raise _checks.fail(argument, "in a folder that exists", str(path), "make the folder first, or name another one")
    return target


def plain(value: Any) -> Any:
    """Numbers and arrays of numpy and torch as Python's own, tuples as lists: ready for JSON."""
    import numpy as np
    import torch

    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, torch.Tensor):
        return plain(value.detach().cpu().numpy())
    if isinstance(value, np.ndarray):
        return plain([[z.real, z.imag] for z in value.ravel()]) if np.iscomplexobj(value) else value.tolist()
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return value
    return value if isinstance(value, str | int | float | bool | None) else str(value)
