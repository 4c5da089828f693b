"""Verdicts on targets whose answer is known."""

import json

import pytest

from perdure import functionals as F
from perdure.stability import stable_approximation

WIDTHS = (4, 8, 16, 32)


@pytest.mark.parametrize(("target", "name", "outcome"), [
    (F.polynomial(2.0), "direct", "unstable"), (F.polynomial(2.0), "exp", "stable"), (F.polynomial(2.0), "softplus", "stable"),
    (F.exponential(0.5), "direct", "stable"), (F.polynomial(1.1), "exp", "undecided"),
])  # fmt: skip
def test_known_answers(target, name, outcome):
    verdict = stable_approximation(target, parametrization=name, widths=WIDTHS)
    assert verdict.outcome == outcome, verdict.reason
    json.dumps(verdict.to_dict(), allow_nan=False)
    if outcome == "stable":
        assert verdict.beta0 > 0
    if target is not None and name == "direct" and outcome == "stable":
        assert verdict.beta0 <= 0.5  # the theorem: a stable memory decays at least at rate beta0


def test_readout_of_unnormalised_modes_is_not_stable_under_any_map():
    """A readout moved by beta adds beta / lambda_min to the norm."""
    assert stable_approximation(F.polynomial(2.0), parametrization="exp", groups="readout", widths=(4, 8, 16, 32, 64)).outcome == "unstable"


def test_too_few_widths_are_undecided():
    verdict = stable_approximation(F.polynomial(2.0), widths=(8, 16))
    assert verdict.outcome == "undecided"
    assert "widths" in verdict.reason


@pytest.mark.parametrize(("kwargs", "name"), [
    ({"activation": "tanh"}, "activation"), ({"widths": ()}, "widths"), ({"widths": (8, 4)}, "widths"), ({"widths": (0, 4)}, "widths"),
    ({"threshold": 0.0}, "threshold"), ({"threshold": 1.5}, "threshold"), ({"parametrization": "tan"}, "parametrization"),
])  # fmt: skip
def test_refusals(kwargs, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        stable_approximation(F.exponential(1.0), **kwargs)
