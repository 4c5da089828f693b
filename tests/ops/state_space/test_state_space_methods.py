"""Every method against the plain float64 loop: outputs, last states and every gradient, at odd sizes."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import assert_same, cast, outcome, system

from perdure.ops.state_space import arguments as arguments_module
from perdure.ops.state_space import cost, state_space

FAST = ("sequential", "chunked", "fft")
CASES = [(1, 1, 1, False), (3, 1, 1, True), (3, 2, 5, True), (1, 5, 2, False), (3, 1, 2, True)]  # rows, inputs, outputs, initial state
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}


def check(arguments, *methods, lengths=None, last=True):
    expected = outcome(cast(arguments, torch.float64), "reference", lengths, last)
    for method in methods:
        assert_same(outcome(arguments, method, lengths, last), expected, TOLERANCE[arguments["u"].dtype], method)


@pytest.mark.parametrize("oscillating", [True, False], ids=["complex", "real"])
@pytest.mark.parametrize("steps", [1, 2, 127, 128, 129])
def test_outputs_and_gradients(steps, oscillating):
    for rows, d, o, start in CASES:
        check(system(rows, steps, d, o, 5, oscillating, start, torch.float64), *FAST)


@pytest.mark.parametrize("oscillating", [True, False], ids=["complex", "real"])
@pytest.mark.parametrize("d", [1, 2])
def test_a_thousand_steps_in_both_precisions(oscillating, d):
    for dtype in (torch.float64, torch.float32):
        check(system(3, 1000, d, d, 5, oscillating, dtype=dtype), *FAST)


@pytest.mark.parametrize("n", [1, 17, 33, 100])
@pytest.mark.parametrize("d", [1, 3])
def test_any_number_of_states(n, d):
    """Groups of registers of every width, and states that fill none."""
    for oscillating, dtype in itertools.product((True, False), (torch.float32, torch.float64)):
        check(system(2, 70, d, d, n, oscillating, dtype=dtype), "sequential")


@pytest.mark.parametrize("method", [*FAST, "reference"])
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("oscillating", [True, False], ids=["complex", "real"])
def test_padding_counts_for_nothing(method, d, oscillating):
    """Each row alone, cut to its length, gives the same; what stands in the padding is not even looked at."""
    steps, lengths = 300, torch.tensor([300, 128, 0, 129, 1])
    arguments = system(5, steps, d, 2 if d == 2 else 1, 5, oscillating)
    padding = torch.arange(steps) >= lengths[:, None]
    arguments["u"] = torch.where(padding[..., None], torch.nan, arguments["u"])
    found = outcome(arguments, method, lengths)
    assert found["y"][padding].eq(0).all()
    assert found["u"][padding].eq(0).all()
    alone = []
    for row, length in enumerate(lengths.tolist()):
        one = {k: v[row : row + 1] if k in ("u", "h0") else v for k, v in cast(arguments, torch.float64).items() if v is not None}
        one["u"] = one["u"][:, :length]
        y, h = state_space(**{"angle": None, **one}, method="reference")
        alone.append(h[0])
        torch.testing.assert_close(found["y"][row, :length].double(), y[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["h"].double(), torch.stack(alone), rtol=1e-4, atol=1e-5)
    arguments["u"] = arguments["u"].nan_to_num(0.0)
    check(arguments, method, lengths=lengths)


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("d", [1, 2])
def test_gradients_of_outputs_alone_and_states_alone(method, d):
    arguments = system(2, 130, d, d)
    check(arguments, method, last=False)
    leaf = arguments["u"].clone().requires_grad_()
    reference = arguments["u"].double().requires_grad_()
    state_space(**(arguments | {"u": leaf}), method=method)[1].sum().backward()
    state_space(**(cast(arguments, torch.float64) | {"u": reference}), method="reference")[1].sum().backward()
    assert_same({"u": leaf.grad}, {"u": reference.grad}, 1e-5)


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("cut", [1, 63, 100, 257])
def test_states_pass_across_calls(method, d, cut):
    arguments = system(2, 400, d, d)
    y, h = state_space(**arguments, method=method)
    first = state_space(**(arguments | {"u": arguments["u"][:, :cut]}), method=method)
    second = state_space(**(arguments | {"u": arguments["u"][:, cut:], "h0": first[1]}), method=method)
    assert_same({"y": torch.cat((first[0], second[0]), 1), "h": second[1]}, {"y": y, "h": h}, 5e-6)


def test_memory_is_not_assumed_to_be_clean(monkeypatch):
    """Uninitialised buffers hold NaN here: none may be read before it is written."""
    full = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, *a, **k: full(self, *a, **k).fill_(torch.nan))
    monkeypatch.setattr(torch, "empty", lambda *a, **k: torch.full(a, torch.nan, **k))
    monkeypatch.setattr(torch, "empty_like", lambda t, **k: torch.full_like(t, torch.nan, **k))
    for d, lengths in itertools.product((1, 3), (None, torch.tensor([65, 0, 200]))):
        arguments = system(3, 200, d, d)
        if lengths is not None:
            arguments["u"] *= (torch.arange(200) < lengths[:, None])[..., None]
        check(arguments, "sequential", lengths=lengths)


@pytest.mark.parametrize("method", [*FAST, "reference", "auto"])
@pytest.mark.parametrize("rows", [0, 2])
def test_no_steps(method, rows):
    arguments = system(rows, 0, 2, 3)
    y, h = state_space(**arguments, method=method)
    assert y.shape == (rows, 0, 3)
    assert torch.equal(h, arguments["h0"])
    assert state_space(**(arguments | {"h0": None}), method=method)[1].eq(0).all()


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("d", [1, 2])
def test_strides_do_not_matter(method, d):
    arguments = system(4, 200, d, d)
    expected = outcome(cast(arguments, torch.float64), "reference")
    turned = {
        k: None if v is None else v.mT.contiguous().mT if v.ndim > 1 else torch.stack((v, v), -1)[..., 0] for k, v in arguments.items()
    }
    assert_same(outcome(turned, method), expected, 1e-5)
    torch.testing.assert_close(state_space(**(turned | {"u": arguments["u"][:1].expand(4, -1, -1)}), method=method)[0][3].shape, (200, d))


@settings(max_examples=25)
@given(
    st.integers(1, 4), st.integers(1, 200), st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.booleans(), st.booleans(),
    st.sampled_from(FAST), st.integers(0, 10**6),
)  # fmt: skip
def test_any_sizes(rows, steps, d, o, n, oscillating, start, method, seed):
    check(system(rows, steps, d, o, n, oscillating, start, torch.float64, seed=seed), method)


def test_several_threads_share_rows_or_states(monkeypatch):
    from perdure.ops import threads

    monkeypatch.setattr(threads, "WORTH", 1e-9)
    for rows, n, d in itertools.product((1, 2, 5), (16, 17, 80), (1, 2)):
        check(system(rows, 200, d, d, n), "sequential")
        check(system(rows, 200, d, d, n, False), "sequential")


def test_auto_takes_the_cheapest_by_its_own_account():
    cases = {
        (1, 1, 1000, 64, False): "sequential",
        (1, 16, 100_000, 64, True): "sequential",
        (64, 16, 10_000, 64, True): "sequential",
        (2, 16, 100_000, 64, False): "chunked",
        (1, 16, 10_000, 1024, True): "fft",
    }
    for (d, rows, steps, n, grad), name in cases.items():
        arguments = {k: v if v is None else v.requires_grad_(grad) for k, v in system(rows, 1, d, d, n).items()}
        given = arguments_module.system(*arguments.values(), None)
        assert cost.choose(given._replace(u=given.u.expand(rows, steps, d))) == name
