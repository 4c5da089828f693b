"""The address of a job's rows: a digest of everything they depend on.

    key = SHA-256 of [experiment, its version, the job, the code's fingerprint, the data's fingerprint] as canonical JSON

Experiments that compute their rows alike say so by one `shared` name, which then stands for the experiment. Canonical JSON has sorted names and no spaces; 1 and 1.0 differ in it, as they may in what is computed from them. The code's fingerprint covers the file that
defines how it computes and every source of the package that it reaches (`perdure.experiments.sources`).
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import perdure
from perdure.errors import ArgumentTypeError
from perdure.experiments.base import Experiment, Job


def canonical(value: Any) -> str:
    """JSON of scalars, lists and mappings that is the same for the same value; infinities and NaN are objects, so that no string looks like them.

    Raises:
        ArgumentTypeError: something else is in it.

    >>> canonical({"m": 4, "beta": float("inf"), "law": None})
    '{"beta":{"float":"inf"},"law":null,"m":4}'
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """The value as JSON's own kinds, names in their order."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # numpy's scalars
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ArgumentTypeError(
        f"expected a text, a number, a truth value or None, but got {value!r} of type {type(value).__name__}: jobs and rows hold nothing else"
    )


def restored(value: Any) -> Any:
    """What `plain` was given: infinities and NaN come back.

    >>> restored(plain({"beta": float("inf"), "m": 4}))
    {'beta': inf, 'm': 4}
    """
    if isinstance(value, Mapping):
        return float(value["float"]) if set(value) == {"float"} else {name: restored(part) for name, part in value.items()}
    return [restored(part) for part in value] if isinstance(value, list) else value


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal.

    >>> digest([1])[:16], digest([1.0])[:16]
    ('080a9ed428559ef6', 'c2272c0a862f11de')
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def key_of(experiment: Experiment, job: Job, code: str, data: str) -> str:
    """The address of a job's rows, 64 hexadecimal digits."""
    return digest([experiment.shared or experiment.name, experiment.version, job, code, data])


def code_fingerprint(experiment: Experiment) -> str:
    """What identifies the code that computes an experiment's rows: the package's version and a digest of sources; files are read once a process.

    The sources are the file of the class that defines its `compute` and all of perdure that this reaches: charts and claims of a subclass elsewhere may change, and rows stay.
    """
    source = inspect.getsourcefile(next(kind for kind in type(experiment).mro() if "compute" in vars(kind)))
    if source is None:  # typed at a prompt: nothing is known but the package
        return f"{perdure.__version__}+{_of(Path(__file__))}"
    return f"{perdure.__version__}+{_of(Path(source))}"


@cache
def _of(path: Path) -> str:
    from perdure.experiments.sources import source_digest

    return source_digest(path)
