"""Requirements on an audit, such as "horizon(0.01) >= 512": read by a small grammar, never evaluated as code.

    requirement = quantity comparator value
    quantity    = name | name "(" number ")"
    comparator  = ">=" | "<=" | ">" | "<" | "==" | "!="
    value       = number | "true" | "false" | the name of a decay law

A number that is only a lower bound ("at least 1024 steps") can meet a requirement that it be large, and can break one that it be small; where it
decides nothing, or where nothing was measured, the requirement is not met, and the reason says what to measure. A time read off the fitted law counts up to eight
times what was measured and no further, also where the law never ends.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from perdure.audits.quantities import QUANTITIES, Quantity
from perdure.audits.result import Audit
from perdure.errors import ArgumentError, PerdureError
from perdure.memory.law import LAWS

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
PATTERN = re.compile(
    r"\s*(?P<name>[A-Za-z_][A-Za-z_0-9]*)\s*(?:\(\s*(?P<argument>[^()]*?)\s*\))?\s*(?P<sign>>=|<=|==|!=|>|<)\s*(?P<value>\S+)\s*"
)
WORDS = (*LAWS, "undecided", "none")


@dataclass(frozen=True)
class Requirement:
    """One requirement, read.

    Attributes:
        text: as given.
        quantity: what is compared.
        argument: of the quantity, None where it takes none.
        sign: the comparator.
        value: a number, a truth value or the name of a law.
    """

    text: str
    quantity: Quantity
    argument: float | None
    sign: str
    value: float | bool | str

    def check(self, audit: Audit) -> Outcome:
        """Whether the audit meets it, with the number."""
        try:
            found, bound = self.quantity.read(audit, self.argument)
        except PerdureError as error:
            return Outcome(self.text, False, f"not measured: {error}")
        shown = ("≥ " if bound else "") + _shown(found)
        sure = found if self.quantity.sure is None else self.quantity.sure(audit, self.argument)
        if not bound and sure != found:
            bound, shown = True, f"{_shown(found)} by the law, of which {_shown(sure)} are counted"
        if not bound:
            return Outcome(self.text, COMPARE[self.sign](found, self.value), shown)
        low = float(sure)
        if self.sign in (">=", ">") and COMPARE[self.sign](low, self.value):
            return Outcome(self.text, True, shown)
        return Outcome(self.text, False, f"{shown}, a lower bound that does not decide: measure a longer horizon")


@dataclass(frozen=True)
class Outcome:
    """Whether a requirement is met, and the number that says so."""

    text: str
    met: bool
    found: str

    def __str__(self) -> str:
        """One line."""
        return f"{'met' if self.met else 'NOT met'}: {self.text} (found {self.found})"


def requirement(text: str) -> Requirement:
    """Read a requirement.

    Args:
        text: such as "horizon(0.01) >= 512", "stability_radius > 0.05", "forgets == true", "law == exponential".

    Raises:
        ArgumentError: it does not follow the grammar, or names a quantity there is not.

    >>> found = requirement("horizon(0.01) >= 512")
    >>> found.quantity.name, found.argument, found.sign, found.value
    ('horizon', 0.01, '>=', 512.0)
    """
    match = PATTERN.fullmatch(text)
    if match is None:
        raise _refused(text, "be `quantity comparator value`, such as `horizon(0.01) >= 512`", f"comparators: {' '.join(COMPARE)}")
    name, argument = match["name"], match["argument"]
    if name not in QUANTITIES:
        raise _refused(text, "name a quantity of the audit", "known: " + ", ".join(q.usage for q in QUANTITIES.values()))
    quantity = QUANTITIES[name]
    number = None
    if quantity.takes:
        number = _number(argument) if argument else None
        if number is None or not quantity.least < number < quantity.most:
            raise _refused(text, f"be written as {quantity.usage} with {quantity.takes}", f"got {argument!r}")
    elif argument is not None:
        raise _refused(text, f"be written as {quantity.usage}", "this quantity takes no argument")
    return Requirement(text.strip(), quantity, number, match["sign"], _value(text, quantity, match["sign"], match["value"]))


def _value(text: str, quantity: Quantity, sign: str, given: str) -> float | bool | str:
    if quantity.kind == "number":
        number = _number(given)
        if number is None:
            raise _refused(text, "compare this quantity with a number", f"got {given!r}")
        return number
    allowed = {"true": True, "false": False} if quantity.kind == "truth" else {word: word for word in WORDS}
    if given.lower() not in allowed or sign not in ("==", "!="):
        raise _refused(text, f"compare {quantity.name} by == or != with one of {', '.join(allowed)}", f"got {sign} {given}")
    return allowed[given.lower()]


def _number(text: str) -> float | None:
    """A finite number or infinity; None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _shown(found: Any) -> str:
    if isinstance(found, bool):
        return "true" if found else "false"
    return found if isinstance(found, str) else "never" if found == math.inf else f"{found:.4g}"


def _refused(text: str, rule: str, detail: str) -> ArgumentError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return ArgumentError(f"expected the requirement {shown!r} to {rule}: {detail}")
