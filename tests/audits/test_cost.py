"""The cost model against calls of known cost, and the budget against a clock of its own."""

import numpy as np
import pytest
import torch

import perdure
from perdure.audits.audit import audit
from perdure.audits.cost import Budget, Cost, _nonnegative, estimate


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_fit_finds_the_coefficients_of_a_known_cost():
    truth = np.array([1e-3, 2e-5, 3e-6, 4e-9])
    rows = np.array([(r, t) for r in (1, 4) for t in (16, 64, 256)], float)
    basis = np.stack([np.ones(6), rows[:, 1], rows[:, 0] * rows[:, 1], rows[:, 0] * rows[:, 1] ** 2], 1)
    assert _nonnegative(basis, basis @ truth) == pytest.approx(truth, rel=1e-6)


def test_attention_is_seen_to_grow_with_the_square():
    class Attention(torch.nn.Module):
        def forward(self, x):
            return torch.softmax(x @ x.transpose(1, 2), -1) @ x

    cost = estimate(Attention(), 2, 256, torch.float64)
    assert cost.numbers[1] == pytest.approx(1.0, rel=0.01)  # T^2 entries a row
    assert cost.rows_in(8.0 * 6 * 256**2 * 10.5, 256) == 10


def test_a_recurrence_grows_with_the_length():
    linear = estimate(torch.nn.Linear(2, 32).double(), 2, 256, torch.float64)
    assert linear.numbers[0] == pytest.approx(32, rel=0.01)
    assert linear.numbers[1] == 0
    assert all(steps <= 256 for _, steps, _ in linear.measured)


def test_no_call_is_longer_than_the_horizon():
    assert {steps for _, steps, _ in estimate(torch.nn.Linear(2, 2).double(), 2, 20, torch.float64).measured} == {16, 20}


def test_a_budget_counts_and_learns():
    clock = Clock()
    budget = Budget(10.0, clock)
    assert budget.affords(10.0)
    assert not budget.affords(10.1)
    assert not budget.affords(6.0, share=0.5)
    clock.now = 4.0
    assert budget.left == 6.0
    budget.record(foreseen=1.0, used=3.0)
    assert budget.corrected(1.0) == 3.0
    assert budget.affords(2.0)
    assert not budget.affords(2.1)
    budget.record(foreseen=0.001, used=0.09)  # too short to tell
    assert budget.ratio == 3.0
    clock.now = 20.0
    assert budget.left == 0.0


def test_without_a_limit_everything_fits():
    assert Budget(None).affords(1e9)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_bad_budgets(value):
    with pytest.raises((perdure.ArgumentError, perdure.ArgumentTypeError), match="budget"):
        audit(torch.nn.Linear(1, 1), budget=value)


def test_gradients_cost_three_calls():
    cost = Cost((1.0, 0.0, 0.0, 0.0), (1.0, 0.0))
    assert cost.gradient(1, 10) == 3 * cost.forward(1, 10)


class Slow(torch.nn.Module):
    """Takes 100 microseconds a row and step, by a clock that it moves itself."""

    input_size = 12

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.RNN(12, 4, batch_first=True)

    def forward(self, x):
        import time

        time.sleep(1e-4 * x.shape[0] * x.shape[1])
        return self.inner(x)[0]


def test_a_small_budget_reduces_or_drops_and_says_so():
    found = audit(Slow(), horizon=64, budget=4.0, parts=("memory", "lengths"))
    memory, lengths = found.parts["memory"], found.parts["lengths"]
    assert memory.status == "reduced"
    assert memory.reason
    assert found.provenance["seconds"] < 8.0
    assert lengths.status in ("reduced", "not measured")
    assert lengths.reason
    tiny = audit(Slow(), horizon=64, budget=0.5, parts=("memory",))
    assert tiny.parts["memory"].status == "not measured"
    assert "over budget" in tiny.parts["memory"].reason


def test_every_measure_keeps_to_a_small_budget():
    parts = ("properties", "forgetting", "reach", "precision", "sensitivity")
    found = audit(Slow(), horizon=64, budget=5.0, parts=parts)
    assert found.provenance["seconds"] < 10.0
    for name in parts:
        assert found.parts[name].status == "measured" or found.parts[name].reason
    assert any(found.parts[name].status == "reduced" for name in parts)
