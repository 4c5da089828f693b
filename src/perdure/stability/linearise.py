r"""A recurrent model near rest: its equilibrium under a constant input, and how perturbations of the state grow or fade there.

With f the map of the state over one step and J = df/dh at h* = f(h*), a small perturbation d becomes J^k d after k steps. An eigenvalue mu of J is a
mode that fades by the factor |mu| a step: its time constant is -1/log|mu| steps. In continuous time, with steps of length dt,

* log(mu) / dt is the rate with which the mode of the steps decays (principal branch), and
* (mu - 1) / dt is the eigenvalue of (J - I) / dt. Where the step is Euler's for dh/dt = F(h), J = I + dt F'(h*) and this is the
  equation's own: `perdure.nn.ContinuousRNN` with the Euler integrator, and torch's GRU with dt = 1.

The two agree to first order in mu - 1: slow modes have one rate, fast ones depend on which continuous time is meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from perdure import _checks
from perdure._random import isolated
from perdure._threads import one_thread
from perdure._typing import Array
from perdure.adapters import frozen
from perdure.errors import ModelError
from perdure.stability.equilibrium import NEAR, Equilibrium, NoEquilibriumError, find, newton
from perdure.stability.linearisation import Linearisation, spectrum
from perdure.stability.step_map import StepMap, flat_start, step_map

STEPS = 2000
STARTS = 16


@one_thread()
def linearise(model: Any, x: Any = None, *, dt: float | None = None, start: Any = None, steps: int = STEPS, seed: int = 0) -> Linearisation:
    r"""The equilibrium of a recurrent model under a constant input, and its linearisation there.

    The model is run from the start, and Newton's method makes the end of the run exact (`perdure.stability.equilibrium`). A copy in float64 and
    evaluation mode is measured: the model stays as it is. A model may have several equilibria: this is the one reached from the start, by default
    from zero; see `equilibria` for more.

    Args:
        model: `torch.nn.RNN`, `GRU` or `LSTM` in one direction, or a cell of these; a module with step(x, state) -> (y, state), the batch on
            axis 1 of the state, such as `perdure.nn.ContinuousRNN` and `DiagonalSSM`; or a function step(h, x) -> h of torch tensors.
        x: the input, (d,), or a number where d = 1; None for zeros. A function gets it as it is, or None.
        dt: time of a step; None asks the model, and takes 1 where it does not tell.
        start: state to run from; None for zeros. In torch's shapes, without or with a batch axis of one; for an LSTM a pair (h_0, c_0). A
            function needs it, for the shape of its state.
        steps: longest run.
        seed: of random numbers that a model may draw; the global generators are left alone.

    Returns:
        A `Linearisation`.

    Raises:
        NoEquilibriumError (a ModelError): none found; `kind` says what the run does: "diverging", "periodic", "drifting" or "wandering".
        ModelError: NaN in weights or states, a random model, a step that changes the shape of the state.
        ArgumentError: both directions, x or start of a wrong size, dt other than the model's own.
        ArgumentTypeError: a model of another kind.

    >>> from perdure.nn import ContinuousRNN
    >>> layer = ContinuousRNN(1, 2, parametrization="direct", dt=0.5, dtype=torch.float64)
    >>> layer.recurrent_l0.assign(torch.diag(torch.tensor([-1.0, -0.1], dtype=torch.float64)))
    >>> point = linearise(layer)
    >>> point.eigenvalues.real.round(12).tolist(), round(point.time_constant, 2)  # 1 + dt W, and -1 / log 0.95
    ([0.95, 0.5], 19.5)
    >>> point.generator_eigenvalues.real.round(12).tolist()
    [-0.1, -1.0]

    Reference:
        Sussillo & Barak, "Opening the Black Box", Neural Computation 2013 (fixed points of trained networks); Wang, Li & Li, ICLR 2024, app. J.
    """
    steps = _checks.positive_int(steps, "steps", "pass the longest run, in steps", least=4)
    with _measured(model, x, dt, start, seed) as map_:
        return _result(model, map_, find(map_, flat_start(map_, start), steps))


@one_thread()
def equilibria(
    model: Any,
    x: Any = None,
    *,
    starts: int | Any = STARTS,
    spread: float = 1.0,
    dt: float | None = None,
    steps: int = STEPS,
    seed: int = 0,
) -> tuple[Linearisation, ...]:
    r"""The equilibria of a recurrent model under a constant input that several starts find: not always all there are.

    From each start two searches: the run with Newton's method at its end, as `linearise` does, which finds stable equilibria; and Newton's
    method from the start itself, which also finds the unstable ones between them.

    Args:
        model: as for `linearise`.
        x: as for `linearise`.
        starts: how many random starts beside zero, or the starts themselves, (K, n) or (K, ...) in the shape of the state; a function
            needs the latter.
        spread: random starts are uniform in [-spread, spread]^n.
        dt: as for `linearise`.
        steps: longest run.
        seed: of the random starts.

    Returns:
        A `Linearisation` for each that differs from the others by more than 1e-6 (1 + |h|), in the order found: the one reached from the first
        start (zero) comes first. At a line of equilibria every start finds a point of its own.

    Raises:
        NoEquilibriumError: no start finds one.
        As `linearise` otherwise.

    >>> step = lambda h, x: torch.tanh(2.0 * h)
    >>> found = equilibria(step, starts=torch.tensor([[0.0], [0.5], [-0.5]]).double())
    >>> [round(float(e.state[0]), 4) for e in found], [e.stable for e in found]  # tanh(2h) = h
    ([0.0, 0.9575, -0.9575], [False, True, True])
    """
    steps = _checks.positive_int(steps, "steps", "pass the longest run, in steps", least=4)
    spread = _checks.positive(spread, "spread", "random starts lie in [-spread, spread]")
    counted = isinstance(starts, int | np.integer) and not isinstance(starts, bool)
    given: list[Any] = [] if counted else list(starts)  # pyright: ignore[reportArgumentType]
    if not counted and not given:
        raise _checks.fail("starts", "a count or a non-empty list of states", starts, "for example 16")
    with _measured(model, x, dt, None if counted else given[0], seed) as map_:
        if counted:
            count = _checks.positive_int(starts, "starts", "pass how many random starts to take", least=0)
            draws = np.random.default_rng(seed).uniform(-spread, spread, (count, map_.size))
            points = [np.zeros(map_.size), *draws]
        else:
            points = [flat_start(map_, start) for start in given]
        found: list[Equilibrium] = []
        failure: NoEquilibriumError | None = None
        for point in points:
            try:
                _add(found, find(map_, point, steps))
            except NoEquilibriumError as error:
                failure = failure or error
            direct = newton(map_, point)
            if direct is not None:
                _add(found, direct)
        if not found and failure is not None:
            raise failure
        return tuple(_result(model, map_, each) for each in found)


def _add(found: list[Equilibrium], new: Equilibrium) -> None:
    """Add an equilibrium unless it is there; one that a run reaches takes the place of the same one that only Newton's method found."""
    for i, old in enumerate(found):
        if np.abs(old.state - new.state).max() <= NEAR * (1.0 + np.abs(old.state).max()):
            if old.status == "not reached" and new.status != "not reached":
                found[i] = new
            return
    found.append(new)


@contextmanager
def _measured(model: Any, x: Any, dt: float | None, start: Any, seed: int) -> Iterator[StepMap]:
    """The step map of a frozen copy of the model, which draws from generators of its own."""
    dt = None if dt is None else _checks.positive(dt, "dt", "it is the time of a step")
    seed = _checks.positive_int(seed, "seed", "pass an integer of at least 0", least=0)
    with isolated(seed), torch.inference_mode(False), torch.no_grad(), frozen(model, torch.float64) as twin:
        map_ = step_map(twin.model, x, dt, start)
        map_.notes.extend(twin.notes)
        here = flat_start(map_, start)
        if not np.array_equal(map_(here), map_(here), equal_nan=True):
            raise ModelError("expected argument `model` to give one next state for one state, but got two: put it in evaluation mode first")
        yield map_


def _result(model: Any, map_: StepMap, found: Equilibrium) -> Linearisation:
    mu = spectrum(found.jacobian)
    return Linearisation(
        state=found.state,
        jacobian=found.jacobian,
        eigenvalues=mu,
        residual=found.residual,
        correction=found.correction,
        status=found.status,
        steps=found.steps,
        x=map_.x,
        dt=map_.dt,
        euler=map_.euler,
        blocks=map_.blocks,
        model=type(model).__name__,
        notes=(*map_.notes, *_notes(found, mu)),
    )


def _notes(found: Equilibrium, mu: Array) -> Iterator[str]:
    if found.motion is None:
        yield "found by Newton's method from a start: whether a run goes there was not tried"
    elif found.status == "not reached":
        yield f"the run from the start does not come to rest here: after {found.steps} steps it is {found.motion.words}"
    elif found.status == "approached":
        yield f"the run was still on its way after {found.steps} steps: Newton's method took it to the end"
    if np.abs(mu - 1.0).min() <= 1e-12:
        yield "J has the eigenvalue 1: the equilibrium may be one of a line of them, and the one reported depends on the start"
    if found.status != "not reached" and np.abs(mu[0]) > 1.0:
        yield "the run ends here although the equilibrium is unstable: it started on it, or on the way into it"
