"""The cards on top of the page: the numbers one looks for first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from perdure.audits.quantities import QUANTITIES
from perdure.audits.reading import STATUS
from perdure.audits.result import Audit
from perdure.errors import PerdureError


@dataclass(frozen=True)
class Card:
    """A label, a value, a line on how it is known; `alarm` sets it off."""

    label: str
    value: str
    note: str
    alarm: bool = False


def cards(audit: Audit) -> list[Card]:
    """Half-life, horizons, law, whether it forgets, stability radius, capacity: those that were measured."""
    if audit.curve is None and audit.part("reach") is not None:
        made = _sides(audit)
        return [*made, _radius(audit)] if audit.part("recurrence") is not None else made
    else:
        made = [_time(audit, "half-life", 0.5), _time(audit, "1 % left after", 0.01), _law(audit)]
    for card in (_forgets, _radius, _capacity):
        made.append(card(audit))
    return made


def _time(audit: Audit, label: str, level: float) -> Card:
    try:
        found = audit.reading(level)
    except PerdureError:
        return Card(label, "–", "not measured")
    unit = "steps" if audit.dt == 1 else "time units"
    note = STATUS[found.status].split(":")[0]
    return Card(label, str(found), note if math.isinf(found.value) else f"{unit}, {note}", math.isinf(found.value))


def _sides(audit: Audit) -> list[Card]:
    """For a model that sees the future: how far its influence reaches on either side."""
    found = audit.part("reach") or {}
    half, most = (within(found, share)[-1] for share in ("0.5", "0.99"))
    side = "steps on either side" if found["signed"] else "steps back"
    causal = ((audit.part("properties") or {}).get("causal") or {}).get("holds")
    return [Card("half the influence within", half, side), Card("99 % of it within", most, side),
            Card("causal?", {True: "yes", False: "no", None: "–"}[causal], "do outputs wait for their inputs?", causal is False)]  # fmt: skip


def within(found: dict[str, Any], share: str) -> list[str]:
    """For each layer the lag within which that share of its squared influence lies; a bound where that is as far as was seen on one of the sides.

    >>> within({"lags": [-9, 0, 1, 2], "last": [-1, 0, 1, 9], "reach": {"0.5": [1, 9]}}, "0.5")
    ['1', '≥ 9']
    """
    end = min(abs(v) for v in (found["lags"][0], found["last"][-1]) if v) if any((found["lags"][0], found["last"][-1])) else 0
    return [f"≥ {lag}" if lag >= end > 0 else str(lag) for lag in found["reach"][share]]


def _law(audit: Audit) -> Card:
    curve = audit.curve
    if curve is None:
        return Card("decay law", "–", "not measured")
    law = curve["law"]
    if law is None or curve["blind"]:
        return Card("decay law", "none", "nothing is left after the first step")
    if law["law"] == "undecided":
        return Card("decay law", "undecided", f"likeliest: {law['best_law']}")
    shown = {
        "rate": "rate {:.3g}",
        "power": "power {:.3g}",
        "exponent": "exponent {:.2g}",
        "lag": "ends after {:.3g}",
        "level": "level {:.2g}",
    }
    said = [text.format(law["parameters"][name]) for name, text in shown.items() if name in law["parameters"]]
    return Card("decay law", law["law"], ", ".join(said), law["law"] == "persistent")


def _quantity(audit: Audit, name: str) -> tuple[object | None, str]:
    """A quantity, or None with the reason."""
    try:
        return QUANTITIES[name].read(audit)[0], ""
    except PerdureError as error:
        return None, str(error)


def _forgets(audit: Audit) -> Card:
    found, why = _quantity(audit, "forgets")
    if found is None:
        return Card(
            "forgets?", "undecided" if "undecided" in why else "–", "different pasts, one future" if "undecided" in why else "not measured"
        )
    return Card(
        "forgets?",
        "yes" if found else "no",
        "different pasts, one future: the outputs meet" if found else "different pasts stay apart",
        not found,
    )


def _radius(audit: Audit) -> Card:
    found, why = _quantity(audit, "stability_radius")
    if not isinstance(found, float):
        reasons = {
            "no recurrent layer": "no recurrent layer",
            "equilibrium": "no layer comes to rest",
            "too large": "the layers are too large for it",
        }
        return Card("stability radius", "–", next((said for known, said in reasons.items() if known in why), "not measured"))
    return Card("stability radius", f"{found:.3g}", "least over recurrent layers at rest", found == 0)


def _capacity(audit: Audit) -> Card:
    found, _ = _quantity(audit, "capacity")
    if not isinstance(found, float):
        return Card("memory capacity", "–", "not measured")
    return Card("memory capacity", f"{found:.3g}", "steps of white noise in the output")
