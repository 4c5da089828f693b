"""Recommendations in plain words: rules, each of which looks at numbers of the audit and speaks only where they say something.

A rule returns the sentence, the number behind it as it stands on the page, and the section that shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from perdure.audits.reading import FAR
from perdure.audits.result import Audit
from perdure.audits.words import number, percent
from perdure.errors import PerdureError

Advice = dict[str, str]
Rule = Callable[[Audit], "Advice | None"]
SHORT = 0.1  # of the measured length: a memory that ends earlier leaves most of it unused
FRAGILE = 0.02  # stability radius, as a share lost a step
CHANGED = 0.1  # of the 1 % horizon
DECADE = 1.0  # of spread amid inputs
STANDS_OUT = 3.0  # times the median group


def recommend(audit: Audit) -> list[Advice]:
    """What the rules have to say, in their order: what is broken first, then what could be better."""
    return [said for said in (rule(audit) for rule in RULES) if said is not None]


def advice(text: str, shown: str, section: str) -> Advice:
    """One recommendation."""
    return {"text": text, "number": shown, "section": section}


def sees_the_future(audit: Audit) -> Advice | None:
    """A model that is not causal cannot run on a stream."""
    found = _property(audit, "causal")
    if found is None or found["holds"] is not False:
        return None
    return advice(
        "The outputs depend on inputs that come later: this model cannot run step by step on a stream, and memory functions are not defined for "
        "it. Its influence on either side is measured instead. If it should be causal, mask its attention or use one direction.",
        f"An early output moves by {percent(found['gap'])} of the largest.",
        "properties",
    )


def draws_or_keeps(audit: Audit) -> Advice | None:
    """Randomness or a state kept from call to call in evaluation mode."""
    for name, text in (
        ("random", "The model is random even in evaluation mode: switch off what draws numbers, or its outputs cannot be reproduced."),
        ("stateful", "The model keeps a state from call to call: reset it between sequences, or one sequence leaks into the next."),
    ):
        found = _property(audit, name)
        if found is not None and found["holds"]:
            return advice(text, f"Two equal calls differ by {percent(found['gap'])} of the largest output.", "properties")
    return None


def never_forgets(audit: Audit) -> Advice | None:
    """A persistent memory."""
    curve = audit.curve
    if curve is None or curve["law"] is None or curve["law"]["law"] != "persistent":
        return None
    level = curve["law"]["parameters"]["level"] / max(max(curve["values"]), 1e-300)
    return advice(
        "The model does not forget: an input moves the output for ever. Errors in the input add up without end; unless that is wanted (a counter, an "
        "integrator), give the slow units a leak.",
        f"The memory settles at {percent(level)} of its peak.",
        "memory",
    )


def horizon_too_short(audit: Audit) -> Advice | None:
    """1 % is not reached within what was measured."""
    reading = _reading(audit, 0.01)
    if reading is None or not reading.is_bound:
        return None
    if reading.status == "far":
        return advice(
            f"By the law called, one per cent of the memory is reached more than {FAR:g} times later than what was measured: no law is to be "
            "trusted that far. Measure a longer horizon if that matters.",
            f"Horizon at 1 %: at least {number(reading.value)}, measured up to {number(reading.value / FAR)}.",
            "memory",
        )
    return advice(
        f"One per cent of the memory is not reached within the {audit.horizon} steps measured and no law is called: measure a longer horizon before "
        "relying on these numbers.",
        f"Horizon at 1 %: at least {number(reading.value)}.",
        "memory",
    )


def looks_back_briefly(audit: Audit) -> Advice | None:
    """The memory ends long before the training length does."""
    reading, length = _reading(audit, 0.01), audit.horizon * audit.dt
    curve = audit.curve
    if reading is None or reading.is_bound or curve is None or curve["blind"] or reading.value > SHORT * length:
        return None
    how = (
        "the memory has to be put in: open the forget or update gates, start with slower timescales, or use a layer that spreads them (perdure.nn.DiagonalSSM)."
        if audit.part("recurrence") is not None
        else "it has to be trained on sequences that ask for more, or started so that later outputs weigh earlier inputs."
    )
    return advice(
        f"The model looks back over a small part of the length it was measured on. If the task needs more, {how} If it does not, shorter training "
        "sequences give the same model sooner.",
        f"1 % is left after {number(reading.value)} of {number(length)}.",
        "memory",
    )


def no_memory(audit: Audit) -> Advice | None:
    """Nothing is left after the first step, by any probe."""
    memory = audit.part("memory")
    if memory is None or not all(curve["blind"] for curve in memory["curves"].values()):
        return None
    return advice(
        "The model has no memory: each output depends on the input of the same step alone.",
        f"By every probe measured ({', '.join(memory['curves'])}) nothing is left after the first step.",
        "memory",
    )


def blind_probe(audit: Audit) -> Advice | None:
    """The Heaviside probe sees nothing where others do."""
    memory = audit.part("memory")
    if memory is None or "heaviside" not in memory["curves"] or not memory["curves"]["heaviside"]["blind"]:
        return None
    seeing = [name for name, curve in memory["curves"].items() if not curve["blind"]]
    if not seeing:
        return None
    return advice(
        "Do not judge this model by its answer to a constant input: attention averages equal values to the same value, so that probe sees nothing. "
        f"The {memory['headline']} probe speaks for it here.",
        f"Half-life by {memory['headline']}: {number(audit.half_life)}.",
        "memory",
    )


def depends_on_input(audit: Audit) -> Advice | None:
    """Gates or attention that make the memory depend on what is read."""
    found = audit.part("backgrounds")
    if found is None or not found["input_dependent"] or found["spread"] < DECADE:
        return None
    return advice(
        "The memory depends on what the model is reading: do not judge it by one input alone. Pass typical sequences as `data`, and read the median "
        "and the worst case amid them.",
        f"Amid {len(found['labels'])} inputs the memory differs by up to {number(found['spread'])} decades at one lag.",
        "memory",
    )


def other_law_beyond(audit: Audit) -> Advice | None:
    """The law called over the training length is not the law over longer ones."""
    found = audit.part("lengths")
    if found is None or len(found["rows"]) < 2:
        return None
    first, last = found["rows"][0], found["rows"][-1]
    if "undecided" in (first["law"], last["law"]) or first["law"] == last["law"]:
        return None
    return advice(
        f"Beyond the training length the memory follows another law: {first['law']} over {first['steps']} steps, {last['law']} over "
        f"{last['steps']}. Do not extrapolate from the training length.",
        f"Left at the end: {number(first['left'])} and {number(last['left'])} of the peak.",
        "lengths",
    )


def one_rate(audit: Audit) -> Advice | None:
    """An exponential memory: looking back further costs the ability to forget."""
    curve = audit.curve
    if curve is None or curve["law"] is None or curve["law"]["law"] != "exponential" or _reading(audit, 0.01) is None:
        return None
    rate = curve["law"]["parameters"]["rate"]
    return advice(
        "The memory fades exponentially: beyond a few time constants nothing is left, whatever the training length. For records whose past fades "
        "like a power of time, spread the timescales over decades instead of slowing a single one.",
        f"Time constant 1/rate = {number(1 / rate)}, rate {number(rate)}.",
        "memory",
    )


def ends_somewhere(audit: Audit) -> Advice | None:
    """The model takes sequences of limited length only."""
    limit = audit.provenance.get("options", {}).get("limit")
    if limit is None:
        return None
    return advice(
        "The model raises on longer sequences (its positions end): anything older has to be carried outside of it.",
        f"Longest sequence that ran: {limit} steps.",
        "properties",
    )


def keeps_the_past(audit: Audit) -> Advice | None:
    """Different pasts never meet."""
    found = audit.part("forgetting")
    if found is None or found["forgets"] != "does not forget":
        return None
    return advice(
        "The model does not forget its past amid ordinary input: two runs that differ only in how they began stay apart. Reset its state where a new "
        "sequence begins, and do not start it from a state of another sequence.",
        f"{found['reason'][:1].upper()}{found['reason'][1:]}.",
        "forgetting",
    )


def close_to_unstable(audit: Audit) -> Advice | None:
    """A recurrent layer that a small change of its weights would stop from fading."""
    found = audit.part("recurrence")
    if found is None:
        return None
    known = [row for row in found["matrices"] if row["counts"] and row["stability_radius"] is not None]
    # behind a stable map no nudge of the trained weights makes a mode grow, however near the circle it is
    exposed = [row for row in known if row["stability_radius"] == 0 or not row["stable_map"]]
    if not exposed:
        return None
    layer = min(exposed, key=lambda row: (row["stability_radius"], -row["spectral_radius"]))
    radius, largest = layer["stability_radius"], layer["spectral_radius"]
    if radius >= FRAGILE:
        return None
    if radius == 0:
        return advice(
            f"A mode of {layer['name']} does not fade near rest: its state may drift or oscillate without input. Reparametrise its recurrent weights by a "
            "stable map (perdure.parametrizations), or add a leak.",
            f"Spectral radius {number(largest)}.",
            "recurrence",
        )
    return advice(
        f"The memory of {layer['name']} is one small step from instability: prune, quantise and fine-tune its recurrent weights with care, or train them through a "
        "stable map (perdure.parametrizations), whose memory no small step destroys.",
        f"Stability radius {number(radius)}, spectral radius {number(largest)}.",
        "recurrence",
    )


def loses_in_few_bits(audit: Audit) -> Advice | None:
    """A format that changes the memory by more than a tenth."""
    found = audit.part("precision")
    if found is None or not found["readable"]:
        return None
    base = found["reference"]["horizon_1"]
    if not base or math.isinf(base):
        return None
    changes = {_format(row): row["horizon_1"] / base for row in found["rows"] if row["horizon_1"] is not None}
    bad = {name: share for name, share in changes.items() if abs(share - 1) > max(CHANGED, audit.dt / base)}  # a step is no change
    if not bad:
        return None
    name = max(bad, key=lambda n: abs(bad[n] - 1))
    keep = [n for n in changes if n not in bad]
    return advice(
        f"How far the model looks back changes with {_and(list(bad))}. "
        + (
            f"It stays within {percent(CHANGED)} with {_and(keep)}."
            if keep
            else "None of the formats tried keeps it; keep the recurrent weights in single precision."
        ),
        f"1 % horizon with {name}: "
        + ("none, the memory no longer ends." if math.isinf(bad[name]) else f"{number(bad[name])} times what it was."),
        "precision",
    )


def hangs_on_one_group(audit: Audit) -> Advice | None:
    """One group of weights on which the outputs depend far more than on most."""
    found = audit.part("sensitivity")
    if found is None or len(found["ranking"]) < 3:
        return None
    gains = {row["group"]: row["gain"] for row in found["rows"] if row["gain"] is not None}  # the last share counts
    first = found["ranking"][0]
    typical = sorted(gains.values())[len(gains) // 2]
    if gains[first] < STANDS_OUT * typical:
        return None
    return advice(
        f"Of all weights, the outputs depend most on those of {first}: quantise and prune them last.",
        f"Relative change of the outputs per relative change of the weights: {number(gains[first])}, median group {number(typical)}.",
        "sensitivity",
    )


def _format(row: dict) -> str:
    return f"{row['format']} weights" if row["where"] == "weights" else f"the whole model in {row['format']}"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _property(audit: Audit, name: str) -> dict | None:
    found = audit.part("properties")
    return None if found is None else found.get(name)


def _reading(audit: Audit, level: float):
    try:
        found = audit.reading(level)
    except PerdureError:
        return None
    return None if math.isnan(found.value) else found


RULES: tuple[Rule, ...] = (
    sees_the_future,
    draws_or_keeps,
    never_forgets,
    keeps_the_past,
    close_to_unstable,
    no_memory,
    horizon_too_short,
    ends_somewhere,
    looks_back_briefly,
    loses_in_few_bits,
    hangs_on_one_group,
    other_law_beyond,
    blind_probe,
    depends_on_input,
    one_rate,
)
