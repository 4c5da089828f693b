"""What `estimate_memory` refuses, and how it says so."""

import numpy as np
import pytest
import torch

from perdure.errors import ArgumentError, ArgumentTypeError
from perdure.memory.data import estimate_memory

RNG = np.random.default_rng(0)
U, Y = RNG.standard_normal(100), RNG.standard_normal(100)


def at(array, index, value):
    out = np.array(array, dtype=float)
    out[index] = value
    return out


REFUSED = {
    "lengths": (U, Y[:-1], {}, r"`outputs` to be as many records and steps as `inputs`, but got '1 x 99'"),
    "records": (np.zeros((2, 50, 1)), np.zeros((3, 50, 1)), {}, r"as many records and steps"),
    "nan in inputs": (at(U, 7, np.nan), Y, {}, r"`inputs` to be finite everywhere.*\[0, 7, 0\].*split the record"),
    "infinite inputs": (at(U, 7, np.inf), Y, {}, r"`inputs` to be finite everywhere"),
    "infinite outputs": (U, at(Y, 9, -np.inf), {}, r"`outputs` to be finite, or NaN where missing"),
    "all missing": (U, np.full(100, np.nan), {}, r"`outputs` to be seen at 16 steps or more"),
    "constant input": (np.ones(100), Y, {}, r"`inputs` to be changing in time.*stays at 1"),
    "second input constant": (np.stack([U, 0 * U], 1), Y, {}, r"channel 1 stays at 0"),
    "constant output": (U, np.full(100, 1e5), {}, r"`outputs` to be changing in time"),
    "too short": (U[:10], Y[:10], {}, r"`inputs` to be at least 20 steps long, but got 10"),
    "horizon": (U, Y, {"horizon": 100}, r"`horizon` to be below the length of a record, 100 steps, but got 100"),
    "horizon leaves nothing": (
        U,
        Y,
        {"horizon": 95},
        r"seen at 16 steps or more, each with the 95 lags before it.*'6 in channel 0'.*smaller horizon",
    ),
    "small horizon": (U, Y, {"horizon": 2}, r"`horizon` to be at least 3"),
    "wide": (U.reshape(1, 100), Y.reshape(1, 100), {}, r"at least as many steps as channels.*transpose it"),
    "four axes": (U.reshape(1, 100, 1, 1), Y, {}, r"`inputs` to be of shape \(T,\), \(T, d\) or \(B, T, d\)"),
    "scalar": (1.0, Y, {}, r"`inputs` to be of shape"),
    "empty": (np.zeros(0), np.zeros(0), {}, r"not empty"),
    "dt": (U, Y, {"dt": 0.0}, r"`dt` to be positive, but got 0.0"),
    "dt negative": (U, Y, {"dt": -1}, r"`dt` to be positive"),
    "method": (U, Y, {"method": "magic"}, r"`method` to be one of 'kernel', 'nonlinear'"),
    "kernel": (U, Y, {"kernel": "rbf"}, r"`kernel` to be one of 'auto', 'tc', 'dc', 'ss', 'power', 'power-ss'"),
    "noise": (U, Y, {"noise": "pink"}, r"`noise` to be one of 'auto', 'white', 'ar'"),
    "holdout": (U, Y, {"holdout": 0.9}, r"`holdout` to be between 0 and 0.5"),
    "draws": (U, Y, {"draws": 5}, r"`draws` to be at least 100"),
    "seed": (U, Y, {"seed": -1}, r"`seed` to be at least 0"),
}
WRONG_TYPE = {
    "text": (["a"] * 100, Y, {}, r"`inputs` to be an array of real numbers"),
    "complex": (U + 1j, Y, {}, r"`inputs` to be an array of real numbers"),
    "complex tensor": (torch.ones(100, dtype=torch.complex64), Y, {}, r"`inputs` to be an array of real numbers"),
    "ragged": ([[1.0], [1.0, 2.0]], Y, {}, r"`inputs` to be an array of real numbers"),
    "none": (U, None, {}, r"`outputs` to be an array of real numbers"),
    "horizon in time": (U, Y, {"horizon": 2.5}, r"`horizon` to be an integer"),
    "dt in words": (U, Y, {"dt": "1 s"}, r"`dt` to be a real number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_values_are_refused(name):
    inputs, outputs, options, match = REFUSED[name]
    with pytest.raises(ArgumentError, match=match):
        estimate_memory(inputs, outputs, **options)


@pytest.mark.parametrize("name", WRONG_TYPE)
def test_bad_types_are_refused(name):
    inputs, outputs, options, match = WRONG_TYPE[name]
    with pytest.raises(ArgumentTypeError, match=match):
        estimate_memory(inputs, outputs, **options)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, float("nan")])
def test_levels_are_shares_of_the_peak(level):
    found = estimate_memory(U, Y)
    for ask in (found.horizon, found.interval):
        with pytest.raises(ArgumentError, match="level"):
            ask(level)


LAYOUTS = {
    "(T,)": lambda v: v,
    "list": list,
    "(T, 1)": lambda v: v[:, None],
    "(1, T, 1)": lambda v: v[None, :, None],
    "tensor with a gradient": lambda v: torch.tensor(v, requires_grad=True),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_one_record_are_one(name):
    expected = estimate_memory(U, Y).memory
    np.testing.assert_array_equal(estimate_memory(LAYOUTS[name](U), LAYOUTS[name](Y)).memory, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_other_real_types_are_computed_in_double_precision(dtype):
    u, y = (torch.tensor(10 * v).to(dtype) for v in (U, Y))
    expected = estimate_memory(u.double().numpy(), y.double().numpy())
    np.testing.assert_array_equal(estimate_memory(u, y).memory, expected.memory)


def test_records_are_left_as_they_are():
    u, y = U.copy(), at(Y, 50, np.nan)
    kept = y.copy()
    estimate_memory(u, y, method="nonlinear")
    np.testing.assert_array_equal(u, U)
    np.testing.assert_array_equal(y, kept)
