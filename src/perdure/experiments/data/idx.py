r"""IDX files, the format of MNIST: two zero bytes, a type, the number of axes, their lengths, and the numbers in C order, all big-endian."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from perdure._typing import Array
from perdure.errors import ArgumentError
from perdure.experiments.data.files import content

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> Array:
    """The array in an IDX file, gzipped or not, in the byte order of the machine.

    Raises:
        ArgumentError: a wrong magic number, a file that is shorter or longer than its header says.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path).tolist()
    [7, 2, 1]
    """
    name, raw = Path(path).name, content(path)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in TYPES or raw[3] == 0:
        raise ArgumentError(
            f"expected {name} to begin with the magic number of an IDX file (0, 0, a type, the number of axes), "
            f"but got {raw[:4].hex(' ') or 'an empty file'}: it is another kind of file, or was damaged on the way"
        )
    kind, axes = np.dtype(TYPES[raw[2]]), raw[3]
    start = 4 + 4 * axes
    shape = tuple(int.from_bytes(raw[at : at + 4], "big") for at in range(4, start, 4)) if len(raw) >= start else ()
    want = start + kind.itemsize * math.prod(shape)
    if len(raw) < start or len(raw) != want:
        said = f"{want} bytes for its header's shape {shape}" if len(raw) >= start else f"at least {start} bytes for its header"
        what = "cut short" if len(raw) < want or len(raw) < start else "followed by something else"
        raise ArgumentError(f"expected {name} to have {said}, but got {len(raw)}: it is {what}; get it again")
    return np.frombuffer(raw, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


def write_idx(path: Path, array: Array) -> None:
    """Write an array of one of the format's types as an IDX file, gzipped where the name ends in .gz.

    Raises:
        ArgumentError: a type the format does not have.
    """
    import gzip

    codes = {np.dtype(kind).newbyteorder("="): code for code, kind in TYPES.items()}
    if array.dtype not in codes:
        raise ArgumentError(f"expected an array of one of {sorted(str(kind) for kind in codes)}, but got {array.dtype}: convert it")
    head = bytes([0, 0, codes[array.dtype], array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    raw = head + array.astype(array.dtype.newbyteorder(">")).tobytes()
    Path(path).write_bytes(gzip.compress(raw, mtime=0) if Path(path).suffix == ".gz" else raw)
