"""Memory around several backgrounds, against models whose memory amid an input is known."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from perdure import functionals
from perdure.errors import ArgumentError, ModelError
from perdure.memory.ensemble import memory_ensemble


def forgetting_gate(x):
    """h_k = a_k h_{k-1} + u_k with a_k = 0.9 - 0.4 |second channel|; y = h."""
    h, out = torch.zeros_like(x[:, 0, :1]), []
    for u in x.unbind(1):
        h = (0.9 - 0.4 * u[:, 1:].abs()) * h + u[:, :1]
        out.append(h)
    return torch.stack(out, 1)


def test_around_data_the_gate_of_the_data_counts():
    """A pulse on the first channel amid a second channel held at g: what is left is (0.9 - 0.4 |g|)^k."""
    data = np.zeros((2, 20, 2))
    data[0, :, 1], data[1, :, 1] = 0.5, 1.0
    found = memory_ensemble(forgetting_gate, horizon=20, input_size=2, background=data, probe="jacobian")
    assert found.labels == ("zeros", "data 1", "data 2")
    k = np.arange(20)
    for values, a in zip(found.values, (0.9, 0.7, 0.5), strict=True):
        np.testing.assert_allclose(values, a**k, rtol=1e-9)
    np.testing.assert_allclose(found.median, 0.7**k, rtol=1e-9)
    np.testing.assert_allclose(found.worst, 0.9**k, rtol=1e-9)
    np.testing.assert_allclose(found.quantile(0.0), 0.5**k, rtol=1e-9)
    assert found.spread == pytest.approx(19 * np.log10(0.9 / 0.5))
    assert found.input_dependent


def test_a_linear_model_has_one_memory_function():
    found = memory_ensemble(functionals.exponential(rate=0.3), horizon=20, count=3)
    assert found.labels == ("zeros", "noise 1", "noise 2", "noise 3")
    np.testing.assert_allclose(found.values, np.broadcast_to(found.values[0], found.values.shape), rtol=1e-6, atol=1e-12)
    assert not found.input_dependent
    assert found.spread < 1e-6
    assert found.status == "exact around each background"
    assert memory_ensemble(functionals.exponential(rate=0.3), horizon=5, background="zeros").labels == ("zeros",)


def test_attention_depends_on_what_it_reads():
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(2, 1, batch_first=True, bias=False)
    with torch.no_grad():
        layer.in_proj_weight.mul_(8.0)

    def causal(x):
        mask = torch.full((x.shape[1],) * 2, -torch.inf, dtype=x.dtype).triu(1)
        return layer.double()(x, x, x, attn_mask=mask, need_weights=False)[0]

    found = memory_ensemble(causal, horizon=10, input_size=2, count=3, probe="jacobian")
    assert found.input_dependent
    assert (found.worst >= found.median).all()


def test_short_time_plain_results_and_an_untouched_model():
    model = nn.GRU(2, 3, batch_first=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = memory_ensemble(model, horizon=10, count=400, probes=8, seconds=0.5)
    assert 1 <= len(found.curves) < 401
    assert any("in the time there was" in note for note in found.notes)
    json.dumps(found.to_dict(), allow_nan=False)
    assert list(found.to_frame().columns) == ["time", "background", "memory"]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    reversed_ = memory_ensemble(model, horizon=6, count=1, probes=8, probe="reversed")
    assert reversed_.values.shape == (2, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count"),
        ({"probe": "echo"}, "probe"),
        ({"horizon": 2}, "horizon"),
        ({"bound": 0.0}, "bound"),
        ({"background": "pink"}, "background"),
        ({"background": np.zeros((2, 1))}, "background"),
        ({"seconds": -1.0}, "seconds"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        memory_ensemble(torch.tanh, **{"horizon": 8, "input_size": 1, **options})


def test_a_quantile_is_a_share_and_a_model_with_foresight_is_refused():
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        memory_ensemble(torch.tanh, horizon=8, input_size=1, count=1).quantile(1.5)
    with pytest.raises(ModelError, match="causal"):
        memory_ensemble(lambda x: x.flip(1), horizon=8, input_size=1)
