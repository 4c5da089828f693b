r"""The memory of a score for a word said over and over: what Fig. 5 and 6 measure, draw and claim.

    M(k) = |p(k + 1) - p(k)|,   p(k) the score in (0, 1) of the text that holds the word k times.

A constant input switched on, and the slope of the response: the Heaviside probe, in repeats. Decay is a statement about the tail of the envelope
sup_{j >= k} M(j), and three rules read it:

* `limit`, which decides where the rate r that the network must have in the end is known (`perdure.experiments.constant_word`): the slope of log M over the later half
  of the repeats above rounding lies within 10 % of log r, so what is seen is already r^k;
* `tail`: from a quarter of the repeats on, is log M straighter against k (exponential) or log k (power law)?
* `law`: the law that `fit_decay` finds for the whole curve. A network with several time constants shows a sum of exponentials, which no single law fits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure._typing import Array
from perdure.errors import ArgumentError
from perdure.experiments.base import Row
from perdure.memory.law import fit_decay
from perdure.report.chart import Chart, Series, tones

WORDS = ("ha", "good", "bad")
LINES = dict(zip(WORDS, ("solid", "dash", "dashdot"), strict=True))
LEAST_TAIL = 5  # points
CLEAR = 100  # times the noise: from there on a slope is to be trusted
NEAR = 0.1  # relative: two rates that are one
LEVEL = 0.01  # of the peak: what is left then counts as forgotten
EMPTY: dict[str, Any] = {
    "said": None, "score": None, "memory": None, "law": None, "best_law": None, "law_rate": None, "forgotten": None, "left": None, "rises": None,
    "tail": None, "tail_rate": None, "late_rate": None, "radius": None, "limit": None,
}  # fmt: skip


@dataclass(frozen=True)
class Decay:
    """How a memory curve falls.

    Attributes:
        law: as called by `fit_decay`, or "undecided".
        best_law: the likeliest.
        rate: of the exponential, per repeat, where that is the likeliest law.
        forgotten: repeats after which the envelope stays below `LEVEL` of its peak; inf where it never does.
        left: envelope at half of the repeats over its peak.
        rises: share of steps at which the memory, above its noise, is larger than the step before: 0 for a smooth decay, 1/2 and more for noise.
        tail: "exponential" or "power", by what the log of the envelope's tail is straighter against; "none" where it is below the noise.
        tail_rate: slope of the tail's log against repeats, with the sign turned; None where the tail is none.
        late_rate: the same over the later half of the repeats at which the envelope is clearly above the noise; None where these are too few.
    """

    law: str
    best_law: str
    rate: float | None
    forgotten: float
    left: float
    rises: float
    tail: str
    tail_rate: float | None
    late_rate: float | None


def decay(memory: Array, noise: float) -> Decay:
    """The decay of a memory curve over repeats 0, 1, 2, ...

    Args:
        memory: (K,), non-negative.
        noise: level below which values are rounding.

    >>> found = decay(np.exp(-0.1 * np.arange(200.0)), 1e-14)
    >>> found.law, round(found.rate or 0, 3), round(found.forgotten, 1), found.rises
    ('exponential', 0.1, 46.1, 0.0)
    """
    envelope = np.maximum.accumulate(memory[::-1])[::-1]
    above = memory > noise
    steps = above[1:] & above[:-1]
    rises = float((memory[1:] > memory[:-1])[steps].mean()) if steps.any() else 0.0
    left = float(envelope[len(memory) // 2] / envelope[0]) if envelope[0] > 0 else 0.0
    try:
        fit = fit_decay(np.arange(len(memory), dtype=float), memory, noise_floor=noise)
    except ArgumentError:  # nothing above the noise: the score does not move at all
        return Decay("finite", "finite", None, 0.0, left, rises, "none", None, None)
    rate = fit.parameters.get("rate") if fit.best_law == "exponential" else None
    return Decay(fit.law, fit.best_law, rate, fit.horizon(LEVEL), left, rises, *straighter(envelope, noise), late_rate(envelope, noise))


def straighter(envelope: Array, noise: float) -> tuple[str, float | None]:
    """What the log of an envelope's tail is straighter against, and its slope against repeats with the sign turned.

    Args:
        envelope: over repeats 0, 1, 2, ...; its tail begins at a quarter.
        noise: level below which values are rounding.

    >>> k = np.arange(200.0)
    >>> [straighter(curve, 0.0)[0] for curve in (np.exp(-0.1 * k), np.exp(-0.1 * k) + np.exp(-0.03 * k), (1 + k) ** -2.0)]
    ['exponential', 'exponential', 'power']
    """
    k = np.arange(len(envelope), dtype=float)
    inside = (k >= len(envelope) // 4) & (envelope > noise)
    if inside.sum() < LEAST_TAIL:
        return "none", None
    k, log = k[inside], np.log(envelope[inside])
    against = {"exponential": k, "power": np.log(1 + k)}
    lines = {name: np.polyfit(x, log, 1) for name, x in against.items()}
    missed = {name: float(np.square(log - np.polyval(lines[name], x)).sum()) for name, x in against.items()}
    return min(missed, key=lambda name: missed[name]), -float(lines["exponential"][0])


def late_rate(envelope: Array, noise: float) -> float | None:
    """Rate per repeat over the later half of the repeats at which an envelope is clearly above the noise; None where these are too few.

    >>> k = np.arange(200.0)
    >>> round(late_rate(np.exp(-0.1 * k) + np.exp(-0.03 * k), 0.0) or 0, 3)
    0.03
    """
    seen = int((envelope > CLEAR * noise).sum())
    k = np.arange(seen // 2, seen, dtype=float)
    return -float(np.polyfit(k, np.log(envelope[seen // 2 : seen]), 1)[0]) if len(k) >= LEAST_TAIL else None


def limit(rate: float | None, radius: float | None) -> str:
    """Whether a curve is seen to fall as it must in the end.

    Args:
        rate: per repeat, seen late.
        radius: factor per repeat in the end; None where the network comes to no rest.

    Returns:
        "exponential": it falls as radius^k already; "not yet": it must in the end, but is not seen to; "no rest": it need not.

    >>> limit(0.105, math.exp(-0.1)), limit(0.2, math.exp(-0.1)), limit(0.1, None)
    ('exponential', 'not yet', 'no rest')
    """
    if radius is None or radius >= 1:
        return "no rest"
    return "exponential" if rate is not None and abs(rate + math.log(radius)) <= -NEAR * math.log(radius) else "not yet"


def rows_of_word(word: str, logits: Array, noise: float, end: Mapping[str, float | None] | None = None) -> list[Row]:
    """One row of kind "fit", and one of kind "curve" for each number of repeats.

    Args:
        word: that is repeated.
        logits: scores before the sigmoid of 0, 1, ..., K repeats.
        noise: of differences of scores.
        end: with "radius", the factor per repeat that the network must have in the end; None where it is not known what that is.
    """
    score = 1 / (1 + np.exp(-np.asarray(logits, dtype=float)))
    memory = np.abs(np.diff(score))
    found = decay(memory, noise)
    forgotten = found.forgotten if math.isfinite(found.forgotten) else None
    fit = {
        "law": found.law,
        "best_law": found.best_law,
        "law_rate": found.rate,
        "forgotten": forgotten,
        "left": found.left,
        "rises": found.rises,
        "tail": found.tail,
        "tail_rate": found.tail_rate,
        "late_rate": found.late_rate,
    }
    if end is not None:
        fit |= {"radius": end["radius"], "limit": limit(found.late_rate, end["radius"])}
    rows: list[Row] = [{"kind": "fit", "word": word, **EMPTY, **fit}]
    for k, (value, change) in enumerate(zip(score[:-1], memory, strict=True)):
        rows.append({"kind": "curve", "word": word, **EMPTY, "said": k, "score": float(value), "memory": float(change)})
    return rows


def chart(name: str, title: str, table: Any, caption: str) -> Chart:
    """Memory against repeats: by word the median over seeds, and between which values they lie."""
    series = []
    curves = table[table["kind"] == "curve"]
    least = float(curves["memory"][curves["memory"] > 0].min()) if (curves["memory"] > 0).any() else 1e-16
    for word, tone in zip(WORDS, tones(len(WORDS)), strict=True):
        rows = curves[curves["word"] == word]
        groups = rows.groupby("said")["memory"]
        k = np.asarray(groups.median().index, dtype=float)
        middle, low, high = (np.maximum(v.to_numpy(float), least) for v in (groups.median(), groups.min(), groups.max()))
        series.append(Series(f"“{word}”", k, middle, tone, LINES[word], None))
        if rows["seed"].nunique() > 1:
            edges = np.concatenate([low, [np.nan], high])
            series.append(Series("", np.concatenate([k, [np.nan], k]), edges, tone, "dot", None))
    return Chart(name, title, "repeats k", "|p(k+1) − p(k)|", tuple(series), caption, y_log=True)


def fits(table: Any) -> Any:
    """The rows of kind "fit"."""
    return table[table["kind"] == "fit"]


def horizons(table: Any, word: str) -> dict[int, float]:
    """Log of the repeats until a word is forgotten, by a number that stands for model and seed; "never" counts as 10^9 repeats."""
    rows = fits(table)[fits(table)["word"] == word].sort_values(["model", "seed"])
    return {
        i: math.log(max(1.0, value if value == value and value is not None else 1e9)) for i, value in enumerate(rows["forgotten"].tolist())
    }


def laws(table: Any, column: str = "law") -> str:
    """Counts of the laws called, or of the tails, in words.

    >>> import pandas as pd
    >>> laws(pd.DataFrame({"kind": ["fit"] * 3, "law": ["exponential", "undecided", "exponential"]}))
    'exponential 2, undecided 1'
    """
    counts = fits(table)[column].value_counts()
    return ", ".join(f"{law} {count}" for law, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def by_word(table: Any, column: str, form: str = ".3g") -> str:
    """The median over models and seeds of a column of the fits, by word, as text."""
    parts = []
    for word in WORDS:
        values = fits(table)[fits(table)["word"] == word][column].astype(float).fillna(math.inf)
        parts.append(f"“{word}” {float(values.median()):{form}}")
    return ", ".join(parts)
