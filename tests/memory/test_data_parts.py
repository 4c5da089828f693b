"""The parts of the estimate against brute force that shares no code: written-out regressors, dense covariances, numerical integrals, statsmodels."""

import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.stats import multivariate_normal
from statsmodels.stats.diagnostic import acorr_ljungbox

from perdure.memory.records.gram import moments
from perdure.memory.records.kernels import KERNELS, RANK
from perdure.memory.records.laplace import points
from perdure.memory.records.marginal_likelihood import Evidence, factor, maximise, scaled
from perdure.memory.records.posterior import conditional
from perdure.memory.records.whiteness import autoregression, ljung_box, whitened

SHAPES = {"tc": [np.log(3.0)], "dc": [np.log(3.0), np.log(5.0)], "ss": [np.log(3.0)], "power": [0.3, 0.2], "power-ss": [0.3, 0.2]}


def regressors(u, lags, steps):
    """Rows (u_j(t - s)) for all records and the steps given, by two loops."""
    return np.array(
        [np.concatenate([u[r, t - lags + 1 : t + 1, j][::-1] for j in range(u.shape[2])]) for r in range(len(u)) for t in steps]
    )


def covariance(kernel, shape, lags):
    """K(s, s') from its definition, term by term."""
    s = np.arange(lags)
    a = np.exp(shape)
    if kernel == "dc":
        return np.array([[np.exp(-(i + j) / a[0] - abs(i - j) / a[1]) for i in s] for j in s])
    if kernel in ("tc", "ss"):
        x = np.exp(-2 * s / a[0] / (1 if kernel == "tc" else 3))
    else:
        x = (1 + s / a[0]) ** (-2 * a[1] / (1 if kernel == "power" else 3))
    if kernel in ("tc", "power"):
        return np.minimum.outer(x, x)
    return np.array([[(3 * max(p, q) * min(p, q) ** 2 - min(p, q) ** 3) / 2 for p in x] for q in x])


@pytest.mark.parametrize("missing", ["none", "few", "most"])
@pytest.mark.parametrize("intercept", [True, False])
def test_moments_are_those_of_the_regressors_written_out(missing, intercept):
    rng = np.random.default_rng(1)
    u, y, lags = rng.standard_normal((3, 40, 2)) + 7, rng.standard_normal((3, 40, 2)), 6
    if missing == "few":
        y[0, 20:25, 1] = np.nan
    if missing == "most":
        y[:, ::2, 0], y[:, ::3, 0] = np.nan, np.nan
    steps = range(8, 33)
    for o, found in enumerate(moments(u, y, lags, (8, 33), intercept)):
        x, target = regressors(u, lags, steps), y[:, 8:33, o].ravel()
        x, target = x[np.isfinite(target)], target[np.isfinite(target)]
        assert found.count == target.size
        if intercept:
            np.testing.assert_allclose(found.x_mean, x.mean(0), rtol=1e-12)
            assert found.y_mean == pytest.approx(target.mean(), rel=1e-12)
            x, target = x - x.mean(0), target - target.mean()
        np.testing.assert_allclose(found.R, x.T @ x, atol=1e-10)
        np.testing.assert_allclose(found.r, x.T @ target, atol=1e-10)
        assert found.c == pytest.approx(target @ target, rel=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_priors_have_the_covariance_of_their_definition(name):
    lags = 12
    prior = KERNELS[name].build(lags, np.array(SHAPES[name]), RANK)
    precision = np.diag(prior.diagonal) + np.diag(prior.off, 1) + np.diag(prior.off, -1)
    L = np.diag(prior.scale) if prior.scale.ndim == 1 else prior.scale
    np.testing.assert_allclose(L @ np.linalg.inv(precision) @ L.T, covariance(name, np.array(SHAPES[name]), lags), atol=2e-6)
    assert prior.log_det == pytest.approx(np.linalg.slogdet(precision)[1], abs=1e-9)


def test_the_power_prior_is_a_mixture_of_exponential_ones():
    scale, power = np.exp(SHAPES["power"])
    expected = covariance("power", np.array(SHAPES["power"]), 6)
    for m in range(6):

        def weight(b):
            return b ** (2 * power - 1) * np.exp(-b * scale)

        mixture = quad(lambda b, m=m: weight(b) * np.exp(-b * m), 0, np.inf)[0] / quad(weight, 0, np.inf)[0]
        assert mixture == pytest.approx(expected[m, m], rel=1e-6)


def test_the_smooth_prior_is_an_integrated_brownian_motion():
    x, X = 0.4, 0.9
    both = 3 * dblquad(lambda a, b: min(a, b), 0, X, 0, x)[0]
    assert (3 * X * x**2 - x**3) / 2 == pytest.approx(both, rel=1e-6)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("name", KERNELS)
def test_evidence_and_posterior_are_those_of_a_dense_gaussian_process(name, intercept):
    rng = np.random.default_rng(2)
    lags, u = 8, rng.standard_normal((2, 30, 2))
    y = rng.standard_normal((2, 30, 1)) + 3
    theta = np.array([[*SHAPES[name], 0.5], [*(np.array(SHAPES[name]) + 0.2), -0.7]])
    (m,) = moments(u, y, lags, (lags - 1, 30), intercept)
    found = factor(m, scaled(KERNELS[name], lags, theta), intercept)
    x, target = regressors(u, lags, range(lags - 1, 30)), y[:, lags - 1 :].ravel()
    prior = np.zeros((2 * lags, 2 * lags))
    for j in range(2):
        here = slice(j * lags, (j + 1) * lags)
        prior[here, here] = np.exp(theta[j, -1]) * covariance(name, theta[j, :-1], lags)
    if intercept:  # contrasts, whose law does not depend on the level
        contrast = np.linalg.svd(np.eye(target.size) - 1 / target.size)[0][:, :-1].T
        x, target = contrast @ x, contrast @ target
    whole = np.eye(target.size) + x @ prior @ x.T
    variance = target @ np.linalg.solve(whole, target) / target.size
    dense = -2 * multivariate_normal(cov=variance * whole).logpdf(target) - target.size * (1 + np.log(2 * np.pi) - np.log(target.size))
    assert found.value == pytest.approx(dense, abs=1e-4)
    assert found.variance == pytest.approx(variance, rel=1e-5)
    mean, root, _ = conditional(m, Evidence(KERNELS[name], theta, 0.0), lags, intercept)
    np.testing.assert_allclose(mean, prior @ x.T @ np.linalg.solve(whole, target), atol=1e-5)
    expected = variance * (prior - prior @ x.T @ np.linalg.solve(whole, x @ prior))
    np.testing.assert_allclose(root @ root.T, expected, atol=1e-5)


def test_a_flat_prior_gives_least_squares():
    rng = np.random.default_rng(3)
    u, y = rng.standard_normal((1, 80, 1)), rng.standard_normal((1, 80, 1))
    (m,) = moments(u, y, 6, (5, 80), False)
    mean, root, variance = conditional(m, Evidence(KERNELS["dc"], np.array([[8.0, -2.0, 30.0]]), 0.0), 6, False)
    x = regressors(u, 6, range(5, 80))
    expected = np.linalg.lstsq(x, y[0, 5:, 0])[0]
    np.testing.assert_allclose(mean, expected, atol=1e-8)
    np.testing.assert_allclose(root @ root.T / variance, np.linalg.inv(x.T @ x), rtol=1e-6, atol=1e-10)


def test_hyperparameters_are_the_best_of_a_grid():
    rng = np.random.default_rng(4)
    u = rng.standard_normal((1, 400, 1))
    y = np.convolve(u[0, :, 0], np.exp(-np.arange(20) / 4))[:400, None][None] + rng.standard_normal((1, 400, 1))
    (m,) = moments(u, y, 20, (19, 400), True)
    starts = np.array([[0.0, 0.0], [3.0, 3.0]])
    found = maximise(m, KERNELS["tc"], 20, 1, True, starts)
    grid = [
        factor(m, scaled(KERNELS["tc"], 20, np.array([[a, b]])), True).value for a in np.linspace(-1, 5, 60) for b in np.linspace(-6, 6, 60)
    ]
    assert found.value < min(grid) + 0.1
    assert found.value > min(grid) - 0.5


def test_drawn_hyperparameters_have_the_spread_of_the_evidence():
    """Mean and sd of the log decay time against a sum over a fine grid."""
    rng = np.random.default_rng(5)
    u = rng.standard_normal((1, 300, 1))
    y = np.convolve(u[0, :, 0], np.exp(-np.arange(20) / 4))[:300, None][None] + 2 * rng.standard_normal((1, 300, 1))
    (m,) = moments(u, y, 20, (19, 300), True)
    best = maximise(m, KERNELS["tc"], 20, 1, True, np.array([[1.0, 0.0]]))
    drawn = points(m, [best], 20, True, 256)
    weight, theta = np.array([p.weight for p in drawn]), np.array([p.evidence.theta[0, 0] for p in drawn])
    mean = weight @ theta
    sd = np.sqrt(weight @ (theta - mean) ** 2)
    a, b = np.meshgrid(np.linspace(-1, 5, 120), np.linspace(-10, 6, 120), indexing="ij")
    values = np.array(
        [factor(m, scaled(KERNELS["tc"], 20, np.array([[p, q]])), True).value for p, q in zip(a.ravel(), b.ravel(), strict=True)]
    )
    mass = np.exp(-0.5 * (values - values.min()))
    mass /= mass.sum()
    exact = mass @ a.ravel()
    spread = np.sqrt(mass @ (a.ravel() - exact) ** 2)
    assert weight.sum() == pytest.approx(1.0)
    assert mean == pytest.approx(exact, abs=0.25 * spread)
    assert sd == pytest.approx(spread, rel=0.3)


def test_the_whiteness_test_is_that_of_statsmodels():
    e = np.random.default_rng(6).standard_normal(500)
    e[1:] += 0.1 * e[:-1]
    found = ljung_box(e[None])
    expected = acorr_ljungbox(e, lags=[found.lags])
    assert found.statistic == pytest.approx(float(expected["lb_stat"].iloc[0]), rel=1e-9)
    assert found.p_value == pytest.approx(float(expected["lb_pvalue"].iloc[0]), rel=1e-6)


def test_coloured_noise_is_found_and_filtered():
    rng = np.random.default_rng(7)
    e = rng.standard_normal(4000)
    for t in range(2, e.size):
        e[t] += 1.2 * e[t - 1] - 0.5 * e[t - 2]
    coefficients = autoregression(e[None])
    np.testing.assert_allclose(coefficients[:2], [1.2, -0.5], atol=0.06)
    assert ljung_box(e[None]).p_value < 1e-10
    assert ljung_box(whitened(e[None, :, None], coefficients)[..., 0]).p_value > 1e-3
    e[100] = np.nan
    assert np.isnan(whitened(e[None, :, None], coefficients)).sum() == 1 + coefficients.size
