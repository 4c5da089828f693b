"""The numbers of an audit by name: what `--require` and the comparison read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from perdure.audits.result import Audit
from perdure.errors import ArgumentError


@dataclass(frozen=True)
class Quantity:
    """A named number, truth value or law of an audit.

    Attributes:
        name: as typed.
        meaning: in a few words, with its unit.
        get: (audit, argument) -> (value, whether it is only a lower bound).
        kind: "number", "truth" or "law".
        takes: what its argument is, "" for none.
        least, most: limits of the argument, both excluded.
        sure: (audit, argument) -> the largest number that the value can be held to; None where that is the value.
    """

    name: str
    meaning: str
    get: Callable[[Audit, float | None], tuple[Any, bool]]
    kind: str = "number"
    takes: str = ""
    least: float = -math.inf
    most: float = math.inf
    sure: Callable[[Audit, float | None], float] | None = None

    @property
    def usage(self) -> str:
        """As it is written in a requirement."""
        return f"{self.name}({'0.01' if self.most == 1 else 'N'})" if self.takes else self.name

    def read(self, audit: Audit, argument: float | None = None) -> tuple[Any, bool]:
        """Its value in an audit, and whether that is only a lower bound.

        Raises:
            ArgumentError: the audit does not hold it.
        """
        return self.get(audit, argument)


def needed(audit: Audit, part: str) -> dict[str, Any]:
    """Data of a part.

    Raises:
        ArgumentError: it was not measured, with the reason.
    """
    data = audit.part(part)
    if data is None:
        found = audit.parts.get(part)
        raise ArgumentError(f"the part `{part}` " + (f"was not measured: {found.reason}" if found else "was left out of the audit"))
    return data


def _reading(audit: Audit, level: float | None) -> tuple[float, bool]:
    found = audit.reading(0.5 if level is None else level)
    return found.value, found.is_bound


def _sure(audit: Audit, level: float | None) -> float:
    return audit.reading(0.5 if level is None else level).sure


def _left(audit: Audit, time: float | None) -> tuple[float, bool]:
    curve = audit.curve
    if curve is None or time is None:
        raise ArgumentError("the part `memory` was not measured")
    times, values = curve["times"], curve["values"]
    if time > times[-1]:
        raise ArgumentError(f"memory was measured up to {times[-1]:g}: measure a longer horizon")
    peak = max(values)
    return (max(v for t, v in zip(times, values, strict=True) if t >= time) / peak if peak > 0 else 0.0), False


def _property(name: str) -> Callable[[Audit, float | None], tuple[Any, bool]]:
    def get(audit: Audit, _: float | None) -> tuple[Any, bool]:
        found = needed(audit, "properties")[name]
        if found["holds"] is None:
            raise ArgumentError(f"whether the model is {name.replace('_', '-')} is undecided: {found['reason']}")
        return found["holds"], False

    return get


def _matrices(audit: Audit) -> list[dict[str, Any]]:
    """Recurrent matrices that say something about the model."""
    found = [m for m in needed(audit, "recurrence")["matrices"] if m["counts"]]
    if not found:
        raise ArgumentError("no recurrent matrix of the model was seen at an equilibrium")
    return found


def _least_radius(audit: Audit, _: float | None) -> tuple[float, bool]:
    found = [m["stability_radius"] for m in _matrices(audit)]
    known = [radius for radius in found if radius is not None]
    if len(known) < len(found) and 0.0 not in known:
        raise ArgumentError(
            f"{len(found) - len(known)} of {len(found)} recurrent layers are too large for a stability radius in this budget"
        )
    return min(known), False


def _spectral_radius(audit: Audit, _: float | None) -> tuple[float, bool]:
    return max(m["spectral_radius"] for m in _matrices(audit)), False


def _forgets(audit: Audit, _: float | None) -> tuple[bool, bool]:
    found = needed(audit, "forgetting")
    if found["forgets"] == "undecided":
        raise ArgumentError(f"whether the model forgets is undecided: {found['reason']}")
    return found["forgets"] == "forgets", False


ENTRIES = [
    Quantity("half_life", "time after which half of the peak is left (time units)", _reading, sure=_sure),
    Quantity(
        "horizon",
        "time after which the share is left (time units)",
        _reading,
        takes="a share between 0 and 1",
        least=0.0,
        most=1.0,
        sure=_sure,
    ),
    Quantity("memory", "share of the peak still to come after that time", _left, takes="a time of at least 0", least=-1e-300),
    Quantity("law", "decay law of the memory", lambda audit, _: (audit.law, False), "law"),
    Quantity("forgets", "two pasts, one future: the outputs meet", _forgets, "truth"),
    Quantity("stability_radius", "least over recurrent layers at rest (change of the step's matrix)", _least_radius),
    Quantity("spectral_radius", "largest over recurrent layers at rest (share left a step)", _spectral_radius),
    Quantity(
        "capacity",
        "steps of white noise that a linear readout finds in the output",
        lambda audit, _: (needed(audit, "capacity")["capacity"], False),
    ),
    Quantity("causal", "no output moves before the input does", _property("causal"), "truth"),
    Quantity("time_homogeneous", "a delayed input gives the delayed response", _property("time_homogeneous"), "truth"),
    Quantity("linear", "responses add", _property("linear"), "truth"),
]
QUANTITIES = {entry.name: entry for entry in ENTRIES}
