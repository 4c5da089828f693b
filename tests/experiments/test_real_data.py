"""The published data sets themselves, where they are: facts that their publishers state, and that a short training learns from them.

Looked for in the folder that the variable PERDURE_DATA names, or in shared/data beside the checkout, with the folders mnist and sst2.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from perdure._random import isolated
from perdure.experiments.base import Data
from perdure.experiments.catalogue import experiment
from perdure.experiments.data.mnist import read_mnist
from perdure.experiments.data.reviews import read_reviews
from perdure.experiments.mnist_training import rows_of_run
from perdure.experiments.sentiment_lstm import Recipe, train

FOLDER = Path(os.environ.get("PERDURE_DATA") or Path(__file__).parents[3] / "shared" / "data")


def folder(name):
    if not (FOLDER / name).is_dir():
        pytest.skip(f"the data set {name} is not here: put it into a folder {name} and name the folder above it in PERDURE_DATA")
    return FOLDER / name


@pytest.fixture(scope="module")
def digits():
    return read_mnist(folder("mnist"))


@pytest.fixture(scope="module")
def reviews():
    return read_reviews(folder("sst2"))


def test_mnist_has_its_known_counts_and_moments(digits):
    assert digits.train_images.shape == (60_000, 28, 28)
    assert digits.test_images.shape == (10_000, 28, 28)
    assert np.bincount(digits.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(digits.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert digits.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    pixels = digits.train_images / 255
    assert (round(float(pixels.mean()), 4), round(float(pixels.std()), 4)) == (0.1307, 0.3081)


def test_images_belong_to_their_labels(digits):
    """Nearest mean of the class: 82.03 % of the test images, a figure that any reader of these files gets."""
    x, test = digits.train_images.reshape(60_000, -1) / 255, digits.test_images.reshape(10_000, -1) / 255
    means = np.stack([x[digits.train_labels == k].mean(0) for k in range(10)])
    nearest = ((means**2).sum(1) - 2 * test @ means.T).argmin(1)
    assert round(100 * float((nearest == digits.test_labels).mean()), 2) == 82.03


@pytest.mark.parametrize(("model", "least"), [("paper", 25.0), ("ours", 70.0)])
def test_a_short_training_learns_digits_by_rows(digits, model, least):
    job = {"model": model, "map": "exp", "presentation": "rows", "seed": 0, "width": 32, "dt": 1.0 if model == "ours" else 0.1,
           "rate": 0.02, "batch": 64, "images": 20_000, "steps": 120, "records": 1, "tested": 10_000, "modes": 16, "layers": 2}  # fmt: skip
    (row,) = rows_of_run(job, digits)
    assert row["test_accuracy"] > least  # guessing: 10


def test_sst2_has_its_known_counts(reviews):
    assert (len(reviews.train), len(reviews.test)) == (6920, 1821)
    assert (sum(reviews.train_labels), sum(reviews.test_labels)) == (3610, 909)
    assert reviews.train[0].startswith("a stirring , funny and finally transporting re imagining of beauty and the beast")


@pytest.mark.slow
def test_a_short_training_tells_praise_from_blame(reviews):
    recipe = Recipe(1, 6920, 1821, 40, 8000, 32, 32, 2, 64, 4e-3)
    with isolated(0):
        _, _, accuracy = train(reviews, recipe, ("excellent",), 0)
    assert accuracy > 70.0  # the more frequent label: 50.1


@pytest.mark.parametrize("name", ["fig9", "table1"])
def test_experiments_find_their_data(name):
    data = Data(mnist=folder("mnist"))
    found = experiment(name)
    assert found.missing(data) is None
    assert found.fingerprint(data) != ""


def test_the_word_experiment_finds_its_data():
    found = experiment("fig5")
    assert found.missing(Data(sentiment=folder("sst2"))) is None
    assert found.fingerprint(Data(sentiment=folder("sst2"))) != found.fingerprint(Data())
