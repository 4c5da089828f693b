"""Where training starts and which methods follow: the choices of method "auto"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from perdure._typing import Tensor
from perdure.functionals import LinearFunctional
from perdure.nn import ContinuousRNN
from perdure.training.gauss_newton import GaussNewton
from perdure.training.lbfgs import LBFGS
from perdure.training.loop import Method
from perdure.training.placement import Placed, place, suits
from perdure.training.problem import Problem, everything
from perdure.training.sensitivity import has_closed_form
from perdure.training.task import Task

DIRECT, NUMBERS = 1200, 2**27  # parameters of a Gauss-Newton step that still pays, and numbers of its Jacobian
WIDE = 0.5  # size of the input weights where the activation is to bend
ENOUGH, NEGLIGIBLE = 1.5, 1e-8  # root mean squares: times that of the exponential sum itself, or below which there is nothing to gain


@dataclass(frozen=True)
class Start:
    """What to do.

    Attributes:
        chosen: entries of the parameters that Gauss-Newton steps move; empty where there are none such.
        then: whether L-BFGS over all parameters follows.
        done: why nothing is left to train, or nothing.
        notes: in words.
    """

    chosen: dict[str, Tensor]
    then: bool
    done: str
    notes: tuple[str, ...]


def start(task: Task, problem: Problem, *, tail: bool, scale: float | None) -> Start:
    """Put the model at its start, and choose."""
    twin, linear = problem.twin, task.linear
    notes: tuple[str, ...] = ()
    placed: Placed | None = None
    if linear is not None and suits(twin.model):
        placed, notes = _placed(task, problem, linear, tail, scale)
        if placed is not None and placed.faithful and isinstance(task.functional, LinearFunctional):
            own = problem.relative(placed.sum(problem.x, dt=task.dt))
            if float(problem.loss().detach()) <= max(ENOUGH**2 * own, NEGLIGIBLE**2):
                return Start({}, False, "the network does what the exponential sum does", notes)
    if any(p.is_complex() for p in twin.learned.values()):
        return Start({}, True, "", (*notes, "complex parameters: L-BFGS only"))
    chosen = everything(twin)
    whole = chosen
    if _count(chosen) > DIRECT and placed is not None and problem.twin.learned["recurrent_l0.raw"].shape == placed.pattern.shape:
        chosen = {**chosen, "recurrent_l0.raw": placed.pattern.flatten().nonzero()[:, 0]}
        notes = (*notes, "Gauss-Newton steps on the entries of W that the sum uses, then L-BFGS on all")
    if _count(chosen) > DIRECT or _count(chosen) * problem.count > NUMBERS:
        return Start({}, True, "", (*notes, "too many parameters or data for a Jacobian: L-BFGS"))
    if not has_closed_form(twin.model):
        try:
            problem.forward_mode({name: index[:1] for name, index in chosen.items()})
        except (RuntimeError, NotImplementedError, TypeError) as error:  # whatever an operation without a forward derivative raises
            return Start({}, True, "", (*notes, f"no forward-mode derivative ({str(error).splitlines()[0][:80]}): L-BFGS"))
    return Start(chosen, chosen is not whole, "", notes)


def _placed(
    task: Task, problem: Problem, linear: LinearFunctional, tail: bool, scale: float | None
) -> tuple[Placed | None, tuple[str, ...]]:
    """The exponential sum in the model, unless the model's own weights do better."""
    twin = problem.twin
    model = cast(ContinuousRNN, twin.model)
    given = twin.snapshot()
    if scale is None and not isinstance(task.functional, LinearFunctional):
        scale = WIDE / task.bound
    found = place(model, linear, horizon=None if tail else task.horizon, bound=task.bound, scale=scale)
    if found is None:
        return None, (
            f"no state of a {model.activation} network falls, and with a {model.structure} W there are no pairs of states whose differences do: it computes "
            'no exponential sum (structures "dense", "symmetric" and "dissipative" do)',
        )
    if found.faithful and isinstance(task.functional, LinearFunctional):
        return found, (found.note,)
    placed, best = twin.snapshot(), []
    for weights in (placed, given):
        twin.restore(weights)
        problem.solve_readout()
        best.append((float(problem.loss().detach()), twin.snapshot()))
    if best[0][0] <= best[1][0]:
        twin.restore(best[0][1])
        return found, (found.note,)
    twin.restore(best[1][1])
    return None, ("started from the weights as given: better than the exponential sum",)


def _count(chosen: dict[str, Tensor]) -> int:
    return sum(index.numel() for index in chosen.values())


def stages(problem: Problem, chosen: dict[str, Tensor], then: bool) -> list[Callable[[], Method]]:
    """Makers of the methods: Gauss-Newton where entries are chosen, L-BFGS after it or alone."""
    found: list[Callable[[], Method]] = []
    if chosen:
        found.append(lambda: GaussNewton(problem, chosen))
    if then or not chosen:
        found.append(lambda: LBFGS(problem))
    return found
