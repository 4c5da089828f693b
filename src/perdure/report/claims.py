"""The summary of a reproduction: every claim in one line, counted by outcome."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from perdure.experiments.base import Claim, Outcome
from perdure.report.chapter import Chapter

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
SYMBOLS: dict[str, str] = {
    "agrees": "✓",
    "differs": "✕",
    "could not be tested": "–",
}  # beside the word, so that colour never carries it alone


@dataclass(frozen=True)
class Line:
    """One claim and the experiment it belongs to."""

    experiment: str
    claim: Claim


def summary(chapters: Iterable[Chapter]) -> list[Line]:
    """Every claim of every chapter, in reading order."""
    return [Line(chapter.name, claim) for chapter in chapters for claim in chapter.claims]


def counts(claims: Iterable[Claim]) -> dict[Outcome, int]:
    """How many claims came out how.

    >>> counts([Claim("a", "b", "c", "agrees", "d"), Claim("a", "b", "c", "differs", "d")])
    {'agrees': 1, 'differs': 1, 'could not be tested': 0}
    """
    found = [claim.outcome for claim in claims]
    return {outcome: found.count(outcome) for outcome in OUTCOMES}


def headline(chapters: Iterable[Chapter]) -> str:
    """The counts as a sentence, and those of our own statements as another."""
    claims = [line.claim for line in summary(chapters)]
    total, (agree, differ, untested) = len(papers(claims)), counts(papers(claims)).values()
    text = f"{total} claim{'s' * (total != 1)}: {agree} agree{'s' * (agree == 1)}, {differ} differ{'s' * (differ == 1)}, {untested} could not be tested."
    ours = [claim for claim in claims if claim.whose == "ours"]
    if ours:
        agree, differ, untested = counts(ours).values()
        text += f" Of {len(ours)} further statement{'s' * (len(ours) != 1)} of ours {agree} hold{'s' * (agree == 1)}, {differ} do{'es' * (differ == 1)} not, {untested} could not be tested."
    return text


def papers(claims: Iterable[Claim]) -> list[Claim]:
    """Those of the paper."""
    return [claim for claim in claims if claim.whose == "paper"]


def label(name: str) -> str:
    """How the paper calls it.

    >>> label("fig4a"), label("table1"), label("appc"), label("extra")
    ('Fig. 4a', 'Table 1', 'App. C', 'extra')
    """
    found = re.fullmatch(r"(fig|table|app)([0-9]+[a-z]?|[a-z])", name)
    if not found:
        return name
    kind, rest = found.groups()
    return {"fig": "Fig. ", "table": "Table ", "app": "App. "}[kind] + (rest.upper() if kind == "app" else rest)


def brief(text: str, limit: int = 180) -> str:
    """A text cut at the end of a sentence, a part of one or a word, with an ellipsis; whole where it is short.

    >>> brief("One. Two, three; four.", 12), brief("One.", 12), brief("infinitesimal", 5)
    ('One. Two …', 'One.', 'infin …')
    """
    if len(text) <= limit:
        return text
    head = text[: limit + 1]
    for ends in ((". ", "; "), (", ",), (" ",)):
        at = max(head.rfind(end) for end in ends)
        if at >= limit // 2:
            return head[:at].rstrip(".;,") + " …"
    return text[:limit] + " …"
