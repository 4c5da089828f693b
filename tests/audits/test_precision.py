"""Number formats and memory: scalar recurrences whose rounded pole is known, and log-parametrised layers that keep theirs."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from perdure.audits.precision import FORMATS, holds, precision, rounded
from perdure.errors import ArgumentError
from perdure.nn import DiagonalSSM


class Scalar(nn.Module):
    """h' = a h + u, y = h, the pole stored as it is."""

    input_size = 1

    def __init__(self, tau):
        super().__init__()
        self.weight_hh = nn.Parameter(torch.tensor([[1 - 1 / tau]], dtype=torch.float64))

    def forward(self, x):
        h, out = x.new_zeros(x.shape[0], 1), []
        for u in x.unbind(1):
            h = h @ self.weight_hh.T + u
            out.append(h)
        return torch.stack(out, 1)


def logged(tau):
    layer = DiagonalSSM(1, 1, state_size=1, real=True, activation="linear", skip=False, dtype=torch.float64)
    layer.assign_timescales(torch.tensor([float(tau)]))
    return layer


@pytest.mark.parametrize("tau", [20.0, 100.0, 400.0, 1000.0])
def test_a_stored_pole_is_the_one_the_format_has(tau):
    steps = 200 if tau < 200 else int(3 * tau)
    found = precision(Scalar(tau), horizon=steps, activations=False, formats=("bfloat16", "float16"))
    half = math.log(2) / -math.log(1 - 1 / tau)
    assert found.reference.half_life == pytest.approx(half, rel=1e-3)
    k = np.arange(steps)
    for row, bits in zip(found.rows, (torch.bfloat16, torch.float16), strict=True):
        a = torch.tensor(1 - 1 / tau, dtype=torch.float64).to(bits).double().item()
        assert row.error == pytest.approx(np.abs(a**k - (1 - 1 / tau) ** k).max(), rel=1e-6)
        if a == 1.0:
            assert row.half_life == math.inf  # the pole became 1: it never forgets
            assert row.ratio is None
        else:
            assert row.half_life == pytest.approx(-math.log(2) / math.log(a), rel=1e-3)
            assert row.ratio == pytest.approx(row.half_life / half, rel=2e-3)


def test_bfloat16_ends_beyond_256_steps_and_the_logarithm_does_not():
    assert precision(Scalar(600.0), horizon=64, activations=False, formats="bfloat16").row("bfloat16").half_life == math.inf
    for tau in (600.0, 5000.0):
        row = precision(logged(tau), horizon=int(3 * tau), activations=False, formats="bfloat16").row("bfloat16")
        assert row.half_life == pytest.approx(tau * math.log(2), rel=math.log(tau) * 2**-8 + 0.01)


def test_a_half_life_beyond_the_horizon_is_a_bound():
    found = precision(Scalar(1000.0), horizon=100, activations=False, formats="float32")
    assert found.reference.half_life is None
    assert found.reference.status == "measured; half-life at least 99; 1 % at least 99"
    assert found.row("float32").ratio is None


def test_int8_scales_by_tensor_or_by_row():
    W = torch.tensor([[2.54, 0.0127], [0.01, 0.005]], dtype=torch.float64)
    whole, rows = rounded(W, "int8"), rounded(W, "int8 per channel")
    np.testing.assert_allclose(whole, torch.round(W / 0.02) * 0.02, atol=1e-15)
    assert whole[1, 1].item() == 0.0
    np.testing.assert_allclose(rows[1], torch.tensor([0.01, round(0.005 / 0.01 * 127) * 0.01 / 127], dtype=torch.float64), rtol=1e-9)
    bias = torch.rand(3)
    assert torch.equal(rounded(bias, "int8"), bias)
    assert not torch.equal(rounded(bias, "int8", recurrent=True), bias)
    z = torch.complex(W, -W)
    assert torch.equal(rounded(z, "float32").real, W.float().double())


def test_what_formats_hold_is_what_they_have():
    for kind, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16), ("float32", torch.float32)):
        below = torch.nextafter(torch.tensor(1.0, dtype=dtype), torch.tensor(0.0, dtype=dtype)).double().item()
        (found,) = holds((kind,))
        assert found.pole == pytest.approx(-1 / math.log(below), rel=1e-9)
        v = torch.tensor(math.log(1e6), dtype=torch.float64)
        assert abs(math.expm1(v.to(dtype).double().item() - v.item())) <= found.log_error
    assert holds(("int8",))[0].pole == pytest.approx(126.5, abs=0.1)


def test_activations_in_single_precision_and_a_model_that_does_not_run():
    torch.manual_seed(0)
    found = precision(nn.GRU(2, 4, batch_first=True), horizon=32, formats=("float32", "bfloat16"))
    assert [(r.format, r.where) for r in found.rows] == [(f, w) for w in ("weights", "activations") for f in ("float32", "bfloat16")]
    assert 0 < found.row("float32", "activations").error < 1e-5
    coarse = found.row("bfloat16", "activations")
    assert coarse.status != "measured" or coarse.error > 1e-3
    assert set(found.curves) >= {"as it is", "float32 weights"}

    class Picky(nn.Linear):
        input_size = 1

        def forward(self, x):
            if x.dtype != torch.float64:
                raise RuntimeError("double precision only")
            return super().forward(x)

    found = precision(Picky(1, 1).double(), horizon=16, formats="float16")
    assert "double precision only" in found.row("float16", "activations").status
    assert np.isnan(found.row("float16", "activations").error)


def test_large_weights_overflow_and_say_so():
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(1e6)
    found = precision(model, horizon=16, formats=("float16", "bfloat16"), activations=False)
    assert found.row("float16").status.startswith("not run")
    assert found.row("bfloat16").status == "measured"


def test_the_model_is_left_alone_and_results_are_plain():
    model = nn.LSTM(2, 3, batch_first=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = precision(model, horizon=20, background="noise")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert len([r for r in found.rows if r.where == "weights"]) == len(FORMATS)
    json.dumps(found.to_dict(), allow_nan=False)
    assert len(found.to_frame()) == 1 + len(found.rows)
    nothing = precision(lambda x: x, horizon=16, input_size=1)
    assert nothing.rows == ()
    assert "nothing was rounded" in nothing.notes[0]
    hasty = precision(model, horizon=2000, seconds=0.01)
    assert any("no time was left" in r.status for r in hasty.rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 4}, "horizon"),
        ({"probe": "jacobian"}, "probe"),
        ({"formats": ("int4",)}, "formats"),
        ({"inputs": 0}, "inputs"),
        ({"bound": 0.0}, "bound"),
        ({"background": np.zeros((3, 1))}, "background"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        precision(Scalar(10.0), **options)


def test_a_row_that_was_not_asked_for():
    with pytest.raises(ArgumentError, match="format"):
        precision(Scalar(10.0), horizon=16, formats="int8").row("bfloat16")
