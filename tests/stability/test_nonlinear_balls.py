"""The balls: their best moves really are the best, and lie inside."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.stability.nonlinear import balls


@pytest.mark.parametrize("kind", balls.KINDS)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 5), columns=st.integers(1, 5), rank=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_the_best_move_attains_the_dual_norm_and_nothing_in_the_ball_beats_it(kind, seed, rows, columns, rank):
    g = torch.Generator().manual_seed(seed)
    gradient = torch.randn(3, rows, rank, generator=g, dtype=torch.float64) @ torch.randn(
        3, rank, columns, generator=g, dtype=torch.float64
    )
    radius = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    found = balls.best(gradient, kind, radius)
    assert (balls.norm(found, kind) <= radius * (1 + 1e-12)).all()
    gained = (found * gradient).flatten(1).sum(1)
    torch.testing.assert_close(gained, radius * balls.dual(gradient, kind))
    other = balls.random(gradient[0], kind, radius, g)
    torch.testing.assert_close(balls.norm(other, kind), radius)
    assert ((other * gradient).flatten(1).sum(1) <= gained + 1e-12).all()


def test_a_vector_and_a_tensor_of_four_axes():
    g = torch.Generator().manual_seed(0)
    for shape, kinds in (((4,), ("euclid", "max")), ((2, 3, 2, 2), ("spectral", "euclid", "max"))):
        gradient = torch.randn(2, *shape, generator=g, dtype=torch.float64)
        for kind in kinds:
            found = balls.best(gradient, kind, torch.ones(2))
            torch.testing.assert_close((found * gradient).flatten(1).sum(1), balls.dual(gradient, kind))
