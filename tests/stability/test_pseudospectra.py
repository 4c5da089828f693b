"""Pseudospectral abscissa, numerical abscissa and Kreiss constant against closed forms and dense evaluations."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import ModelError
from perdure.stability.level_sets import Line, minimum
from perdure.stability.pseudospectra import kreiss_constant, numerical_abscissa, pseudospectral_abscissa, transient_bounds
from perdure.stability.radius import stability_radius


def chain(a, c):
    """Two states of rate a, the second feeding the first with strength c."""
    return np.array([[-a, c], [0.0, -a]])


def grcar(n):
    return np.eye(n, k=-1) - sum(np.eye(n, k=k) for k in range(4))


def gaussian(n, seed, margin=0.3, imaginary=0.0):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, n)) + (1j * imaginary * rng.normal(size=(n, n)) if imaginary else 0)
    return A - (np.linalg.eigvals(A).real.max() + margin) * np.eye(n)


CASES = {
    "chain": chain(1.0, 100.0),
    "jordan": np.eye(5, k=1) - 0.8 * np.eye(5),
    "grcar": grcar(12),
    "gaussian 4": gaussian(4, 0),
    "gaussian 9": gaussian(9, 1),
    "complex": gaussian(5, 2, imaginary=1.0),
    "unstable": gaussian(5, 3, margin=-0.4),
}
EVERY = pytest.mark.parametrize("W", CASES.values(), ids=CASES)

rates, strengths, sizes = st.floats(0.1, 5), st.floats(0.01, 1000), st.floats(1e-4, 100)


@given(rates, strengths, sizes)
def test_abscissa_of_a_chain_in_closed_form(a, c, eps):
    """|z + a|^2 = eps (eps + c) is where the 2x2 resolvent has the norm 1 / eps."""
    assert pseudospectral_abscissa(chain(a, c), eps) == pytest.approx(-a + math.sqrt(eps * (eps + c)), rel=1e-9, abs=1e-9 * (a + c))


@settings(max_examples=30)
@given(st.integers(1, 7), st.integers(0, 10**6), sizes)
def test_normal_matrices_move_by_eps(n, seed, eps):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n)))[0]
    eigenvalues = rng.normal(size=n) + 1j * rng.normal(size=n)
    W = Q @ np.diag(eigenvalues) @ Q.conj().T
    assert pseudospectral_abscissa(W, eps) == pytest.approx(eigenvalues.real.max() + eps, abs=1e-11 * (1 + eps))
    assert numerical_abscissa(W) == pytest.approx(eigenvalues.real.max(), abs=1e-12)


@EVERY
def test_abscissa_at_zero_and_in_between(W):
    spectral = np.linalg.eigvals(W).real.max()
    assert pseudospectral_abscissa(W, 0.0) == spectral
    values = [pseudospectral_abscissa(W, eps) for eps in np.geomspace(1e-3, 10, 9)]
    assert (np.diff([spectral, *values]) > 0).all()
    assert (values <= numerical_abscissa(W) + np.geomspace(1e-3, 10, 9) + 1e-12).all()


@EVERY
@pytest.mark.parametrize("eps", [0.003, 0.2, 3.0])
def test_abscissa_against_the_whole_line(W, eps):
    """No point of the vertical line just right of it, and some point of the line just left of it, has sigma_min below eps."""
    alpha, size = pseudospectral_abscissa(W, eps), np.linalg.norm(W, 2)
    y = np.linspace(-1.1 * size - eps, 1.1 * size + eps, 4001)
    for x, inside in ((alpha - 1e-3 * size, True), (alpha + 1e-6 * size, False)):
        values = np.linalg.svd((x + 1j * y)[:, None, None] * np.eye(len(W)) - W, compute_uv=False)[:, -1]
        assert (values.min() < eps) == inside


@EVERY
@pytest.mark.parametrize("eps", [0.003, 0.2, 3.0])
def test_abscissa_is_reached_and_never_passed(W, eps):
    alpha = pseudospectral_abscissa(W, eps)
    assert stability_radius(W - alpha * np.eye(len(W)) - 1e-9 * np.eye(len(W))) == pytest.approx(eps, rel=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(200):
        move = rng.normal(size=W.shape) + 1j * rng.normal(size=W.shape)
        assert np.linalg.eigvals(W + eps * move / np.linalg.norm(move, 2)).real.max() <= alpha + 1e-12


@EVERY
def test_abscissa_vanishes_at_the_stability_radius(W):
    if r := stability_radius(W):
        assert pseudospectral_abscissa(W, r) == pytest.approx(0.0, abs=1e-10 * np.linalg.norm(W))


def test_numerical_abscissa_is_the_first_slope():
    W = gaussian(6, 5)
    h = 1e-6
    slope = (np.linalg.norm(scipy.linalg.expm(h * W), 2) - 1) / h
    assert numerical_abscissa(W) == pytest.approx(slope, rel=1e-4)
    assert numerical_abscissa(1e200 * W) == pytest.approx(1e200 * numerical_abscissa(W))


@given(rates, strengths)
def test_kreiss_constant_of_a_chain_in_closed_form(a, c):
    """The sup over eps of (-a + sqrt(eps (eps + c))) / eps: c / 4a + a / c, at eps = c / (c^2 / 4a^2 - 1), once c > 2a."""
    truth = c / (4 * a) + a / c if c > 2 * a else 1.0
    value = kreiss_constant(chain(a, c))
    rounding = 1e-14 * c / stability_radius(chain(a, c))
    assert value >= truth * (1 - 1.1e-8 - rounding)
    assert value <= truth * (1 + 1e-10 + rounding)
    assert kreiss_constant(chain(a, c), tolerance=1e-4) == pytest.approx(truth, rel=1.1e-4)


@EVERY
def test_kreiss_constant_is_the_sup_over_eps(W):
    value = kreiss_constant(W)
    if stability_radius(W) == 0:
        assert value == math.inf
        return
    eps = stability_radius(W) * np.geomspace(1.0001, 1e4, 400)
    ratios = np.array([pseudospectral_abscissa(W, e) / e for e in eps])
    assert ratios.max() <= value * (1 + 1e-8)
    assert ratios.max() >= value * (1 - 1e-3)  # the grid is as fine as that


@settings(max_examples=25)
@given(st.integers(2, 6), st.integers(0, 10**6))
def test_the_theorem_behind_the_proof(n, seed):
    """Log h is concave, by three lines: h in the middle of any interval is at least the geometric mean of its ends."""
    W = gaussian(n, seed)
    x = np.geomspace(0.01, 30, 12)
    h = [math.log(minimum(W - v * np.eye(n), Line()).value) for v in x]
    slopes = np.diff(h) / np.diff(x)
    assert (np.diff(slopes) <= 1e-9).all()
    assert (slopes >= 0).all()


@EVERY
def test_transients_lie_between_the_bounds(W):
    low, high = transient_bounds(W)
    assert low == kreiss_constant(W)
    if math.isinf(low):
        assert math.isinf(high)
        return
    slowest = -np.linalg.eigvals(W).real.max()
    sizes = [np.linalg.norm(scipy.linalg.expm(t * W), 2) for t in np.linspace(0, 6 / slowest, 600)]
    assert low * (1 - 1e-3) <= max(sizes) <= high


def test_without_growth_the_constant_is_one():
    assert kreiss_constant(-np.eye(3)) == 1.0
    assert kreiss_constant([[0.0, 1.0], [-1.0, 0.0]]) == 1.0  # a rotation, marginal and harmless
    assert kreiss_constant([[-1.0, 1.9], [0.0, -1.0]]) == 1.0
    assert 1.0 < kreiss_constant([[-1.0, 2.1], [0.0, -1.0]]) < 1.01
    assert kreiss_constant([[0.0, 1.0], [0.0, 0.0]]) == math.inf


@settings(max_examples=20)
@given(st.integers(2, 5), st.integers(0, 10**6), st.floats(0.01, 100))
def test_symmetries(n, seed, factor):
    W = gaussian(n, seed)
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    value = kreiss_constant(W)
    for same in (W.T, Q @ W @ Q.T, factor * W):
        assert kreiss_constant(same) == pytest.approx(value, rel=2.1e-8)
    assert pseudospectral_abscissa(factor * W, factor * 0.1) == pytest.approx(
        factor * pseudospectral_abscissa(W, 0.1), rel=1e-8, abs=1e-12 * factor
    )


def test_rounding_that_hides_the_answer_is_said():
    """The distance to instability of a chain is about a^2 / c."""
    for a, tolerance in ((1e-4, 1e-10), (1e-6, None), (1e-6, 1e-6)):
        with pytest.raises(ModelError, match=r"at least \d"):
            kreiss_constant(chain(a, 1.0), tolerance=tolerance)
    assert kreiss_constant(chain(1e-9, 1.0)) == math.inf  # unstable within rounding


def test_a_tensor():
    assert kreiss_constant(torch.tensor([[-1.0, 100.0], [0.0, -1.0]])) == pytest.approx(25.01, rel=1e-7)
    assert numerical_abscissa(torch.tensor([[-1.0, 100.0], [0.0, -1.0]])) == pytest.approx(49.0)


@pytest.mark.parametrize("measure", [numerical_abscissa, kreiss_constant, transient_bounds, lambda W: pseudospectral_abscissa(W, 0.1)])
@pytest.mark.parametrize("W", [[[1.0, 2.0]], [1.0], np.zeros((0, 0)), [[np.nan]], [[np.inf]]], ids=str)
def test_bad_matrices(measure, W):
    with pytest.raises(ValueError, match="expected argument `W`"):
        measure(W)


@pytest.mark.parametrize("eps", [-1e-9, math.nan, math.inf])
def test_bad_eps(eps):
    with pytest.raises(ValueError, match="`eps`"):
        pseudospectral_abscissa([[-1.0]], eps)


def test_bad_tolerance():
    for tolerance in (0.0, -1.0, 1e-12, 2.0, math.nan):
        with pytest.raises(ValueError, match="`tolerance`"):
            kreiss_constant([[-1.0]], tolerance=tolerance)
