"""The theorem on targets whose decay rate is known, its logic on curves made by hand, and what it refuses."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure import ArgumentError, ArgumentTypeError, approximate, fit_decay, memory_function, perturbation_error
from perdure import functionals as F
from perdure.nn import ContinuousRNN
from perdure.stability import theorem_models
from perdure.stability.curve import PerturbationCurve
from perdure.stability.decay_rate import decay_rate
from perdure.stability.premise import premise
from perdure.stability.theorem import check_theorem

D = torch.float64
SLOW_SUM = F.exponential_sum(1.0 / np.arange(1, 101), np.arange(1, 101) ** -2.0)  # looks like a power law up to t = 100


@pytest.mark.parametrize(("target", "rate"), [
    (F.exponential(1.0), 1.0), (F.exponential(0.01), 0.01), (F.exponential_sum([2.0, 1.0, 0.3], [1.0, -0.5, 0.4]), 0.3),
    (F.oscillating(0.5, 3.0), 0.5), (F.stack(F.exponential(1.0), F.exponential(0.2)), 0.2),
])  # fmt: skip
def test_a_stable_target_decays_at_least_at_the_rate_beta0(target, rate):
    """All models are the target itself, whose slowest mode a shift by its rate stops: beta_0 is the rate, and the bracket holds it."""
    check = check_theorem(target)
    assert check.outcome == "holds", check.reason
    assert check.rate == pytest.approx(rate, rel=1e-4)
    assert check.rate_interval[0] <= rate * (1 + 1e-4)
    assert check.beta0_interval == pytest.approx((0.98 * rate, rate), rel=1e-9)
    assert check.beta0 == check.beta0_interval[0]
    assert check.contrapositive is None
    assert set(check.curves) == {4, 8, 16, 32, 64}


@pytest.mark.parametrize("target", [F.polynomial(2.0), F.polynomial(1.1), F.polynomial(2.0, 100.0)])
def test_no_radius_survives_for_a_slow_target(target):
    check = check_theorem(target, widths=(4, 8, 16, 32))
    assert (check.outcome, check.rate, check.beta0) == ("holds", 0.0, 0.0), check.reason
    other = check.contrapositive
    assert (other.outcome, other.law, other.trend.direction) == ("holds", "polynomial", "shrinks")
    for m, edge in other.divergence.items():
        assert edge == pytest.approx(approximate(target, m).rates.real.min(), rel=1e-12)
    assert other.divergence[32] < 1e-6 * other.divergence[4]
    assert 0 < check.beta0_interval[1] <= other.divergence[32]
    assert "shrinks without end" in check.reason
    assert any("fastest rate" in note for note in check.notes)  # weights of this family grow, which the theorem does not allow


def test_a_sum_that_looks_like_a_power_law():
    """A hundred rates from 1 to 0.01: the tail past t = 3000 shows the slowest."""
    check = check_theorem(SLOW_SUM)
    assert check.outcome == "holds", check.reason
    assert check.rate_interval[0] < 0.01 < check.rate_interval[1]
    assert check.rate == pytest.approx(0.01, rel=0.02)
    assert 0.009 < check.beta0 < 0.01 < check.beta0_interval[1] < 0.0101


@settings(max_examples=5)
@given(st.lists(st.floats(0.1, 3.0), min_size=1, max_size=3), st.data())
def test_exponential_sums_are_never_a_counterexample(rates, data):
    coefficients = [data.draw(st.sampled_from([-1.0, -0.3, 0.5, 2.0])) for _ in rates]
    target = F.exponential_sum(rates, coefficients)
    if target.norm() < 1e-3:
        return
    check = check_theorem(target, widths=(2, 4, 8))
    assert check.outcome in ("holds", "undecided"), check.reason
    if check.beta0 is not None:
        assert check.beta0 <= min(rates) * (1 + 1e-9) or check.rate >= check.beta0


@pytest.mark.parametrize(("target", "rate", "off"), [
    (F.exponential_sum([1.0, 0.01], [1.0, 1e-4]), 0.01, 1e-9), (F.exponential_sum([1.0, 1e-8], [1.0, 1e-3]), 1e-8, 1e-9),
    (F.exponential_sum([1.0, 1.1], [1.0, 1.0]), 1.0, 1e-4), (F.exponential(0.2) + F.shift(2.0, 0.5), 0.2, 1e-6),
    (F.exponential(1.0) - F.oscillating(1.0, 2.0), 1.0, 1e-4), (F.oscillating(0.02, 5.0), 0.02, 1e-3),
])  # fmt: skip
def test_the_rate_is_that_of_the_slowest_mode(target, rate, off):
    found = decay_rate(target, None, 0)
    assert found.value == pytest.approx(rate, rel=off), str(found)
    assert not found.slow


@pytest.mark.parametrize(("target", "rate"), [(F.shift(2.0, 0.5), math.inf), (F.airy(2.0), math.inf), (F.polynomial(1.5, 100.0), 0.0),
                                              (F.polynomial(2.0) - 0.5 * F.exponential(1.0), 0.0)])  # fmt: skip
def test_memories_without_a_rate(target, rate):
    found = decay_rate(target, None, 0)
    assert (found.value, found.interval, found.slow) == (rate, (rate, rate), rate == 0.0)


def test_rates_that_are_measured():
    """A model's memory instead of a closed form: fitted, with an interval around the truth; or a fit, or a memory, that is there already."""
    target = F.exponential(0.5)
    measured = memory_function(target, horizon=200, dt=0.1)
    for memory in ({"horizon": 200, "dt": 0.1}, measured, measured.fit()):
        found = decay_rate(target, memory, 0)
        assert found.value == pytest.approx(0.5, rel=1e-6)
        assert found.interval[0] <= 0.5 <= found.interval[1]
    assert check_theorem(target, memory=measured).outcome == "holds"


def test_a_memory_slower_than_beta0_is_a_violation():
    """The logic, with the memory of another functional: what survives up to 0.98 may not decay at 0.5, nor like a power."""
    t = np.linspace(0, 60, 601)
    slower = check_theorem(F.exponential(1.0), memory=fit_decay(t, np.exp(-0.5 * t)))
    assert (slower.outcome, slower.beta0) == ("violated", 0.98)
    assert "against the theorem for this family" in slower.reason
    lasting = check_theorem(F.exponential(1.0), memory=fit_decay(t, (1 + t) ** -1.5))
    assert (lasting.outcome, lasting.contrapositive.outcome, lasting.contrapositive.trend.direction) == ("violated", "violated", "survives")
    unknown = check_theorem(F.exponential(1.0), memory=fit_decay(t[:9], np.exp(-t[:9])))  # falls by a factor of 2 only
    assert (unknown.outcome, unknown.rate, unknown.rate_interval) == ("undecided", None, (0.0, math.inf))
    assert "undecided from the radius 0.01 on" in unknown.reason


def test_a_rate_below_what_is_refuted_is_enough():
    """Between 0.98 and 1 nothing is known: a rate of 0.99 is consistent with the theorem."""
    t = np.linspace(0, 60, 601)
    assert check_theorem(F.exponential(1.0), memory=fit_decay(t, np.exp(-0.99 * t))).outcome == "holds"
    finer = check_theorem(F.exponential(1.0), radii=[0.5, 0.995], memory=fit_decay(t, np.exp(-0.99 * t)))
    assert finer.outcome == "violated"


def test_few_widths_show_nothing():
    check = check_theorem(F.polynomial(2.0), widths=(16, 32))
    assert (check.outcome, check.beta0, check.beta0_interval[0]) == ("undecided", None, 0.0)
    assert "three are needed" in check.reason
    stuck = check_theorem(
        F.exponential_sum([1.0, 0.1], [1.0, 0.01]), {m: F.exponential_sum([1.0] * m, [1.0 / m] * m) for m in (2, 4, 8)}, threshold=0.9
    )
    assert "does not clearly fall" in stuck.reason  # models that miss a mode at every width
    coarse = check_theorem(F.exponential(1.0), radii=[0.9, 2.0])
    assert coarse.beta0_interval == (0.9, 2.0)


def test_models_that_are_given():
    target = F.exponential_sum([1.0, 0.5], [1.0, 1.0])
    models = [approximate(target, m) for m in (8, 4, 16)]
    check = check_theorem(target, models, radii=[0.1, 0.4])
    assert list(check.curves) == [4, 8, 16]
    expected = perturbation_error(models[0], target, [0.0, 0.1, 0.4], groups="recurrent", perturbations=1).error
    np.testing.assert_allclose(check.curves[8].error, expected, rtol=1e-9)
    assert check.curves[4].width == 4


def synthetic(errors, radii=(0.0, 0.1, 0.2, 0.4), edge=math.inf, horizon=None, dt=None):
    """A curve with these numbers."""
    error = np.asarray(errors, float)
    return PerturbationCurve(
        radii=np.asarray(radii), error=error, raw=error, by_group={}, divergence_radius=edge, upper=error, status="", method="exact",
        groups=("recurrent",), parametrization="direct", ball="", horizon=horizon, width=1, target_norm=1.0, seed=0, dt=dt,
    )  # fmt: skip


def family(rows, **options):
    return {m: synthetic(row, **options) for m, row in zip((4, 8, 16, 32), rows, strict=True)}


@pytest.mark.parametrize(("rows", "said", "bracket"), [
    # settles everywhere
    ([[1e-3, 0.05, 0.2, 0.4], [1e-4, 0.05, 0.2, 0.4], [1e-5, 0.05, 0.2, 0.4], [1e-6, 0.05, 0.2, 0.4]], "shown shown shown", (0.4, math.inf)),
    # infinite at 0.4 for the larger widths
    ([[1e-3, 0.05, 0.2, 0.4], [1e-4, 0.05, 0.2, 0.4], [1e-5, 0.05, 0.2, np.inf], [1e-6, 0.05, 0.2, np.inf]], "shown shown refuted", (0.2, 0.4)),
    # grows by a factor of 2 a doubling at 0.4
    ([[1e-3, 0.05, 0.2, 1], [1e-4, 0.05, 0.2, 2], [1e-5, 0.05, 0.2, 4], [1e-6, 0.05, 0.2, 8]], "shown shown refuted", (0.2, 0.4)),
    # infinite at the second largest width only
    ([[1e-3, 0.05, 0.2, 0.4], [1e-4, 0.05, 0.2, 0.4], [1e-5, 0.05, 0.2, np.inf], [1e-6, 0.05, 0.2, 0.4]], "shown shown open", (0.2, math.inf)),
    # the radius below the threshold halves with every doubling
    ([[1e-3, 0.05, 0.2, 0.4], [1e-4, 0.1, 0.4, 0.8], [1e-5, 0.2, 0.8, 1.6], [1e-6, 0.4, 1.6, 3.2]], "refuted refuted refuted", (0.0, 0.025)),
    # the models do not approximate the target
    ([[0.05, 0.06, 0.2, 0.4]] * 4, "open open open", (0.0, math.inf)),
    # they do not get better
    ([[0.02, 0.06, 0.2, 0.4]] * 4, "open open open", (0.0, math.inf)),
])  # fmt: skip
def test_the_premise_on_curves_made_by_hand(rows, said, bracket):
    found = premise(family(rows), threshold=0.1)
    assert " ".join(found.said) == said, found.reason
    assert found.bracket == pytest.approx(bracket, rel=0.02)


def test_a_radius_that_becomes_infinite_ever_earlier():
    rows = [[0.3 / m, 0.5, 0.6, 0.7] for m in (4, 8, 16, 32)]
    curves = {m: synthetic(row, edge=0.5 / m**2) for m, row in zip((4, 8, 16, 32), rows, strict=True)}
    found = premise(curves, threshold=0.1)
    assert found.said == ("refuted",) * 3
    assert found.beta0 == 0.0
    assert "becomes infinite" in found.reason


def test_a_short_horizon_shows_nothing_below_its_reciprocal():
    rows = [[1e-3, 0.05, 0.2, 0.4], [1e-4, 0.05, 0.2, 0.4], [1e-5, 0.05, 0.2, 0.4], [1e-6, 0.05, 0.2, 0.4]]
    assert premise(family(rows, horizon=2.0), 0.1).said == ("open",) * 3
    assert premise(family(rows, horizon=10.0), 0.1).said == ("shown",) * 3


def test_models_in_steps_keep_an_error():
    found = premise(family([[0.02, 0.06, 0.2, 0.4]] * 4, dt=0.1), 0.1)
    assert found.said == ("shown",) * 3
    assert "stays at 0.02 of the norm" in found.reason


def network(m, activation="linear", parametrization="direct", rate=1.0, d=1, structure="diagonal"):
    """M copies of a leaky unit, whose readout averages them."""
    layer = ContinuousRNN(
        d, m, activation=activation, parametrization=parametrization, structure=structure, dt=0.1, bias=False, output_size=1,
        batch_first=True, dtype=D,
    )  # fmt: skip
    layer.recurrent_l0.assign(torch.diag(torch.full((m,), -rate, dtype=D)))
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.0)
        layer.readout.weight.fill_(1.0 / m)
    return layer


@pytest.mark.slow
def test_networks_in_steps():
    """Linear units of rate 1 under Euler's method: moved by 1 they stop forgetting."""
    before = {m: network(m) for m in (1, 2, 4)}
    weights = {m: model.recurrent_l0.raw.clone() for m, model in before.items()}
    check = check_theorem(F.exponential(1.0), before, radii=[0.5, 1.2], search={"horizon": 6.0}, threshold=0.15)
    assert check.outcome == "holds", check.reason
    assert check.beta0_interval == (0.5, 1.2)
    assert all(edge == pytest.approx(1.0, rel=0.01) for edge in check.premise.divergence.values())
    assert any("lower bounds on a finite horizon" in note for note in check.notes)
    assert all(torch.equal(weights[m], model.recurrent_l0.raw) for m, model in before.items())


def test_how_networks_are_moved(monkeypatch):
    """Each model by itself, on common radii from 0 on, with the options that were given."""
    calls = []

    def moved(model, target, radii, **options):
        calls.append((model, target, list(radii), options))
        return synthetic([0.02, 0.06, 0.2, 0.4], dt=0.1)

    monkeypatch.setattr(theorem_models, "perturbation_error", moved)
    models, target = {4: network(4), 1: network(1), 2: network(2)}, F.exponential(1.0)
    check = check_theorem(target, models, radii=[0.1, 0.2, 0.4], groups="all", search={"horizon": 6.0}, seed=3)
    assert [call[0] for call in calls] == [models[1], models[2], models[4]]
    assert all(call[1:] == (target, [0.0, 0.1, 0.2, 0.4], {"groups": "all", "seed": 3, "horizon": 6.0}) for call in calls)
    assert (check.outcome, check.beta0) == ("holds", 0.4)


def test_a_network_as_target():
    """Its memory is measured: tanh units of rate 1 forget small inputs at that rate."""
    found = decay_rate(network(2, activation="tanh"), {"horizon": 120, "dt": 0.1, "bound": 0.01}, 0)
    assert found.value == pytest.approx(-math.log(0.9) / 0.1, rel=1e-3)  # Euler's steps of 0.1
    assert "measured to t = 11.9" in found.source


def test_what_a_result_can_do():
    for target in (F.exponential(1.0), F.polynomial(2.0)):
        check = check_theorem(target, widths=(4, 8, 16))
        kept = json.loads(json.dumps(check.to_dict(), allow_nan=False))
        assert kept["outcome"] == check.outcome
        assert len(kept["curves"]) == 3
        assert check.outcome in check.plot().get_title()
        assert "no proof" in check.notes[0]


def nothing(x):
    return torch.zeros_like(x)


ZERO = 0.0 * F.exponential(1.0)
ONE = F.exponential(1.0)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: check_theorem(ONE, parametrization="exp"), ArgumentError, "the theorem moves W itself"),
    (lambda: check_theorem(ONE, parametrization="expp"), ArgumentError, "one of 'direct', 'exp'"),
    (lambda: check_theorem(ONE, groups="readout"), ArgumentError, "`groups` to be 'recurrent'"),
    (lambda: check_theorem(ONE, groups=["recurrent", "reedout"]), ArgumentError, "`groups` to be one of"),
    (lambda: check_theorem(ONE, {}), ArgumentError, "`models` to be non-empty"),
    (lambda: check_theorem(ONE, []), ArgumentError, "`models` to be non-empty"),
    (lambda: check_theorem(ONE, {0: ONE}), ArgumentError, "keys are widths"),
    (lambda: check_theorem(ONE, {1: "model"}), ArgumentTypeError, "exponential sums or torch modules"),
    (lambda: check_theorem(ONE, "models"), ArgumentTypeError, "a dict"),
    (lambda: check_theorem(ONE, [network(1)]), ArgumentTypeError, "only exponential sums tell their width"),
    (lambda: check_theorem(ONE, [ONE, ONE]), ArgumentError, "different widths"),
    (lambda: check_theorem(ONE, {1: F.exponential_sum([1.0], [[1.0, 1.0]])}), ArgumentError, "input size 1"),
    (lambda: check_theorem(ONE, {1: network(1, d=2)}), ArgumentError, "input size 1"),
    (lambda: check_theorem(ONE, {2: torch.nn.RNN(1, 2)}), ArgumentError, "in continuous time"),
    (lambda: check_theorem(ONE, {2: network(2, parametrization="exp")}), ArgumentError, "parametrised directly"),
    (lambda: check_theorem(ONE, {2: network(2, structure="symmetric")}), ArgumentError, "parametrised directly"),
    (lambda: check_theorem(network(1)), ArgumentError, "no linear functional"),
    (lambda: check_theorem(ZERO), ArgumentError, "`target` to be other than zero"),
    (lambda: check_theorem(ZERO, [ONE]), ArgumentError, "`target` to be other than zero"),
    (lambda: check_theorem(nothing, {1: network(1)}, memory={"input_size": 1, "horizon": 20}), ArgumentError, "`target` to be other than zero"),
    (lambda: check_theorem(ONE, widths=(8, 4)), ArgumentError, "`widths`"),
    (lambda: check_theorem(ONE, widths="4"), ArgumentTypeError, "`widths`"),
    (lambda: check_theorem(ONE, radii=[0.0]), ArgumentError, "`radii` to be positive somewhere"),
    (lambda: check_theorem(ONE, radii=[0.2, 0.1]), ArgumentError, "strictly increasing"),
    (lambda: check_theorem(ONE, threshold=1.0), ArgumentError, "`threshold` to be below 1"),
    (lambda: check_theorem(ONE, seed=-1), ArgumentError, "`seed`"),
    (lambda: check_theorem(ONE, memory=3), ArgumentTypeError, "`memory` to be a dict of options"),
    (lambda: check_theorem(ONE, memory={"horison": 3}), ArgumentError, "'horizon'"),
    (lambda: check_theorem(ONE, search={"groups": "all"}), ArgumentError, "`search` to be one of"),
])  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_activations_that_the_theorem_leaves_out():
    """Sigmoid networks forget like 1/t whatever their eigenvalues: the theorem is not about them, and a note says so."""
    (said,) = theorem_models.warnings_of({1: network(1, activation="sigmoid"), 2: network(2, activation="tanh")}, {})
    assert said.endswith("not for sigmoid")
