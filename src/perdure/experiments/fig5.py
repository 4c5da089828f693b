"""Fig. 5: the memory of bidirectional LSTMs, trained on sentiment, for a repeated word."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from perdure._random import isolated
from perdure.errors import ArgumentError
from perdure.experiments.base import Claim, Data, Experiment, Job, Outcome, Row, Spec
from perdure.experiments.constant_word import slowest_factor
from perdure.experiments.data import reviews as data_set
from perdure.experiments.paired import paired
from perdure.experiments.repeated_word import LEVEL, NEAR, WORDS, by_word, chart, fits, horizons, laws, rows_of_word
from perdure.experiments.sentiment_lstm import Recipe, repeated, train
from perdure.report.chart import Chart

MODELS = {"BiLSTM": 1, "stacked BiLSTM": 2}
NOISE = 1e-14  # of a difference of scores near 1 in float64
FIRST = (
    10  # seed: the rule that decides was written down after models of seeds 0, 1 and 2 had been looked at, and before any other was trained
)


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
        "BiLSTM are trained for it, from several seeds, on words of the training texts; scores are read in float64. Where the networks come to rest, and with what rate, is computed "
        "from their Jacobians there, and compared with the rate at which the curves are seen to fall."
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
            {"model": model, "seed": seed, "layers": layers, **recipe}
            for seed in range(FIRST, FIRST + spec.seeds)
            for model, layers in MODELS.items()
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
                end = {"radius": slowest_factor(model, vocabulary.numbers[word])}
                found = rows_of_word(word, repeated(model, vocabulary, word, repeats).numpy(), NOISE, end)
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
        ends = fits(table)["limit"]
        exponential, restless = int((ends == "exponential").sum()), int((ends == "no rest").sum())
        outcome: Outcome = "agrees" if 2 * exponential > len(ends) else "differs" if 2 * restless > len(ends) else "could not be tested"
        trained = f"Trained here on {_corpus(table)} (held-out accuracy {_accuracy(table)}), where the paper takes published models."
        slow = {word: horizons(table, word) for word in WORDS}
        rival = {i: max(slow["good"][i], slow["bad"][i]) for i in slow["good"]}
        difference = paired(slow["ha"], rival)
        return [
            Claim(
                "The memory of the BiLSTM and the stacked BiLSTM for a repeated word decays mostly exponentially.",
                "straight lines on a logarithmic axis for most words",
                f"{len(ends)} curves, by the rule that decides: {laws(table, 'limit')}; at rest with r < 1: {len(ends) - restless}; rate per repeat, median: at rest {_rates(table)}, "
                f"seen late {by_word(table, 'late_rate')}",
                outcome,
                "Near a point of rest with spectral radius r < 1 the memory falls as r^k. A curve counts as exponential where every layer and direction comes "
                f"to such a rest and the slope over the later half of the repeats above rounding is within {NEAR:.0%} of log r; “not yet” where only the first "
                "holds: exponential in the end, but the slowest mode is not what the score shows within the repeats (which the "
                "readout may hardly see); “no rest” where not even that. Agrees where more than half are exponential, differs where more than half find no rest. "
                f"Rules that do not decide, for the same curves: tail straighter against k or log k: {laws(table, 'tail')}; one law for the whole curve, "
                f"which a sum of exponentials is not: {laws(table)}. This rule was written after models of other seeds had been looked at, and "
                f"before any of these was trained. {trained}",
            ),
            Claim(
                f"“ha” is forgotten more slowly than “good” and “bad”, down to {LEVEL:.0%} of the peak.",
                "the curve of “ha” is slow",
                f"repeats until below {LEVEL:.0%} of the peak, median: {by_word(table, 'forgotten')}; log of “ha” over the slower of the others: {difference}",
                {"above": "agrees", "below": "differs"}.get(difference.verdict, "could not be tested"),  # pyright: ignore[reportArgumentType]
                f"It holds of the first repeats only. Rate per repeat in the end, median: at rest {_rates(table)}; seen late {by_word(table, 'late_rate')}: no word is slow there. {trained}",
                f"Paired by model and seed ({len(rival)} pairs, of {spec.seeds} seeds): agrees where “ha” takes longer than both others beyond chance (Student's t, one-sided 5 %), differs where it takes less.",
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


def _rates(table: Any) -> str:
    """Median over the models that come to rest of -log r, by word."""
    found = fits(table)
    radii = {word: found[found["word"] == word]["radius"].astype(float).dropna() for word in WORDS}
    return ", ".join(f"“{word}” {-math.log(values.median()):.3g}" if len(values) else f"“{word}” none" for word, values in radii.items())


def _corpus(table: Any) -> str:
    return " and ".join(sorted(set(table["corpus"])))


def _accuracy(table: Any) -> str:
    means = table.groupby("model")["accuracy"].mean()
    return ", ".join(f"{model} {means[model]:.1f} %" for model in MODELS if model in means)
