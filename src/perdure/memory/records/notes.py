"""What a reader of the numbers should know."""

from __future__ import annotations

import math
from collections.abc import Sequence

from perdure.memory.records.arguments import Records
from perdure.memory.records.excitation import POOR
from perdure.memory.records.linear import COLOURED, Estimate


def notes_on(records: Records, found: Sequence[Estimate], exciting: float) -> tuple[str, ...]:
    """Notes on the noise, the inputs and the window."""
    out = []
    for k, one in enumerate(found):
        which = f"output {k}: " if len(found) > 1 else ""
        if one.after is not None:
            rest = (
                "is white" if one.after.p_value >= COLOURED else f"is still coloured (p = {one.after.p_value:.1e}): bands are approximate"
            )
            said = f"the residuals were coloured (Ljung-Box p = {one.before.p_value:.1e})"
            out.append(
                f"{which}{said}: an autoregression of order {one.coefficients.size} was filtered off, after which what is left {rest}"
            )
        elif one.before.p_value < COLOURED:
            out.append(
                f"{which}the residuals are coloured (Ljung-Box p = {one.before.p_value:.1e}): the bands take them for white and may be too narrow; "
                "pass noise='ar', unless what is left is nonlinear or slower than the window"
            )
        if math.isnan(one.held_out):
            out.append(f"{which}no held-out part: the records are too short for one, or holdout is 0")
    if exciting > POOR:
        size = "inf" if math.isinf(exciting) else f"{exciting:.1e}"
        out.append(
            f"the inputs are poorly exciting (condition number {size} of the moments of {records.lags} lags): some combinations of lags are hardly seen, "
            "and the prior decides there"
        )
    if math.isnan(exciting):
        out.append("how exciting the inputs are was not measured: lags times channels exceed 2048")
    rows = records.inputs.shape[0] * (records.steps - records.lags + 1)
    if rows < 2 * records.lags * records.inputs.shape[2]:
        out.append(
            f"{rows} outputs with all their lags for {records.lags * records.inputs.shape[2]} coefficients: much of the estimate is the prior's"
        )
    return tuple(out)
