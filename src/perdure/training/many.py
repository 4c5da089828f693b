"""Many trainings: every width with every seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from perdure import _checks, _random
from perdure.errors import ArgumentTypeError
from perdure.training.fit import fit, prepare
from perdure.training.result import FitResult
from perdure.training.together import go_together, train_together

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Fits(Mapping[tuple[int, int], FitResult]):
    """Trained models by (width, seed).

    Attributes:
        results: the same, as a dictionary.
        together: whether they were trained as one batch.
        seconds: spent on all of them.
    """

    results: dict[tuple[int, int], FitResult] = field(repr=False)
    together: bool
    seconds: float

    def __getitem__(self, key: tuple[int, int]) -> FitResult:
        return self.results[key]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def to_frame(self) -> pd.DataFrame:
        """One row a model."""
        import pandas as pd

        names = ("method", "error", "best_loss", "best_step", "rolled_back", "stopped", "seconds")
        rows = [{"width": w, "seed": s} | {name: getattr(result, name) for name in names} for (w, s), result in self.results.items()]
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists."""
        rows = [{"width": w, "seed": s} | result.to_dict() for (w, s), result in self.results.items()]
        return {"together": self.together, "seconds": self.seconds, "results": rows}


def fit_many(
    build: Callable[[int], nn.Module] | Any,
    target: Any,
    widths: Sequence[int],
    seeds: Sequence[int] = (0,),
    *,
    together: bool | None = None,
    **options: Any,
) -> Fits:
    """`perdure.fit` for every width with every seed.

    With method "adam" all copies of all widths of a one-layer `ContinuousRNN` (Euler's method, one output) can be trained as one batch: each as it would
    be alone, to rounding. On one CPU core that takes from 0.6 to 1.3 times as long as one after the other (the recurrence is at its floor at
    batches of 128, and narrow copies cost as much as the widest), so it is the default on accelerators only. Everything else is trained one after
    the other.

    Args:
        build: width -> model; called with torch's random state seeded by the seed, so that it may draw.
        target: as for `fit`.
        widths: hidden sizes.
        seeds: of the initial weights and of the training sequences.
        together: whether to train as one batch what can be; None: where it is not on the CPU.
        **options: of `fit`, other than seed and checkpoint.

    Returns:
        `Fits`, a mapping from (width, seed) to `FitResult`.

    Raises:
        ArgumentError: no widths or seeds, or an option of `fit` that breaks a rule. ArgumentTypeError: build cannot be called, an unknown option.

    >>> from perdure import functionals as F
    >>> from perdure.nn import ContinuousRNN
    >>> fits = fit_many(lambda m: ContinuousRNN(1, m, dt=0.1, output_size=1), F.exponential(1.0), widths=(1, 2), dt=0.1)
    >>> [fits[width, 0].error < 1e-5 for width in (1, 2)]
    [True, True]
    """
    if not callable(build):
        raise ArgumentTypeError(f"expected argument `build` to be callable, but got {type(build).__name__}: pass lambda width: model")
    for name in ("seed", "checkpoint", "callback"):
        if name in options:
            raise ArgumentTypeError(
                f"expected `fit_many` to get no `{name}`, but got {options[name]!r}: it belongs to one training; call perdure.fit"
            )
    widths = [_checks.positive_int(width, "widths") for width in widths]
    seeds = [_checks.positive_int(seed, "seeds", "pass non-negative integers", least=0) for seed in seeds]
    for name, values in (("widths", widths), ("seeds", seeds)):
        if not values or len(set(values)) < len(values):
            raise _checks.fail(name, "non-empty, without repeats", values, "pass for example [4, 8, 16]")
    start = time.perf_counter()
    keys = [(width, seed) for width in widths for seed in seeds]
    models = {}
    for width, seed in keys:
        with _random.isolated(seed):
            models[width, seed] = build(width)
    prepared = [prepare(models[key], target, seed=key[1], **options) for key in keys] if _adam(options) else []
    possible = len(keys) > 1 and bool(prepared) and go_together([job.plan.twin.model for job in prepared])
    if together and not possible:
        fix = "leave it out: the others are trained one after the other"
        raise _checks.fail(
            "together", 'None or False unless method is "adam" and the models are one-layer ContinuousRNNs of one kind', together, fix
        )
    as_one = possible and (prepared[0].plan.twin.device.type != "cpu" if together is None else bool(together))
    if as_one:
        train_together([job.plan for job in prepared], prepared[0].limits)
        results = {key: job.result() for key, job in zip(keys, prepared, strict=True)}
    elif prepared:
        results = {key: job.run().result() for key, job in zip(keys, prepared, strict=True)}
    else:
        results = {key: fit(models[key], target, seed=key[1], **options) for key in keys}
    return Fits(results, as_one, time.perf_counter() - start)


def _adam(options: dict[str, Any]) -> bool:
    return options.get("method") == "adam" or options.get("protocol") is not None
