"""Every functional against its closed forms, quadrature and direct convolution."""

import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import airy as scipy_airy

from perdure import functionals as F

FAMILY = [
    F.exponential(0.7), F.polynomial(1.5), F.polynomial(3.0, scale=4.0), F.oscillating(0.4, 3.0), F.shift(2.0, 0.3), F.airy(3.0),
    F.exponential_sum([1.0, 2.0, 0.5 + 1j], [1.0, -2.0, 0.3j]), F.polynomial(2.0) - 0.5 * F.exponential(1.0),
]  # fmt: skip
T = np.linspace(0.0, 6.0, 241)


@pytest.mark.parametrize(("target", "closed"), [
    (F.exponential(0.7), lambda t: np.exp(-0.7 * t)), (F.polynomial(1.5, scale=2.0), lambda t: (1 + t / 2) ** -1.5),
    (F.oscillating(0.4, 3.0), lambda t: np.exp(-0.4 * t) * np.cos(3 * t)),
    (F.shift(2.0, 0.3), lambda t: np.exp(-0.5 * ((t - 2) / 0.3) ** 2) / (0.3 * np.sqrt(2 * np.pi))), (F.airy(3.0), lambda t: scipy_airy(t - 3)[0]),
    (2.0 * F.exponential(1.0) - F.exponential(3.0), lambda t: 2 * np.exp(-t) - np.exp(-3 * t)),
])  # fmt: skip
def test_kernels(target, closed):
    np.testing.assert_allclose(target.kernel(T), closed(T), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(target.memory(T), np.abs(closed(T)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("target", FAMILY, ids=repr)
def test_derivative_by_finite_differences(target):
    t, h = T[1:], 1e-5
    np.testing.assert_allclose(target.kernel_derivative(t), (target.kernel(t + h) - target.kernel(t - h)) / (2 * h), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("target", "norm"), [
    (F.exponential(0.5), 4.0), (F.polynomial(1.5), 4.0), (F.polynomial(3.0, scale=4.0), 4.0), (F.exponential_sum([1.0, 2.0], [1.0, -1.0]), 1.0),
    (-3.0 * F.exponential(0.5), 12.0), (F.stack(F.exponential(0.5), F.polynomial(1.5)), 8.0),
])  # fmt: skip
def test_norms_in_closed_form(target, norm):
    assert target.norm() == pytest.approx(norm, rel=1e-12)


@pytest.mark.parametrize("target", [f for f in FAMILY if "Polynomial" not in repr(f)], ids=repr)
def test_norms_by_adaptive_quadrature(target):
    def at(name):
        return lambda t: abs(float(getattr(target, name)([t])[0]))

    edges = np.linspace(0.0, 60.0, 241)
    total = sum(quad(at(name), a, b)[0] for name in ("kernel", "kernel_derivative") for a, b in itertools.pairwise(edges))
    assert target.norm() == pytest.approx(total + at("kernel")(0.0), rel=1e-5)


@pytest.mark.parametrize("target", [*FAMILY, F.stack(F.exponential(1.0), F.shift(1.0, 0.2))], ids=repr)
@pytest.mark.parametrize("dt", [0.1, 0.37])
def test_application_is_direct_convolution(target, dt):
    x = torch.randn(2, 57, target.input_size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rho = np.asarray(target.kernel(dt * np.arange(57))).reshape(57, -1)
    direct = np.array([[dt * sum(rho[j] @ x[b, k - j].numpy() for j in range(k + 1)) for k in range(57)] for b in range(2)])
    np.testing.assert_allclose(target(x, dt=dt)[..., 0].numpy(), direct, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("rule", "order"), [("rectangle", 1), ("trapezoid", 2)])
def test_order_in_dt(rule, order):
    """y(t) = int_0^t e^{-s} sin(t - s) ds = (sin t - cos t + e^{-t}) / 2 for the input sin t."""
    errors = []
    for n in (100, 200, 400):
        t = np.linspace(0.0, 5.0, n + 1)
        y = F.exponential(1.0)(np.sin(t)[None, :, None], dt=5.0 / n, rule=rule)[0, :, 0]
        errors.append(np.abs(y - (np.sin(t) - np.cos(t) + np.exp(-t)) / 2).max())
    assert np.log2(np.array(errors[:-1]) / errors[1:]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("make", "name"), [
    (lambda: F.exponential(-1.0), "rate"), (lambda: F.exponential(0.0), "rate"), (lambda: F.polynomial(1.0), "power"), (lambda: F.polynomial(-2.0), "power"),
    (lambda: F.polynomial(2.0, scale=0.0), "scale"), (lambda: F.oscillating(-1.0, 2.0), "rate"), (lambda: F.shift(1.0, 0.0), "width"),
    (lambda: F.airy(float("nan")), "offset"), (lambda: F.exponential_sum([1.0, -1.0], [1.0, 1.0]), "rates"),
    (lambda: F.exponential_sum([1.0], [float("nan")]), "coefficients"), (lambda: F.exponential_sum([1.0, 2.0], [1.0]), "coefficients"),
    (lambda: F.exponential_sum([], []), "rates"), (lambda: F.exponential(1.0)(np.zeros((2, 3)), dt=0.1), "x"),
    (lambda: F.exponential(1.0)(np.zeros((1, 3, 1)), dt=0.0), "dt"), (lambda: F.exponential(1.0).kernel([float("nan")]), "t"),
])  # fmt: skip
def test_refusals(make, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        make()


@pytest.mark.parametrize(
    "functional", [F.exponential(1.0), F.polynomial(1.5), F.oscillating(1.0, 3.0), F.shift(5.0, 0.5), F.airy(2.0), F.airy(-2.0)], ids=repr
)
def test_nothing_is_left_at_the_end_of_time(functional):
    """Far beyond the mesh every kernel is 0 and never NaN, without a warning from overflow on the way."""
    for value in (functional.kernel, functional.kernel_derivative, functional.memory):
        assert (np.abs(value([1e14, 1e300, np.inf])) < 1e-20).all()
