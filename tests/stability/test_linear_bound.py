"""The upper bound of the perturbation error for dense weights: closed forms, and searches that must stay below it."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from perdure import functionals as F
from perdure.functionals import ExponentialSum
from perdure.stability.linear_bound import perturbation_bound
from perdure.stability.radius import destabilising, stability_radius


def kernel(W, U, c):
    """The functional of dh/dt = W h + U x, y = c^T h, by eigenvalues (which the cases below all have distinct)."""
    eigenvalues, vectors = np.linalg.eig(W)
    weights = (c @ vectors)[:, None] * np.linalg.solve(vectors, np.asarray(U).reshape(len(W), -1))
    return ExponentialSum(-eigenvalues, weights)


def moved(W, U, c, move):
    """||H(W + Delta) - H(W)||_{W1}."""
    return (kernel(W + move, U, c) - kernel(W, U, c)).norm()


def searched(W, U, c, beta, draws, seed=0):
    """The largest change among random moves of full size, and the best of them improved by Powell's method."""
    rng = np.random.default_rng(seed)

    def change(x):
        move = x.reshape(W.shape)
        move = beta * move / max(np.linalg.norm(move, 2), 1e-300)
        return -moved(W, U, c, move)

    starts = [np.eye(len(W)).ravel(), destabilising(W, "real").perturbation.ravel(), *rng.normal(size=(draws, W.size))]
    values = [change(x) for x in starts]
    best = starts[int(np.argmin(values))]
    return max(-min(values), -minimize(change, best, method="Powell", options={"maxfev": 60}).fun)


def gaussian(n, seed, margin=0.3):
    A = np.random.default_rng(seed).normal(size=(n, n))
    return A - (np.linalg.eigvals(A).real.max() + margin) * np.eye(n)


CASES = {
    "one": np.array([[-0.7]]),
    "diagonal": -np.diag([0.1, 1.0, 3.0]),
    "shear": np.array([[-1.0, 3.0], [0.0, -0.5]]),
    "steep": np.array([[-1.0, 100.0], [0.0, -1.1]]),
    "oscillator": np.array([[-0.4, 1.0], [-1.0, -0.4]]),
    "gaussian 3": gaussian(3, 0),
    "gaussian 4": gaussian(4, 1),
}


@pytest.mark.parametrize("W", CASES.values(), ids=CASES)
@pytest.mark.parametrize("share", [0.02, 0.4, 0.96])
def test_no_search_exceeds_it(W, share):
    rng = np.random.default_rng(7)
    n = len(W)
    U, c = rng.normal(size=(n, 2)), rng.normal(size=n)
    beta = share * stability_radius(W)
    found = perturbation_bound(W, U, c, [beta])
    assert np.isfinite(found.growth[0])
    lower = searched(W, U, c, beta, 8)
    assert 0 < lower <= found.growth[0]
    assert share > 0.4 or found.growth[0] <= (3 if share < 0.1 else 5) * lower  # and it is no empty promise


@settings(max_examples=25)
@given(st.floats(0.05, 20), st.floats(0.1, 10), st.floats(0.01, 0.99))
def test_one_state_in_closed_form(rate, size, share):
    """Young's inequality is an equality for the kernel's integral; for its derivative's it gives 2 beta / (rate - beta) in place of twice the peak."""
    beta = share * rate
    growth = perturbation_bound([[-rate]], [size], [1.0], [beta]).growth[0]
    kernel_part = size * beta / (rate * (rate - beta))
    assert growth == pytest.approx(kernel_part * (1 + 2 * rate), rel=1e-5)
    ratio = (rate - beta) / rate
    peak = ratio ** (ratio / (1 - ratio)) - ratio ** (1 / (1 - ratio))
    truth = kernel_part + 2 * size * peak
    assert truth <= growth
    assert share > 0.5 or growth <= 4 * truth


@pytest.mark.parametrize("W", CASES.values(), ids=CASES)
def test_finite_up_to_the_radius_and_of_first_order_at_zero(W):
    n, r = len(W), stability_radius(W)
    found = perturbation_bound(W, np.ones(n), np.ones(n), r * np.array([0.0, 1e-6, 2e-6, 0.5, 0.999, 0.999999, 1.0001, 3.0]))
    assert found.radius == pytest.approx(r, rel=1e-9)
    assert found.growth[0] == 0.0
    assert found.growth[2] == pytest.approx(2 * found.growth[1], rel=1e-3)
    assert np.isfinite(found.growth[:6]).all()
    assert np.isinf(found.growth[6:]).all()
    assert (np.diff(found.growth[:6]) > 0).all()
    assert found.argument[-1] == "none"


@settings(max_examples=8)
@given(st.integers(1, 4), st.integers(0, 10**6))
def test_coordinates_and_units_do_not_matter(n, seed):
    rng = np.random.default_rng(seed)
    W, U, c = gaussian(n, seed), rng.normal(size=(n, 1)), rng.normal(size=n)
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    beta = stability_radius(W) * np.array([0.2, 0.9])
    plain = perturbation_bound(W, U, c, beta).growth
    assert perturbation_bound(Q @ W @ Q.T, Q @ U, Q @ c, beta).growth == pytest.approx(plain, rel=1e-4)
    assert perturbation_bound(W, 2 * U, 3 * c, beta).growth == pytest.approx(6 * plain, rel=1e-9)


def test_it_brackets_the_perturbation_error():
    """Added to E(0), beside a target the model only approximates."""
    target, W = F.polynomial(2.0), -np.diag([0.3, 1.5])
    model = F.exponential_sum([0.3, 1.5], [0.2, 0.8])
    nominal = (target - model).norm()
    found = perturbation_bound(W, np.ones(2), [0.2, 0.8], [0.0, 0.1, 0.2], error_at_zero=nominal)
    assert found.upper[0] == nominal
    assert found.upper == pytest.approx(nominal + found.growth)
    for beta, upper in zip(found.radii[1:], found.upper[1:], strict=True):
        for rates in ([0.3 - beta, 1.5 - beta], [0.3 + beta, 1.5 + beta], [0.3 - beta, 1.5 + beta]):
            assert (target - F.exponential_sum(rates, [0.2, 0.8])).norm() <= upper


def test_a_chain_that_only_the_second_argument_reaches():
    W = np.array([[-1.0, 3.0], [0.0, -0.5]])
    found = perturbation_bound(W, [0.0, 1.0], [1.0, 0.0], stability_radius(W) * np.array([0.1, 0.99]))
    assert found.argument == ("young", "parseval")


def test_silent_models_do_not_grow():
    assert perturbation_bound(-np.eye(2), np.zeros(2), np.ones(2), [0.5]).growth[0] == 0.0
    assert perturbation_bound(-np.eye(2), np.ones(2), np.zeros(2), [0.5]).growth[0] == 0.0


def test_frame_and_dict():
    found = perturbation_bound([[-1.0]], [1.0], [1.0], [0.0, 0.5, 2.0], error_at_zero=0.25)
    assert found.to_frame().columns.tolist() == ["radius", "growth", "upper", "argument"]
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["growth"][2] == "inf"
    assert plain["upper"][0] == 0.25


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[1.0]], [1.0], [1.0], [0.1]), "Hurwitz"),
        (([[0.0]], [1.0], [1.0], [0.1]), "Hurwitz"),
        (([[-1.0, 0.0]], [1.0], [1.0], [0.1]), "square"),
        (([[-1.0 + 1j]], [1.0], [1.0], [0.1]), "real"),
        (([[math.nan]], [1.0], [1.0], [0.1]), "finite"),
        (([[-1.0]], [1.0, 2.0], [1.0], [0.1]), "`U`"),
        (([[-1.0]], [1j], [1.0], [0.1]), "`U`"),
        (([[-1.0]], [1.0], [1.0, 2.0], [0.1]), "`c`"),
        (([[-1.0]], [1.0], [[1.0]], [0.1]), "one output"),
        (([[-1.0]], [math.inf], [1.0], [0.1]), "`U`"),
        (([[-1.0]], [1.0], [1.0], [-0.1]), "radii"),
        (([[-1.0]], [1.0], [1.0], [0.2, 0.1]), "radii"),
        (([[-1.0]], [1.0], [1.0], []), "radii"),
    ],
    ids=str,
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        perturbation_bound(*arguments)


def test_bad_error_at_zero():
    for value in (-1.0, math.nan):
        with pytest.raises(ValueError, match="error_at_zero"):
            perturbation_bound([[-1.0]], [1.0], [1.0], [0.1], error_at_zero=value)
