r"""What both callbacks do: measure a model now and then, within a share of the training time, and leave the training as it was.

The clock. Of the time since training began, at most `budget` may have gone into measurements once the next is done: a measurement is put off while

    spent + expected > budget * elapsed,

where what is expected is the cost of the last one of its kind, and for the first, eight times that of a trial on a tenth of the steps, which is made at the first
opportunity. So the share of the budget is passed by no more than what one measurement costs beyond what was expected of it.

What is measured is a frozen copy, with random numbers of its own: weights, optimiser states and generators are those of a training without the
callback, bit for bit. Whatever goes wrong is said once, through `logging.getLogger("perdure.integrations")`, and that quantity is left out from then on.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from perdure import _checks
from perdure.adapters.frozen import native_dtype
from perdure.adapters.sizes import declared_length
from perdure.errors import ArgumentTypeError, PerdureError
from perdure.memory.measure import memory_function
from perdure.memory.probes import NAMES as PROBES
from perdure.nn import ContinuousRNN, DiagonalSSM
from perdure.stability.equilibrium import NoEquilibriumError
from perdure.stability.linearise import linearise

LOGGER = logging.getLogger("perdure.integrations")
RECURRENT = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell, ContinuousRNN, DiagonalSSM)
QUANTITIES = ("memory", "stability")
TRIAL = 10  # the part of the horizon of the trial
CAUTION = 8.0  # the first measurement is expected to cost this many trials
LEAST = 4  # steps of a trial


class MemoryMonitor:
    """Measurements of a model in training, within a budget of time.

    Args:
        module: name of the submodule to measure, as in `model.get_submodule`; None for the whole model.
        input_size: channels of its input; None asks it.
        horizon: steps the memory is measured over; no more than the model says it takes.
        dt: time of a step, in which half-life and horizon are given.
        probe: "heaviside", "impulse", "reversed" or "jacobian", as for `perdure.memory_function`.
        bound: largest |x|_inf of the probe's inputs.
        probes: inputs tried for the sup, at least 8.
        budget: share of the training time that measurements may take, in (0, 1]; None for no limit.
        largest_state: states of a recurrent module beyond which its stability radius is not computed: the cost grows as the cube.
        prefix: of the names under which values are logged.
        seed: of the search.
        clock: returns seconds.

    Raises:
        ArgumentError: a number out of range, an unknown probe.
    """

    def __init__(
        self, *, module: str | None = None, input_size: int | None = None, horizon: int | Any = 128, dt: float | Any = 1.0, probe: str = "heaviside",
        bound: float | Any = 1.0, probes: int | Any = 32, budget: float | Any = 0.02, largest_state: int | Any = 256, prefix: str = "perdure/", seed: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        if module is not None and not isinstance(module, str):
            raise ArgumentTypeError(
                f"expected argument `module` to be the name of a submodule, but got {type(module).__name__}: pass for example 'encoder'"
            )
        self.module = module
        self.input_size = None if input_size is None else _checks.positive_int(input_size, "input_size", "it counts input channels")
        self.horizon = _checks.positive_int(horizon, "horizon", "it counts steps", least=3)
        self.dt = _checks.positive(dt, "dt", "it is the time of a step")
        self.probe = _checks.choice(probe, "probe", PROBES)
        self.bound = _checks.positive(bound, "bound", "it is the largest |x|_inf of the inputs")
        self.probes = _checks.positive_int(probes, "probes", "pass the number of inputs to try, at least 8", least=8)
        self.budget = None if budget is None else _checks.positive(budget, "budget", "it is a share of the training time, such as 0.02")
        if self.budget is not None and self.budget > 1:
            raise _checks.fail("budget", "at most 1", self.budget, "it is a share of the training time, such as 0.02")
        self.largest_state = _checks.positive_int(largest_state, "largest_state", "it counts states")
        self.prefix, self.seed, self.clock = prefix, seed, clock
        self.began: float | None = None
        self.spent = 0.0
        self.put_off = 0
        self.cost: dict[str, float] = {}
        self.broken: set[str] = set()

    def start(self, model: nn.Module) -> None:
        """Start the clock; a submodule that is not there is refused before training begins.

        Raises:
            ArgumentError: no submodule of that name.
        """
        self.began, self.spent, self.put_off = self.clock(), 0.0, 0
        self._part(model)

    @property
    def overhead(self) -> float:
        """Share of the time since the start that went into measurements."""
        elapsed = 0.0 if self.began is None else self.clock() - self.began
        return self.spent / elapsed if elapsed > 0 else 0.0

    def measure(self, model: nn.Module) -> dict[str, float]:
        """What can be measured now, by the name under which it is logged; empty if the budget does not allow anything."""
        if self.began is None:
            self.start(model)
        found: dict[str, float] = {}
        for quantity, work in (("memory", self._memory), ("stability", self._stability)):
            if quantity not in self.broken and self._may(quantity, model):
                found |= self._timed(quantity, lambda work=work: work(self._part(model)))
        if found:
            found["overhead"] = self.overhead
        return {f"{self.prefix}{name}": value for name, value in found.items()}

    def _part(self, model: nn.Module) -> nn.Module:
        if self.module is None:
            return model
        try:
            return model.get_submodule(self.module)
        except AttributeError:
            names = [name for name, _ in model.named_modules() if name]
            shown = ", ".join(repr(n) for n in names[:12]) + (", ..." if len(names) > 12 else "")
            raise _checks.fail("module", f"the name of a submodule: {shown}", self.module, "choose one of them") from None

    def _may(self, quantity: str, model: nn.Module) -> bool:
        """Whether the budget allows this measurement now; its first time a trial is made, if the budget allows that."""
        if self.budget is None:
            return True
        assert self.began is not None  # measure() started the clock
        left = self.budget * (self.clock() - self.began) - self.spent
        if quantity not in self.cost:
            if left <= 0:
                self.put_off += 1
                return False
            begun = self.clock()
            self._timed(quantity, lambda: self._trial(quantity, self._part(model)))
            trial = self.clock() - begun
            self.cost[quantity] = CAUTION * trial
            left -= trial
        if self.cost[quantity] > left or quantity in self.broken:
            self.put_off += 1
            return False
        return True

    def _trial(self, quantity: str, part: nn.Module) -> dict[str, float]:
        """A cheap measurement, to know what the real one costs."""
        if quantity == "memory":
            return self._memory(part, max(LEAST, self.horizon // TRIAL), 8)
        for _, layer in recurrent_modules(part):
            linearise(layer, seed=self.seed)
            break
        return {}

    def _timed(self, quantity: str, work: Callable[[], dict[str, float]]) -> dict[str, float]:
        begun = self.clock()
        try:
            return work()
        except Exception as error:  # a measurement must not end a training
            self.broken.add(quantity)
            text = str(error).splitlines()[0] if str(error) else ""
            LOGGER.warning("%s is not logged, because measuring it failed: %s: %s", quantity, type(error).__name__, text)
            return {}
        finally:
            taken = self.clock() - begun
            self.spent += taken
            self.cost[quantity] = taken

    def _memory(self, part: nn.Module, horizon: int | None = None, probes: int | None = None) -> dict[str, float]:
        own = native_dtype(part)
        dtype = own if own in (torch.float32, torch.float64) else torch.float32
        said = declared_length(part)
        steps = min(horizon or self.horizon, self.horizon if said is None else max(said[0], 3))
        options: dict[str, Any] = {} if self.probe == "jacobian" else {"probes": probes or self.probes}
        found = memory_function(
            part,
            horizon=steps,
            dt=self.dt,
            input_size=self.input_size,
            probe=self.probe,
            bound=self.bound,
            seed=self.seed,
            dtype=dtype,
            **options,
        )
        envelope = found.envelope
        peak = float(envelope[0])
        if not peak > found.noise_floor:
            return {"half_life": 0.0, "horizon_0.01": 0.0, "memory_left": 0.0}
        times = found.times
        return {
            "half_life": crossing(times, envelope, 0.5),
            "horizon_0.01": crossing(times, envelope, 0.01),
            "memory_left": float(envelope[-1]) / peak,
        }

    def _stability(self, part: nn.Module) -> dict[str, float]:
        """The least radius, and the largest spectral radius, of the recurrent modules at rest without input."""
        radii, sizes = [], []
        for name, layer in recurrent_modules(part):
            try:
                point = linearise(layer, seed=self.seed)
            except NoEquilibriumError:  # it does not come to rest: nothing can be said, now
                continue
            except PerdureError as error:
                self._once(name, f"{type(error).__name__}: {str(error).splitlines()[0]}")
                continue
            sizes.append(point.spectral_radius)
            if point.state.size <= self.largest_state:
                radii.append(point.step_radius)
            else:
                self._once(name, f"{point.state.size} states, above largest_state = {self.largest_state}: no stability radius")
        found = {"stability_radius": min(radii)} if radii else {}
        return found | ({"spectral_radius": max(sizes)} if sizes else {})

    def _once(self, name: str, text: str) -> None:
        key = f"stability of {name}"
        if key not in self.broken:
            self.broken.add(key)
            LOGGER.warning("%s is not logged: %s", key, text)


def recurrent_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Recurrent layers and cells inside a module, by name; not those inside one of them.

    >>> [name for name, _ in recurrent_modules(nn.ModuleDict({"a": nn.GRU(1, 2), "b": nn.Linear(2, 2)}))]
    ['a']
    """
    inside: tuple[str, ...] = ()
    for name, part in model.named_modules():
        if isinstance(part, RECURRENT) and not name.startswith(inside or ("\0",)):
            inside += (f"{name}.",) if name else ("",)
            yield name or "the model", part


def crossing(times: np.ndarray, envelope: np.ndarray, level: float) -> float:
    """Time after which the envelope stays below `level` of its peak; the last time where it does not: then it is a lower bound.

    >>> crossing(np.arange(4.0), np.array([1.0, 0.5, 0.25, 0.125]), 0.5**1.5)
    1.5
    """
    target = level * float(envelope[0])
    first = int(np.count_nonzero(envelope >= target))
    if first == times.size:
        return float(times[-1])
    if envelope[first] <= 0:
        return float(times[first])
    share = math.log(envelope[first - 1] / target) / math.log(envelope[first - 1] / envelope[first])
    return float(times[first - 1] + share * (times[first] - times[first - 1]))
