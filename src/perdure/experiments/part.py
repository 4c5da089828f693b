"""One finished job as the bytes of a Parquet file that tells whether it is whole and whose it is.

The columns are those of the job and of its rows. The footer holds a header: key, experiment, job, fingerprints, seconds, and a digest of the header itself and of
every value. A file cut short has no footer; one with a flipped bit has another digest; one of another job has another key.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.errors import PerdureError
from perdure.experiments.base import Job
from perdure.experiments.fingerprint import canonical, digest, plain

FORMAT = 1
NAME = b"perdure"
INTEGERS = 2**63


class DamagedPart(PerdureError, ValueError):
    """A file that is no part, is not whole, or belongs to something else; the text says which."""


@dataclass(frozen=True)
class Part:
    """A finished job as read from its file.

    Attributes:
        key: its address.
        seconds: it took.
        table: pyarrow's table: columns of the job, then of the rows.
    """

    key: str
    seconds: float
    table: Any


def encode(header: dict[str, Any], job: Job, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The bytes of a part.

    Args:
        header: what to say about it; "key" and "seconds" are read back.
        job: its columns come first, the same in each row.
        rows: of the job.

    Raises:
        ValueError: a column is named as one of the job's, mixes kinds, or holds something that is no scalar.
    """
    import pyarrow as pa
    from pyarrow import parquet

    names = list(dict.fromkeys(name for row in rows for name in row))
    taken = [name for name in names if name in job]
    if taken:
        raise ValueError(f"rows have a column {taken[0]!r} that the job has as well: name it otherwise")
    columns = {str(name): _column(name, [value] * len(rows)) for name, value in job.items()}
    columns |= {str(name): _column(name, [row.get(name) for row in rows]) for name in names}
    table = pa.table(columns)
    known = {"format": FORMAT, **header, "job": plain(job)}
    known["digest"] = _digest(known, table)
    buffer = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata({NAME: canonical(known).encode()}), buffer)
    return buffer.getvalue()


def decode(content: bytes, key: str) -> Part:
    """The part out of the bytes of its file.

    Raises:
        DamagedPart: it is not whole, or not the part of that key.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
        known = json.loads((table.schema.metadata or {})[NAME])
    except KeyError:
        raise DamagedPart("a Parquet file of something else") from None
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise DamagedPart(f"not a whole Parquet file ({_first(error)})") from None
    if not isinstance(known, dict) or known.get("format") != FORMAT:
        raise DamagedPart(f"a part of another format than {FORMAT}")
    try:
        right = known.pop("digest") == _digest(known, table)
    except (KeyError, ValueError, TypeError, pa.ArrowException):
        right = False
    if not right:
        raise DamagedPart("its contents differ from what was written")
    if known.get("key") != key:
        raise DamagedPart(f"the part of another job, {str(known.get('key'))[:16]}")
    return Part(key, float(known["seconds"]), table.replace_schema_metadata(None))


def _digest(header: dict[str, Any], table: Any) -> str:
    return digest(
        [header, table.column_names, [str(kind) for kind in table.schema.types], [column.to_pylist() for column in table.columns]]
    )


def _column(name: str, values: list[Any]) -> Any:
    """Arrow's array of one column: whole numbers among real ones become real."""
    import pyarrow as pa

    plain = [value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if not kinds:
        return pa.nulls(len(plain))
    wrong = [value for value in plain if value is not None and type(value) not in (str, int, float, bool)]
    if wrong:
        raise ValueError(
            f"column {name!r} holds {wrong[0]!r} of type {type(wrong[0]).__name__}: rows hold texts, numbers, truth values and None"
        )
    if kinds == {int, float}:
        plain = [None if value is None else float(value) for value in plain]
    elif len(kinds) > 1:
        raise ValueError(f"column {name!r} mixes {' and '.join(sorted(kind.__name__ for kind in kinds))}: write one kind")
    if kinds == {int} and any(value is not None and not -INTEGERS <= value < INTEGERS for value in plain):
        raise ValueError(f"column {name!r} holds a whole number beyond 64 bits: write it as a text or a real number")
    kind = pa.float64() if float in kinds else {str: pa.string(), int: pa.int64(), bool: pa.bool_()}[kinds.pop()]
    return pa.array(plain, kind)


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
