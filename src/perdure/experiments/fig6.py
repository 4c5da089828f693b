"""Fig. 6: the memory of a pretrained Transformer encoder with a sentiment head for a repeated word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field

from perdure.errors import ArgumentError
from perdure.experiments.base import Claim, Data, Experiment, Job, Outcome, Row, Spec
from perdure.experiments.data import reviews as data_set
from perdure.experiments.data.files import digest
from perdure.experiments.fig5 import missing_reviews
from perdure.experiments.repeated_word import WORDS, by_word, chart, fits, laws, rows_of_word
from perdure.experiments.sentiment_encoder import Encoder, files, logistic_head
from perdure.report.chart import Chart

NOISE = 1e-6  # of a difference of scores: the encoder runs in float32
SLOW, ROUGH = 0.01, 0.25


class Fig6Spec(Spec):
    """Of Fig. 6.

    Attributes:
        seeds: heads, each trained on other texts.
        repeats: of the word, at most.
        texts: a head is trained on.
        held_out: texts its accuracy is measured on.
        longest: tokens of a training text that are read.
        penalty: of the logistic regression.
    """

    seeds: int = Field(default=3, ge=1)
    repeats: int = Field(default=200, ge=8, le=500)
    texts: int = Field(default=8_000, ge=2)
    held_out: int = Field(default=2_000, ge=1)
    longest: int = Field(default=256, ge=3, le=512)
    penalty: float = Field(default=1e-4, gt=0)


class Fig6(Experiment):
    """Is the memory of a Transformer for a repeated word slow and fluctuating?"""

    name = "fig6"
    title = "Memory of a Transformer sentiment model for a repeated word"
    source = "Wang, Li & Li 2024, Fig. 6"
    method = (
        "The paper fine-tunes BERT on the IMDB reviews. Here a pretrained MiniLM encoder (six BERT layers) is left as it is and a logistic regression on its "
        "pooled vectors is trained on the reviews; the curves and their laws are those of Fig. 5."
    )
    profiles: ClassVar[Mapping[str, Spec]] = {
        "tiny": Fig6Spec(seeds=1, repeats=12, texts=12, held_out=4, longest=8),
        "quick": Fig6Spec(seeds=1, texts=1_200, held_out=400, longest=96),
        "paper": Fig6Spec(),
    }

    def jobs(self, spec: Fig6Spec) -> list[Job]:
        """One head each."""
        return [{"model": "MiniLM", "seed": seed, **spec.model_dump(exclude={"seeds"})} for seed in range(spec.seeds)]

    def compute(self, job: Job, data: Data) -> list[Row]:
        """The curves of the three words and their laws.

        Raises:
            ArgumentError: the reviews or the encoder are missing or damaged.
        """
        reviews, encoder = data_set.read_reviews(data.sentiment), Encoder(files()[0].parent)
        spec = Fig6Spec(**{name: job[name] for name in Fig6Spec.model_fields if name != "seeds"})  # pyright: ignore[reportArgumentType]
        order = torch.Generator().manual_seed(int(job["seed"] or 0))
        learned, held_out = (
            torch.randperm(len(texts), generator=order)[:count].tolist()
            for texts, count in ((reviews.train, spec.texts), (reviews.test, spec.held_out))
        )
        vectors = encoder([reviews.train[i] for i in learned], spec.longest)
        weight, offset = logistic_head(vectors, torch.tensor([reviews.train_labels[i] for i in learned]), spec.penalty)
        scores = encoder([reviews.test[i] for i in held_out], spec.longest) @ weight + offset
        right = (scores > 0) == torch.tensor([reviews.test_labels[i] == 1 for i in held_out])
        accuracy = 100 * float(right.double().mean())
        rows: list[Row] = []
        for word in WORDS:
            texts = [" ".join([word] * k) for k in range(spec.repeats + 1)]
            logits = encoder(texts, 512) @ weight + offset
            rows += [{"corpus": reviews.name, "accuracy": accuracy, **row} for row in rows_of_word(word, logits.numpy(), NOISE)]
        return rows

    def charts(self, table: Any, spec: Fig6Spec) -> list[Chart]:
        """One panel."""
        caption = f"Pretrained MiniLM, its head trained here on {spec.texts} texts of {table['corpus'].iloc[0]} at most. Score p in (0, 1)."
        return [chart("fig6", "Transformer (MiniLM)", table, caption)]

    def claims(self, table: Any, spec: Fig6Spec) -> list[Claim]:
        """Slow; fluctuating."""
        found = fits(table)
        slow, rough = int((found["left"] >= SLOW).sum()), int((found["rises"] >= ROUGH).sum())
        trained = (
            f"The encoder is frozen, not fine-tuned as in the paper's, and it is one encoder: {table['seed'].nunique()} "
            f"head{'s' if table['seed'].nunique() > 1 else ''} trained here on its pooled vectors (held-out accuracy {table['accuracy'].mean():.1f} %), "
            "so this says nothing of how encoders differ. "
            "Floor of the curves: 1e-6, the precision of float32."
        )
        return [
            Claim(
                "The memory of a Transformer sentiment model for a repeated word is slow: it has not died out after many repeats.",
                "curves that stay up over 200 repeats",
                f"envelope at {spec.repeats // 2} repeats over its peak, median: {by_word(table, 'left', '.2g')}; laws: {laws(table)}",
                _majority(slow, len(found)),
                f"Agrees where more than half of the curves keep {SLOW:.0%} of their peak at half of the repeats, else differs. {trained}",
            ),
            Claim(
                "And it fluctuates.",
                "curves that jump from repeat to repeat",
                f"share of repeats at which the memory rises, median: {by_word(table, 'rises', '.2f')}",
                _majority(rough, len(found)),
                f"Agrees where more than half of the curves rise at {ROUGH:.0%} of the repeats or more (0 for a smooth decay), else differs. {trained}",
            ),
        ]

    def missing(self, data: Data) -> str | None:
        """How to get reviews and the encoder, where one is missing."""
        try:
            files()
        except ArgumentError as error:
            return "; ".join(filter(None, [str(error), missing_reviews(data)]))
        return missing_reviews(data)

    def fingerprint(self, data: Data) -> str:
        """Digest of the reviews' files and the encoder's."""
        return "" if self.missing(data) else digest([*data_set.files(data.sentiment), *files()])


def _majority(count: int, total: int) -> Outcome:
    return "agrees" if 2 * count > total else "differs"
