"""The memory amid different inputs, within what a model and a budget allow."""

import numpy as np
import pytest
import torch
from torch import nn

from perdure.adapters import adapt
from perdure.audits.audit import audit
from perdure.audits.backgrounds import backgrounds
from perdure.audits.context import Context
from perdure.audits.cost import Budget, Cost


def gru(size=1):
    torch.manual_seed(0)
    return nn.GRU(size, 4, batch_first=True)


def test_the_users_data_are_the_members():
    data = np.random.default_rng(0).standard_normal((3, 40, 1))
    found = audit(gru(), horizon=32, data=data, parts=("backgrounds",), lengths=(1,)).part("backgrounds")
    assert found["labels"] == ["zeros", "data 1", "data 2", "data 3"]
    assert [row["label"] for row in found["members"]] == found["labels"]


def test_the_worst_case_is_the_largest_member():
    found = audit(gru(), horizon=32, parts=("backgrounds",), lengths=(1,)).part("backgrounds")
    halves = [row["half_life"]["value"] for row in found["members"]]
    assert found["readings"]["worst case"]["half_life"]["value"] >= 0.5 * max(halves)
    assert min(halves) <= found["readings"]["median"]["half_life"]["value"] <= max(halves)
    assert len(halves) == 7


def test_of_many_channels_a_few_directions_are_taken_where_time_is_short():
    model = adapt(nn.GRU(100, 4, batch_first=True))
    cost, budget = Cost((0.0, 0.0, 1e-6, 0.0), (1.0, 0.0)), Budget(1.0)
    context = Context(model, 64, 1.0, 1.0, 0, torch.float64, None, (1,), ("impulse",), 1e9, cost, budget, lambda _: None, limit=24)
    ways = backgrounds(context)
    assert [way.seconds for way in ways] == sorted((way.seconds for way in ways), reverse=True)
    assert ways[0].note == ""
    assert "8 of 100 input directions" in ways[-1].note
    assert "16 steps" in ways[-1].note


@pytest.mark.parametrize(
    ("model", "says"),
    [(nn.Linear(1, 1), "linear"), (nn.GRU(1, 2, bidirectional=True, batch_first=True), "future")],
)
def test_where_it_does_not_apply_it_says_why(model, says):
    found = audit(model, horizon=16, parts=("properties", "backgrounds"), lengths=(1,))
    assert says in found.parts["backgrounds"].reason
