"""Any model as a map of sequences: torch recurrent layers, modules with model-output objects, callables."""

from perdure.adapters.frozen import Frozen, frozen
from perdure.adapters.output import unpack
from perdure.adapters.sequence import SequenceMap, adapt

__all__ = ["Frozen", "SequenceMap", "adapt", "frozen", "unpack"]
