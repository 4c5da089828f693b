"""Lower layers never import higher ones."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "perdure"
LAYERS = [
    ["_checks", "_random", "_threads", "_typing", "errors"],
    ["functionals", "memory.law", "parametrizations", "ops"],
    ["nn", "adapters", "approximation"],
    ["memory", "stability"],
    ["training"],
    ["experiments", "audits", "report", "integrations"],
    ["cli", "__main__"],
]
LEVEL = {f"perdure.{name}": level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")  # the top one is lazy: tests/test_import.py


def level(module: str) -> int:
    """Level of a dotted module name, by its longest listed prefix."""
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        prefix = ".".join(parts[:length])
        if prefix in LEVEL:
            return LEVEL[prefix]
    pytest.fail(f"{module} has no layer: import it from the module that defines it, or give its package a line in LAYERS")


def imported(tree: ast.Module) -> set[str]:
    """Dotted names of everything of perdure that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import: name the module in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("perdure.")} - {"perdure.__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    own = level(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    above = {name for name in imported(ast.parse(path.read_text(encoding="utf-8"))) if level(name) > own}
    assert not above, f"{path.name} (layer {own}: {LAYERS[own]}) imports from above: {sorted(above)}"
