"""Sharing out compiled work over the very threads on which torch computes.

A torch operation leaves its OpenMP threads spinning for a while, in case another one follows. Threads of our own would compete with them for the
cores: on two cores, a scan of 7 ms took 13 ms after a matrix product. So the work goes to torch's own team, through GOMP_parallel of the OpenMP
library that torch has loaded; there matrix products stay on the thread that asks for them. Where there is no such library, and in forked children,
which libgomp does not survive, plain threads take over. The compiled functions release the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

Span = tuple[int, int, int, int]
Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
WORTH = 75e-6  # seconds of work a thread must be given: waking one takes about 50 microseconds
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def spans(copies: int, rows: int, seconds: float) -> list[Span]:
    """(first copy, last copy, first row, last row) for each thread: copies are shared out where there are enough, else rows.

    `seconds` is about what one thread would take.

    >>> torch.set_num_threads(2)
    >>> spans(1, 5, 1.0), spans(3, 5, 1.0), spans(1, 5, 1e-5)
    ([(0, 1, 0, 3), (0, 1, 3, 5)], [(0, 2, 0, 5), (2, 3, 0, 5)], [(0, 1, 0, 5)])
    """
    threads = min(torch.get_num_threads(), max(1, int(seconds / WORTH)))
    if threads == 1 or (copies == 1 and rows == 1):
        return [(0, copies, 0, rows)]
    if copies >= threads:
        return [(a, b, 0, rows) for a, b in _parts(copies, threads)]
    return [(0, copies, a, b) for a, b in _parts(rows, min(threads, rows))]


def _parts(count: int, parts: int) -> list[tuple[int, int]]:
    size = -(-count // parts)
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def _library() -> tuple[Any, Any, Any] | None:
    """GOMP_parallel, omp_get_thread_num and omp_get_num_threads as torch sees them, or None."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if not path.exists():
        return None
    try:
        free, held = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))  # without and with the interpreter's lock
        fork, number, count = free.GOMP_parallel, held.omp_get_thread_num, held.omp_get_num_threads
    except (OSError, AttributeError):
        return None
    fork.argtypes, fork.restype = [Body, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return fork, number, count


LIBRARY, HOME = _library(), os.getpid()


def share(work: Callable[[int, Span], object], parts: list[Span]) -> None:
    """Call work(i, span) for every part, each on a thread of its own; errors are raised here."""
    if len(parts) == 1:
        work(0, parts[0])
    elif LIBRARY is None or os.getpid() != HOME:
        _pooled(work, parts)
    else:
        _teamed(work, parts, LIBRARY)


def _teamed(work: Callable[[int, Span], object], parts: list[Span], library: tuple[Any, Any, Any]) -> None:
    fork, number, count = library
    errors: list[BaseException] = []

    def body(_: Any) -> None:
        try:
            for i in range(number(), len(parts), count()):  # inside another parallel region the team is one thread
                work(i, parts[i])
        except BaseException as error:  # C in between cannot carry it: raised below
            errors.append(error)

    fork(Body(body), None, len(parts), 0)
    if errors:
        raise errors[0]


def _pooled(work: Callable[[int, Span], object], parts: list[Span]) -> None:
    """The first part in this thread, the others in a pool."""
    key = os.getpid(), len(parts) - 1  # a forked child has none of its parent's threads
    pool = _pools.get(key)
    if pool is None:
        pool = _pools[key] = ThreadPoolExecutor(len(parts) - 1, thread_name_prefix="perdure")
    others = [pool.submit(work, i, part) for i, part in enumerate(parts[1:], 1)]
    try:
        work(0, parts[0])
    finally:
        for other in others:
            other.result()
