"""The errors perdure raises on purpose.

All of them are ordinary `ValueError` or `TypeError`, so that callers need not know these names. Every message names
the argument, the rule it broke, the value received and what to do about it.
"""

from __future__ import annotations


class PerdureError(Exception):
    """Common ancestor, for callers who want to catch everything perdure raises on purpose."""


class ArgumentError(PerdureError, ValueError):
    """An argument has the right type and a value that breaks a stated rule."""


class ArgumentTypeError(PerdureError, TypeError):
    """An argument is of a type the function cannot use."""


class ModelError(PerdureError, ValueError):
    """A model does something a measurement cannot make sense of: wrong output shape, non-causal, non-finite."""
