"""What a command that computes says when it is stopped with Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

STOPPED = 130  # as shells report a program that was stopped with Ctrl-C


@contextmanager
def goes_on_from(store: str) -> Iterator[None]:
    """Ctrl-C becomes one line and an exit code of its own.

    Raises:
        Exit: it was pressed.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nperdure: stopped: finished jobs are kept in {store}, and the same command goes on from there", err=True)
        raise typer.Exit(STOPPED) from None
