"""Sharing out compiled work over as many threads as torch uses.

The compiled functions release the interpreter's lock. Plain threads call them: no second pool of busy-waiting OpenMP threads beside
torch's, and nothing that breaks when the process forks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

Span = tuple[int, int, int, int]
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


def share(work: Callable[[int, Span], object], parts: list[Span]) -> None:
    """Call work(i, span) for every part, the first in this thread and the others in a pool; errors are raised here."""
    if len(parts) == 1:
        work(0, parts[0])
        return
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
