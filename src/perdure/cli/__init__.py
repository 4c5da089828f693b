"""The command line: one file a command."""

from __future__ import annotations

import sys

import typer

import perdure
from perdure.cli import audit as audit  # each module adds its commands to the application when it is imported
from perdure.cli import demo as demo
from perdure.cli import reproduce as reproduce
from perdure.cli import sweep as sweep
from perdure.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: exit code 2 for bad input, 1 for a failure, 0 otherwise."""
    try:
        app()
    except (ValueError, TypeError) as error:
        typer.echo(f"perdure: {error}", err=True)
        sys.exit(2 if isinstance(error, perdure.PerdureError) else 1)
    except Exception as error:
        typer.echo(f"perdure: failed: {error}", err=True)
        sys.exit(1)
