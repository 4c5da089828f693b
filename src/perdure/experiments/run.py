"""Run an experiment: compute the jobs that the store does not have yet, write each as it is finished, and put the table together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from perdure.errors import ArgumentError
from perdure.experiments import backends
from perdure.experiments import manifest as manifests
from perdure.experiments.base import Data, Experiment, Job, Spec
from perdure.experiments.fingerprint import code_fingerprint, key_of
from perdure.experiments.part import encode
from perdure.experiments.pool import Pool
from perdure.experiments.store import Failure, Run, collect, outcome
from perdure.experiments.work import Done, Task, described
from perdure.report.files import writable_folder


def run(
    experiment: Experiment,
    spec: Spec,
    *,
    store: str | Path,
    data: Data = Data(),  # noqa: B008 - frozen
    backend: str = "loky",
    address: str | None = None,
    workers: int | None = None,
    tick: Callable[[int, int], None] | None = None,
    profile: str | None = None,
) -> Run:
    """All rows of a spec: those the store has, and the others computed now.

    Each job's rows are written as soon as they are there. An interruption at any moment loses the jobs that are running and nothing else: the next call
    computes what is missing. A job that raises is reported and tried again by the next call; the others go on. The table is the same, row for row, whatever the
    backend.

    Args:
        experiment: whose jobs.
        spec: of the experiment.
        store: folder of runs, made if need be; runs share finished jobs.
        data: folders of data, which workers on other machines must see under the same names.
        backend: "loky" for processes on this machine, "dask", "ray", or "sequential" for this process.
        address: of a Dask scheduler ("tcp://host:8786") or a Ray cluster ("auto", "host:6379", "ray://host:10001"); None starts one on this machine.
        workers: processes; None for one a core. A Dask cluster at an address has its own.
        tick: called with (jobs done, jobs) at the start and after each job.
        profile: name of the spec in lists; None takes that of the experiment's equal profile, else "custom".

    Returns:
        A `Run`; what failed is in its `failures`.

    Raises:
        ArgumentError: an unknown backend, a cluster that does not answer, a folder that cannot be written, no jobs, two alike.
        OSError: a write failed; what was finished before is kept.
    """
    begun = time.perf_counter()
    backends.check(backend, address, workers)
    root = writable_folder(store, "store")
    code, marks = code_fingerprint(experiment), experiment.fingerprint(data)
    jobs = _jobs(experiment, spec, code, marks)
    profile = _profile(experiment, spec) if profile is None else profile
    folder = root / manifests.folder_name(experiment, profile, spec, code, marks)
    pool = Pool(root)

    aside = [pool.set_aside(path, "not the file of a job") for path in pool.strangers()]
    manifest = manifests.new(experiment, profile, spec, jobs, code, marks, backend)
    try:
        before = manifests.read(folder)
        manifest |= {name: before[name] for name in ("started", "sessions")} if before else {}
    except manifests.DamagedManifest as error:
        aside.append(pool.set_aside(folder / manifests.FILE, str(error)))
    parts, damaged = collect(pool, jobs)
    aside += damaged
    session = {
        "started": manifests.now(),
        "ended": None,
        "backend": backend,
        "workers": 0,
        "reused": len(parts),
        "computed": 0,
        "seconds": None,
    }
    manifest["sessions"] = [*manifest["sessions"], session]
    folder.mkdir(exist_ok=True)
    manifests.save(folder, manifest)

    done, failures, fresh = len(parts), [], []
    if tick is not None:
        tick(done, len(jobs))
    there = (code, marks) if address is not None else ("", "")
    tasks = [Task(key, experiment, job, data, *there) for key, job in jobs.items() if key not in parts]
    for result in _results(tasks, pool, session, (backend, address, workers)):
        message = result.message or _kept(pool, manifest, jobs[result.key], result)
        if message:
            failures.append(Failure(result.key, jobs[result.key], message))
        else:
            fresh.append(result.key)
        done += 1
        if tick is not None:
            tick(done, len(jobs))
    late, damaged = collect(pool, [key for key in jobs if key not in parts and key not in {failure.key for failure in failures}])
    aside += damaged
    parts |= late
    seconds = time.perf_counter() - begun

    order = {key: i for i, key in enumerate(jobs)}
    failures.sort(key=lambda failure: order[failure.key])
    session |= {"ended": manifests.now(), "computed": len(fresh), "seconds": round(seconds, 3)}
    manifest["ended"] = session["ended"]
    manifest["seconds_by_job"] = {key: parts[key].seconds for key in jobs if key in parts}
    manifest["failures"] = [{"key": failure.key, "message": failure.message} for failure in failures]
    manifests.save(folder, manifest)
    return outcome(folder, manifest, jobs, parts, (len(fresh), aside, failures, seconds))


def _results(tasks: list[Task], pool: Pool, session: dict, where: tuple[str, str | None, int | None]) -> Iterator[Done]:
    """What comes of the tasks; one that another process has finished meanwhile is not computed again."""
    if not tasks:
        return
    with backends.stream(*where) as (results, workers):
        session["workers"] = workers
        yield from results(task for task in tasks if pool.size(task.key) is None)


def _kept(pool: Pool, manifest: dict, job: Job, result: Done) -> str:
    """Write what a job gave; "" or why it cannot be written.

    Raises:
        OSError: the disk is full or the like: going on would be work for nothing.
    """
    about = {name: manifest[name] for name in ("experiment", "version", "code", "data", "perdure")}
    header = {"key": result.key, **about, "seconds": round(result.seconds, 3), "written": manifests.now()}
    try:
        content = encode(header, job, result.rows or [])
    except (ValueError, TypeError) as error:
        return described(error)
    try:
        pool.put(result.key, content)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise OSError(
            f"a finished job could not be written below {pool.root} ({why}); those before it are kept: make room, and run the same command again"
        ) from error
    return ""


def _jobs(experiment: Experiment, spec: Spec, code: str, marks: str) -> dict[str, Job]:
    """Jobs by key, in order."""
    jobs: dict[str, Job] = {}
    for job in experiment.jobs(spec):
        key = key_of(experiment, job, code, marks)
        if key in jobs:
            raise ArgumentError(f"expected the jobs of {experiment.name} to differ, but two are {dict(job)}: remove what is given twice")
        jobs[key] = job
    if not jobs:
        raise ArgumentError(f"expected the spec of {experiment.name} to give at least one job, but it gives none: add values to its lists")
    return jobs


def _profile(experiment: Experiment, spec: Spec) -> str:
    return next((name for name, known in experiment.profiles.items() if known == spec), "custom")
