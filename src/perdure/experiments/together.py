"""Several experiments run from one call: what is asked of their data first, then their jobs, one store for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perdure.errors import ArgumentError, PerdureError
from perdure.experiments.base import Data, Experiment, Spec

AT_ONCE = 2  # experiments at a time on this machine's pool of processes: the jobs of one fill the gaps that the last jobs of another leave
LEAVE = 5.0  # seconds to wait, at most, until both have noticed that they are stopped


@dataclass(frozen=True)
class Item:
    """One experiment, what it is run with, and what it needs and lacks."""

    experiment: Experiment
    profile: str
    spec: Spec = field(repr=False)
    needs: str | None = None


@dataclass(frozen=True)
class Done:
    """What became of it: a run, or the reason why there is none."""

    item: Item
    run: Any = None
    fault: str | None = None


def items(experiments: Sequence[Experiment], profile: str, data: Data) -> list[Item]:
    """The experiments with their specs, and what each lacks.

    Args:
        experiments: in reading order.
        profile: name of a spec that all of them have.
        data: folders as given.

    Raises:
        ArgumentError: an experiment has no such profile; a folder that was given does not hold what it should.
    """
    found = []
    for experiment in experiments:
        if profile not in experiment.profiles:
            names = ", ".join(experiment.profiles)
            raise ArgumentError(
                f"expected `--profile` to be one of {names} for {experiment.name}, but got {profile!r}: choose one of these"
            )
        needs = experiment.missing(data)
        if needs is not None and needs != experiment.missing(Data()):  # not absent but wrong: what was given is at fault
            raise ArgumentError(needs)
        if needs is None:
            experiment.fingerprint(data)  # damaged files are found now, not after an hour
        found.append(Item(experiment, profile, experiment.profiles[profile], needs))
    return found


def folders(mnist: str | Path | None, sentiment: str | Path | None) -> Data:
    """Folders of data, checked to be there and to be readable.

    Raises:
        ArgumentError: one does not exist, is a file, or cannot be read.
    """
    return Data(_folder(mnist, "--mnist"), _folder(sentiment, "--sentiment"))


def run_all(
    wanted: Sequence[Item],
    data: Data,
    store: str | Path,
    backend: str = "loky",
    address: str | None = None,
    workers: int | None = None,
    tick: Callable[[str, int, int], None] | None = None,
) -> list[Done]:
    """Run each item that lacks nothing; an experiment that fails does not stop the others.

    Args:
        wanted: of `items`.
        data: folders.
        store: root folder of the runs.
        backend: as `perdure.experiments.run.run` takes it. On "loky" two experiments share the pool of processes; those that share jobs run one after the other.
        address: of a cluster.
        workers: processes; None for all processors.
        tick: called with name, jobs done and jobs in all, one call at a time.

    Returns:
        One for each item, in their order.

    Raises:
        ArgumentError: backend, address or workers cannot be used, or the store cannot be written.
        KeyboardInterrupt: Ctrl-C. Finished jobs are in the store; those that were running on "loky" are killed, so that it comes at once.
    """
    from perdure.experiments.run import run

    lock, stop = threading.Lock(), threading.Event()

    def one(item: Item) -> Done:
        if item.needs is not None:
            return Done(item)

        def told(done: int, total: int) -> None:
            if stop.is_set():
                raise InterruptedError("stopped")
            if tick is not None:
                with lock:
                    tick(item.experiment.name, done, total)

        options: dict[str, Any] = {"backend": backend, "address": address, "workers": workers}
        try:
            return Done(item, run(item.experiment, item.spec, store=store, data=data, tick=told, profile=item.profile, **options))
        except PerdureError:
            raise
        except Exception as error:  # an experiment's own fault: the others go on, and it is named at the end
            return Done(item, fault=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")

    if backend != "loky":  # in this thread, which Ctrl-C reaches in the middle of a job
        return [one(item) for item in wanted]

    def each(chain: Sequence[int]) -> dict[int, Done]:
        return {i: one(wanted[i]) for i in chain if not stop.is_set()}

    pool = ThreadPoolExecutor(AT_ONCE)
    futures = [pool.submit(each, chain) for chain in _chains(wanted)]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
        done = {i: result for future in futures for i, result in future.result().items()}
    except BaseException:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        _kill_workers(futures)
        raise
    pool.shutdown()
    return [done[i] for i in range(len(wanted))]


def _chains(wanted: Sequence[Item]) -> list[list[int]]:
    """Places of the items, those together that must run one after the other: what one computes the next finds in the store."""
    chains: dict[str, list[int]] = {}
    for i, item in enumerate(wanted):
        chains.setdefault(item.experiment.shared or item.experiment.name, []).append(i)
    return list(chains.values())


def _kill_workers(futures: Sequence[Future[Any]]) -> None:
    """End joblib's processes here with the jobs that they are at; again while an experiment that was just about to begin starts new ones."""
    from joblib.externals.loky import reusable_executor

    until = time.monotonic() + LEAVE
    while True:
        executor = reusable_executor._executor
        if executor is not None:
            executor.shutdown(kill_workers=True)
        if not wait(futures, timeout=0.1).not_done or time.monotonic() > until:
            return


def _folder(path: str | Path | None, argument: str) -> Path | None:
    if path is None:
        return None
    folder = Path(path)
    try:
        next(iter(folder.iterdir()), None)
    except FileNotFoundError:
        raise ArgumentError(
            f"expected `{argument}` to be a folder, but {str(path)!r} does not exist: name the folder that holds the files"
        ) from None
    except NotADirectoryError:
        raise ArgumentError(f"expected `{argument}` to be a folder, but {str(path)!r} is a file: name the folder that holds it") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ArgumentError(
            f"expected `{argument}` to be a folder that can be read, but got {str(path)!r} ({why}): change its permissions"
        ) from None
    return folder
