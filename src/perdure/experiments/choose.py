"""Stored runs by what one types for them: a folder, the beginning of a name, or a whole store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perdure.errors import ArgumentError
from perdure.experiments import catalogue
from perdure.experiments.store import Summary, list_runs, preferred, summary_of

SHOWN = 12  # candidates named in a message


def choose(wanted: Sequence[str], store: str | Path, profile: str | None = None) -> list[Path]:
    """Folders of runs, in the reading order of their experiments, each experiment once.

    Args:
        wanted: each the folder of a run, the beginning of the name of one in the store, or the folder of a store, which stands for one run of each
            experiment: a complete one if there is any, and of these the one worked on last.
        store: where names are looked up.
        profile: of the runs; None for any.

    Raises:
        ArgumentError: nothing fits, several do (they are listed), a run is damaged, or two runs are of one experiment.
    """
    found: dict[str, Path] = {}
    for typed in wanted:
        for run in _fitting(typed, Path(store), profile):
            if run.problem:
                raise ArgumentError(f"expected `RUN` to be whole, but {run.folder.name} is not ({run.problem}): run the experiment again")
            path = found.setdefault(run.experiment, run.folder)
            if path.resolve() != run.folder.resolve():
                both = f"{path.name} and {run.folder.name}"
                raise ArgumentError(
                    f"expected `RUN` to name each experiment once, but {both} are both of {run.experiment}: write a page for each"
                )
    order = {name: place for place, name in enumerate(catalogue.names())}
    return [found[name] for name in sorted(found, key=lambda name: (order.get(name, len(order)), name))]


def damaged(wanted: Sequence[str]) -> list[str]:
    """What is wrong with runs that were left out of the stores among `wanted`, a line each."""
    stores = [Path(typed) for typed in wanted if typed.strip() and Path(typed).is_dir() and not (Path(typed) / "manifest.json").is_file()]
    return [f"the run {run.folder.name}: {run.problem}" for store in stores for run in list_runs(store) if run.problem]


def _fitting(typed: str, store: Path, profile: str | None) -> list[Summary]:
    if not typed.strip():
        raise ArgumentError(
            "expected `RUN` to be a folder or the beginning of a run's name, but got an empty name: see what there is with perdure runs"
        )
    path = Path(typed)
    if path.is_dir():
        run = summary_of(path.resolve())  # its name too where "." was typed
        runs = list_runs(path) if run is None else [run]
        if all(one.problem for one in runs) and run is None:
            raise ArgumentError(
                f"expected `RUN` to be a run or a store of runs, but the folder {typed!r} holds neither: perdure reproduce makes one"
            )
        runs = _of_profile(runs, profile)
        return list(preferred(runs, lambda one: one.experiment).values()) if run is None else runs
    runs = list_runs(store) if store.is_dir() else []
    fitting = [s for s in runs if s.folder.name == typed] or [s for s in runs if s.folder.name.startswith(typed)]
    if not fitting:
        there = f"the store holds {_named(runs)}" if runs else f"there are no runs in {str(store)!r}, perdure reproduce makes some"
        raise ArgumentError(f"expected `RUN` to be a folder or the beginning of a run's name, but got {typed!r}: {there}")
    fitting = _of_profile(fitting, profile)
    if len(fitting) == 1:
        return fitting
    raise ArgumentError(f"expected `RUN` to fit one run, but {typed!r} fits {len(fitting)}: {_named(fitting)}. Type more of the name")


def _of_profile(runs: Sequence[Summary], profile: str | None) -> list[Summary]:
    """Those of a profile; a damaged one does not say which it has, and stays to be named.

    Raises:
        ArgumentError: there is none of it.
    """
    if profile is None:
        return list(runs)
    fitting = [run for run in runs if run.problem or run.profile == profile]
    if all(run.problem for run in fitting):
        there = ", ".join(sorted({run.profile for run in runs if not run.problem}))
        raise ArgumentError(f"expected `--profile` to be that of a run, but got {profile!r}: these runs are of {there}")
    return fitting


def _named(runs: Sequence[Summary]) -> str:
    names = [run.folder.name for run in runs]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
