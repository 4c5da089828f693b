"""Which parameters of a module are moved, under which names, and in which ball."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from perdure import _checks
from perdure.errors import ArgumentError, ArgumentTypeError

WORDS = {
    "spectral": "spectral norm",
    "euclid": "Euclid's norm",
    "max": "max norm",
    "rows": "largest row",
}
RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True)
class Group:
    """Parameters that go by one name.

    Attributes:
        name: "recurrent", "input", "readout", "bias", "other", or the name that the user gave.
        balls: kind of ball (`perdure.stability.nonlinear.balls`) by parameter name.
    """

    name: str
    balls: dict[str, str]


def kinds(module: nn.Module) -> dict[str, tuple[str, str]]:
    """(group, ball) of every parameter by name.

    Recurrent are `weight_hh` of torch's layers and what a module yields from `recurrent_parameters()`; a recurrent vector is the diagonal of a matrix
    and moves in that matrix's spectral norm, which is its max norm. Other vectors move in Euclid's norm, matrices in the spectral norm. A module may
    say otherwise by an attribute `balls`, kinds by the names of its own parameters.

    >>> kinds(nn.GRU(1, 2))["weight_hh_l0"], kinds(nn.GRU(1, 2))["bias_ih_l0"]
    (('recurrent', 'spectral'), ('bias', 'euclid'))
    """
    recurrent: set[int] = set()
    stated: dict[int, str] = {}
    for part in module.modules():
        said = getattr(part, "recurrent_parameters", None)
        recurrent |= {id(p) for p in said()} if callable(said) else set()  # pyright: ignore[reportGeneralTypeIssues]
        if isinstance(part, RECURRENT):
            recurrent |= {id(p) for name, p in part.named_parameters() if name.startswith("weight_hh")}
        own = getattr(part, "balls", None)
        if isinstance(own, dict):
            for name, ball in own.items():
                if ball not in WORDS:
                    raise _checks.fail(
                        f"model.balls[{name!r}]", f"one of {list(WORDS)}", ball, "these are the balls that weights can move in"
                    )
            stated |= {id(p): own[name] for name, p in part.named_parameters(recurse=False) if name in own}
    found = {}
    for name, parameter in module.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        if id(parameter) in recurrent:
            group, ball = "recurrent", "max" if parameter.ndim < 2 else "spectral"
        elif leaf.startswith(("weight_ih", "input_weight")):
            group, ball = "input", "spectral"
        elif "readout" in name or leaf.startswith("output_weight"):
            group, ball = "readout", "spectral"
        elif "bias" in leaf:
            group, ball = "bias", "euclid"
        else:
            group, ball = "other", "spectral"
        found[name] = (group, stated.get(id(parameter), "euclid" if ball == "spectral" and parameter.ndim < 2 else ball))
    return found


def listed(groups: object) -> list[str]:
    """Names of groups as a list; one name may stand by itself.

    Raises:
        ArgumentTypeError: something else than names.
        ArgumentError: none at all.
    """
    if isinstance(groups, str):
        return [groups]
    if not isinstance(groups, Sequence) or not all(isinstance(name, str) for name in groups):
        raise ArgumentTypeError(f"expected argument `groups` to be a name or a list of names, but got {groups!r}: for example 'recurrent'")
    if not groups:
        raise _checks.fail("groups", "non-empty", list(groups), "use 'all' or some names")
    return list(groups)


def select(module: nn.Module, groups: object, trained: Sequence[str]) -> list[Group]:
    """The groups that the user asked for.

    Args:
        module: the model.
        groups: "all" (every trained parameter, by kind), the name of a kind, or a list of these or of parameter names; a name also stands for all
            parameters that begin with it and a dot.
        trained: names of the parameters that are trained.

    Raises:
        ArgumentError: there is nothing to move, a name fits nothing, or a parameter that was named is frozen.
    """
    table = kinds(module)
    if not table:
        raise ArgumentError(
            f"expected argument `model` to have parameters, but got none in {type(module).__name__}: without weights nothing can be moved"
        )
    groups = listed(groups)
    available = list(dict.fromkeys(group for group, _ in table.values()))
    if "all" in groups:
        if len(groups) > 1:
            raise _checks.fail("groups", "'all' or some names", list(groups), "'all' has them already: name it alone")
        groups = [name for name in available if any(table[p][0] == name and p in trained for p in table)]
        if not groups:
            raise ArgumentError(
                "expected argument `model` to have trained parameters, but got only frozen ones (requires_grad=False): name those to be moved in `groups`"
                if not trained
                else "expected argument `groups` to match a parameter, but got 'all' of none: check the model"
            )
    chosen: list[Group] = []
    taken: dict[str, str] = {}
    for name in dict.fromkeys(groups):
        of_kind = [p for p, (group, _) in table.items() if group == name]
        named = [p for p in table if p == name or p.startswith(f"{name}.")]
        members = [p for p in of_kind if p in trained] or named
        if not members and not of_kind:
            raise _checks.fail("groups", f"'all' or some of {available} or parameter names {list(table)}", name, "it fits no parameter")
        frozen = [p for p in (named or of_kind) if p not in trained]
        if frozen and (named or not members):
            raise _checks.fail(
                "groups", "trained parameters", f"{name!r}, of which {frozen} have requires_grad=False", "unfreeze them or leave them out"
            )
        twice = [p for p in members if p in taken]
        if twice:
            raise _checks.fail("groups", "disjoint", f"{twice} in {taken[twice[0]]!r} and {name!r}", "name each parameter once")
        taken |= dict.fromkeys(members, name)
        chosen.append(Group(name, {p: table[p][1] for p in members}))
    return chosen


def described(groups: Sequence[Group]) -> str:
    """The balls in words.

    >>> described(select(nn.RNN(1, 2), ["recurrent"], ["weight_hh_l0"]))
    'recurrent: weight_hh_l0 (spectral norm)'
    """
    parts = []
    for group in groups:
        inside = ", ".join(f"{name} ({WORDS[kind]})" for name, kind in group.balls.items())
        parts.append(f"{group.name}: {inside}")
    return "; ".join(parts)
