"""Requirements: what is read, what is refused, and when one is met."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import perdure
from perdure import functionals
from perdure.audits.audit import audit
from perdure.audits.quantities import QUANTITIES
from perdure.audits.require import requirement


@pytest.fixture(scope="module")
def leak():
    """rho(t) = e^{-t/20}: half-life 13.86, 1 % after 92.1, known to the end of the horizon."""
    return audit(functionals.exponential(rate=0.05), horizon=200, parts=("properties", "memory"))


@pytest.fixture(scope="module")
def slow():
    """Too slow for the horizon: the memory falls by 1 % only, and no law is called."""
    return audit(functionals.exponential(rate=1e-4), horizon=100, parts=("memory",))


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("half_life >= 13.8", True),
        ("half_life>=13.9", False),
        ("half_life < 14", True),
        ("horizon(0.01) >= 92", True),
        ("horizon( 0.01 ) <= 92.2", True),
        ("horizon(1e-2) > 93", False),
        ("law == exponential", True),
        ("law != exponential", False),
        ("law == polynomial", False),
        ("causal == true", True),
        ("linear == TRUE", True),
        ("causal != true", False),
        ("memory(100) < 0.0068", True),
        ("memory(100) > 0.0067", True),
        ("horizon(0.01) < inf", True),
    ],
)
def test_met_or_not(leak, text, met):
    outcome = requirement(text).check(leak)
    assert outcome.met is met
    assert text in str(outcome)


def test_the_number_is_in_the_outcome(leak):
    assert requirement("horizon(0.01) >= 512").check(leak).found == "92.1"


def test_a_lower_bound_meets_what_it_can_and_decides_nothing_else(slow):
    assert slow.reading(0.01).is_bound
    assert requirement("horizon(0.01) >= 90").check(slow).met
    for text in ("horizon(0.01) >= 200", "horizon(0.01) <= 200", "horizon(0.01) == 99", "horizon(0.01) != 99"):
        outcome = requirement(text).check(slow)
        assert not outcome.met
        assert "measure a longer horizon" in outcome.found


def test_a_law_carried_beyond_eight_times_what_was_measured_decides_nothing():
    """(1 + t)^-1.5: 1e-3 is left after 99, 1e-4 after 463, 1e-5 after 2153, and 200 are measured."""
    found = audit(functionals.polynomial(power=1.5), horizon=201, parts=("memory",))
    assert found.law == "polynomial"
    assert [found.reading(level).status for level in (1e-3, 1e-4, 1e-5)] == ["exact", "extrapolated", "far"]
    assert found.horizon_at(1e-4) == pytest.approx(1e4 ** (2 / 3) - 1, rel=0.01)
    assert str(found.reading(1e-5)) == "≥ 1600"
    assert requirement("horizon(1e-4) >= 450").check(found).met
    assert requirement("horizon(1e-5) >= 1600").check(found).met
    for text in ("horizon(1e-5) >= 1601", "horizon(1e-5) <= 20000", "horizon(1e-5) == 1600"):
        assert not requirement(text).check(found).met


def test_a_memory_that_persists_counts_up_to_eight_times_what_was_measured():
    class Sum(torch.nn.Module):
        input_size = 1

        def forward(self, x):
            return x.cumsum(1)

    found = audit(Sum(), horizon=101, parts=("memory",))
    assert found.law == "persistent"
    assert found.half_life == math.inf
    assert requirement("half_life >= 800").check(found).met
    outcome = requirement("half_life >= 801").check(found)
    assert not outcome.met
    assert "never by the law, of which 800 are counted" in outcome.found
    assert not requirement("half_life < 1e9").check(found).met


def test_what_was_not_measured_is_not_met(slow):
    outcome = requirement("causal == true").check(slow)
    assert not outcome.met
    assert "left out" in outcome.found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "quantity comparator value"),
        ("half_life", "quantity comparator value"),
        ("half_life >=", "compare this quantity with a number"),
        ("__import__('os').system('true') == 0", "quantity comparator value"),
        ("half_life >= 1; half_life >= 2", "quantity comparator value"),
        ("half_live >= 3", "known: half_life, horizon(0.01)"),
        ("horizon >= 3", "a share between 0 and 1"),
        ("horizon(2) >= 3", "a share between 0 and 1"),
        ("horizon(x) >= 3", "a share between 0 and 1"),
        ("horizon() >= 3", "a share between 0 and 1"),
        ("half_life(3) >= 3", "takes no argument"),
        ("half_life >= long", "compare this quantity with a number"),
        ("half_life >= nan", "compare this quantity with a number"),
        ("law >= exponential", "== or !="),
        ("law == linear", "exponential, polynomial"),
        ("causal == 1", "true, false"),
        ("memory(-1) > 0", "at least 0"),
    ],
)
def test_refused(text, says):
    with pytest.raises(perdure.ArgumentError) as error:
        requirement(text)
    assert says in str(error.value)


@given(st.text(max_size=40))
def test_no_text_raises_anything_else(text):
    try:
        found = requirement(text)
    except perdure.ArgumentError:
        return
    assert found.quantity.name in QUANTITIES


@given(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.floats(0, 300), st.floats(0.01, 0.9))
def test_comparison_is_that_of_the_numbers(leak, sign, value, share):
    exact = math.log(1 / share) / 0.05
    outcome = requirement(f"horizon({share!r}) {sign} {value!r}").check(leak)
    near = abs(exact - value) < 1e-6
    assert (
        near
        or outcome.met
        == {"<": exact < value, "<=": exact <= value, ">": exact > value, ">=": exact >= value, "==": False, "!=": True}[sign]
    )
