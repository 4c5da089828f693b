"""Bad arguments, and the ways in which torch runs and differentiates things."""

import os
import subprocess
import sys

import pytest
import torch
from systems import assert_same, cast, outcome, system

from perdure.ops.state_space import METHODS, state_space
from perdure.ops.state_space.hold import zero_order_hold


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"u": torch.zeros(3, 4)}, ValueError, r"`u` to be of shape \(B, T, d\), but got \(3, 4\)"),
        ({"u": torch.zeros(3, 4, 1, dtype=torch.int64)}, TypeError, "`u` to be floating point, but got torch.int64"),
        (
            {"u": torch.zeros(3, 4, 1, dtype=torch.float64)},
            TypeError,
            "`b` to be torch.float64, to go with `u` of torch.float64, but got torch.float32",
        ),
        ({"u": torch.zeros(3, 4, 2)}, ValueError, r"`b` to be of shape \(N = 5, d = 2, 2\)"),
        ({"log_modulus": torch.zeros(5)}, TypeError, "`log_modulus` to be float64, but got torch.float32"),
        ({"log_modulus": torch.zeros(0).double()}, ValueError, "N at least 1"),
        ({"angle": torch.zeros(4).double()}, ValueError, r"`angle` to be of shape \(N = 5\)"),
        ({"angle": None}, ValueError, r"`b` to be of shape \(N = 5, d = 1\)"),
        ({"c": torch.zeros(0, 5, 2)}, ValueError, "o at least 1"),
        ({"h0": torch.zeros(2, 5, 2)}, ValueError, r"`h0` to be of shape \(B = 3, N = 5, 2\)"),
        ({"lengths": torch.tensor([1, 2])}, ValueError, r"`lengths` to be of shape \(B = 3\)"),
        ({"lengths": torch.tensor([1, 2, 130])}, ValueError, "from 0 to T = 129, but got 130"),
        ({"lengths": torch.tensor([1, -1, 3])}, ValueError, "from 0 to T = 129, but got -1"),
        ({"lengths": torch.tensor([1.0, 2.0, 3.0])}, TypeError, "`lengths` to hold integers"),
        ({"method": "quick"}, ValueError, "'auto', 'sequential', 'chunked', 'fft', 'reference'"),
    ],
)
def test_errors_name_argument_rule_and_value(change, error, message):
    with pytest.raises(error, match=message):
        state_space(**(system() | change))


@pytest.mark.parametrize("method", [m for m in METHODS if m != "reference"])
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("oscillating", [True, False], ids=["complex", "real"])
def test_first_and_second_derivatives_against_finite_differences(method, d, oscillating):
    given = {k: v for k, v in system(2, 4, d, d, 2, oscillating, dtype=torch.float64, slowest=0.1).items() if v is not None}
    leaves = [v.requires_grad_() for v in given.values()]

    def run(*values):
        return state_space(**{"angle": None, **dict(zip(given, values, strict=True))}, method=method)

    assert torch.autograd.gradcheck(run, leaves, fast_mode=method != "sequential")
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


@pytest.mark.parametrize("method", METHODS)
def test_forward_mode(method):
    given = system(2, 50, dtype=torch.float64)
    tangent = {k: torch.randn_like(v) for k, v in given.items()}
    step = 1e-6

    def run(values):
        return state_space(**values, method=method)[0]

    _, found = torch.func.jvp(run, (given,), (tangent,))
    ahead, behind = (run({k: v + sign * step * tangent[k] for k, v in given.items()}) for sign in (1, -1))
    torch.testing.assert_close(found, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_vmap_over_poles_and_gradient_within(method):
    given = system(2, 140, dtype=torch.float64)
    several = given["log_modulus"] * torch.tensor([[1.0], [1.5], [2.0]], dtype=torch.float64)

    def loss(log_modulus):
        return state_space(**(given | {"log_modulus": log_modulus}), method=method)[0].square().sum()

    found = torch.func.vmap(torch.func.grad(loss))(several)
    for log_modulus, gradient in zip(several, found, strict=True):
        leaf = log_modulus.clone().requires_grad_()
        (want,) = torch.autograd.grad(loss(leaf), leaf)
        torch.testing.assert_close(gradient, want)


def test_vmap_with_nan_in_one_copy():
    given = system(2, 50)
    inputs = torch.stack((given["u"], given["u"]))
    inputs[1, 0, 20] = torch.nan
    y = torch.func.vmap(lambda u: state_space(**(given | {"u": u}))[0])(inputs)
    assert y.isnan().sum().item() == 30


def test_meta_tensors_have_shapes():
    given = {k: v.to("meta") for k, v in system(2, 300, 2, 3).items()}
    y, h = state_space(**given, lengths=torch.zeros(2, dtype=torch.int64, device="meta"))
    assert (y.shape, h.shape, y.device.type) == ((2, 300, 3), (2, 5, 2), "meta")


def test_without_numba_plain_torch_gives_the_same(monkeypatch):
    given = system(2, 300, 2, 2)
    want = outcome(given, "sequential")
    monkeypatch.setattr("perdure.ops.state_space.sequential.Fused", None)
    for method in ("sequential", "auto"):
        assert_same(outcome(given, method), want, 1e-5)


def test_no_graph_is_kept_without_gradients():
    given = system(2, 300)
    given["b"].requires_grad_()
    with torch.no_grad():
        y, h = state_space(**given, method="sequential")
    assert not y.requires_grad
    assert not h.requires_grad


def test_arguments_are_left_as_they_were():
    given = system(3, 200, 2, 2)
    before = {k: v.clone() for k, v in given.items()}
    for method in METHODS:
        outcome(given, method)
        assert all(torch.equal(v, before[k]) for k, v in given.items())


def test_a_forked_child_computes_too():
    code = """
import os, sys, torch
sys.path.insert(0, {here!r})
from systems import system
from perdure.ops import threads
from perdure.ops.state_space import state_space
threads.WORTH = 1e-9
given = system(4, 500)
want = state_space(**given)[0]
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(state_space(**given)[0], want) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    code = code.format(here=os.path.dirname(__file__))
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=120, check=False).returncode == 0


@pytest.mark.slow
def test_compiled():
    """In a process of its own: the run-time type checks of the test suite cannot be traced. (tests/conformance compiles the layers with inductor.)"""
    code = f"""
import sys, torch
sys.path.insert(0, {os.path.dirname(__file__)!r})
from systems import system, outcome, assert_same
from perdure.ops import state_space as module
plain = module.state_space
for given, lengths in ((system(2, 300), None), (system(2, 300, 3, 3, oscillating=False), torch.tensor([200, 0]))):
    want = outcome(given, "chunked", lengths)
    import systems
    systems.state_space = torch.compile(plain, fullgraph=True, backend="aot_eager")
    assert_same(outcome(given, "auto", lengths), want, 1e-5)
    systems.state_space = plain
"""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize("rate", [1e-12, 1e-3, 1.0, 50.0])
@pytest.mark.parametrize("frequency", [None, 0.0, 1e-9, 0.3, 3.0])
def test_zero_order_hold(rate, frequency):
    """Against mpmath at 50 digits."""
    import mpmath

    dt = 0.7
    waves = None if frequency is None else torch.tensor([frequency], dtype=torch.float64)
    log_modulus, angle, gain = zero_order_hold(torch.tensor([rate], dtype=torch.float64), waves, dt)
    with mpmath.workdps(50):
        pole = mpmath.mpc(-mpmath.mpf(rate), mpmath.mpf(frequency or 0.0))
        want = complex(mpmath.expm1(pole * mpmath.mpf(dt)) / pole)
    found = complex(gain[0, 0].item(), 0.0 if frequency is None else gain[0, 1].item())
    assert abs(found - want) < 1e-15 * abs(want)
    assert log_modulus.item() == pytest.approx(-rate * dt, rel=1e-15)
    assert angle is None or angle.item() == pytest.approx(frequency * dt, rel=1e-15)


def test_zero_order_hold_of_a_mode_that_neither_decays_nor_turns():
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for waves in (None, zero):
        _, _, gain = zero_order_hold(zero, waves, 0.5)
        assert gain[0, 0].item() == 0.5
        assert torch.autograd.grad(gain[0, 0], zero)[0].item() == pytest.approx(-0.125)  # dt^2 / 2, of -rate


def test_casting_leaves_the_poles():
    assert cast(system(), torch.bfloat16)["log_modulus"].dtype == torch.float64
