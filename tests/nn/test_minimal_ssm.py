"""The layer for reading gives what the layer for use gives."""

import inspect

import pytest
import torch

from perdure.nn import DiagonalSSM, minimal_ssm
from perdure.nn.minimal_ssm import MinimalSSM


@pytest.mark.parametrize(("num_layers", "dt"), [(1, 1.0), (3, 0.2)])
def test_equal_to_the_full_layer(num_layers, dt):
    torch.manual_seed(0)
    full = DiagonalSSM(2, 3, 8, num_layers=num_layers, dt=dt).double()
    small = MinimalSSM(2, 3, 8, num_layers=num_layers, dt=dt).double()
    small.load_state_dict(full.state_dict())
    x = torch.randn(2, 150, 2, dtype=torch.float64)
    y, state = full(x)
    other, same = small(x)
    torch.testing.assert_close(other, y, rtol=0, atol=1e-12)
    torch.testing.assert_close(same, state, rtol=0, atol=1e-12)
    torch.testing.assert_close(small(x, state)[0], full(x, state)[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(small.step(x[:, 0], state)[0], full.step(x[:, 0], state)[0], rtol=0, atol=1e-12)
    y.square().sum().backward()
    other.square().sum().backward()
    gradients = dict(full.named_parameters())
    for name, p in small.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name].grad, rtol=1e-9, atol=1e-9)


def test_fresh_outputs_are_of_order_one():
    torch.manual_seed(0)
    with torch.no_grad():
        y, _ = MinimalSSM(1, 16, activation=lambda x: x)(torch.randn(2, 2000, 1))
    assert 0.3 < y[:, 1000:].std() < 3


def test_it_is_short():
    assert len(inspect.getsource(minimal_ssm).splitlines()) <= 120
