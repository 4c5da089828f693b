"""Decay laws: which law a memory function follows in its tail, with what parameters, and when the data cannot tell."""

from perdure.memory.law.families import LAWS
from perdure.memory.law.fit import fit_decay
from perdure.memory.law.result import DecayFit

__all__ = ["LAWS", "DecayFit", "fit_decay"]
