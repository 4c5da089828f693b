"""What a model is: measured on it, not taken from its name, each answer with the number that decided it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from perdure import _checks
from perdure._random import isolated
from perdure.adapters import trials
from perdure.adapters.applicable import probes
from perdure.adapters.calls import Calls
from perdure.adapters.frozen import Frozen, in_some_type, native_dtype
from perdure.adapters.measured import Measured
from perdure.adapters.sequence import Adapted, adapt
from perdure.adapters.sizes import declared_length
from perdure.errors import ArgumentError, ArgumentTypeError, PerdureError

__all__ = ["Measured", "Properties", "measure"]
QUESTIONS = ("causal", "random", "stateful", "rows_independent", "time_homogeneous", "linear", "zero_in_zero_out", "length_free")


@dataclass(frozen=True)
class Properties:
    """What a model was found to be. The first eight carry the number that decided, see `Measured`.

    Attributes:
        causal: no output moves before the input does. The gap is the largest early move over the largest output, `step` the first one that moves.
        random: outputs depend on what random generators give.
        stateful: a call changes what the next one gives.
        rows_independent: the sequences of a batch are treated alike and alone.
        time_homogeneous: a delayed input gives the delayed response, the response to no input subtracted.
        linear: superposition, the response to no input subtracted.
        zero_in_zero_out: no input gives no output.
        length_free: the first outputs do not depend on how long the sequence is.
        maximum_length: steps that the model says it takes at most; None where it does not say.
        length_named: the name by which it says so.
        fails_at: a number of steps at which it was found to raise; None if at none that were tried.
        longest: most steps at which it was found to run.
        parameters, trainable: counts of numbers, tied ones once.
        dtype, device: the model's own.
        measured_dtype: type of the numbers it was measured in.
        precision: relative precision of the model's arithmetic, as seen in its outputs.
        input_size, output_size: channels.
        horizon: steps of the inputs.
        bound: largest |x|_inf of the inputs, around the background.
        seed: of the inputs.
        probes: name of a probe -> None if it applies, else why it does not. "influence" is |dy_t / dx_s| at signed lags t - s.
        notes: what a reader should know.
    """

    causal: Measured
    random: Measured
    stateful: Measured
    rows_independent: Measured
    time_homogeneous: Measured
    linear: Measured
    zero_in_zero_out: Measured
    length_free: Measured
    maximum_length: int | None
    length_named: str
    fails_at: int | None
    longest: int
    parameters: int
    trainable: int
    dtype: str
    device: str
    measured_dtype: str
    precision: float
    input_size: int
    output_size: int
    horizon: int
    bound: float
    seed: int
    probes: dict[str, str | None]
    notes: tuple[str, ...]

    @property
    def applicable_probes(self) -> tuple[str, ...]:
        """Names of the probes that make sense for this model."""
        return tuple(name for name, reason in self.probes.items() if reason is None)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain Python values."""
        found = asdict(self)
        return found | {"applicable_probes": list(self.applicable_probes), "notes": list(self.notes)}

    def to_frame(self) -> Any:
        """A pandas table, one row a measured property."""
        import pandas as pd

        rows = [{"property": name, **asdict(getattr(self, name))} for name in QUESTIONS]
        return pd.DataFrame(rows).set_index("property")


def measure(
    model: Any,
    horizon: Any = 64,
    *,
    input_size: int | None = None,
    dt: float | None = None,
    batch_first: bool | None = None,
    layout: str | None = None,
    bound: float = 1.0,
    background: Any = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Properties:
    """What a model is, from some twenty calls of it with random inputs.

    Each answer compares outputs that would be equal if the property held. The gap between them is reported relative to the largest output (for
    `time_homogeneous` and `linear`, the largest response), beside `limit`, the gap that rounding may open, which is measured too (see
    `perdure.adapters.rounding`). "Yes" means no counterexample among these inputs: a model that looks ahead only past a threshold that they
    do not reach passes for causal. "No" is certain. `None`, undecided, comes with the reason.

    The model is measured through a copy in evaluation mode, and is left as it was, also when it raises.

    Args:
        model: whatever `perdure.adapters.adapt` takes, or what it returns.
        horizon: steps of the inputs, at least 8. Some are twice as long.
        input_size: channels; None asks the model.
        dt: time between steps, for models that take it; None for 1.
        batch_first: whether the model has the batch on axis 0; None asks the model.
        layout: the order of axes, see `adapt`.
        bound: largest |x|_inf of the random inputs.
        background: (T, d), T >= 2 horizon, to which they are added; None for zeros.
        seed: of the inputs; the global generators are left alone.
        dtype: type to measure in; the model's own where it raises in that one.

    Raises:
        ArgumentError: an argument breaks its rule.
        ModelError: outputs are not (B, T, d_out), or not finite.

    >>> found = measure(torch.nn.LSTM(1, 4, bidirectional=True), horizon=16)
    >>> found.causal.holds, found.causal.step, found.rows_independent.holds, found.applicable_probes
    (False, 0, True, ('influence',))
    """
    horizon = _checks.positive_int(horizon, "horizon", "these tests need at least eight steps", least=8)
    bound = _checks.positive(bound, "bound", "it is the largest |x|_inf of the inputs")
    seed = _checks.positive_int(seed, "seed", "pass an integer of at least 0", least=0)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ArgumentTypeError(f"expected argument `dtype` to be a floating-point torch type, but got {dtype!r}: pass torch.float64")
    call = adapt(model, input_size=input_size, dt=dt, batch_first=batch_first, layout=layout)
    text = _background(background, 2 * horizon, call.input_size)
    try:
        with isolated(seed), torch.inference_mode(False), torch.no_grad():
            return in_some_type(call, dtype, partial(_measured, call=call, horizon=horizon, bound=bound, background=text, seed=seed))
    except PerdureError:
        raise
    except Exception as error:
        error.add_note("raised while perdure.adapters.measure called the model")
        raise


def _background(given: Any, steps: int, size: int) -> torch.Tensor:
    if given is None:
        return torch.zeros(steps, size, dtype=torch.float64)
    array = _checks.finite_array(given.detach().cpu().numpy() if isinstance(given, torch.Tensor) else given, "background")
    if array.ndim != 2 or array.shape[0] < steps or array.shape[1] != size:
        raise ArgumentError(
            f"expected argument `background` to be of shape (T, {size}) with T >= {steps}, but got {array.shape}: "
            "pass one input sequence twice as long as the horizon"
        )
    return torch.as_tensor(array[:steps])


def _measured(
    twin: Frozen, notes: tuple[str, ...], *, call: Adapted, horizon: int, bound: float, background: torch.Tensor, seed: int
) -> Properties:
    length, named = declared_length(call.model) or (None, "")
    if length is not None and horizon > length:
        said = f"at most {length}, the model's {named}"
        raise _checks.fail("horizon", said, horizon, "the model may have no positions beyond it: measure fewer steps")
    calls = Calls(call, twin, background.to(twin.device, twin.dtype), horizon, bound, seed)
    lengths = trials.find_lengths(calls, length)
    rows = trials.rows_independent(calls)
    calls.alone = rows.holds is False
    found = {
        "causal": trials.causal(calls), "random": calls.random, "stateful": calls.stateful, "rows_independent": rows,
        "time_homogeneous": trials.time_homogeneous(calls), "linear": trials.linear(calls), "zero_in_zero_out": trials.zero_in_zero_out(calls),
        "length_free": trials.length_free(calls, lengths),
    }  # fmt: skip
    own = list(call.parameters())
    return Properties(
        **found,
        maximum_length=length,
        length_named=named,
        fails_at=lengths.fails_at,
        longest=lengths.longest,
        parameters=sum(p.numel() for p in own),
        trainable=sum(p.numel() for p in own if p.requires_grad),
        dtype=str(native_dtype(call)).removeprefix("torch."),
        device=str(twin.device),
        measured_dtype=str(twin.dtype).removeprefix("torch."),
        precision=calls.eps,
        input_size=call.input_size,
        output_size=int(calls.output_size),
        horizon=horizon,
        bound=bound,
        seed=seed,
        probes=probes(found, calls, lengths),
        notes=(*notes, *lengths.said),
    )
