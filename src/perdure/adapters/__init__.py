"""Any model as a map of sequences: torch layers, modules with model-output objects, language models, callables; and what each of them is."""

from perdure.adapters.frozen import Frozen, frozen, in_some_type, native_dtype
from perdure.adapters.output import unpack
from perdure.adapters.properties import Measured, Properties, measure
from perdure.adapters.sequence import Adapted, SequenceMap, adapt
from perdure.adapters.tokens import TokenModel

__all__ = [
    "Adapted",
    "Frozen",
    "Measured",
    "Properties",
    "SequenceMap",
    "TokenModel",
    "adapt",
    "frozen",
    "in_some_type",
    "measure",
    "native_dtype",
    "unpack",
]
