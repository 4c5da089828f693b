"""The matrix functions of the dense structure against eigenvalues, scipy and finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from perdure.errors import ModelError
from perdure.parametrizations import Exp, Inverse, Softplus
from perdure.parametrizations.structures import Dense
from perdure.parametrizations.structures.softplus_matrix import softplus_matrix

SCALAR = {
    "exp": lambda v: -np.exp(v),
    "softplus": lambda v: -np.log(1 + np.exp(v)),
    "inverse": lambda v: -1 / (2.0 * v**2 + 0.25),
}
MAPS = {"exp": Exp(), "softplus": Softplus(), "inverse": Inverse(a=2.0, b=0.25)}


def gaussian(m, seed, scale=1.0):
    return scale * torch.randn(m, m, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) / m**0.5


def set_raw(structure, V):
    with torch.no_grad():
        structure.raw.copy_(V)
    return structure


@pytest.mark.parametrize("g", list(MAPS))
@settings(max_examples=40)
@given(m=st.integers(1, 7), seed=st.integers(0, 10**6))
def test_eigenvalues_go_through_the_scalar_map(g, m, seed):
    """Spectral mapping, eigenvectors kept: W X = X diag(g(v))."""
    V = gaussian(m, seed)
    values, X = np.linalg.eig(V.numpy())
    W = set_raw(Dense(m, MAPS[g], dtype=torch.float64), V)().detach().numpy()
    mapped = SCALAR[g](values)
    np.testing.assert_allclose(W @ X, X * mapped, atol=1e-11 * np.abs(mapped).max() * np.linalg.cond(X))


def test_a_jordan_block():
    """g of [[v, 1], [0, v]] is [[g, g'], [0, g]]: no eigenvectors to fall back on."""
    for g, map_ in MAPS.items():
        V = torch.tensor([[0.3, 1.0], [0.0, 0.3]], dtype=torch.float64)
        v = torch.tensor(0.3, dtype=torch.float64)
        want = torch.stack([torch.stack([map_(v), map_.derivative(v)]), torch.stack([torch.zeros_like(v), map_(v)])])
        torch.testing.assert_close(set_raw(Dense(2, map_, dtype=torch.float64), V)(), want, rtol=1e-12, atol=1e-14), g


@pytest.mark.parametrize("m", [1, 2, 4])
def test_softplus_derivatives(m):
    V = gaussian(m, m, 1.5).requires_grad_(True)
    # two backward passes may round differently (where buffers lie in memory decides how LAPACK adds): 1e-12, far below what a wrong derivative makes
    assert torch.autograd.gradcheck(softplus_matrix, (V,), check_forward_ad=True, nondet_tol=1e-12)
    batch = torch.stack([gaussian(m, 7), gaussian(m, 8)]).requires_grad_(True)
    assert torch.autograd.gradcheck(softplus_matrix, (batch,), nondet_tol=1e-12)
    torch.testing.assert_close(softplus_matrix(batch)[1], softplus_matrix(batch[1]))


@pytest.mark.parametrize("size", [1e-12, 1e9])
def test_softplus_gradient_is_linear_in_what_comes_down(size):
    V = gaussian(4, 0).requires_grad_(True)
    G = gaussian(4, 1)
    (small,) = torch.autograd.grad(softplus_matrix(V), V, size * G)
    (usual,) = torch.autograd.grad(softplus_matrix(V), V, G)
    torch.testing.assert_close(small / size, usual, rtol=1e-10, atol=1e-12)
    (none,) = torch.autograd.grad(softplus_matrix(V), V, 0 * G)
    assert torch.equal(none, torch.zeros_like(none))


def test_softplus_of_a_far_matrix_is_the_matrix():
    V = torch.diag(torch.tensor([300.0, -30.0], dtype=torch.float64))
    torch.testing.assert_close(
        softplus_matrix(V), torch.diag(torch.tensor([300.0, np.log1p(np.exp(-30.0))])).double(), rtol=1e-2, atol=1e-15
    )
    with pytest.raises(ModelError, match=r"overflows.*norm 800"):
        softplus_matrix(torch.full((1, 1), 800.0))


def test_softplus_without_a_real_logarithm():
    turn = torch.tensor([[0.5, torch.pi], [-torch.pi, 0.5]], dtype=torch.float64)  # 1 + e^{0.5 + i pi} = 1 - e^0.5 < 0
    with pytest.raises(ModelError, match=r"eigenvalue -0\.64872.*principal logarithm"):
        softplus_matrix(turn)
    assert bool(softplus_matrix(turn * 0.99).isfinite().all())


def test_softplus_passes_nan_on():
    V = torch.eye(3, dtype=torch.float32)
    V[0, 1] = float("nan")
    assert softplus_matrix(V).dtype == torch.float32
    assert bool(softplus_matrix(V).isnan().all())


def test_softplus_refuses_a_second_derivative():
    V = gaussian(2, 0).requires_grad_(True)
    (slope,) = torch.autograd.grad(softplus_matrix(V).sum(), V, create_graph=True)
    with pytest.raises(ModelError, match="once only"):
        slope.sum().backward()


def test_a_singular_inverse_is_named():
    structure = set_raw(Dense(2, Inverse(a=1.0, b=1.0), dtype=torch.float64), torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
    with pytest.raises(ModelError, match=r"a V\^2 \+ b I is singular"):
        structure()


@pytest.mark.parametrize(
    ("g", "W"),
    [
        ("exp", [[0.0, 0.0], [0.0, -1.0]]),  # 0 has no logarithm
        ("exp", [[0.5, 0.0], [0.0, -1.0]]),  # nor has a real growth rate a real one
        ("softplus", [[-1.0, 4.0], [-4.0, -1.0]]),  # turns faster than pi
        ("softplus", [[0.3, 0.0], [0.0, -1.0]]),
        ("inverse", [[-5.0, 0.0], [0.0, -1.0]]),  # faster than 1/b = 4
        ("inverse", [[0.0, 0.0], [0.0, -1.0]]),
    ],
)
def test_what_the_principal_inverse_does_not_reach(g, W):
    structure = Dense(2, MAPS[g], dtype=torch.float64)
    before = structure().detach()
    with pytest.raises(ValueError, match=rf"V with W = g\(V\) exists for map '{g}'.*eigenvalues.*direct"):
        structure.assign(torch.tensor(W))
    assert torch.equal(structure(), before)


def test_exp_reaches_unstable_weights_too():
    W = torch.tensor([[1.0, 2.0], [-2.0, 1.0]], dtype=torch.float64)  # -W = -1 - 2i has a principal logarithm
    structure = Dense(2, "exp", dtype=torch.float64)
    structure.assign(W)
    torch.testing.assert_close(structure(), W)
    np.testing.assert_allclose(structure.raw.detach().numpy(), linalg.logm(-W.numpy()).real, atol=1e-14)


def test_inverse_reaches_its_fastest_rate():
    structure = Dense(3, MAPS["inverse"], dtype=torch.float64)
    structure.assign(-4.0 * torch.eye(3))
    torch.testing.assert_close(structure(), -4.0 * torch.eye(3, dtype=torch.float64))


def test_frequencies_too_fast_for_softplus():
    with pytest.raises(ValueError, match=r"`frequencies` to be below 3\.142 .*'softplus', but got 3\.5"):
        Dense(2, "softplus").assign_spectrum(torch.tensor([0.5, 0.5]), torch.tensor([3.5]))
    structure = Dense(2, "exp", dtype=torch.float64)
    structure.assign_spectrum(torch.tensor([0.5, 0.5]), torch.tensor([35.0]))
    torch.testing.assert_close(structure.spectrum().imag.abs(), torch.tensor([35.0, 35.0], dtype=torch.float64))
