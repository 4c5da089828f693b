"""What the structures promise, searched with hypothesis; what the dense one cannot promise, counted."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.parametrizations.structures import Dense, Dissipative, get_structure

GUARDED = [(name, g) for name in ("diagonal", "complex", "symmetric", "dissipative") for g in ("exp", "softplus", "inverse")]
guarded = pytest.mark.parametrize(("name", "g"), GUARDED)
EPS = torch.finfo(torch.float64).eps
MATRIX_EXP = 1e-11  # torch's matrix_exp of a skew A is orthogonal to eps |A|, but only to 1e-12 for |A| near 0.02 (torch 2.13)


def shaken(name, m, g, scale, seed, dtype=torch.float64):
    """A structure whose raw parameters are Gaussian of that scale, whatever they mean."""
    structure = get_structure(name, m, g, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in structure.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return structure


@guarded
@settings(max_examples=40)
@given(m=st.integers(1, 9), decades=st.floats(-3.0, 3.0), seed=st.integers(0, 10**6))
def test_every_weight_is_dissipative(name, g, m, decades, seed):
    """W + W^T <= 2 max g(v) < 0 for raw parameters from 1e-3 to 1e3 in size.

    Diagonal and complex: g(v) stands in W as it is, and the symmetric part is diagonal, so the check is exact. The others are computed with a
    backward error of some m eps |W| and eigvalsh adds as much: the greatest eigenvalue may exceed its bound by that and no more. W is
    divided by its largest entry first, so that eigvalsh does not overflow at |W| = 1e307.
    """
    structure = shaken(name, m, g, 10.0**decades, seed)
    W = structure().detach()
    assert bool(W.isfinite().all())
    bound = structure.map(structure.raw.detach()).max().item()
    assert bound < 0
    part = (W / 2 + W.T / 2).double()
    if name in ("diagonal", "complex"):
        assert torch.equal(part, torch.diag(part.diagonal()))
        assert part.diagonal().max().item() == bound
        return
    size = W.abs().max().item()
    rounding = 40 * m * EPS if name == "dissipative" else 40 * m * EPS * max(1.0, 10.0**decades) + MATRIX_EXP
    assert torch.linalg.eigvalsh(part / size).max().item() <= bound / size + rounding


@guarded
@settings(max_examples=40)
@given(m=st.integers(1, 9), decades=st.floats(-3.0, 0.5), seed=st.integers(0, 10**6))
def test_eigenvalues_decay(name, g, m, decades, seed):
    """Ordinary sizes: eigenvalues of W have negative real part, in float64 and in float32, beyond the rounding of a dense product."""
    for dtype in (torch.float64, torch.float32):
        structure = shaken(name, m, g, 10.0**decades, seed, dtype)
        W = structure().detach().double()
        rounding = 40 * m * torch.finfo(dtype).eps * torch.linalg.matrix_norm(W, 2).item() if name in ("symmetric", "dissipative") else 0.0
        part = torch.linalg.eigvalsh((W + W.T) / 2).max().item()
        assert torch.linalg.eigvals(W).real.max().item() <= part + 40 * m * EPS * torch.linalg.matrix_norm(W, 2).item()  # Bendixson
        assert part < rounding
        assert structure.spectrum().real.max().item() < rounding


@settings(max_examples=60)
@given(m=st.integers(1, 8), decades=st.floats(-2.0, 3.0), seed=st.integers(0, 10**6))
def test_symmetric_spectrum_is_what_the_map_says(m, decades, seed):
    """The independent check: eigvalsh finds g(v) again, however far the basis was turned."""
    structure = shaken("symmetric", m, "softplus", 10.0**decades, seed)
    want = structure.map(structure.raw.detach()).sort().values
    W = structure().detach()
    got = torch.linalg.eigvalsh((W + W.T) / 2)
    assert (got - want).abs().max().item() <= (100 * m * EPS * max(1.0, 10.0**decades) + MATRIX_EXP) * want.abs().max().item()


@pytest.mark.parametrize("value", [1e3, -1e3, 1e300, -1e300, float("inf"), -float("inf")])
@guarded
def test_raw_values_at_the_ends(name, g, value):
    structure = get_structure(name, 3, g, dtype=torch.float64)
    with torch.no_grad():
        structure.raw[1] = value
    poles = structure.spectrum()
    assert bool(poles.isfinite().all())
    if name != "dissipative":
        assert poles.real.max().item() < 0
    W = structure().detach()
    assert torch.linalg.eigvalsh((W / 2 + W.T / 2) / W.abs().max()).max().item() <= 40 * EPS


def test_dissipative_never_amplifies():
    structure = shaken("dissipative", 6, "exp", 1.0, 0)
    W = structure().detach()
    grow = shaken("dense", 6, "direct", 1.0, 0)().detach()
    grow = grow - (torch.linalg.eigvals(grow).real.max() + 0.01) * torch.eye(6)  # stable, not dissipative
    times = torch.linspace(0.01, 5.0, 50, dtype=torch.float64)
    assert max(torch.linalg.matrix_norm(torch.matrix_exp(t * W), 2).item() for t in times) < 1.0
    assert max(torch.linalg.matrix_norm(torch.matrix_exp(t * grow), 2).item() for t in times) > 1.5


def test_dissipative_memory_of_a_nonlinear_network_decays():
    """Hurwitz is not enough: W = [[1, 1], [-4, -3]] has both eigenvalues at -1, and its tanh network circles for ever."""

    def speed(W):
        h, dt = torch.zeros(2, dtype=torch.float64), 0.02
        u = torch.tensor([3.0, -3.0], dtype=torch.float64)
        for _ in range(4000):
            step = torch.tanh(W @ h + u)
            h = h + dt * step
        return step.abs().max().item()

    periodic = torch.tensor([[1.0, 1.0], [-4.0, -3.0]], dtype=torch.float64)
    assert speed(periodic) > 0.1
    structure = Dissipative(2, "exp", dtype=torch.float64)
    with pytest.raises(ValueError, match=r"W \+ W\^T < 0"):
        structure.assign(periodic)
    structure.assign(torch.tensor([[-1.0, 1.0], [-4.0, -3.0]], dtype=torch.float64))
    assert speed(structure().detach()) < 1e-6


@pytest.mark.parametrize(("m", "count", "low", "high"), [(2, 3000, 0.035, 0.06), (8, 1500, 0.31, 0.40), (32, 200, 0.88, 0.99)])
def test_dense_exp_is_unstable_as_often_as_documented(m, count, low, high):
    """Gaussian V of spectral radius near 2: 4.5 % unstable at m = 2, 36 % at 8, over 90 % at 32; near 1: almost none."""
    structure = Dense(m, "exp", dtype=torch.float64)
    V = torch.randn(count, m, m, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / math.sqrt(m)

    def unstable(V):
        W = torch.func.vmap(lambda v: torch.func.functional_call(structure, {"raw": v}, ()))(V)
        return (torch.linalg.eigvals(W).real.amax(-1) > 0).double().mean().item()

    assert low < unstable(2.0 * V) < high
    assert unstable(V) < 0.002


@pytest.mark.parametrize(("g", "turn"), [("exp", 2.0), ("softplus", 2.5), ("inverse", 1.0)])
def test_every_matrix_function_can_be_unstable(g, turn):
    structure = Dense(2, g, dtype=torch.float64)
    assert structure.spectrum().real.max().item() < 0
    with torch.no_grad():
        structure.raw.copy_(torch.tensor([[0.0, turn], [-turn, 0.0]], dtype=torch.float64))
    assert structure.spectrum().real.min().item() > 0
