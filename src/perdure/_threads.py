"""One thread for small matrices.

Two threads that share a product of small matrices wait for one another more than they compute; where something else runs on the machine as well, up to thirty
times more. Solvers that make many small products run in `one_thread`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit numpy's, scipy's and torch's linear algebra to one thread inside the block; put all back afterwards, also when it raises."""
    threads = torch.get_num_threads()
    with _controller().limit(limits=1, user_api="blas"):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
