"""Words to numbers: a vocabulary from the training texts alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from perdure import _checks

PADDING, UNKNOWN, START = 0, 1, 2
WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[!?]")


def words(text: str) -> list[str]:
    """Lower-case words, numbers, and the marks ! and ?.

    >>> words("It's good -- GOOD!")
    ["it's", 'good', 'good', '!']
    """
    return WORD.findall(text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """The words known, each with a number from 3 on; 0 pads, 1 is any other word, 2 starts a text."""

    numbers: dict[str, int] = field(repr=False)

    @classmethod
    def of(cls, texts: Iterable[str], size: int, always: Sequence[str] = ()) -> Vocabulary:
        """The most frequent words of the texts, ties in alphabetical order.

        Args:
            texts: of the training set.
            size: numbers in all, the three special ones included.
            always: words to be known in any case.

        >>> Vocabulary.of(["a b b", "c b c"], 5).numbers
        {'b': 3, 'c': 4}
        """
        size = _checks.positive_int(size, "size", "three numbers are special: pass 4 or more", least=4 + len(always))
        counts = Counter(word for text in texts for word in words(text))
        ranked = sorted(counts, key=lambda word: (word not in always, -counts[word], word))
        chosen = [*(word for word in always if word not in counts), *ranked][: size - 3]
        return cls({word: number for number, word in enumerate(chosen, 3)})

    @property
    def size(self) -> int:
        """Numbers in all."""
        return len(self.numbers) + 3

    def encode(self, text: str, longest: int) -> list[int]:
        """The start and at most `longest` - 1 words of a text, as numbers."""
        return [START, *(self.numbers.get(word, UNKNOWN) for word in words(text)[: longest - 1])]


def padded(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Numbers (B, T), padded behind, and lengths (B,).

    >>> padded([[2, 5], [2]])[0].tolist()
    [[2, 5], [2, 0]]
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    numbers = torch.full((len(sequences), int(lengths.max())), PADDING)
    for row, sequence in enumerate(sequences):
        numbers[row, : len(sequence)] = torch.tensor(sequence)
    return numbers, lengths
