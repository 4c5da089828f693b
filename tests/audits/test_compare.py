"""Comparisons: the same numbers as the audits, side by side."""

import re

import numpy as np
import pytest
import torch

import perdure
from perdure import functionals
from perdure.audits.audit import audit
from perdure.audits.compare import compare, unique
from perdure.audits.compare_page import page, sentences
from perdure.audits.words import number


@pytest.fixture(scope="module")
def pair():
    fast = audit(functionals.exponential(rate=0.2), horizon=200, parts=("properties", "memory", "lengths"), lengths=(1, 2), name="fast")
    slow = audit(functionals.polynomial(power=1.5), horizon=200, parts=("memory",), name="<b>slow</b>")
    return fast, slow


def test_cells_are_the_audits_own_numbers(pair):
    frame = compare(*pair).to_frame()
    for found in pair:
        assert frame.loc["half_life", found.name] == found.half_life
        assert frame.loc["horizon(0.01)", found.name] == found.horizon_at(0.01)
        assert frame.loc["law", found.name] == found.law
    assert frame.loc["causal", "fast"]
    assert frame.loc["causal", "<b>slow</b>"] is None
    assert frame.loc["half_life", "fast"] == pytest.approx(np.log(2) / 0.2, rel=1e-3)


def test_files_mappings_models_and_audits_are_alike(pair, tmp_path):
    pair[0].to_json(tmp_path / "fast.json")
    found = compare(
        tmp_path / "fast.json",
        str(tmp_path / "fast.json"),
        pair[0].to_dict(),
        functionals.exponential(rate=0.2),
        horizon=200,
        parts=("memory",),
    )
    assert found.names == ("fast 1", "fast 2", "fast 3", "ExponentialSum")
    assert len(set(found.to_frame().loc["half_life"])) == 1


def test_the_page_says_who_looks_back_further_and_by_which_law(pair):
    found = compare(*pair)
    said = " ".join(sentences(found))
    assert "The longest half-life is that of fast" in said
    assert "fast exponential, <b>slow</b> polynomial" in said
    text = page(found)
    assert "<b>slow" not in text
    assert "&lt;b&gt;slow&lt;/b&gt;" in text
    assert 'id="plot-compare-linear"' in text


def test_settings_that_differ_are_named(pair):
    other = audit(functionals.exponential(rate=0.2), horizon=100, dt=0.5, parts=("memory",))
    said = " ".join(compare(pair[0], other).warnings)
    assert "horizon differs: 200, 100" in said
    assert "time between steps differs: 1, 0.5" in said
    assert not compare(pair[0], pair[0], names=("a", "b")).warnings


def test_results_are_written(pair, tmp_path):
    found = compare(*pair)
    text = found.save(tmp_path / "c.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    names = re.findall(r'"name": "(plot-[a-z-]+)"', text)
    assert names
    assert text.count('<noscript><img src="data:image/png;base64,') == len(names)
    assert "<img" not in page(found)
    assert '"names"' in found.to_json(tmp_path / "c.json").read_text()


def test_refusals(pair, tmp_path):
    with pytest.raises(perdure.ArgumentError, match="at least two"):
        compare(pair[0])
    with pytest.raises(perdure.ArgumentError, match="names"):
        compare(*pair, names=("a",))
    with pytest.raises(perdure.ArgumentError, match=r"none\.json"):
        compare(pair[0], tmp_path / "none.json")
    with pytest.raises(perdure.ArgumentError, match="different"):
        unique(["a", "a", "a 1"])


def test_the_page_shows_what_fewer_bits_do():
    torch.manual_seed(0)
    options = {"horizon": 32, "parts": ("properties", "memory", "precision"), "probes": ("impulse",)}
    found = compare(torch.nn.GRU(1, 4), torch.nn.RNN(1, 4), names=("gru", "rnn"), **options)
    rows = found.audits[1].part("precision")["rows"]
    text = page(found)
    assert ">Precision<" in text
    assert f"<td>{number(next(row['error'] for row in rows if row['format'] == 'int8'))}</td>" in " ".join(text.split())
