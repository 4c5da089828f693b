"""The runner: the same table everywhere, failures that cost nothing else, and refusals before the work."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import counting_toy
import numpy as np
import pytest
import torch
from counting_toy import Counting, CountingSpec
from pandas.testing import assert_frame_equal

from perdure.errors import ArgumentError
from perdure.experiments import fingerprint, sources, work
from perdure.experiments.backends import surviving
from perdure.experiments.base import Data
from perdure.experiments.run import run
from perdure.experiments.work import Done, Task

SPEC = CountingSpec(count=12, pause=0.0)


def go(store, spec=SPEC, backend="sequential", experiment=None, **options):
    return run(experiment or Counting(), spec, store=store, backend=backend, **options)


def test_rows_stand_in_the_order_of_the_jobs(tmp_path):
    table = go(tmp_path).table
    assert list(table.columns) == ["k", "kind", "pause", "broken", "deadly", "i", "y", "big", "word"]
    assert table["k"].tolist() == [k for k in range(12) for _ in range(k % 3 + 1)]
    assert table["big"].tolist() == [2**53 + k for k in table["k"]]
    assert np.isinf(table["y"][0])
    assert np.isnan(table["y"][1])
    assert table["y"].tolist()[3:] == [k * i / 7 for k in range(2, 12) for i in range(k % 3 + 1)]


def test_worker_processes_give_the_same_table_and_outlive_a_killer(tmp_path):
    here = go(tmp_path / "here", CountingSpec(count=12, pause=0.0, broken=(4,)))
    there = go(tmp_path / "there", CountingSpec(count=12, pause=0.0, broken=(4,), deadly=(7,)), "loky", workers=2)
    assert [failure.job["k"] for failure in there.failures] == [4, 7]
    assert there.failures[1].message == "TerminatedWorkerError: the worker process died, perhaps for want of memory"
    assert there.computed == 10
    expected = here.table[here.table["k"] != 7].reset_index(drop=True)
    assert_frame_equal(there.table, expected, check_exact=True)


def test_a_job_that_raises_is_reported_once_and_tried_again(tmp_path, monkeypatch):
    ticks = []
    found = go(tmp_path, CountingSpec(count=5, pause=0.0, broken=(1, 3)), tick=lambda done, total: ticks.append((done, total)))
    assert [str(failure) for failure in found.failures] == [
        f"k={k}, kind=None, pause=0.0, broken=True, deadly=False: ValueError: a broken job (counting_toy.py:49)" for k in (1, 3)
    ]
    assert found.missing == (found.keys[1], found.keys[3])
    assert not found.complete
    assert ticks == [(done, 5) for done in range(6)]
    again = go(tmp_path, CountingSpec(count=5, pause=0.0, broken=(1, 3)))
    assert (again.reused, again.computed, len(again.failures)) == (3, 0, 2)


def test_rows_that_cannot_be_written_are_a_failure_of_their_job(tmp_path):
    class Clashing(Counting):
        def compute(self, job, data):
            return [{"k": 1}] if job["k"] == 1 else [{"y": 1.0}]

    found = go(tmp_path, CountingSpec(count=3, pause=0.0), experiment=Clashing())
    assert "rows have a column 'k' that the job has as well" in found.failures[0].message
    assert found.computed == 2


def test_columns_of_several_kinds_and_rows_of_several_shapes(tmp_path):
    class Mixed(Counting):
        def jobs(self, spec):
            return [{"m": 1}, {"m": "two"}, {"m": 3}]

        def compute(self, job, data):
            return {1: [{"a": 1}], "two": [], 3: [{"b": True}]}[job["m"]]

    table = go(tmp_path, experiment=Mixed()).table
    assert table["m"].tolist() == [1, 3]
    assert table["a"][0] == 1
    assert table["b"][1] is True


def test_jobs_see_one_thread_and_leave_the_generators_alone(tmp_path):
    class Looking(Counting):
        def compute(self, job, data):
            return [{"threads": torch.get_num_threads(), "draw": float(torch.rand(())), "other": float(np.random.rand())}]  # noqa: NPY002

    torch.manual_seed(3)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    table = go(tmp_path, CountingSpec(count=2, pause=0.0), experiment=Looking()).table
    assert table["threads"].tolist() == [1, 1]
    assert table["draw"].nunique() == table["other"].nunique() == 1, "a stray draw is the same wherever the job runs"
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_two_processes_in_one_store(tmp_path):
    script = counting_toy.__file__
    command = [sys.executable, script, str(tmp_path / "both"), "sequential", "60", "0.01"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    spec = CountingSpec(count=60, pause=0.01)
    found = go(tmp_path / "both", spec)
    assert (found.computed, found.reused, found.set_aside) == (0, 60, ())
    assert_frame_equal(found.table, go(tmp_path / "alone", spec).table, check_exact=True)


def test_a_job_that_another_process_finishes_meanwhile_is_not_computed(tmp_path, monkeypatch):
    done = go(tmp_path / "other", CountingSpec(count=3, pause=0.0))
    monkeypatch.setenv("COUNTING_LOG", str(tmp_path / "log"))
    source = tmp_path / "other" / "parts"

    def lend(count, total):
        if count == 1:
            target = tmp_path / "runs" / "parts" / done.keys[2][:2]
            target.mkdir(parents=True, exist_ok=True)
            (target / f"{done.keys[2]}.parquet").write_bytes((source / done.keys[2][:2] / f"{done.keys[2]}.parquet").read_bytes())

    found = go(tmp_path / "runs", CountingSpec(count=3, pause=0.0), tick=lend)
    assert [k for _, k in counting_toy.logged(tmp_path / "log")] == [0, 1]
    assert_frame_equal(found.table, done.table, check_exact=True)
    assert (found.computed, found.reused) == (2, 1)


def test_threads_share_a_store(tmp_path):
    specs = [CountingSpec(count=count, pause=0.0) for count in (5, 9)]
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda spec: go(tmp_path, spec, "loky", workers=1), specs))
    assert [len(set(one.table["k"])) for one in found] == [5, 9]


def test_a_worker_with_other_code_or_data_computes_nothing():
    task = Task("key", Counting(), {"k": 0}, Data(), "other code", "")
    assert work.work(task).message.startswith("RuntimeError: the worker runs other code")
    code = fingerprint.code_fingerprint(Counting())
    task = Task("key", Counting(), {"k": 0}, Data(), code, "other data")
    assert work.work(task).message.startswith("RuntimeError: the worker sees other data (none) than the process that asked (other data)")


def test_what_a_broken_pool_was_doing_is_tried_one_by_one():
    class BrokenProcessPool(Exception):
        pass

    calls = []

    def pool(tasks):
        tasks = list(tasks) if calls else [next(tasks), next(tasks), next(tasks)]
        calls.append([task.key for task in tasks])
        for task in tasks:
            if task.key == "b":
                raise BrokenProcessPool
            yield Done(task.key, [], "", 0.0)

    tasks = [Task(key, Counting(), {}, Data(), "", "") for key in "abcde"]
    found = {done.key: done.message for done in surviving(pool, iter(tasks))}
    assert calls == [["a", "b", "c"], ["b"], ["c"], ["d", "e"]]
    assert found == {"a": "", "b": "BrokenProcessPool: the worker process died, perhaps for want of memory", "c": "", "d": "", "e": ""}


def test_the_code_s_fingerprint_follows_imports(tmp_path):
    root = sources.ROOT
    reached = sources.reached(root / "functionals" / "polynomial.py")
    assert {"perdure.functionals.base", "perdure.functionals", "perdure._checks", "perdure.errors"} <= set(reached)
    assert not any(name.startswith(("perdure.training", "perdure.report", "perdure.cli")) for name in reached)
    own = tmp_path / "mine.py"
    digests = set()
    for text in ("x = 1", "x = 2", "from perdure.functionals import polynomial", "import perdure\nprint(perdure.fit)"):
        own.write_text(text)
        for cached in (sources._imports, sources._content):
            cached.cache_clear()
        digests.add(sources.source_digest(own))
        count = len(sources.reached(own))
    assert len(digests) == 4
    assert count > 150, "a bare import reaches everything"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"backend": "slurm"}, r"`backend` to be one of 'loky', 'dask', 'ray', 'sequential', but got 'slurm'"),
        ({"backend": "loky", "address": "tcp://here:1"}, "`address` to be None with the backend 'loky'"),
        ({"backend": "dask", "address": " "}, "`address` to be the address of a scheduler"),
        ({"backend": "dask", "address": "tcp://here:1", "workers": 2}, "`workers` to be None with the address of a Dask cluster"),
        ({"backend": "sequential", "workers": 3}, "`workers` to be 1"),
        ({"backend": "loky", "workers": 0}, "`workers` to be at least 1"),
    ],
)
def test_refusals(tmp_path, options, text):
    with pytest.raises(ArgumentError, match=text):
        go(tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_a_backend_that_is_not_installed(tmp_path, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match=r"dask is not: pip install 'perdure\[dask\]'"):
        go(tmp_path, backend="dask")


def test_a_store_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("here first")
    with pytest.raises(ArgumentError, match="`store` to be a folder"):
        go(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "here first"


def test_jobs_that_are_alike_or_missing(tmp_path):
    class Alike(Counting):
        def jobs(self, spec):
            return [{"k": 1}, {"k": 1}][: spec.count]

    with pytest.raises(ArgumentError, match=r"two are \{'k': 1\}"):
        go(tmp_path, CountingSpec(count=2), experiment=Alike())
    with pytest.raises(ArgumentError, match="at least one job"):
        go(tmp_path, CountingSpec(count=0), experiment=Alike())
