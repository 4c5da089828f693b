"""The experiments by name, in reading order. A module is imported when its experiment is asked for, not before."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import import_module

from perdure.errors import ArgumentError
from perdure.experiments.base import Experiment

PLACES = {
    "fig1a": ("perdure.experiments.fig1", "Fig1a"),
    "fig1b": ("perdure.experiments.fig1", "Fig1b"),
    "fig2": ("perdure.experiments.fig2", "Fig2"),
    "fig3": ("perdure.experiments.fig3", "Fig3"),
    "fig4a": ("perdure.experiments.fig4", "Fig4a"),
    "fig4b": ("perdure.experiments.fig4", "Fig4b"),
    "fig5": ("perdure.experiments.fig5", "Fig5"),
    "fig6": ("perdure.experiments.fig6", "Fig6"),
    "fig7a": ("perdure.experiments.fig7", "Fig7a"),
    "fig7b": ("perdure.experiments.fig7", "Fig7b"),
    "fig8a": ("perdure.experiments.fig8", "Fig8a"),
    "fig8b": ("perdure.experiments.fig8", "Fig8b"),
    "fig9": ("perdure.experiments.fig9", "Fig9"),
    "table1": ("perdure.experiments.table1", "Table1"),
    "fig10": ("perdure.experiments.fig10", "Fig10"),
    "fig11a": ("perdure.experiments.fig11", "Fig11a"),
    "fig11b": ("perdure.experiments.fig11", "Fig11b"),
    "fig12a": ("perdure.experiments.fig12", "Fig12a"),
    "fig12b": ("perdure.experiments.fig12", "Fig12b"),
    "appc": ("perdure.experiments.appc", "AppC"),
    "appj": ("perdure.experiments.appj", "AppJ"),
}


def names() -> tuple[str, ...]:
    """All names, in reading order.

    >>> names()[:3], len(names())
    (('fig1a', 'fig1b', 'fig2'), 21)
    """
    return tuple(PLACES)


def groups() -> dict[str, tuple[str, ...]]:
    """Figures with lettered parts: the figure's name -> the names of its parts.

    >>> groups()["fig4"]
    ('fig4a', 'fig4b')
    """
    parts: dict[str, list[str]] = {}
    for name in PLACES:
        if name[-1] in "ab" and name[-2].isdigit():
            parts.setdefault(name[:-1], []).append(name)
    return {figure: tuple(members) for figure, members in parts.items()}


def expand(wanted: Sequence[str]) -> tuple[str, ...]:
    """Names of experiments from what was typed: "all", a figure such as "fig4" for all its parts, or single names; no name twice, in reading order.

    Args:
        wanted: at least one; upper and lower case count the same.

    Raises:
        ArgumentError: a name is unknown, or there is none; the message lists the valid ones.

    >>> expand(["Fig4", "fig1b"])
    ('fig1b', 'fig4a', 'fig4b')
    """
    figures, chosen = groups(), set()
    if not wanted:
        raise ArgumentError(f"expected `NAMES` to hold at least one experiment, but got none: choose from all, {_listed()}")
    for typed in wanted:
        name = typed.strip().lower()
        if name == "all":
            chosen |= set(PLACES)
        elif name in figures:
            chosen |= set(figures[name])
        elif name in PLACES:
            chosen.add(name)
        else:
            near = difflib.get_close_matches(name, [*PLACES, *figures, "all"], n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ArgumentError(f"expected `NAMES` to be experiments, but got {typed!r}: {hint}Choose from all, {_listed()}")
    return tuple(name for name in PLACES if name in chosen)


def experiment(name: str) -> Experiment:
    """The experiment of a name; its module is imported now.

    Raises:
        ArgumentError: there is none of that name; the message lists the valid ones.
    """
    if name not in PLACES:
        raise ArgumentError(f"expected an experiment's name, but got {name!r}: choose from {', '.join(PLACES)}")
    module, kind = PLACES[name]
    return getattr(import_module(module), kind)()


def _listed() -> str:
    """What may be typed: figures with parts by their short name, the parts in brackets."""
    figures = groups()
    parts = {part for members in figures.values() for part in members}
    shown = []
    for name in PLACES:
        if name not in parts:
            shown.append(name)
        elif (figure := f"{name[:-1]} ({', '.join(figures[name[:-1]])})") not in shown:
            shown.append(figure)
    return ", ".join(shown)
