"""Training that can be interrupted: one file, tensors and a record in JSON, written at once or not at all; nothing pickled."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from perdure import _checks
from perdure._typing import Tensor

KEY = "perdure.fit"
FORMAT = 1


def location(path: Any) -> Path | None:
    """The path, in a folder that exists, or None.

    Raises:
        ArgumentError: its folder does not exist, or it is a folder.
    """
    if path is None:
        return None
    found = Path(path)
    if found.is_dir() or not found.parent.is_dir():
        raise _checks.fail("checkpoint", "a file in a folder that exists", str(path), "create the folder, and name a file in it")
    return found


def save(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write both into one file; whatever interrupts this leaves the file before."""
    text = json.dumps({"format": FORMAT, **record})
    data = safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata={KEY: text})
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def load(path: Path, identity: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and record of the training that `identity` describes; None where there is none.

    A file that cannot be read, or belongs to another training, is renamed (`set_aside`) and named in a warning: it is neither used nor lost.
    """
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            record = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if record["format"] != FORMAT:
            raise KeyError("format")
    except KeyError:
        set_aside(path, "it is not a checkpoint of this version of perdure.fit")
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        set_aside(path, f"it cannot be read ({str(error).splitlines()[0][:80]})")
    else:
        other = sorted(name for name in {*identity, *record["identity"]} if identity.get(name) != record["identity"].get(name))
        if not other:
            return tensors, record
        set_aside(path, f"it belongs to another training: {', '.join(other)} differ")
    return None


def set_aside(path: Path, why: str) -> Path:
    """Rename a checkpoint that is of no use, and say so."""
    number = 0
    while (kept := path.with_name(f"{path.name}.set-aside{number or ''}")).exists():
        number += 1
    os.replace(path, kept)
    warnings.warn(f"the checkpoint {path.name} is not used, {why}: it is kept as {kept.name}, and training starts anew", stacklevel=5)
    return kept
