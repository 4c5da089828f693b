"""Stored runs by what one types for them: a folder, the beginning of a name, or a whole store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perdure.errors import ArgumentError
from perdure.experiments import catalogue
from perdure.experiments.store import list_runs

SHOWN = 12  # candidates named in a message


def choose(wanted: Sequence[str], store: str | Path) -> list[Path]:
    """Folders of runs, in the reading order of their experiments, each experiment once.

    Args:
        wanted: each the folder of a run, the beginning of the name of one in the store, or the folder of a store, which stands for the run of each
            experiment that was started last.
        store: where names are looked up.

    Raises:
        ArgumentError: nothing fits, several do (they are listed), or two runs are of one experiment.
    """
    found: dict[str, Path] = {}
    for typed in wanted:
        for path, experiment in _fitting(typed, Path(store)):
            if found.setdefault(experiment, path).resolve() != path.resolve():
                both = f"{found[experiment].name} and {path.name}"
                raise ArgumentError(
                    f"expected `RUN` to name each experiment once, but {both} are both of {experiment}: write a page for each"
                )
    order = {name: place for place, name in enumerate(catalogue.names())}
    return [found[name] for name in sorted(found, key=lambda name: (order.get(name, len(order)), name))]


def damaged(wanted: Sequence[str]) -> list[str]:
    """What is wrong with runs that were left out of the stores among `wanted`, a line each."""
    stores = [Path(typed) for typed in wanted if typed.strip() and Path(typed).is_dir() and not (Path(typed) / "manifest.json").is_file()]
    return [f"the run {Path(s.folder).name}: {s.problem}" for store in stores for s in list_runs(store) if s.problem]


def _fitting(typed: str, store: Path) -> list[tuple[Path, str]]:
    if not typed.strip():
        raise ArgumentError(
            "expected `RUN` to be a folder or the beginning of a run's name, but got an empty name: see what there is with perdure runs"
        )
    path = Path(typed)
    if path.is_dir():
        if (path / "manifest.json").is_file():
            summaries = [s for s in list_runs(path.parent) if Path(s.folder).name == path.resolve().name]
            return [(path, summaries[0].experiment if summaries else path.name)]
        latest: dict[str, tuple[Path, str]] = {}
        for summary in (s for s in list_runs(path) if not s.problem):  # newest first; `damaged` names the others
            latest.setdefault(summary.experiment, (Path(summary.folder), summary.experiment))
        if not latest:
            raise ArgumentError(
                f"expected `RUN` to be a run or a store of runs, but the folder {typed!r} holds neither: perdure reproduce makes one"
            )
        return list(latest.values())
    runs = list_runs(store) if store.is_dir() else []
    fitting = [s for s in runs if Path(s.folder).name == typed] or [s for s in runs if Path(s.folder).name.startswith(typed)]
    if len(fitting) == 1:
        return [(Path(fitting[0].folder), fitting[0].experiment)]
    if fitting:
        raise ArgumentError(f"expected `RUN` to fit one run, but {typed!r} fits {len(fitting)}: {_named(fitting)}. Type more of the name")
    there = f"the store holds {_named(runs)}" if runs else f"there are no runs in {str(store)!r}, perdure reproduce makes some"
    raise ArgumentError(f"expected `RUN` to be a folder or the beginning of a run's name, but got {typed!r}: {there}")


def _named(runs: Sequence[object]) -> str:
    names = [Path(run.folder).name for run in runs]  # pyright: ignore[reportAttributeAccessIssue]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
