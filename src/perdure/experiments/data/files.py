"""Files of data: found under their published names, gzipped or not, read whole, and named by what is in them."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from perdure.errors import ArgumentError


def find(folder: Path, name: str, source: str) -> Path:
    """The file of that name in a folder, or the same gzipped.

    Args:
        folder: where to look.
        name: without ".gz".
        source: in words: whose file it is and how to get it, for the message.

    Raises:
        ArgumentError: the folder or the file does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArgumentError(f"expected the folder of data {str(folder)!r} to exist, but it does not: {source}")
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise ArgumentError(f"expected {str(folder)!r} to hold the file {name} (or {name}.gz), but it does not: {source}")


def content(path: Path) -> bytes:
    """The bytes of a file, unpacked where they are gzipped (told by the first two bytes, not by the name).

    Raises:
        ArgumentError: the gzipped file is cut short or damaged.
    """
    raw = Path(path).read_bytes()
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise ArgumentError(
            f"expected {Path(path).name} to be a whole gzip file, but it is cut short or damaged ({error}): get it again"
        ) from None


def digest(paths: Sequence[Path]) -> str:
    """Name of the contents of some files, in order: 16 hexadecimal digits of SHA-256; a file gives the same gzipped and not."""
    whole = hashlib.sha256()
    for path in paths:
        status = Path(path).stat()
        whole.update(_digest(str(path), status.st_size, status.st_mtime_ns))
    return whole.hexdigest()[:16]


@lru_cache(maxsize=64)
def _digest(path: str, size: int, changed: int) -> bytes:
    """SHA-256 of a file's content; size and time of change only say when a remembered one is stale."""
    return hashlib.sha256(content(Path(path))).digest()
