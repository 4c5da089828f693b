"""Stability radii against brute force, direct optimisation, closed forms and python-control."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from perdure.stability import real_radius
from perdure.stability.level_sets import Line, minimum
from perdure.stability.radius import destabilising, stability_radius


def grcar(n):
    """Grcar's matrix, turned round so that it is Hurwitz: eigenvalues far more sensitive than they look."""
    return np.eye(n, k=-1) - sum(np.eye(n, k=k) for k in range(4))


def shifted(A, margin=0.3):
    """A - a I with its rightmost eigenvalue at -margin."""
    return A - (np.linalg.eigvals(A).real.max() + margin) * np.eye(len(A))


def oscillators(n, seed, coupling):
    """Damped oscillators that feed one another, in coordinates of their own scales."""
    rng = np.random.default_rng(seed)
    B = np.triu(rng.normal(size=(n, n)), 2) * coupling
    for i in range(0, n - 1, 2):
        a, w = 0.3 * np.exp(0.5 * rng.normal()), np.exp(rng.normal())
        B[i : i + 2, i : i + 2] = [[-a, w], [-w, -a]]
    scale = np.exp(rng.normal(size=n))
    return scale[:, None] * B / scale if n % 2 == 0 else B - np.diag(np.eye(n)[-1])


def draw(n, seed):
    return np.random.default_rng(seed).normal(size=(n, n))


MATRICES = {
    "two equal eigenvalues": np.array([[-1.0, 100.0], [0.0, -1.0]]),
    "memory of the tanh network": np.array([[1.0, 1.0], [-4.0, -3.0]]),
    "rotation": np.array([[-0.1, 1.0], [-1.0, -0.1]]),
    "shear": np.array([[-1.0, 3.0], [0.0, -0.5]]),
    "jordan 3": np.eye(3, k=1) - 0.5 * np.eye(3),
    "jordan 5": np.eye(5, k=1) - 0.8 * np.eye(5),
    "companion": np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, -2.0, -1.5]]),
    "cycle": np.array([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0], [-6.0, 0.0, -1.0]]),
    "grcar 3": grcar(3),
    "grcar 4": grcar(4),
    "grcar 6": grcar(6),
    "grcar 8": grcar(8),
    "symmetric": -(draw(4, 1) @ draw(4, 1).T) - 0.1 * np.eye(4),
    "antisymmetric part": draw(5, 2) - draw(5, 2).T - 0.2 * np.eye(5),
    "triangular": np.triu(draw(5, 3), 1) - np.diag([0.2, 0.5, 1.0, 0.4, 2.0]),
    "oscillators 3": oscillators(3, 4, 2.0),
    "oscillators 4": oscillators(4, 4, 1.0),
    "oscillators 5": oscillators(5, 5, 3.0),
    "oscillators 6": oscillators(6, 6, 1.0),
    "oscillators 7": oscillators(7, 7, 0.3),
} | {f"gaussian {n}, {seed}": shifted(draw(n, seed)) for n, seed in ((3, 10), (3, 11), (4, 12), (5, 13), (6, 14), (7, 15), (8, 16))}
CASES = pytest.mark.parametrize("W", MATRICES.values(), ids=MATRICES)


def lowest(curve, grid, cells=3):
    """The least value of a function of one variable: a dense grid, then a bounded search around its lowest points."""
    values = np.array([curve(x) for x in grid])
    best = values.min()
    inner = [i for i in range(1, len(grid) - 1) if values[i] <= min(values[i - 1], values[i + 1])]
    for i in sorted(inner, key=lambda i: values[i])[:cells]:
        best = min(best, minimize_scalar(curve, bounds=(grid[i - 1], grid[i + 1]), method="bounded", options={"xatol": 1e-11}).fun)
    return best


def complex_by_grid(W):
    """min_omega 1 / ||(i omega - W)^{-1}||."""
    eye, end = np.eye(len(W)), 2 * np.linalg.norm(W, 2)
    return lowest(lambda omega: 1 / np.linalg.norm(np.linalg.inv(1j * omega * eye - W), 2), np.linspace(-end, end, 1001))


def real_by_grid(W):
    """Qiu's formula as printed, with the inverse: 1 / sup_omega inf_gamma sigma_2."""
    n, end = len(W), 2 * np.linalg.norm(W, 2)
    gammas = np.geomspace(1e-4, 1, 40)

    def sigma(G, gamma):
        parts = np.stack([np.full(np.shape(gamma), 1.0), gamma], -1)[..., None, None]
        P = np.block(
            [[G.real * parts[..., 0, :, :], -G.imag * parts[..., 1, :, :]], [G.imag / parts[..., 1, :, :], G.real * parts[..., 0, :, :]]]
        )
        return np.linalg.svd(P, compute_uv=False)[..., 1]

    def distance(omega):
        G = np.linalg.inv(1j * omega * np.eye(n) - W)
        i = int(sigma(G, gammas).argmin())
        around = np.log([gammas[max(i - 1, 0)], gammas[min(i + 1, 39)]])
        found = minimize_scalar(lambda t: sigma(G, np.exp(t)), bounds=around, method="bounded", options={"xatol": 1e-10})
        return 1 / min(found.fun, sigma(G, 1.0))

    return min(np.linalg.svd(W)[1][-1], lowest(distance, np.linspace(end / 240, end, 240)))


def real_directly(W):
    """The least norm of a real Delta with (W + Delta) v = i omega v, over all omega and all v = x + iy, one entry of v being 1."""
    n, rng, found = len(W), np.random.default_rng(0), []
    eigenvalues, vectors = np.linalg.eig(W)
    for i in [i for i in range(n) if eigenvalues[i].imag > 0] * 3:  # from the eigenvectors of W itself, and around them
        one = int(np.abs(vectors[:, i]).argmax())

        def size(p, one=one):
            plane = np.insert(p[1:].reshape(n - 1, 2), one, [1.0, 0.0], axis=0)
            return np.linalg.norm((plane @ [[0.0, p[0]], [-p[0], 0.0]] - W @ plane) @ np.linalg.pinv(plane), 2)

        v = np.delete(vectors[:, i] / vectors[one, i], one)
        start = np.append(eigenvalues[i].imag, np.stack([v.real, v.imag], 1) + 0.2 * rng.normal(size=(n - 1, 2)))
        found.append((minimize(size, start, method="BFGS"), size))
    best, size = min(found, key=lambda pair: pair[0].fun)
    p, value = best.x, best.fun
    for _ in range(20):  # at the minimum both singular values of Delta are equal: a kink, which needs a method without derivatives
        step = minimize(size, p, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-13, "maxfev": 2000})
        if step.fun > (1 - 1e-9) * value:
            break
        p, value = step.x, step.fun
    return min(value, np.linalg.svd(W)[1][-1])


@CASES
def test_complex_radius_against_a_grid(W):
    assert stability_radius(W) == pytest.approx(complex_by_grid(W), rel=1e-6)


@CASES
def test_real_radius_against_a_grid_of_frequencies_and_gammas(W):
    assert stability_radius(W, field="real") == pytest.approx(real_by_grid(W), rel=1e-6)


TURNING = ["companion", "cycle", "oscillators 3", "rotation", "grcar 3"]  # a pair of eigenvalues crosses, away from 0


@pytest.mark.parametrize("name", TURNING)
def test_real_radius_against_direct_optimisation(name):
    """No formula: the smallest real perturbation is searched for itself."""
    W = MATRICES[name]
    found = destabilising(W, "real")
    assert found.frequency > 0
    assert found.radius == pytest.approx(real_directly(W), rel=1e-6)


@CASES
@pytest.mark.parametrize("field", ["complex", "real"])
def test_the_perturbation_does_it_and_no_smaller_one_was_found(W, field):
    found = destabilising(W, field)
    assert found.radius == stability_radius(W, field=field)
    assert found.status == "radius proved over all frequencies"
    assert found.lower == pytest.approx(found.radius, rel=1e-9)
    assert np.linalg.norm(found.perturbation, 2) == pytest.approx(found.radius, rel=1e-9)
    assert np.linalg.matrix_rank(found.perturbation, tol=1e-9 * found.radius) <= (1 if field == "complex" else 2)
    assert np.isrealobj(found.perturbation) == (field == "real")
    assert found.eigenvalue == pytest.approx(1j * found.frequency)
    at_boundary = found.eigenvalue * np.eye(len(W)) - W - found.perturbation
    assert np.linalg.svd(at_boundary)[1][-1] <= 1e-13 * np.linalg.norm(W)
    rng = np.random.default_rng(0)
    for _ in range(50):
        move = rng.normal(size=W.shape) + (1j * rng.normal(size=W.shape) if field == "complex" else 0)
        move *= 0.999 * found.radius / np.linalg.norm(move, 2)
        assert np.linalg.eigvals(W + move).real.max() < 0


@CASES
def test_against_python_control(W):
    control = pytest.importorskip("control", reason="python-control is not installed: its H-infinity norm is one of three checks")
    n = len(W)
    system = control.ss(W, np.eye(n), np.eye(n), np.zeros((n, n)))
    assert stability_radius(W) == pytest.approx(1 / control.system_norm(system, p="inf", tol=1e-10), rel=1e-6)
    inside = W / (1.2 * np.abs(np.linalg.eigvals(W)).max())
    system = control.ss(inside, np.eye(n), np.eye(n), np.zeros((n, n)), True)
    assert stability_radius(inside, discrete=True) == pytest.approx(1 / control.system_norm(system, p="inf", tol=1e-10), rel=1e-6)


@CASES
def test_discrete_radius_against_a_grid(W):
    inside = W / (1.3 * np.abs(np.linalg.eigvals(W)).max())
    angles = np.linspace(-np.pi - 0.01, np.pi + 0.01, 1501)
    found = destabilising(inside, discrete=True)
    truth = lowest(lambda t: np.linalg.svd(np.exp(1j * t) * np.eye(len(W)) - inside)[1][-1], angles)
    assert found.radius == pytest.approx(truth, rel=1e-6)
    assert abs(found.eigenvalue) == pytest.approx(1.0)
    assert found.residual <= 1e-14 * len(W)


@CASES
def test_the_level_sets_need_no_good_start(W, monkeypatch):
    """Started at frequency 0 alone, the search comes to the same minima: it is the level sets that find them."""
    expected = {field: stability_radius(W, field=field) for field in ("complex", "real")}
    monkeypatch.setattr(Line, "coordinates", lambda self, eigenvalues: np.zeros(0))
    monkeypatch.setattr(real_radius, "minimum", lambda *arguments: replace(minimum(*arguments), at=0.0))
    for field, value in expected.items():
        assert stability_radius(W, field=field) == pytest.approx(value, rel=1e-9)


@CASES
@pytest.mark.parametrize("gamma", [1.0, 0.6, 0.05])
def test_one_gamma_proves_what_it_says(W, gamma):
    """Along a dense line: outside the parts that are left sigma_{2n-1} is above the level, inside below."""
    omega = np.linspace(1e-3, 1.5 * np.linalg.norm(W, 2), 200)
    curve = np.array([real_radius.second(W, w, w / gamma) for w in omega])
    for level in np.quantile(curve, [0.05, 0.3, 0.6]):
        parts = real_radius.unproved(W, gamma, 1.0, float(level), (float(omega[0]), float(omega[-1])))
        left = np.any([(omega >= a) & (omega <= b) for a, b in parts], axis=0) if parts else np.zeros(omega.size, bool)
        assert (curve[~left] >= level * (1 - 1e-7)).all()
        assert (curve[left] <= level * (1 + 1e-7)).all()


entries = st.floats(-3, 3).map(lambda x: round(x, 3))


@given(st.tuples(entries, entries, entries, entries))
def test_two_states_in_closed_form(numbers):
    """A real 2x2 matrix leaves the stable region where its determinant or its trace vanishes: min(sigma_min, -trace / 2)."""
    W = np.array(numbers).reshape(2, 2)
    truth = min(np.linalg.svd(W)[1][-1], -np.trace(W) / 2) if np.linalg.eigvals(W).real.max() < -1e-6 else None
    if truth is not None:
        assert stability_radius(W, field="real") == pytest.approx(truth, rel=1e-8, abs=1e-13)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(0, 10**6))
def test_normal_matrices_have_the_distance_of_their_eigenvalues(pairs, seed):
    rng = np.random.default_rng(seed)
    rates, speeds = np.exp(rng.normal(size=pairs)), rng.normal(size=pairs)
    blocks = np.zeros((2 * pairs, 2 * pairs))
    for i in range(pairs):
        blocks[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[-rates[i], speeds[i]], [-speeds[i], -rates[i]]]
    Q = np.linalg.qr(rng.normal(size=blocks.shape))[0]
    for field in ("complex", "real"):
        assert stability_radius(Q @ blocks @ Q.T, field=field) == pytest.approx(rates.min(), rel=1e-9)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(0, 10**6), st.floats(-2, 2))
def test_order_and_symmetries(n, seed, spread):
    rng = np.random.default_rng(seed)
    scale = np.exp(spread * rng.normal(size=n))
    W = shifted(scale[:, None] * rng.normal(size=(n, n)) / scale, 0.1)
    by_field = {field: stability_radius(W, field=field) for field in ("complex", "real")}
    assert by_field["real"] >= by_field["complex"] * (1 - 1e-9)
    assert by_field["real"] <= np.linalg.svd(W)[1][-1] * (1 + 1e-12)  # W singular
    assert by_field["complex"] <= -np.linalg.eigvals(W).real.max() * (1 + 1e-9)
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    for field, value in by_field.items():
        tolerance = {"rel": 1e-8, "abs": 1e-13 * np.linalg.norm(W)}
        assert stability_radius(W.T, field=field) == pytest.approx(value, **tolerance)
        assert stability_radius(Q @ W @ Q.T, field=field) == pytest.approx(value, **tolerance)
        assert stability_radius(3.7 * W, field=field) == pytest.approx(3.7 * value, rel=1e-8, abs=1e-12 * np.linalg.norm(W))


@pytest.mark.parametrize("field", ["complex", "real"])
@pytest.mark.parametrize("exponent", [-900, 900])
def test_units_do_not_matter(field, exponent):
    W = MATRICES["grcar 6"]
    assert stability_radius(np.ldexp(W, exponent), field=field) == np.ldexp(stability_radius(W, field=field), exponent)
    found = destabilising(np.ldexp(W, exponent), field)
    assert np.ldexp(found.perturbation.real, -exponent) == pytest.approx(destabilising(W, field).perturbation.real)


@pytest.mark.parametrize("field", ["complex", "real"])
def test_a_dip_that_a_grid_would_miss(field):
    """One pair, damped a million times less than it swings, among wide minima: width of the dip 1e-6 of the frequencies."""
    slow = np.array([[-1e-6, 7.7], [-7.7, -1e-6]])
    W = np.zeros((5, 5))
    W[:2, :2], W[2:, 2:] = slow, MATRICES["cycle"]
    found = destabilising(W, field)
    assert found.radius == pytest.approx(1e-6, rel=1e-8)
    assert abs(found.frequency) == pytest.approx(7.7, rel=1e-6)


@pytest.mark.parametrize("field", ["complex", "real"])
def test_a_comb_of_equal_minima(field):
    W = np.zeros((24, 24))
    for i in range(12):
        a = 0.1 * (1 + 1e-9 * (i != 7))
        W[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[-a, i + 1.0], [-i - 1.0, -a]]
    assert stability_radius(W, field=field) == pytest.approx(0.1, rel=3e-10)


def test_a_diagonal_matrix_has_its_least_rate_to_the_last_digit():
    assert stability_radius(-np.diag([6.8e-14, 1e-3, 1.0])) == 6.8e-14
    assert stability_radius(-np.diag([6.8e-14, 1e-3, 1.0]), field="real") == 6.8e-14
    assert stability_radius([[-2.0]], field="real") == 2.0
    assert destabilising(np.diag([-1 + 2j, -3.0])).frequency == 2.0


def test_a_complex_matrix():
    """One state cannot move by less than its distance from the axis; real perturbations are not defined."""
    W = MATRICES["grcar 4"] + 1j * draw(4, 20) * 0.1
    assert stability_radius(W) == pytest.approx(complex_by_grid(W), rel=1e-6)


@pytest.mark.parametrize("W", [[[1.0]], [[0.0]], [[0.0, 1.0], [-1.0, 0.0]], [[-1.0, 0.0], [0.0, 2.0]], np.zeros((3, 3))], ids=str)
@pytest.mark.parametrize("field", ["complex", "real"])
def test_what_is_not_stable_has_radius_zero(W, field):
    assert stability_radius(W, field=field) == 0.0
    found = destabilising(W, field)
    assert (found.radius, found.norm, found.lower) == (0.0, 0.0, 0.0)
    assert not found.perturbation.any()
    assert found.eigenvalue.real >= 0
    assert "not stable" in found.status


def test_discrete_time():
    assert stability_radius([[1.0]], discrete=True) == 0.0
    assert stability_radius([[0.5, 0.0], [0.0, -0.9]], discrete=True) == pytest.approx(0.1, rel=1e-12)
    assert stability_radius(np.zeros((2, 2)), discrete=True) == pytest.approx(1.0)
    outside = destabilising([[0.0, -2.0], [1.0, 0.0]], discrete=True)
    assert outside.radius == 0.0
    assert abs(outside.eigenvalue) == pytest.approx(2**0.5)


def test_tensors_are_read_and_left_alone():
    weight = torch.nn.Parameter(torch.tensor([[-1.0, 100.0], [0.0, -1.0]]))
    assert stability_radius(weight) == pytest.approx(0.00999900019995, rel=1e-9)
    assert weight.grad is None
    assert weight.requires_grad
    assert stability_radius(weight.detach().to(torch.bfloat16), field="real") == pytest.approx(0.00999900019995, rel=1e-9)
    assert stability_radius(torch.diag(torch.tensor([-1 + 1j, -0.5]))) == 0.5
    assert stability_radius(weight.T.detach().conj()) == pytest.approx(0.00999900019995, rel=1e-9)


def test_results_as_json():
    for field in ("complex", "real"):
        found = destabilising(MATRICES["grcar 4"], field)
        plain = json.loads(json.dumps(found.to_dict()))
        assert plain["radius"] == found.radius
        assert np.shape(plain["perturbation"]) == ((4, 4, 2) if field == "complex" else (4, 4))


@pytest.mark.parametrize("measure", [stability_radius, destabilising])
@pytest.mark.parametrize(
    ("W", "options", "words"),
    [
        ([[1.0, 2.0]], {}, "square"),
        ([1.0, 2.0], {}, "square"),
        (np.zeros((2, 2, 2)), {}, "square"),
        (np.zeros((0, 0)), {}, "square"),
        (-1.0, {}, "square"),
        ([[np.nan, 0.0], [0.0, -1.0]], {}, "finite"),
        ([[-np.inf]], {}, "finite"),
        (torch.zeros(2, 2, device="meta"), {}, "meta"),
        ([[-1.0 + 1j]], {"field": "real"}, "real"),
        ([[-1.0]], {"field": "rational"}, "'complex', 'real'"),
        ([[-1.0]], {"discrete": True, "field": "real"}, "discrete time"),
    ],
    ids=str,
)
def test_bad_values(measure, W, options, words):
    with pytest.raises(ValueError, match=words):
        measure(W, **options)


@pytest.mark.parametrize("W", ["-1", [[-1.0], [2.0, 3.0]], [["a"]], None, {}], ids=str)
def test_bad_types(W):
    with pytest.raises((TypeError, ValueError), match="expected argument `W`"):
        stability_radius(W)
