"""Several models or checkpoints side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perdure import _checks
from perdure.audits.audit import audit
from perdure.audits.quantities import QUANTITIES, Quantity
from perdure.audits.result import Audit, file_path
from perdure.errors import ArgumentError, PerdureError

LEVELS = (0.1, 0.01, 0.001)


@dataclass(frozen=True)
class Comparison:
    """Audits side by side.

    Attributes:
        names: of the models, each once.
        audits: in the same order.
        warnings: what makes their numbers hard to compare.
    """

    names: tuple[str, ...]
    audits: tuple[Audit, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One row a quantity: its name, meaning, and for each model the value, whether it is a lower bound, or why there is none."""
        made = []
        for quantity in QUANTITIES.values():
            for argument in LEVELS if quantity.most == 1.0 else (None,):
                if quantity.takes and argument is None:
                    continue
                label = quantity.name if argument is None else f"{quantity.name}({argument:g})"
                cells = [_cell(quantity, found, argument) for found in self.audits]
                if any(cell["value"] is not None for cell in cells):
                    made.append({"quantity": label, "meaning": quantity.meaning, "models": dict(zip(self.names, cells, strict=True))})
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain data: names, warnings, and the rows."""
        return {"names": list(self.names), "warnings": list(self.warnings), "rows": self.rows()}

    def to_frame(self) -> Any:
        """A pandas table, one row a quantity, one column a model."""
        import pandas as pd

        rows = self.rows()
        columns = {name: [row["models"][name]["value"] for row in rows] for name in self.names}
        return pd.DataFrame(columns, index=pd.Index([row["quantity"] for row in rows], name="quantity"))

    def to_json(self, path: str | Path) -> Path:
        """Write `to_dict` as strict JSON."""
        from perdure.report.files import write
        from perdure.report.page import strict_json

        return write(file_path(path, "path"), strict_json(self.to_dict(), indent=1) + "\n")

    def save(self, path: str | Path) -> Path:
        """Write the page."""
        from perdure.audits.compare_page import page
        from perdure.report.files import write

        return write(file_path(path, "path"), page(self, pictures=True))


def compare(*models: Any, names: Sequence[str] | None = None, **options: Any) -> Comparison:
    """Several models side by side: half-lives, horizons, laws, radii, and their memory curves on one chart.

    Args:
        models: at least two; each an `Audit`, what `Audit.to_dict` gave, the path of an audit saved as JSON, or a model, which is audited.
        names: one for each; None takes those of the audits, numbered where they repeat.
        options: of `perdure.audit`, for those that are models.

    Returns:
        A `Comparison`: `.rows()`, `.to_frame()`, `.save("compare.html")`, `.to_dict()`.

    Raises:
        ArgumentError: fewer than two models, names that do not fit, or a file that is no audit.

    >>> from perdure import functionals
    >>> fast, slow = functionals.exponential(rate=0.2), functionals.exponential(rate=0.1)
    >>> found = compare(fast, slow, names=("fast", "slow"), horizon=100, parts=("memory",))
    >>> found.to_frame().loc["half_life"].round(2).to_dict()
    {'fast': 3.47, 'slow': 6.93}
    """
    if len(models) < 2:
        raise _checks.fail("models", "at least two", len(models), "pass audits, models, or paths of audits saved as JSON")
    if names is not None and len(names) != len(models):
        raise _checks.fail("names", f"one for each of the {len(models)} models", list(names), "leave them out to take the audits' own")
    audits = tuple(_audit(model, options) for model in models)
    given = [str(n) for n in names] if names is not None else [found.name for found in audits]
    return Comparison(unique(given), audits, tuple(_warnings(audits)))


def _audit(model: Any, options: Mapping[str, Any]) -> Audit:
    if isinstance(model, Audit):
        return model
    if isinstance(model, str | Path):
        return Audit.from_json(model)
    if isinstance(model, Mapping):
        return Audit.from_dict(model)
    return audit(model, **options)


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names, numbered where they repeat.

    >>> unique(["LSTM", "GRU", "LSTM"])
    ('LSTM 1', 'GRU', 'LSTM 2')
    """
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(f"{name} {seen[name]}" if names.count(name) > 1 else name)
    if len(set(made)) < len(made):
        raise ArgumentError(f"expected argument `names` to be different from one another, but got {list(names)!r}: rename one")
    return tuple(made)


def _cell(quantity: Quantity, found: Audit, argument: float | None) -> dict[str, Any]:
    try:
        value, bound = quantity.read(found, argument)
    except PerdureError as error:
        return {"value": None, "bound": False, "reason": str(error)}
    return {"value": value, "bound": bound, "reason": ""}


def _warnings(audits: Sequence[Audit]) -> list[str]:
    """Settings in which the audits differ, so that their numbers do."""
    said = []
    for label, values in (
        ("time between steps", [a.dt for a in audits]),
        ("horizon", [a.horizon for a in audits]),
        ("bound of the inputs", [a.provenance.get("options", {}).get("bound") for a in audits]),
        ("probe that speaks", [(a.part("memory") or {}).get("headline") for a in audits]),
    ):
        known = list(dict.fromkeys(v for v in values if v is not None))
        if len(known) > 1:
            said.append(f"The {label} differs: {', '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in known)}.")
    return said
