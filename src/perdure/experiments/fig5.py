"""Fig. 5: the memory of bidirectional LSTMs, trained on sentiment, for a repeated word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from perdure._random import isolated
from perdure.errors import ArgumentError
from perdure.experiments.base import Claim, Data, Experiment, Job, Outcome, Row, Spec
from perdure.experiments.data import reviews as data_set
from perdure.experiments.paired import paired
from perdure.experiments.repeated_word import LEVEL, WORDS, by_word, chart, fits, horizons, laws, rows_of_word
from perdure.experiments.sentiment_lstm import Recipe, repeated, train
from perdure.report.chart import Chart

MODELS = {"BiLSTM": 1, "stacked BiLSTM": 2}
NOISE = 1e-14  # of a difference of scores near 1 in float64


class Fig5Spec(Spec):
    """Of Fig. 5; the attributes are those of `Recipe`.

    Attributes:
        seeds: models trained of each kind.
        repeats: of the word, at most.
    """

    seeds: int = Field(default=5, ge=1)
    repeats: int = Field(default=200, ge=8)
    texts: int = Field(default=20_000, ge=2)
    held_out: int = Field(default=5_000, ge=1)
    longest: int = Field(default=200, ge=2)
    vocabulary: int = Field(default=10_000, ge=8)
    embedding: int = Field(default=64, ge=1)
    hidden: int = Field(default=64, ge=1)
    epochs: int = Field(default=4, ge=1)
    batch: int = Field(default=64, ge=1)
    rate: float = Field(default=0.002, gt=0)


class Fig5(Experiment):
    """Is the memory of a trained recurrent network for a repeated word exponential?"""

    name = "fig5"
    title = "Memory of BiLSTM sentiment models for a repeated word"
    source = "Wang, Li & Li 2024, Fig. 5"
    method = (
        "The paper takes sentiment models of the IMDB reviews and plots how the score of a word repeated k times changes with k. Here a BiLSTM and a stacked "
        "BiLSTM are trained for it, from several seeds, on words of the training texts; scores are read in float64 and the law of each curve is fitted."
    )
    profiles: ClassVar[Mapping[str, Spec]] = {
        "tiny": Fig5Spec(
            seeds=1, repeats=12, texts=12, held_out=4, longest=8, vocabulary=24, embedding=3, hidden=3, epochs=2, batch=4, rate=0.02
        ),
        "quick": Fig5Spec(
            seeds=3, texts=6_000, held_out=1_000, longest=80, vocabulary=5_000, embedding=32, hidden=32, epochs=3, rate=0.004
        ),
        "paper": Fig5Spec(),
    }

    def jobs(self, spec: Fig5Spec) -> list[Job]:
        """One model each."""
        recipe = spec.model_dump(exclude={"seeds"})
        return [
            {"model": model, "seed": seed, "layers": layers, **recipe} for seed in range(spec.seeds) for model, layers in MODELS.items()
        ]

    def compute(self, job: Job, data: Data) -> list[Row]:
        """The curves of the three words and their laws.

        Raises:
            ArgumentError: the reviews are missing or damaged.
        """
        reviews = data_set.read_reviews(data.sentiment)
        options: dict[str, Any] = {name: job[name] for name in Recipe.__dataclass_fields__}
        seed, repeats = int(job["seed"] or 0), int(job["repeats"] or 0)
        rows: list[Row] = []
        with isolated(seed):
            model, vocabulary, accuracy = train(reviews, Recipe(**options), WORDS, seed)
            for word in WORDS:
                found = rows_of_word(word, repeated(model, vocabulary, word, repeats).numpy(), NOISE)
                rows += [{"corpus": reviews.name, "accuracy": accuracy, **row} for row in found]
        return rows

    def charts(self, table: Any, spec: Fig5Spec) -> list[Chart]:
        """One panel a model."""
        return [
            chart(
                f"fig5-{model.split()[0].lower()}",
                model,
                table[table["model"] == model],
                f"Trained here on {_corpus(table)}, {spec.texts} texts at most; median of {spec.seeds} seeds, dotted: least and greatest. Score p in (0, 1).",
            )
            for model in MODELS
        ]

    def claims(self, table: Any, spec: Fig5Spec) -> list[Claim]:
        """Mostly exponential; "ha" is slow."""
        tails = fits(table)["tail"]
        exponential, seen = int((tails == "exponential").sum()), int((tails != "none").sum())
        outcome: Outcome = "could not be tested" if 2 * seen <= len(tails) else "agrees" if 2 * exponential > seen else "differs"
        trained = f"Trained here on {_corpus(table)} (held-out accuracy {_accuracy(table)}), where the paper takes published models."
        slow = {word: horizons(table, word) for word in WORDS}
        rival = {i: max(slow["good"][i], slow["bad"][i]) for i in slow["good"]}
        difference = paired(slow["ha"], rival)
        return [
            Claim(
                "The memory of the BiLSTM and the stacked BiLSTM for a repeated word decays mostly exponentially.",
                "straight lines on a logarithmic axis for most words",
                f"tails of {len(tails)} curves: {laws(table, 'tail')}; rate per repeat, median: {by_word(table, 'tail_rate')}; "
                f"one law for the whole curve: {laws(table)}",
                outcome,
                "Agrees where the log of more than half of the tails (from a quarter of the repeats on, above rounding) is straighter against k than against "
                f"log k, else differs. A sum of exponentials is no single law from the beginning on. {trained}",
            ),
            Claim(
                "“ha” is forgotten more slowly than “good” and “bad”.",
                "the curve of “ha” is slow",
                f"repeats until below {LEVEL:.0%} of the peak, median: {by_word(table, 'forgotten')}; log of “ha” over the slower of the others: {difference}",
                {"above": "agrees", "below": "differs"}.get(difference.verdict, "could not be tested"),  # pyright: ignore[reportArgumentType]
                "Paired by model and seed: agrees where “ha” takes longer than both others beyond chance (Student's t, one-sided 5 %), differs where it takes "
                f"less. {trained}",
            ),
        ]

    def missing(self, data: Data) -> str | None:
        """How to get reviews, where there are none."""
        return missing_reviews(data)

    def fingerprint(self, data: Data) -> str:
        """Digest of the reviews' files."""
        return "" if missing_reviews(data) else data_set.fingerprint(data.sentiment)


def missing_reviews(data: Data) -> str | None:
    """The reason why there are no reviews, and how to get them; None where there are."""
    try:
        data_set.files(data.sentiment)
    except ArgumentError as error:
        return str(error)
    return None


def _corpus(table: Any) -> str:
    return " and ".join(sorted(set(table["corpus"])))


def _accuracy(table: Any) -> str:
    means = table.groupby("model")["accuracy"].mean()
    return ", ".join(f"{model} {means[model]:.1f} %" for model in MODELS if model in means)
