"""A transformers callback that logs how far back a model looks, and how stable its recurrent layers are, while it is trained."""

from __future__ import annotations

from typing import Any

from perdure import _checks
from perdure.errors import ArgumentTypeError
from perdure.integrations.monitor import MemoryMonitor

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError("perdure.integrations.transformers needs transformers: pip install 'perdure[transformers]'") from error


class MemoryCallback(TrainerCallback):
    """Log half-life, horizon(0.01) and stability radius while a `transformers.Trainer` trains.

    `MemoryCallback(...).attach(trainer)` sends the values through `trainer.log`, to whatever the trainer reports to. As one of `Trainer(callbacks=[...])` it
    knows no trainer: values go to `state.log_history`, and into the next log the trainer makes, where callbacks after it see them. Names are as for
    `perdure.integrations.lightning.MemoryCallback`; models are measured by their `inputs_embeds` where they have them.

    Args:
        every_n_steps: optimiser steps between measurements.
        **options: of `perdure.integrations.monitor.MemoryMonitor`: `module`, `input_size`, `horizon`, `dt`, `probe`, `bound`, `probes`, `budget`,
            `largest_state`, `prefix`, `seed`.

    Raises:
        ArgumentError: an option out of range; when training starts: no submodule of the name given.

    >>> MemoryCallback(every_n_steps=50, horizon=64).monitor.horizon
    64
    """

    def __init__(self, *, every_n_steps: int = 100, **options: Any) -> None:
        self.every_n_steps = _checks.positive_int(every_n_steps, "every_n_steps", "pass how many steps lie between two measurements")
        self.monitor = MemoryMonitor(**options)
        self.trainer: Any = None
        self._waiting: dict[str, float] = {}

    def attach(self, trainer: Any) -> MemoryCallback:
        """Add this callback to a trainer, and log through it.

        Raises:
            ArgumentTypeError: no trainer.
        """
        if not hasattr(trainer, "add_callback") or not hasattr(trainer, "log"):
            raise ArgumentTypeError(
                f"expected argument `trainer` to be a transformers.Trainer, but got {type(trainer).__name__}: pass the trainer itself"
            )
        self.trainer = trainer
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Start the clock."""
        if state.is_world_process_zero and model is not None:
            self.monitor.start(model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Measure after every n-th step."""
        if state.global_step % self.every_n_steps or not state.is_world_process_zero or model is None:
            return
        found = self.monitor.measure(model)
        if not found:
            return
        if self.trainer is None:
            state.log_history.append({**found, "step": state.global_step})
            self._waiting |= found
            return
        due = control.should_log  # logging resets it: what the trainer is about to log must not be lost
        self.trainer.log(dict(found))
        control.should_log = due

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Add what was measured to the trainer's own log."""
        if self._waiting and logs is not None:
            logs.update(self._waiting)
            self._waiting = {}
