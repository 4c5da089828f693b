"""Which source files of the package an experiment's rows can depend on: what its module imports, what that imports, and so on.

Imports are read from the sources, wherever in a file they stand. Importing a module runs the packages above it too, so these count. A file that imports the package by
its bare name, of which any name can be fetched later, or modules by names made up as it runs, reaches everything. What draws (`perdure.report`, `perdure.cli`) is
left out: rows are computed without it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import perdure

ROOT = Path(perdure.__file__).parent
DRAWING = ("perdure.report", "perdure.cli")
HARMLESS = {"__version__", "__file__"}  # of the package itself


def source_digest(path: Path) -> str:
    """Of a file and of every file of the package that it reaches, itself included where it is one; 16 hexadecimal digits."""
    found = {name: _content(place) for name, place in reached(path).items()}
    found[path.name] = _content(path)
    listed = "".join(f"{name}\0{digest}\n" for name, digest in sorted(found.items()))
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def reached(path: Path) -> dict[str, Path]:
    """Modules of the package, by dotted name, that a file needs; the top of the package counts as harmless: it only says where names are.

    >>> from perdure import _checks
    >>> sorted(reached(Path(_checks.__file__)))
    ['perdure.errors']
    """
    found: dict[str, Path] = {}
    waiting = [path]
    while waiting:
        for name in _imports(waiting.pop()):
            place = _place(name)
            if name not in found and place is not None and not name.startswith(DRAWING) and name != "perdure":
                found[name] = place
                waiting.append(place)
    return found


@cache
def _imports(path: Path) -> frozenset[str]:
    """Modules of the package that a file imports, with the packages above them."""
    names: set[str] = set()
    tree = ast.parse(path.read_bytes())
    bare = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "perdure" or (alias.name.startswith("perdure.") and alias.asname is None)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith("perdure.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "perdure" and node.level == 0:
            module = str(node.module)
            modules = {f"{module}.{alias.name}" for alias in node.names if _place(f"{module}.{alias.name}")}
            names |= {module} | modules
            if module == "perdure" and len(modules) < len({alias.name for alias in node.names} - HARMLESS):
                return frozenset(_all())
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bare:
            if node.attr not in HARMLESS and not _place(f"perdure.{node.attr}"):
                return frozenset(_all())
            names.add(f"perdure.{node.attr}")
        elif (isinstance(node, ast.Name) and node.id in ("import_module", "__import__")) or (
            isinstance(node, ast.Attribute) and node.attr == "import_module"
        ):
            return frozenset(_all())
        elif isinstance(node, ast.ImportFrom) and node.level > 0:
            return frozenset(_all())  # not used in this package: read as reaching everything
    return frozenset(above for name in names for above in _upwards(name))


def _upwards(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


@cache
def _place(name: str) -> Path | None:
    """The file of a module of the package; None where there is none."""
    stem = ROOT.joinpath(*name.split(".")[1:])
    package, module = stem / "__init__.py", stem.with_suffix(".py")
    if name.split(".")[0] != "perdure":
        return None
    return package if package.is_file() else module if name != "perdure" and module.is_file() else None


@cache
def _all() -> frozenset[str]:
    places = [path.relative_to(ROOT).with_suffix("").parts for path in ROOT.rglob("*.py")]
    return frozenset(".".join(("perdure", *(parts[:-1] if parts[-1] == "__init__" else parts))) for parts in places)


@cache
def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
