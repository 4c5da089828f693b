"""An experiment of quick jobs that logs each computation, and a process that runs it.

python counting_toy.py STORE BACKEND: prints "go" when the store was looked through and after each job. The log is named by the variable COUNTING_LOG, the session by COUNTING_SESSION: the
environment is no part of a job, so that neither is part of its address.
"""

import os
import sys
import time
from pathlib import Path

from perdure.experiments.base import Experiment, Spec

ODD = {0: float("inf"), 1: float("nan")}


class CountingSpec(Spec):
    count: int = 40
    pause: float = 0.01
    broken: tuple[int, ...] = ()
    deadly: tuple[int, ...] = ()


class Counting(Experiment):
    """Rows k * i for i < k % 3 + 1, with awkward values among them."""

    name = "counting"
    title = "counting"
    source = "a test"
    method = "counts"
    profiles = {"tiny": CountingSpec(count=3)}  # noqa: RUF012

    def jobs(self, spec):
        return [
            {"k": k, "kind": "even" if k % 2 == 0 else None, "pause": spec.pause, "broken": k in spec.broken, "deadly": k in spec.deadly}
            for k in range(spec.count)
        ]

    def compute(self, job, data):
        k = job["k"]
        if log := os.environ.get("COUNTING_LOG"):
            handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, f"{os.environ.get('COUNTING_SESSION', '-')} {k}\n".encode())
            os.close(handle)
        time.sleep(job["pause"])
        if job["deadly"]:
            os._exit(7)
        if job["broken"]:
            raise ValueError("a broken\njob")
        return [{"i": i, "y": ODD.get(k, k * i / 7), "big": 2**53 + k, "word": f"ü{k}" if i else None} for i in range(k % 3 + 1)]

    def charts(self, table, spec):
        return []

    def claims(self, table, spec):
        return []


def logged(path: Path) -> list[tuple[str, int]]:
    """(session, k) of every computation so far."""
    if not path.exists():
        return []
    return [(session, int(k)) for session, k in (line.split() for line in path.read_text().splitlines())]


if __name__ == "__main__":
    import counting_toy  # its classes under their own module's name, as in the test

    from perdure.experiments.run import run

    store, backend, count, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    run(
        counting_toy.Counting(),
        counting_toy.CountingSpec(count=count, pause=pause),
        store=store,
        backend=backend,
        workers=None if backend == "sequential" else 2,
        tick=lambda done, total: print("go", flush=True),
    )
