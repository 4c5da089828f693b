"""Where jobs run: worker processes here (loky), a Dask or a Ray cluster, or this process; joblib hands the jobs out everywhere.

Results come back one by one, in the order in which they are finished. Three things are added to joblib's own backends. Dask: a job whose workers die again and again is
reported as failed, where joblib would wait for ever. Ray: results are passed on as they come, where joblib would keep them to the end. Loky and Ray: where a dying
worker breaks the pool, another one goes on.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from perdure import _checks
from perdure.errors import ArgumentError
from perdure.experiments.work import Done, Task, described, work

BACKENDS = ("loky", "dask", "ray", "sequential")
PATIENCE = 10.0  # seconds to wait for a cluster
BROKEN = {"TerminatedWorkerError", "BrokenProcessPool", "ActorDiedError", "RayActorError", "WorkerCrashedError"}
Stream = Callable[[Iterable[Task]], Iterator[Done]]


def check(backend: Any, address: Any, workers: Any) -> None:
    """Refuse what cannot be meant, before the work.

    Raises:
        ArgumentError: an unknown backend, an address without a cluster, workers of a cluster that has its own, or a package that is not installed.
    """
    _checks.choice(backend, "backend", BACKENDS)
    if address is not None and backend not in ("dask", "ray"):
        raise _checks.fail("address", f"None with the backend {backend!r}", address, "add --backend dask or --backend ray")
    if address is not None and not str(address).strip():
        raise _checks.fail("address", "the address of a scheduler", address, "write for example tcp://10.0.0.5:8786")
    if workers is not None:
        _checks.positive_int(workers, "workers")
        if address is not None and backend == "dask":
            raise _checks.fail("workers", "None with the address of a Dask cluster", workers, "it has the workers that it was started with")
    if backend == "sequential" and workers not in (None, 1):
        raise _checks.fail("workers", "1 with the backend 'sequential'", workers, "take the backend 'loky'")
    if backend in ("dask", "ray"):
        import importlib.util

        if importlib.util.find_spec("distributed" if backend == "dask" else "ray") is None:
            raise ArgumentError(f"expected `backend` to be installed, but {backend} is not: pip install 'perdure[{backend}]'")


@contextmanager
def stream(backend: str, address: str | None, workers: int | None) -> Iterator[tuple[Stream, int]]:
    """A function from tasks to what came of them, in the order they are finished, and the number of workers.

    Raises:
        ArgumentError: the cluster does not answer.
    """
    opened = {"loky": _loky, "dask": _dask, "ray": _ray, "sequential": _sequential}[backend]
    with opened(address, workers) as (configuration, count):

        def pooled(tasks: Iterable[Task]) -> Iterator[Done]:
            import joblib

            with joblib.parallel_config(**configuration):
                parallel = joblib.Parallel(return_as="generator_unordered", batch_size=cast(Any, 1), n_jobs=count)
                yield from parallel(joblib.delayed(work)(task) for task in tasks)  # type: ignore[misc]

        yield lambda tasks: surviving(pooled, tasks), count


def surviving(pooled: Stream, tasks: Iterable[Task]) -> Iterator[Done]:
    """Results of a pool that breaks where a worker process dies: those that were on their way are then tried one by one, and a killer is reported as failed.

    Raises:
        Exception: whatever else the pool raises.
    """
    waiting = iter(tasks)
    suspects: dict[str, Task] = {}

    def sent(source: Iterable[Task]) -> Iterator[Task]:
        for task in source:
            suspects[task.key] = task
            yield task

    while True:
        try:
            for done in pooled(sent(waiting)):
                suspects.pop(done.key, None)
                yield done
            return
        except Exception as error:
            if type(error).__name__ not in BROKEN:
                raise
        for task in list(suspects.values()):
            try:
                yield from pooled([task])
            except Exception as error:
                if type(error).__name__ not in BROKEN:
                    raise
                yield Done(task.key, None, f"{type(error).__name__}: the worker process died, perhaps for want of memory", 0.0)
        suspects.clear()


@contextmanager
def _sequential(address: str | None, workers: int | None) -> Iterator[tuple[dict[str, Any], int]]:
    yield {"backend": "sequential"}, 1


@contextmanager
def _loky(address: str | None, workers: int | None) -> Iterator[tuple[dict[str, Any], int]]:
    import joblib

    yield {"backend": "loky", "inner_max_num_threads": 1}, workers or joblib.cpu_count()


@contextmanager
def _dask(address: str | None, workers: int | None) -> Iterator[tuple[dict[str, Any], int]]:
    import joblib
    from distributed import Client, LocalCluster
    from joblib._dask import DaskDistributedBackend

    class Reporting(DaskDistributedBackend):
        """Tells of tasks that Dask gives up."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))  # with 1 joblib would leave the cluster idle and compute here

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)
            (_, (task,), _) = func.items[0]

            def report(future: Any) -> None:
                error = future.exception()
                if error is not None and callback is not None:
                    callback([Done(task.key, None, described(error), 0.0)])

            future.add_done_callback(report)
            return future

    cluster = None
    try:
        if address is None:
            cluster = LocalCluster(
                n_workers=workers or joblib.cpu_count(),
                threads_per_worker=1,
                processes=True,
                dashboard_address=cast(Any, None),
                silence_logs=logging.ERROR,
            )
        try:
            client = Client(cluster if cluster is not None else address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise _unreachable(
                "Dask scheduler", address, error, "start it with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"
            ) from None
        with client:
            joblib.register_parallel_backend("perdure-dask", Reporting)
            yield {"backend": "perdure-dask", "client": client}, sum(cast(Any, client).ncores().values()) or 1
    finally:
        if cluster is not None:
            cluster.close()


@contextmanager
def _ray(address: str | None, workers: int | None) -> Iterator[tuple[dict[str, Any], int]]:
    import joblib
    import ray
    from ray.util.joblib.ray_backend import RayBackend

    class Passing(RayBackend):
        """Passes results on as they come."""

        supports_return_generator = True

    own = not ray.is_initialized()
    if own:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
        try:
            if address is None:
                ray.init(num_cpus=workers or joblib.cpu_count(), include_dashboard=False, **quiet)
            else:
                _answers(address)
                ray.init(address=address, **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            raise _unreachable(
                "Ray cluster",
                address,
                error,
                "start it with `ray start --head`, set RAY_AUTH_MODE and RAY_AUTH_TOKEN as there if it asks for a token, or leave the address out for one on this machine",
            ) from None
    try:
        count = int(ray.cluster_resources().get("CPU", 1))
        joblib.register_parallel_backend("perdure-ray", Passing)
        yield {"backend": "perdure-ray"}, min(count, workers or count)
    finally:
        if own:
            ray.shutdown()


def _answers(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        OSError: nothing listens there.
    """
    place = address.removeprefix("ray://")
    if place in ("auto", "local"):
        return
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("not of the form HOST:PORT, ray://HOST:PORT or auto")
    socket.create_connection((host, int(port)), timeout=PATIENCE).close()


def _unreachable(what: str, address: str | None, error: Exception, fix: str) -> ArgumentError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ArgumentError(
        f"expected `address` to be that of a {what}, but {address or 'one on this machine'} does not answer within {PATIENCE:g} s ({lines[0][:160]}): {fix}"
    )
