"""A sweep killed at any moment goes on without losing or repeating a finished job."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import counting_toy
import pytest
from pandas.testing import assert_frame_equal

from perdure.experiments.pool import Pool
from perdure.experiments.run import run
from perdure.experiments.store import list_runs, open_run

HERE = Path(counting_toy.__file__).parent


def killed(store, log, session, after, backend, spec):
    """Start the sweep in a process of its own and kill it so many seconds after its first job is done; True if it was still running."""
    environment = os.environ | {"COUNTING_LOG": str(log), "COUNTING_SESSION": session, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, counting_toy.__file__, str(store), backend, str(spec.count), str(spec.pause)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == [b"go\n", b"go\n"]  # the store was looked through; a job is done
            time.sleep(after)
            alive = process.poll() is None
            process.kill()
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # its workers, if any
            except ProcessLookupError:
                pass
    return alive


def survive(tmp_path, moments, backend, spec):
    store, log = tmp_path / "runs", tmp_path / "log"
    whole = run(counting_toy.Counting(), spec, store=tmp_path / "whole", backend="sequential")
    keys, pool = dict(zip(whole.keys, range(spec.count), strict=True)), Pool(store)
    finished: dict[str, set[int]] = {}
    hits = 0
    for i, moment in enumerate(moments):
        finished[str(i)] = {k for key, k in keys.items() if pool.size(key) is not None}
        hits += killed(store, log, str(i), moment, backend, spec)
    assert hits == len(moments), "each kill must strike a running sweep"
    before = {k for key, k in keys.items() if pool.size(key) is not None}
    assert 0 < len(before) < spec.count
    resumed = run(counting_toy.Counting(), spec, store=store, backend="sequential")

    assert_frame_equal(resumed.table, whole.table, check_exact=True)
    assert (resumed.reused, resumed.computed) == (len(before), spec.count - len(before))
    assert resumed.set_aside == ()
    lines = counting_toy.logged(log)
    assert {session for session, _ in lines} == set(finished), "each session computed something"
    repeated = [(session, k) for session, k in lines if k in finished[session]]
    assert repeated == []
    (summary,) = list_runs(store)
    assert summary.complete
    assert len(resumed.manifest["sessions"]) == len(moments) + 1
    assert_frame_equal(open_run(summary.folder).table, whole.table, check_exact=True)


def test_five_kills(tmp_path):
    draw = random.Random(1)
    survive(tmp_path, [draw.uniform(0, 0.3) for _ in range(5)], "sequential", counting_toy.CountingSpec(count=150))


def test_a_kill_with_workers(tmp_path):
    survive(tmp_path, [0.5], "loky", counting_toy.CountingSpec(count=150, pause=0.02))


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    draw = random.Random(2)
    survive(tmp_path, [draw.uniform(0, 0.25) for _ in range(20)], "sequential", counting_toy.CountingSpec(count=400))
