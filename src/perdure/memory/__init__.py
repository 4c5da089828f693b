"""Memory functions: how far back a model looks, and by what law that fades."""

from perdure.memory.function import MemoryFunction
from perdure.memory.law import DecayFit, fit_decay
from perdure.memory.measure import memory_function

__all__ = ["DecayFit", "MemoryFunction", "fit_decay", "memory_function"]
