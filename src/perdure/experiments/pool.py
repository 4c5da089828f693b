"""The folder of finished jobs, shared by all runs of a store: one file a job, found by its key.

A file appears whole or not at all (`perdure.report.files.write`), so that any number of processes may write to the same folder: two that compute the same job
write the same rows, and the later file takes the place of the earlier one. Nothing is ever deleted: what cannot be trusted is moved to the folder
`set-aside` and named.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from perdure.experiments.part import DamagedPart, Part, decode
from perdure.report.files import write

PART = re.compile(r"[0-9a-f]{64}\.parquet")
SHELF = re.compile(r"[0-9a-f]{2}")


class Pool:
    """Parts below the root of a store."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Where the part of a key lies, or would."""
        return self.root / "parts" / key[:2] / f"{key}.parquet"

    def size(self, key: str) -> int | None:
        """Bytes of a part, unread; None where there is none."""
        try:
            return self.path(key).stat().st_size
        except OSError:
            return None

    def read(self, key: str) -> Part | None:
        """The part of a key; None where there is none.

        Raises:
            DamagedPart: there is a file that cannot be used.
        """
        try:
            content = self.path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DamagedPart(f"it cannot be read ({(error.strerror or str(error)).lower()})") from None
        return decode(content, key)

    def put(self, key: str, content: bytes) -> None:
        """Write a part."""
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)

    def strangers(self) -> Iterator[Path]:
        """What lies among the parts without being named as one; hidden files, such as those half written, are passed over."""
        folder = self.root / "parts"
        shelves = list(_seen(folder))
        for entry in shelves:
            if not (entry.is_dir() and SHELF.fullmatch(entry.name)):
                yield Path(entry.path)
        for entry in shelves:
            if entry.is_dir() and SHELF.fullmatch(entry.name):
                yield from (Path(file.path) for file in _seen(Path(entry.path)) if not PART.fullmatch(file.name))

    def set_aside(self, path: Path, why: str) -> str:
        """Move a file out of the way and say so in one line."""
        shown = path.relative_to(self.root).as_posix()
        folder = self.root / "set-aside"
        try:
            folder.mkdir(exist_ok=True)
            target = folder / f"{secrets.token_hex(4)}-{path.name}"  # never the place of a file set aside before
            path.replace(target)
        except FileNotFoundError:
            return f"{shown}: {why}; another process has moved it"
        except OSError as error:
            return f"{shown}: {why}; not used, and left where it is ({(error.strerror or str(error)).lower()})"
        return f"{shown}: {why}; moved to {target.relative_to(self.root).as_posix()}"


def _seen(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
