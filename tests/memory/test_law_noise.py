"""Decay laws on noisy curves: the published confusion table, other seeds, and how often 95 % intervals hold the truth."""

import importlib.util
import json
from pathlib import Path

import pytest

from perdure import fit_decay

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("decay_confusion", ROOT / "benchmarks" / "decay_confusion.py")
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


def check_rates(table):
    right, wrong, open_ = bench.rates(table)
    assert right + wrong + open_ == pytest.approx(1)
    assert wrong <= 0.05
    assert right >= 0.80


def test_the_published_confusion_table_is_what_the_benchmark_prints():
    table = bench.confusion([0])
    assert sum(sum(row.values()) for row in table.values()) >= 200
    assert bench.markdown(table) in (ROOT / "docs" / "decay-laws.md").read_text(encoding="utf-8")
    check_rates(table)


def test_a_seed_that_was_not_looked_at_does_as_well():
    check_rates(bench.confusion([11], each=25))


@pytest.mark.slow
def test_the_published_rates_on_four_other_seeds():
    table = bench.confusion([11, 12, 13, 14])
    assert bench.summary(table) in (ROOT / "docs" / "decay-laws.md").read_text(encoding="utf-8")
    check_rates(table)


@pytest.mark.parametrize(("law", "name"), bench.KNOWN)
def test_intervals_hold_the_truth_as_often_as_they_say(law, name):
    held = bench.coverage(law, name, count=200 if law == "exponential" else 100, seed=1)
    assert 0.88 <= held <= 1.0


@pytest.mark.parametrize("seed", [0, 5])
def test_every_report_is_complete(seed):
    for _, t, values in bench.curves(seed, each=5):
        fit = fit_decay(t, values)
        assert sum(fit.evidence.values()) == pytest.approx(1, abs=1e-9)
        json.dumps(fit.to_dict(), allow_nan=False)
