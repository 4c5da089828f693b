"""Which method should be fastest: a model of their times, with constants measured."""

from __future__ import annotations

from perdure.ops.state_space.sequential import can_compile
from perdure.ops.state_space.system import System


def choose(system: System) -> str:
    """X."""
    return "sequential" if can_compile(system) else "chunked"
