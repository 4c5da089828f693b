"""A Lightning callback that logs how far back a model looks, and how stable its recurrent layers are, while it is trained."""

from __future__ import annotations

from typing import Any

from perdure import _checks
from perdure.integrations.monitor import MemoryMonitor

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback  # pyright: ignore[reportAssignmentType]
    except ImportError as error:
        raise ImportError("perdure.integrations.lightning needs Lightning: pip install 'perdure[lightning]'") from error


class MemoryCallback(Callback):  # pyright: ignore[reportGeneralTypeIssues]  # one of two classes of that name, whichever is installed
    """Log half-life, horizon(0.01) and stability radius to the trainer's loggers.

    Values go to every logger of the trainer, and to `trainer.callback_metrics`, under "perdure/half_life", "perdure/horizon_0.01", "perdure/memory_left" (share
    of the peak at the end of the horizon: where it exceeds the level, half-life and horizon are the horizon's end, a lower bound), "perdure/stability_radius" (the
    least of the recurrent layers found: by how much the Jacobian of a step may change before the layer no longer settles), "perdure/spectral_radius" and
    "perdure/overhead". See `perdure.integrations.monitor` for the budget and for what is left untouched.

    Args:
        every_n_steps: optimiser steps between measurements; None for none by steps.
        every_n_epochs: epochs between measurements, at their end; None for none by epochs.
        **options: of `perdure.integrations.monitor.MemoryMonitor`: `module`, `input_size`, `horizon`, `dt`, `probe`, `bound`, `probes`, `budget`,
            `largest_state`, `prefix`, `seed`.

    Raises:
        ArgumentError: an option out of range; when training starts: no submodule of the name given.

    >>> callback = MemoryCallback(every_n_steps=50, module="encoder", horizon=64)
    >>> callback.monitor.budget
    0.02
    """

    def __init__(self, *, every_n_steps: int | None = 100, every_n_epochs: int | None = None, **options: Any) -> None:
        super().__init__()
        fix = "pass how many lie between two measurements, or None"
        self.every_n_steps = None if every_n_steps is None else _checks.positive_int(every_n_steps, "every_n_steps", fix)
        self.every_n_epochs = None if every_n_epochs is None else _checks.positive_int(every_n_epochs, "every_n_epochs", fix)
        if self.every_n_steps is None and self.every_n_epochs is None:
            raise _checks.fail("every_n_steps", "given where every_n_epochs is None", None, "nothing would be measured")
        self.monitor = MemoryMonitor(**options)
        self._last = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock."""
        self._last = int(trainer.global_step)
        if trainer.is_global_zero:
            self.monitor.start(pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure after every n-th optimiser step."""
        step = int(trainer.global_step)
        if self.every_n_steps is not None and step != self._last and step % self.every_n_steps == 0:
            self._last = step
            self._log(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure at the end of every n-th epoch."""
        if self.every_n_epochs is not None and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._log(trainer, pl_module)

    def _log(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        found = self.monitor.measure(pl_module)
        if not found:
            return
        for name, value in found.items():
            pl_module.log(name, value, logger=False, rank_zero_only=True)
        for logger in trainer.loggers:
            logger.log_metrics(found, step=int(trainer.global_step))
