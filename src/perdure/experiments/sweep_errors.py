"""What pydantic says of a spec, in one line that names the field, the rule, the value and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

EXAMPLES = {
    "targets": "[{kind: polynomial, power: 1.5}]",
    "widths": "[4, 8]",
    "activations": "[linear, tanh]",
    "parametrizations": "[direct, exp]",
    "structures": "[usual, dense]",
    "groups": "[recurrent, input+readout]",
    "seeds": "[0, 1]",
    "radii": "[0, 0.01, 0.1]",
}
NAMES = ("extra_forbidden", "invalid_key")


def explained(error: ValidationError, spec: type[BaseModel]) -> str:
    """The first error; how many others there are is said at the end.

    >>> class Point(BaseModel):
    ...     width: int
    >>> try:
    ...     Point.model_validate({"width": "four"})
    ... except ValidationError as error:
    ...     print(explained(error, Point))
    expected `width` to be a valid integer, unable to parse string as an integer, but got 'four': see docs/sweeps.md for what goes there
    """
    errors = error.errors()
    inner = {one["loc"][:-1] for one in errors}
    errors = [one for one in errors if one["type"] != "too_short" or one["loc"] not in inner]  # values that are wrong are not counted
    found = sorted(errors, key=lambda one: one["type"] not in NAMES)  # a name with a slip in it first: it may be the missing one
    first = found[0]
    path = _path(first["loc"])
    text = _text(first, path, spec)
    return text + (f" ({len(found) - 1} more to mend)" if len(found) > 1 else "")


def _text(first: Any, path: str, spec: type[BaseModel]) -> str:
    kind, message, value = first["type"], str(first["msg"]), first["input"]
    if kind == "missing":
        return f"expected `{path}` to be given, but it is missing: add it"
    if kind == "extra_forbidden":
        names = list(spec.model_fields) if len(first["loc"]) == 1 else []
        near = difflib.get_close_matches(str(first["loc"][-1]), names, n=1)
        fix = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(names)}" if names else "remove it, or mend its name"
        return f"expected `{path}` to be a name that is known here, but it is not: {fix}"
    if kind == "invalid_key":
        return f"expected each name to be a text, but got {_shown(value)}: known are {', '.join(spec.model_fields)}"
    if kind == "union_tag_not_found":
        return f"expected `{path}.kind` to be given, but it is missing: write for example {{kind: polynomial, power: 1.5}}"
    if kind == "union_tag_invalid":
        return f"expected `{path}.kind` to be one of {first['ctx']['expected_tags']}, but got {first['ctx']['tag']!r}: choose one of these names"
    example = EXAMPLES.get(path, "[1, 2]")
    if kind == "tuple_type":
        return f"expected `{path}` to be a list such as {example}, but got {_shown(value)}: put it in brackets"
    if kind == "too_short":
        return f"expected `{path}` to hold at least one value, but it is empty: write for example {example}"
    rule = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if rule.startswith("expected "):
        return f"`{path}`: {rule}"
    rule = rule.removeprefix("Input should be ").removeprefix("Input should ")
    return f"expected `{path}` to be {_lower(rule)}, but got {_shown(value)}: see docs/sweeps.md for what goes there"


def _path(location: Sequence[Any]) -> str:
    path = ""
    parts = list(location)
    for i, part in enumerate(parts):
        if (
            i
            and isinstance(parts[i - 1], int)
            and isinstance(part, str)
            and part in ("polynomial", "exponential", "oscillating", "shift", "airy", "exponential_sum")
        ):
            continue  # pydantic names the kind of the union
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number too long to show"
    return text if len(text) <= 80 else f"{text[:77]}..."
