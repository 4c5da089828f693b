"""Output folders that are checked before the work, and files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from perdure.errors import ArgumentError


def writable_folder(path: str | Path, argument: str = "--out") -> Path:
    """`path` as a folder, made if need be, into which a file could be written just now.

    Raises:
        ArgumentError: it is empty, a file, or cannot be made or written.
    """
    if not str(path).strip():
        raise ArgumentError(f"expected `{argument}` to be a folder, but got an empty name: pass for example out/demo, or . for this folder")
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".perdure-"):
            pass
    except (FileExistsError, NotADirectoryError):
        raise ArgumentError(f"expected `{argument}` to be a folder, but {folder} is, or lies under, a file: name another one") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ArgumentError(
            f"expected `{argument}` to be a folder that can be written, but got {folder} ({why}): name another one"
        ) from None
    return folder


def write(path: Path, content: str | bytes) -> Path:
    """Write a file through a temporary one beside it, so that a reader never sees half of it."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # as an ordinary open() would have made it
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path
