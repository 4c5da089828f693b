"""`perdure audit` and `perdure compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from perdure.cli.app import app, progress
from perdure.errors import ArgumentError

SPEC = (
    "package.module:name of a model, or of a function that builds one. Its module is looked for in the current folder first, as by python -m, and imported: "
    "that is the only code of yours that runs."
)
Horizon = Annotated[int, typer.Option("--horizon", help="Steps to measure: the length the model is trained on.")]
Width = Annotated[int | None, typer.Option("--input-size", help="Input channels, where the model does not tell.")]
Step = Annotated[float, typer.Option("--dt", help="Time between steps.")]
Limit = Annotated[str, typer.Option("--budget", metavar="TIME", help="Such as 90, 120s, 5m; none for no limit.")]
Seed = Annotated[int, typer.Option("--seed", help="Of all searches.")]


@app.command()
def audit(
    spec: Annotated[str | None, typer.Argument(metavar="[PACKAGE.MODULE:NAME]", help=SPEC)] = None,
    transformers: Annotated[
        Path | None, typer.Option("--transformers", metavar="DIR", help="A saved transformers model, in place of a name.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="State of the model: .safetensors, or .pt read with weights_only.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The page.")] = Path("audit.html"),
    json: Annotated[Path | None, typer.Option("--json", help="All numbers as JSON; perdure compare reads it.")] = None,
    input_size: Width = None,
    horizon: Horizon = 1024,
    dt: Step = 1.0,
    data: Annotated[Path | None, typer.Option("--data", help="Typical inputs, .npy of shape (N, T, d) or (T, d).")] = None,
    budget: Limit = "110s",
    parts: Annotated[str | None, typer.Option("--parts", metavar="A,B,...", help="Only these parts.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the model on the page.")] = None,
    require: Annotated[
        list[str] | None,
        typer.Option("--require", help='Such as "horizon(0.01) >= 512"; may be repeated. Exit code 1 where one is not met.'),
    ] = None,
    seed: Seed = 0,
) -> None:
    """What a model remembers and how fragile that memory is, on one page."""
    from perdure.audits.require import requirement
    from perdure.audits.result import file_path

    wanted = [requirement(text) for text in require or ()]  # bad requirements are reported before the work
    file_path(out, "--out")
    if json is not None:
        file_path(json, "--json")
    seconds = duration(budget)
    model = _model(spec, transformers, weights)
    options: dict[str, Any] = {"input_size": input_size, "horizon": horizon, "dt": dt, "budget": seconds, "seed": seed}
    if data is not None:
        options["data"] = _array(data)
    if parts is not None:
        options["parts"] = [part.strip() for part in parts.split(",")]
    found = _audited(model, name or _name(spec, transformers), options)
    typer.echo(f"wrote {found.save(out)}")
    if json is not None:
        typer.echo(f"wrote {found.to_json(json)}")
    outcomes = [r.check(found) for r in wanted]
    for outcome in outcomes:
        typer.echo(str(outcome))
    if not all(outcome.met for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(metavar="A B ...", help="Audits saved with --json, or package.module:name of models.")],
    out: Annotated[Path, typer.Option("--out", help="The page.")] = Path("compare.html"),
    json: Annotated[Path | None, typer.Option("--json", help="The numbers side by side as JSON.")] = None,
    input_size: Width = None,
    horizon: Horizon = 1024,
    dt: Step = 1.0,
    budget: Limit = "110s",
    seed: Seed = 0,
) -> None:
    """Several models or checkpoints side by side, on one page."""
    from perdure.audits.compare import compare as together
    from perdure.audits.result import Audit, file_path

    file_path(out, "--out")
    if json is not None:
        file_path(json, "--json")
    if len(models) < 2:
        raise ArgumentError(
            f"expected at least two models to compare, but got {len(models)}: name audits saved as JSON, or package.module:name"
        )
    options: dict[str, Any] = {"input_size": input_size, "horizon": horizon, "dt": dt, "budget": duration(budget), "seed": seed}
    audits = []
    for text in models:
        if text.endswith(".json") or ":" not in text:
            audits.append(Audit.from_json(text))
        else:
            audits.append(_audited(_model(text, None, None), text, options))
    found = together(*audits)
    typer.echo(f"wrote {found.save(out)}")
    if json is not None:
        typer.echo(f"wrote {found.to_json(json)}")


def _audited(model: Any, name: str, options: dict[str, Any]) -> Any:
    from perdure.audits.audit import audit as measure

    with progress() as shown:
        task = shown.add_task(name, total=None)
        return measure(model, name=name, tick=lambda text: shown.update(task, description=f"{name}: {text}"), **options)


def _model(spec: str | None, folder: Path | None, weights: Path | None) -> Any:
    from perdure.audits.loading import load_object, load_transformers, load_weights

    if (spec is None) == (folder is None):
        raise ArgumentError("expected either package.module:name or --transformers DIR, but got " + ("neither" if spec is None else "both"))
    model = load_transformers(folder) if folder is not None else load_object(str(spec))
    return model if weights is None else load_weights(model, weights)


def _name(spec: str | None, folder: Path | None) -> str:
    return str(spec) if folder is None else folder.resolve().name


def _array(path: Path) -> Any:
    """An array out of a .npy file, nothing pickled."""
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"expected `--data` to be a .npy file of numbers, but got {path.name} ({error}): save one with numpy.save"
        ) from None


def duration(text: str) -> float | None:
    """Seconds out of "90", "120s", "5m", "1h"; None for "none".

    >>> duration("2m"), duration("90"), duration("none")
    (120.0, 90.0, None)
    """
    from perdure import _checks

    if text.strip().lower() == "none":
        return None
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}
    plain = text.strip().lower()
    factor = unit.get(plain[-1:], 1.0)
    try:
        value = factor * float(plain[:-1] if plain[-1:] in unit else plain)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise _checks.fail("--budget", "a time above zero such as 90, 120s or 5m, or none", text, "write a number and a unit")
    return value
