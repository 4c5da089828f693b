"""Agreement of probes: on curves in closed form and on models known to be linear, blind or gated."""

import json

import numpy as np
import pytest
import torch

from perdure import functionals
from perdure.audits.agreement import agreement
from perdure.errors import ArgumentError
from perdure.memory import memory_function

T = np.arange(300.0)


def curve(values, floor=0.0, status="exact"):
    return {"times": T, "values": values, "noise_floor": floor, "status": status}


def test_scale_does_not_count_and_rates_do():
    slow, loud, fast = curve(np.exp(-0.05 * T)), curve(7 * np.exp(-0.05 * T)), curve(np.exp(-0.1 * T))
    found = agreement({"impulse": slow, "heaviside": loud, "jacobian": fast})
    table = {(p.first, p.second): p for p in found.pairs}
    assert table["impulse", "heaviside"].distance == pytest.approx(0.0, abs=1e-12)
    assert table["impulse", "heaviside"].peak_ratio == pytest.approx(1 / 7)
    lags = np.unique(np.geomspace(1, 299, 64).round())
    expected = np.minimum(0.1 * lags / np.log(10), 12) - 0.05 * lags / np.log(10)
    assert table["impulse", "jacobian"].distance == pytest.approx(np.abs(expected).mean(), rel=1e-9)
    assert table["impulse", "jacobian"].half_life_ratio == pytest.approx(2.0, rel=1e-3)
    assert found.half_lives["impulse"] == pytest.approx(np.log(2) / 0.05, rel=1e-3)
    assert not found.agree
    assert any("saturate" in text and numbers["distance (decades)"] > 0.1 for text, numbers in found.sentences)


def test_what_is_under_the_noise_of_either_does_not_count():
    one, two = curve(np.exp(-0.1 * T), 1e-3), curve(np.maximum(np.exp(-0.1 * T), 1e-5), 1e-3)
    assert agreement({"impulse": one, "jacobian": two}).pairs[0].distance == pytest.approx(0.0, abs=1e-12)


def test_a_linear_model_agrees_by_all_probes():
    model = functionals.exponential(rate=0.05)
    curves = {name: memory_function(model, horizon=200, probe=name) for name in ("heaviside", "impulse", "jacobian")}
    found = agreement(curves)
    assert found.agree
    assert "agree" in found.sentences[0][0]
    assert found.sentences[0][1]["largest distance (decades)"] < 0.01


def test_attention_without_positions_is_unseen_by_constant_inputs():
    def attention(x):
        return x.cumsum(1) / torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]

    curves = {name: memory_function(attention, horizon=60, input_size=1, probe=name) for name in ("heaviside", "impulse")}
    found = agreement(curves)
    text, numbers = found.sentences[0]
    assert "blind" in text
    assert "half-life by impulse" in numbers
    assert not found.agree


def test_what_the_data_does_and_no_memory_at_all():
    found = agreement({"impulse": curve(np.exp(-0.02 * T)), "impulse, data": curve(np.exp(-0.2 * T))})
    assert any("amid data" in text for text, _ in found.sentences)
    nothing = curve((T == 0).astype(float))
    assert agreement({"impulse": nothing, "heaviside": nothing}).agree
    switch = agreement({"heaviside": curve(np.exp(-0.02 * T)), "reversed": curve(np.exp(-0.2 * T)), "impulse": nothing})
    assert any("Switching" in text for text, _ in switch.sentences)
    assert any("probe impulse" in text for text, _ in switch.sentences)


def test_plain_results():
    found = agreement({"impulse": curve(np.ones(300)), "jacobian": curve(np.zeros(300))})
    json.dumps(found.to_dict(), allow_nan=False)
    assert len(found.to_frame()) == 1
    assert found.half_lives["jacobian"] is None


def test_bad_arguments():
    with pytest.raises(ArgumentError, match="at least two"):
        agreement({"impulse": curve(np.ones(300))})
    with pytest.raises(TypeError, match="MemoryFunction or a mapping"):
        agreement({"impulse": curve(np.ones(300)), "jacobian": {"values": [1.0]}})
