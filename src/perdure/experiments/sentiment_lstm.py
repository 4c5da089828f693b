"""Bidirectional LSTMs that tell praise from blame, trained on reviews of films: the models of Fig. 5."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from perdure.experiments.data.reviews import Reviews
from perdure.experiments.data.vocabulary import PADDING, Vocabulary, padded

POOL = 16  # batches whose texts are sorted by length together: less padding, and still another mixture in every epoch


@dataclass(frozen=True)
class Recipe:
    """Of a training run.

    Attributes:
        layers: 1 for the BiLSTM, 2 for the stacked one.
        texts: training texts used, half of each sentiment where the corpus is balanced, evenly spread over it.
        held_out: test texts used, likewise.
        longest: words of a text that are read, its start counted.
        vocabulary: numbers of words, the three special ones included.
        embedding: size of a word.
        hidden: states of a direction.
        epochs: over the texts.
        batch: texts of a step.
        rate: of Adam.
    """

    layers: int
    texts: int
    held_out: int
    longest: int
    vocabulary: int
    embedding: int
    hidden: int
    epochs: int
    batch: int
    rate: float


class SentimentLSTM(nn.Module):
    """Embedded words, a bidirectional LSTM, and a linear map of the last state of both directions: a score, positive for praise."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PADDING)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, 1)

    def forward(self, numbers: Tensor, lengths: Tensor) -> Tensor:
        """Scores (B,) before the sigmoid, of words (B, T) with lengths (B,)."""
        packed = pack_padded_sequence(self.embedding(numbers), lengths, batch_first=True, enforce_sorted=False)
        last = self.lstm(packed)[1][0]
        return self.head(torch.cat([last[-2], last[-1]], -1)).squeeze(-1)


def train(reviews: Reviews, recipe: Recipe, words: Sequence[str], seed: int) -> tuple[SentimentLSTM, Vocabulary, float]:
    """A trained model, its vocabulary (with `words` in it, whether or not they were read), and its accuracy on held-out texts in %.

    The seed sets the initial weights and the order of the texts; call it within `perdure._random.isolated` to leave the global generator alone.
    """
    chosen = spread(len(reviews.train), recipe.texts)
    vocabulary = Vocabulary.of((reviews.train[i] for i in chosen), recipe.vocabulary, always=words)
    texts = [vocabulary.encode(reviews.train[i], recipe.longest) for i in chosen]
    labels = torch.tensor([float(reviews.train_labels[i]) for i in chosen])
    torch.manual_seed(seed)
    model = SentimentLSTM(vocabulary.size, recipe.embedding, recipe.hidden, recipe.layers)
    optimiser = torch.optim.Adam(model.parameters(), recipe.rate)
    order = torch.Generator().manual_seed(seed)
    for _ in range(recipe.epochs):
        for batch in batches([len(text) for text in texts], recipe.batch, order):
            loss = functional.binary_cross_entropy_with_logits(model(*padded([texts[i] for i in batch])), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
    return model.eval(), vocabulary, accuracy(model, vocabulary, reviews, recipe)


@torch.no_grad()
def accuracy(model: SentimentLSTM, vocabulary: Vocabulary, reviews: Reviews, recipe: Recipe) -> float:
    """On held-out texts, in %."""
    chosen = spread(len(reviews.test), recipe.held_out)
    right = 0
    for start in range(0, len(chosen), 256):
        part = chosen[start : start + 256]
        scores = model(*padded([vocabulary.encode(reviews.test[i], recipe.longest) for i in part]))
        right += sum(int((score > 0) == bool(reviews.test_labels[i])) for score, i in zip(scores.tolist(), part, strict=True))
    return 100 * right / len(chosen)


@torch.no_grad()
def repeated(model: SentimentLSTM, vocabulary: Vocabulary, word: str, repeats: int) -> Tensor:
    """Scores before the sigmoid of the texts that hold the word 0, 1, ..., `repeats` times, in float64 (a copy of the model): (repeats + 1,)."""
    exact = copy.deepcopy(model).double().eval()
    whole = " ".join([word] * repeats)
    numbers = vocabulary.encode(whole, repeats + 1)
    return exact(*padded([numbers[: k + 1] for k in range(repeats + 1)]))


def spread(total: int, count: int) -> list[int]:
    """At most `count` of the numbers below `total`, evenly spread.

    >>> spread(10, 4), spread(3, 4)
    ([0, 2, 5, 7], [0, 1, 2])
    """
    count = min(total, count)
    return [i * total // count for i in range(count)]


def batches(lengths: Sequence[int], size: int, order: torch.Generator) -> Iterator[list[int]]:
    """Indices of batches of texts of similar length, in random order; each text once."""
    shuffled = torch.randperm(len(lengths), generator=order).tolist()
    found = []
    for start in range(0, len(shuffled), POOL * size):
        pool = sorted(shuffled[start : start + POOL * size], key=lambda i: lengths[i])
        found += [pool[i : i + size] for i in range(0, len(pool), size)]
    for i in torch.randperm(len(found), generator=order).tolist():
        yield found[i]
