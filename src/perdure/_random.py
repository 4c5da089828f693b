"""Randomness that stays ours: seeded generators, and a guard that leaves every global generator as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed torch, numpy and `random` inside the block; restore all three afterwards, also when it raises."""
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 - the global generator is what we protect
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
