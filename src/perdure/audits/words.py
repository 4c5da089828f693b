"""Numbers and lists as a reader wants them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def number(value: float | None) -> str:
    """Three significant digits, below a million without an exponent; infinity and zero by their sign, nothing as a dash.

    >>> number(0.0123456), number(4088.0), number(math.inf), number(0.0), number(None)
    ('0.0123', '4090', '∞', '0', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return "0" if value == 0 else f"{float(f'{value:.3g}'):.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def percent(share: float) -> str:
    """A share in per cent, two digits.

    >>> percent(0.0512), percent(1.0)
    ('5.1 %', '100 %')
    """
    return f"{100 * share:.3g} %" if share >= 0.1 else f"{100 * share:.2g} %"


def listed(names: Sequence[str], most: int = 4) -> str:
    """The first few names.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
