"""The same table from real clusters on this machine: Dask with two worker processes of which one is killed, and a Ray head."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

from perdure.errors import ArgumentError
from perdure.experiments import backends
from perdure.experiments.run import run

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
import counting_toy

dask = pytest.mark.skipif(find_spec("distributed") is None, reason="dask is not installed: pip install 'perdure[dask]'")
ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'perdure[ray]'")
QUIET = [
    # a cluster that loses a worker closes its sockets when they are collected; nothing of ours
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
]
pytestmark = QUIET
SPEC = counting_toy.CountingSpec(count=40, pause=0.05)


@pytest.fixture
def whole(tmp_path):
    """The table of an undisturbed run in one process."""
    return run(counting_toy.Counting(), SPEC.model_copy(), store=tmp_path / "whole", backend="sequential").table


@dask
def test_a_dask_worker_is_killed(tmp_path, whole):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        victims = client.run(os.getpid)
        assert len(victims) == 2
        struck = []

        def strike(done, total):
            if done == 10:
                os.kill(next(iter(victims.values())), signal.SIGKILL)
                struck.append(done)

        found = run(counting_toy.Counting(), SPEC, store=tmp_path / "dask", backend="dask", address=cluster.scheduler_address, tick=strike)
        survivors = set(client.run(os.getpid).values())
    assert struck == [10]
    assert next(iter(victims.values())) not in survivors
    assert (found.computed, found.failures) == (40, ())
    assert_frame_equal(found.table, whole, check_exact=True)


@dask
def test_a_job_that_kills_its_dask_workers_is_reported(tmp_path):
    spec = counting_toy.CountingSpec(count=8, deadly=(3,), broken=(5,))
    found = run(counting_toy.Counting(), spec, store=tmp_path, backend="dask", workers=2)
    assert [failure.job["k"] for failure in found.failures] == [3, 5]
    assert found.failures[0].message.startswith("KilledWorker")
    assert found.failures[1].message == "ValueError: a broken job (counting_toy.py:49)"
    assert sorted(set(found.table["k"])) == [0, 1, 2, 4, 6, 7]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def head(monkeypatch):
    """`ray start --head` on loopback, behind a token made up here; its processes end with the test."""
    import psutil

    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    folder, port = tempfile.mkdtemp(prefix="ray"), free_port()
    command = [
        str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2",
        "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}", "--object-store-memory=100000000",
    ]  # fmt: skip
    process = psutil.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(counting_toy.__file__).parent)},
    )
    started = []
    try:
        for _ in range(150):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.2)
        time.sleep(3)  # the node itself comes after the port
        started = process.children(recursive=True)
        yield f"127.0.0.1:{port}"
        started += process.children(recursive=True)
    finally:
        for one in [*started, process]:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs([*started, process], timeout=10)


@ray
def test_a_ray_head_gives_the_same_table(tmp_path, whole, head):
    arrived = []
    found = run(
        counting_toy.Counting(),
        SPEC,
        store=tmp_path / "ray",
        backend="ray",
        address=head,
        tick=lambda done, total: arrived.append(time.monotonic()),
    )
    assert (found.computed, found.failures) == (40, ())
    assert_frame_equal(found.table, whole, check_exact=True)
    assert arrived[-1] - arrived[1] > 0.5 * 40 * SPEC.pause / 2, "results are written as they come, not at the end"


@pytest.mark.parametrize("backend", [pytest.param("dask", marks=dask), pytest.param("ray", marks=ray)])
def test_a_scheduler_that_does_not_answer(tmp_path, monkeypatch, backend):
    monkeypatch.setattr(backends, "PATIENCE", 1.0)
    address = f"127.0.0.1:{free_port()}"
    begun = time.monotonic()
    with pytest.raises(ArgumentError, match=rf"`address` to be that of a .*, but {address} does not answer within 1 s") as error:
        run(counting_toy.Counting(), counting_toy.CountingSpec(count=2), store=tmp_path, backend=backend, address=address)
    assert "\n" not in str(error.value)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(("backend", "address"), [("ray", "nowhere"), ("dask", "nowhere")])
def test_an_address_that_is_none(tmp_path, monkeypatch, backend, address):
    pytest.importorskip("ray" if backend == "ray" else "distributed")
    monkeypatch.setattr(backends, "PATIENCE", 1.0)
    with pytest.raises(ArgumentError, match="does not answer"):
        run(counting_toy.Counting(), counting_toy.CountingSpec(count=2), store=tmp_path, backend=backend, address=address)
