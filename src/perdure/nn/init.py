r"""Initial time constants: from a range, from a law of memory, from a target; for perdure's layers and for torch's LSTM and GRU.

A layer learns what it can already feel: the gradient of a lag of 1000 steps is e^-100 through a mode of 10 steps. So the time constants tau
should cover the memory that the task demands before training begins.

* A power law needs them evenly spread in log tau, whatever its power: t^-p = 1/Gamma(p) int e^{p w} exp(-e^w t) dw with rates e^w, and the
  trapezoidal rule in w has geometric rates (Beylkin & Monzon 2005); the power only sets how much each mode counts, rate^p.
* The two states of a pair of the structure "complex" share one time constant: m states have ceil(m / 2) of them.
* A gated layer that keeps a share f of its state a step has tau = 1 / (1 - f): the gate's bias log(tau - 1) gives it, for small inputs and
  states (chrono initialisation, Tallec & Ollivier 2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from perdure import _checks
from perdure.errors import ArgumentTypeError
from perdure.functionals.base import LinearFunctional
from perdure.nn.continuous_rnn import ContinuousRNN
from perdure.nn.ssm import DiagonalSSM

LAWS = ("log-uniform", "polynomial", "exponential")
SHORTEST, LONGEST = 1.0, 1000.0
GATED = 2.0  # steps: the shortest time constant of a gated layer unless told, a gate half open; at 1 step the gate's bias is minus infinity
Layer = TypeVar("Layer", ContinuousRNN, DiagonalSSM, nn.LSTM, nn.GRU)
Gated = TypeVar("Gated", nn.LSTM, nn.GRU)


def timescales(
    count: int,
    *,
    shortest: float | None = None,
    longest: float | None = None,
    law: str | None = None,
    target: LinearFunctional | None = None,
) -> Tensor:
    r"""Time constants tau (count,), increasing, float64, in the unit of time of the layer (see `timescales_`).

    Args:
        count: how many.
        shortest: the smallest, usually one step; None for 1.
        longest: the largest: how far back the task looks; None for 1000. A single mode has this one.
        law: of the memory: "log-uniform" (also None) and "polynomial" spread log tau evenly (see the module's text for why they are the
            same); "exponential" gives every mode `longest`, the only time there is.
        target: a functional: the time constants 1 / Re(lambda) of its near-optimal exponential sum, in place of the other three.

    Raises:
        ArgumentError: count < 1, shortest <= 0, longest < shortest, an unknown law, a target together with another option.

    >>> timescales(4, longest=1000.0).round(decimals=6).tolist()
    [1.0, 10.0, 100.0, 1000.0]
    """
    count = _checks.positive_int(count, "count", "a layer has at least one mode")
    if target is not None:
        beside = [name for name, value in (("shortest", shortest), ("longest", longest), ("law", law)) if value is not None]
        if beside:
            raise _checks.fail(
                "target", f"None where there is {' or '.join(beside)}", type(target).__name__, "a target sets all times itself"
            )
        if not isinstance(target, LinearFunctional):
            raise ArgumentTypeError(
                f"expected argument `target` to be a linear functional, but got {type(target).__name__}: see perdure.functionals"
            )
        from perdure.approximation import approximate

        found = 1 / torch.as_tensor(approximate(target, count).rates.real.copy())
        padded = torch.cat([found, found[-1:].expand(count - len(found))])
        return padded.sort().values
    low = _checks.positive(SHORTEST if shortest is None else shortest, "shortest")
    high = _checks.positive(LONGEST if longest is None else longest, "longest")
    if high < low:
        fix = "swap the two" if shortest is not None else "pass a `shortest` below it"
        raise _checks.fail("longest", f"at least shortest = {low:g}", high, fix)
    if _checks.choice(LAWS[0] if law is None else law, "law", LAWS) == "exponential" or count == 1:
        return torch.full((count,), high, dtype=torch.float64)
    return torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)


@torch.no_grad()
def timescales_(layer: Layer, times: Tensor | None = None, **options: Any) -> Layer:
    """Give a layer these time constants, in place.

    Args:
        layer: ContinuousRNN or DiagonalSSM (times in their unit: a step is dt), or torch's LSTM or GRU (times in steps, above 1), whose
            forget or update gate gets the bias log(tau - 1), and the LSTM's input gate its negative.
        times: tau, (m,) for m modes of each layer; in a ContinuousRNN of structure "complex" (ceil(m / 2),), one a pair, or (m,) with the same for
            both states of a pair. None calls `timescales` with the options.
        **options: `shortest`, `longest`, `law`, `target`, as for `timescales`. `shortest` is 2 steps for a gated layer unless told.

    Returns:
        The layer. Frequencies of oscillating modes stay as they are in a DiagonalSSM; in a ContinuousRNN they become those of a fresh layer, about
        a radian in a time constant (`ContinuousRNN.assign_timescales`).

    Raises:
        ArgumentTypeError: another kind of layer, times that are no numbers.
        ArgumentError: a wrong number of times, times the layer cannot have, a gated layer without biases.

    >>> gru = timescales_(nn.GRU(1, 3), longest=100.0, shortest=2.0)
    >>> gru.bias_ih_l0[3:6].double().exp().round(decimals=3).tolist()  # update gates: tau - 1
    [1.0, 13.142, 99.0]
    """
    if not isinstance(layer, ContinuousRNN | DiagonalSSM | nn.LSTM | nn.GRU):
        raise ArgumentTypeError(
            f"expected argument `layer` to be a ContinuousRNN, DiagonalSSM, LSTM or GRU, but got {type(layer).__name__}: pass one of its layers"
        )
    count = layer.state_size if isinstance(layer, DiagonalSSM) else layer.hidden_size
    if times is None:
        modes = next(layer.cells()).rate_count if isinstance(layer, ContinuousRNN) else count
        if isinstance(layer, nn.LSTM | nn.GRU) and options.get("target") is None and options.get("shortest") is None:
            options["shortest"] = GATED
        times = timescales(modes, **options)
    elif options:
        raise _checks.fail("times", "None together with options", sorted(options), "pass either times or a rule for them")
    times = torch.as_tensor(_checks.finite_array(_plain(times), "times"))
    if isinstance(layer, ContinuousRNN):
        layer.assign_timescales(times)  # which checks them
        return layer
    if tuple(times.shape) != (count,):
        raise _checks.fail("times", f"of shape ({count},)", tuple(times.shape), "one time constant a mode")
    if not bool((times > 0).all()):
        raise _checks.fail("times", "positive", times.min().item(), "a time constant is a time")
    if isinstance(layer, DiagonalSSM):
        layer.assign_timescales(times)
    else:
        _gates_(layer, times)
    return layer


def chrono_(layer: Gated, longest: float, *, generator: torch.Generator | None = None) -> Gated:
    """Chrono initialisation as published: tau - 1 drawn uniformly from [1, longest - 1], in steps (Tallec & Ollivier 2018).

    Uniform in tau puts most modes near `longest`; `timescales_` spreads them evenly in log tau.

    Args:
        layer: torch's LSTM or GRU.
        longest: the longest dependency, in steps, at least 2.
        generator: source of randomness; None takes torch's.

    >>> lstm = chrono_(nn.LSTM(1, 4), 100.0, generator=torch.Generator().manual_seed(0))
    >>> bool((lstm.bias_ih_l0[4:8].exp() <= 99).all()), bool((lstm.bias_ih_l0[:4] == -lstm.bias_ih_l0[4:8]).all())
    (True, True)
    """
    if not isinstance(layer, nn.LSTM | nn.GRU):
        raise ArgumentTypeError(f"expected argument `layer` to be an LSTM or a GRU, but got {type(layer).__name__}: see timescales_")
    longest = _checks.number(longest, "longest")
    if longest < 2:
        raise _checks.fail("longest", "at least 2 steps", longest, "tau - 1 is drawn from [1, longest - 1]")
    times = 2 + (longest - 2) * torch.rand(layer.hidden_size, generator=generator, dtype=torch.float64)
    return timescales_(layer, times)


def parameter_groups(module: nn.Module, lr: float, weight_decay: float = 0.0, *, recurrent_lr: float | None = None) -> list[dict[str, Any]]:
    """Groups for a torch optimiser: recurrent parameters of perdure's layers with a smaller rate and no decay, all others as told.

    Decay pulls raw parameters to 0, that is, every time constant to g(0)'s, and forgets what was learned; a full-sized step multiplies a
    time constant by e^lr under the exp map. Users of state-space layers write these groups by hand.

    Args:
        module: any model.
        lr: rate of the others.
        weight_decay: of the others, 0 or more.
        recurrent_lr: rate of the recurrent ones; None takes lr / 10.

    Returns:
        One or two groups with "params", "lr", "weight_decay" and "name"; each trainable parameter stands in just one.

    Raises:
        ArgumentTypeError: no torch module.
        ArgumentError: a rate that is not positive, a negative weight decay.

    >>> groups = parameter_groups(nn.Sequential(ContinuousRNN(1, 4)), lr=0.01, weight_decay=0.1)
    >>> [(group["name"], group["lr"], group["weight_decay"], len(group["params"])) for group in groups]
    [('recurrent', 0.001, 0.0, 1), ('other', 0.01, 0.1, 2)]
    """
    if not isinstance(module, nn.Module):
        raise ArgumentTypeError(
            f"expected argument `module` to be a torch.nn.Module, but got {type(module).__name__}: pass the whole model"
        )
    lr, weight_decay = _checks.positive(lr, "lr"), _checks.number(weight_decay, "weight_decay")
    if weight_decay < 0:
        raise _checks.fail("weight_decay", "at least 0", weight_decay, "a negative decay makes weights grow")
    small = 0.1 * lr if recurrent_lr is None else _checks.positive(recurrent_lr, "recurrent_lr")
    recurrent = list({id(p): p for p in _recurrent(module) if p.requires_grad}.values())
    known = {id(p) for p in recurrent}
    others = [p for p in module.parameters() if p.requires_grad and id(p) not in known]
    groups = [("recurrent", recurrent, small, 0.0), ("other", others, lr, weight_decay)]
    return [{"params": params, "lr": rate, "weight_decay": decay, "name": name} for name, params, rate, decay in groups if params]


def _plain(times: Any) -> Any:
    """What numpy reads: a tensor without its gradient and device."""
    return times.detach().cpu().double() if isinstance(times, Tensor) else times


def _recurrent(module: nn.Module) -> Iterator[nn.Parameter]:
    for part in module.modules():
        if isinstance(part, ContinuousRNN | DiagonalSSM):
            yield from part.recurrent_parameters()


def _gates_(layer: nn.LSTM | nn.GRU, times: Tensor) -> None:
    if not layer.bias:
        raise _checks.fail("layer", "one with biases", "bias=False", "the time constants of a gated layer live in them")
    if bool((times <= 1).any()):
        raise _checks.fail(
            "times", "above 1 step for a gated layer", times.min().item(), "a gate keeps less than all and more than nothing"
        )
    m, bias = layer.hidden_size, torch.log(times - 1)
    keep = slice(m, 2 * m)  # LSTM: input, forget, cell, output; GRU: reset, update (which keeps), new
    for name, parameter in layer.named_parameters():
        if name.startswith("bias_ih"):
            parameter[keep] = bias.to(parameter)
            if isinstance(layer, nn.LSTM):
                parameter[:m] = -bias.to(parameter)
        elif name.startswith("bias_hh"):
            parameter[keep] = 0.0
            if isinstance(layer, nn.LSTM):
                parameter[:m] = 0.0
