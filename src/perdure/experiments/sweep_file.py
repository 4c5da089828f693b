"""A sweep's spec from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perdure.errors import ArgumentError
from perdure.experiments.sweep_spec import SweepSpec, sweep_spec

LARGEST = 2**20  # bytes; nobody writes more by hand


def read_sweep(path: str | Path) -> SweepSpec:
    """The spec that a YAML file describes.

    Raises:
        ArgumentError: there is no such file, it is empty, no YAML (the line is named), no mapping, or breaks a rule of `SweepSpec`; one line each.
    """
    path = Path(path)
    try:
        if path.is_file() and path.stat().st_size > LARGEST:
            raise ArgumentError(f"expected `SPEC` to be a YAML file of at most 1 MiB, but {path.name} is larger: is it the right file?")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArgumentError(
            f"expected `SPEC` to be a YAML file, but there is no {path}: examples/sweep.yaml is one to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = str(getattr(error, "strerror", None) or "it is no text in UTF-8")
        raise ArgumentError(f"expected `SPEC` to be a YAML file that can be read, but got {path} ({why}): name another one") from None
    values = _parsed(text, path.name)
    if values is None:
        raise ArgumentError(f"expected `SPEC` to describe a sweep, but {path.name} is empty: examples/sweep.yaml is one to start from")
    if not isinstance(values, dict):
        raise ArgumentError(
            f"expected `SPEC` to be a mapping of names to values, but {path.name} holds a {type(values).__name__}: start with `targets:`"
        )
    try:
        return sweep_spec(values)
    except ArgumentError as error:
        raise ArgumentError(f"{path.name}: {error}") from None


def _parsed(text: str, name: str) -> Any:
    import yaml

    class Once(yaml.SafeLoader):
        """Refuses what is no text in the place of a name, and a name that is given twice, of which YAML would keep the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.tag.removeprefix("tag:yaml.org,2002:") not in ("str", "merge"):
                    what = f"`{key.value}`" if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
                    raise yaml.constructor.ConstructorError(None, None, f"{what} stands where a name belongs", key.start_mark)
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` is given twice", key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Once)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}" if mark is not None else "the file"
        why = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ArgumentError(f"expected `SPEC` to be YAML, but {name} breaks its rules in {place} ({why}): mend that line") from None
