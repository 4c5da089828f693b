"""A measured answer: yes, no or undecided, and the number that decided it."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Measured:
    """An answer and the number that decided it.

    Attributes:
        holds: True, False, or None where the trial does not decide.
        gap: difference of what would be equal, relative to the largest output or response; None where nothing was compared.
        limit: the gap that rounding may open, relative to the same.
        reason: the finding in words, with its numbers.
        step: where the gap begins, in steps of the input, if that tells something.
    """

    holds: bool | None
    gap: float | None
    limit: float | None
    reason: str
    step: int | None = None

    def turned(self) -> Measured:
        """The answer to the opposite question."""
        return replace(self, holds=None if self.holds is None else not self.holds)


def undecided(why: str) -> Measured:
    """No answer, and why.

    >>> undecided("too short").reason
    'undecided: too short'
    """
    return Measured(None, None, None, f"undecided: {why}")
