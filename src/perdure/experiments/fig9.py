"""Fig. 9: training on MNIST from the same initial weights, by map."""

from __future__ import annotations

from typing import Any

import numpy as np

from perdure.experiments.base import Claim, Outcome
from perdure.experiments.mnist import LINE, MAPS, MARKER, STABLE, TONE, MnistExperiment, MnistSpec, of_map, setting, shortened, undecided
from perdure.experiments.paired import LEVEL, Paired, paired
from perdure.report.chart import Chart, Series


class Fig9(MnistExperiment):
    """Do stable maps train faster than the direct one?"""

    name = "fig9"
    title = "MNIST: training curves by parametrisation"
    source = "Wang, Li & Li 2024, Fig. 9"
    method = (
        "The paper trains recurrent networks on MNIST from the same initial weights under four maps; its network and optimiser are not published. "
        "Here the network is its eq. (1) with diagonal W, reading one pixel a step, all else as in its Fig. 2; maps are compared seed by seed."
    )

    def charts(self, table: Any, spec: MnistSpec) -> list[Chart]:
        """Training loss and test accuracy against epochs: the mean over seeds, and between which values the seeds lie."""
        caption = (
            f"{setting(spec)} Means over seeds; dotted: least and greatest of direct and of exp, near which the other stable maps lie."
        )
        return [
            Chart("fig9-loss", "Training loss", "epoch", "cross-entropy (nats)", _curves(table, "train_loss"), caption),
            Chart("fig9-accuracy", "Test accuracy", "epoch", "accuracy (%)", _curves(table, "test_accuracy"), caption),
        ]

    def claims(self, table: Any, spec: MnistSpec) -> list[Claim]:
        """Stable maps train faster: decided by the training loss averaged over the run, paired by seed."""
        found = {name: paired(_mean_loss(table, "direct"), _mean_loss(table, name)) for name in STABLE}
        ours = "; ".join(f"{name} {difference} nats" for name, difference in found.items())
        lower = {name: _records_below(table, name) for name in STABLE}
        counts = ", ".join(f"{name} {share}" for name, share in lower.items())
        rule = (
            "Decided by the training loss, averaged over the run and paired by seed: agrees where direct lies above every stable map by more than "
            "chance (Student's t, one-sided 5 %), differs where it lies below one (5 % shared by the three). "
        )
        return [
            Claim(
                "With the same initial weights, the stable maps (softplus, inverse, exp) train faster than direct.",
                "curves of the stable maps below that of direct",
                f"training loss of direct less that of the stable map, mean over the run ± standard error: {ours}",
                undecided(all_above(found), spec),
                f"{shortened(spec)}At single records, the mean loss is below direct's at: {counts}. {setting(spec)}",
                rule,
            )
        ]


def all_above(found: dict[str, Paired]) -> Outcome:
    """Agrees where every difference is above 0 beyond chance, differs where one is below, else it could not be tested.

    That all are above at 5 % each is sure at 5 %. That one of k is below by chance is k times as likely, so that it takes 5 % / k (Bonferroni).
    """
    if all(difference.verdict == "above" for difference in found.values()):
        return "agrees"
    return "differs" if min(difference.p_below for difference in found.values()) < (1 - LEVEL) / len(found) else "could not be tested"


def _mean_loss(table: Any, name: str) -> dict[int, float]:
    return {
        int(seed): float(value)
        for seed, value in of_map(table, name).groupby("seed")["train_loss"].agg(lambda x: x.mean(skipna=False)).items()
    }


def _records_below(table: Any, name: str) -> str:
    stable, direct = (of_map(table, which).groupby("record")["train_loss"].mean() for which in (name, "direct"))
    return f"{int((stable < direct).sum())} of {len(direct)}"


def _curves(table: Any, column: str) -> tuple[Series, ...]:
    """Of each map the mean with a label, and of direct and exp the least and greatest of the seeds without: the stable maps nearly coincide."""
    series = []
    for name in MAPS:
        rows = of_map(table, name)
        groups = rows.groupby("epoch")[column]
        mean, low, high = groups.mean(), groups.min(), groups.max()
        epochs = np.asarray(mean.index, dtype=float)
        series.append(Series(name, epochs, mean.to_numpy(float), TONE[name], LINE[name], MARKER[name]))
        if name in ("direct", "exp") and rows["seed"].nunique() > 1:
            edge = np.concatenate([epochs, [np.nan], epochs])
            series.append(Series("", edge, np.concatenate([low.to_numpy(float), [np.nan], high.to_numpy(float)]), TONE[name], "dot", None))
    return tuple(series)
