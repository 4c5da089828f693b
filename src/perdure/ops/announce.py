"""Says so when the first call of a compiled function takes more than a second to compile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 1.0
_log = logging.getLogger("perdure")
_ready: set[int] = set()


@contextmanager
def compiling(function: Any) -> Iterator[None]:
    """Warn through the logger "perdure" if the block, which calls a compiled function, compiles it for more than a second.

    The result is kept on disk, beside the package or in the user's cache folder, for later processes.
    """
    if id(function) in _ready:
        yield
        return
    timer = threading.Timer(PATIENCE, _log.warning, ["compiling %s for this machine: once, some seconds; kept on disk", function.__name__])
    timer.daemon = True
    before = len(function.signatures)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if len(function.signatures) == before:
        _ready.add(id(function))
