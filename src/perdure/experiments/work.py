"""What a worker does with one job: on one thread, with the global generators seeded and restored, and never raising."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure.experiments.base import Data, Experiment
from perdure.experiments.fingerprint import code_fingerprint

_prints: dict[tuple[type[Experiment], Data], str] = {}


@dataclass(frozen=True)
class Task:
    """A job on its way to a worker.

    Attributes:
        key: address of its rows.
        experiment: whose job.
        job: what to compute.
        data: folders, the same on every machine.
        code: fingerprint that the worker's code must have; "" on this machine, where it reads the same files.
        print: fingerprint that the worker's data must have; looked at where `code` is.
    """

    key: str
    experiment: Experiment
    job: Mapping[str, Any]
    data: Data
    code: str
    print: str


@dataclass(frozen=True)
class Done:
    """What came of a task.

    Attributes:
        key: of the task.
        rows: computed, or None where the job raised.
        message: the error's type, text and place, "" where there is none.
        seconds: it took.
    """

    key: str
    rows: list[dict[str, Any]] | None
    message: str
    seconds: float


def work(task: Task) -> Done:
    """Compute the rows of a task."""
    from perdure._random import isolated
    from perdure._threads import one_thread

    begun = time.perf_counter()
    try:
        if task.code:
            _same(task)
        with isolated(0), one_thread():
            rows: list[dict[str, Any]] = [dict(row) for row in task.experiment.compute(dict(task.job), task.data)]
    except Exception as error:
        return Done(task.key, None, described(error), time.perf_counter() - begun)
    return Done(task.key, rows, "", time.perf_counter() - begun)


def _same(task: Task) -> None:
    """Refuse to compute what would be filed under another address.

    Raises:
        RuntimeError: code or data differ from those of the process that asked.
    """
    code, data = code_fingerprint(task.experiment), _data(task.experiment, task.data)
    if code != task.code:
        raise RuntimeError(
            f"the worker runs other code ({code}) than the process that asked ({task.code}): install the same on every machine"
        )
    if data != task.print:
        raise RuntimeError(
            f"the worker sees other data ({data or 'none'}) than the process that asked ({task.print or 'none'}): give it the same folders"
        )


def described(error: BaseException) -> str:
    """An error in one line: type, text, and the file and line it comes from.

    >>> described(ValueError("no such row"))
    'ValueError: no such row'
    """
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"


def _data(experiment: Experiment, data: Data) -> str:
    """Once a process: digests of data may take a second, and an experiment holds no state."""
    kind = type(experiment), data
    if kind not in _prints:
        _prints[kind] = experiment.fingerprint(data)
    return _prints[kind]
