"""Lyapunov and Persidskii certificates, checked in exact arithmetic, against expm, closed forms and another solver."""

import importlib.util
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.stability.lyapunov import lyapunov
from perdure.stability.persidskii import persidskii

CHAIN = np.array([[-1.0, 100.0], [0.0, -1.0]])
PERIODIC = np.array([[1.0, 1.0], [-4.0, -3.0]])  # both eigenvalues at -1; the tanh network with this weight has a periodic memory


def gaussian(n, seed, margin=0.3):
    A = np.random.default_rng(seed).normal(size=(n, n))
    return A - (np.linalg.eigvals(A).real.max() + margin) * np.eye(n)


def exact(A):
    """The very numbers that the floats are."""
    return [[Fraction(float(x)) for x in row] for row in A]


def product(A, B):
    return [[sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*B, strict=True)] for row in A]


def definite(A):
    """Whether a symmetric matrix of fractions is positive definite: every pivot of Gauss's elimination positive."""
    A = [row[:] for row in A]
    for i, row in enumerate(A):
        if row[i] <= 0:
            return False
        for j in range(i + 1, len(A)):
            factor = A[j][i] / row[i]
            A[j] = [x - factor * y for x, y in zip(A[j], row, strict=True)]
    return True


def falling(W, P, rate=Fraction(0)):
    """-(W^T P + P W) - 2 rate P, exactly."""
    W, P = exact(W), exact(P)
    PW = product(P, W)
    n = len(W)
    return [[-(PW[i][j] + PW[j][i]) - 2 * rate * P[i][j] for j in range(n)] for i in range(n)]


MATRICES = {"chain": CHAIN, "periodic": PERIODIC, "jordan": np.eye(4, k=1) - 0.5 * np.eye(4), "one": np.array([[-0.3]])} | {
    f"gaussian {n}": gaussian(n, n) for n in (2, 3, 5, 6)
}
EVERY = pytest.mark.parametrize("W", MATRICES.values(), ids=MATRICES)


def test_the_counterexample_in_closed_form():
    """Eigenvalues alone say nothing about P: both are at -1, where ||P|| would be 1/2 if W were normal."""
    found = lyapunov(CHAIN)
    assert found.P.tolist() == [[0.5, 25.0], [25.0, 2500.5]]
    assert np.linalg.norm(found.P, 2) == pytest.approx(1250.5 + math.hypot(1250.0, 25.0), rel=1e-14)
    assert np.linalg.norm(found.P, 2) == pytest.approx(2500.75, abs=1e-4)
    assert found.certified
    assert found.rate == pytest.approx(1 / (2 * 2500.75), rel=1e-6)


@EVERY
def test_the_equation(W):
    """Against the Kronecker form and the integral int e^{W^T t} e^{W t} dt."""
    n, found = len(W), lyapunov(W)
    kron = np.kron(np.eye(n), W.T) + np.kron(W.T, np.eye(n))
    assert found.P == pytest.approx(np.linalg.solve(kron, -np.eye(n).ravel()).reshape(n, n), rel=1e-9, abs=1e-9)
    slowest = -np.linalg.eigvals(W).real.max()
    t, weight = np.polynomial.legendre.leggauss(400)
    t, weight = 20 / slowest * (t + 1), 20 / slowest * weight
    powers = scipy.linalg.expm(t[:, None, None] * W)
    assert found.P == pytest.approx(np.einsum("t,tki,tkj->ij", weight, powers, powers), rel=1e-6, abs=1e-8)
    assert found.rate == pytest.approx(1 / (2 * np.linalg.norm(found.P, 2)), rel=1e-9)
    assert found.transient == pytest.approx(math.sqrt(np.linalg.cond(found.P)), rel=1e-6)


@EVERY
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_the_certificate_in_exact_arithmetic(W, share):
    """Of the floats themselves: V falls at twice the rate, and P lies between two multiples of I whose ratio is transient^2."""
    found = lyapunov(W, shift=-share * float(np.linalg.eigvals(W).real.max()))
    assert found.certified
    assert 0 < found.rate <= -np.linalg.eigvals(W).real.max() * (1 + 1e-12)
    assert definite(falling(W, found.P, Fraction(found.rate) * (1 - Fraction(1, 10**12))))
    n = len(W)
    low = Fraction(float(np.linalg.eigvalsh(found.P)[0])) * (1 - Fraction(1, 10**9))
    high = low * Fraction(found.transient) ** 2 * (1 + Fraction(1, 10**8))
    P = exact(found.P)
    assert definite([[P[i][j] - low * (i == j) for j in range(n)] for i in range(n)])
    assert definite([[high * (i == j) - P[i][j] for j in range(n)] for i in range(n)])


@settings(max_examples=40)
@given(st.integers(1, 7), st.integers(0, 10**6), st.floats(0.0, 0.95))
def test_nothing_exceeds_the_bound(n, seed, share):
    W = gaussian(n, seed)
    found = lyapunov(W, shift=0.3 * share)
    assert found.certified
    t = np.geomspace(0.01, 40, 60)
    sizes = np.array([np.linalg.norm(scipy.linalg.expm(s * W), 2) for s in t])
    assert (sizes <= found.bound(t) * (1 + 1e-12)).all()
    assert float(found.bound(0.0)) == found.transient >= 1


def test_a_shift_trades_the_constant_for_the_rate():
    plain, shifted = lyapunov(CHAIN), lyapunov(CHAIN, shift=0.9)
    assert plain.rate < 0.001 < 0.9 < shifted.rate < 1
    assert plain.transient < shifted.transient
    assert shifted.shift == 0.9


def test_a_complex_matrix():
    W = gaussian(4, 1) + 2j * np.diag([1.0, -2.0, 0.5, 3.0])
    found = lyapunov(W)
    assert W.conj().T @ found.P + found.P @ W == pytest.approx(-np.eye(4), abs=1e-12)
    assert found.certified
    assert np.linalg.norm(scipy.linalg.expm(2.0 * W), 2) <= found.bound(2.0)
    with pytest.raises(ValueError, match="real"):
        _ = found.persidskii


@pytest.mark.parametrize("exponent", [-600, 600])
def test_units(exponent):
    found, scaled = lyapunov(CHAIN), lyapunov(np.ldexp(CHAIN, exponent))
    assert scaled.rate == np.ldexp(found.rate, exponent)
    assert (np.ldexp(scaled.P, exponent) == found.P).all()
    assert scaled.transient == found.transient


@pytest.mark.parametrize(
    "W",
    [
        [[0.1]],
        [[0.0]],
        [[0.0, 1.0], [-1.0, 0.0]],
        [[-1.0, 0.0], [0.0, 1.0]],
        [[-1e-9, 1.0], [0.0, -1e-9]],  # Hurwitz on paper; a matrix within rounding of it is not
        np.triu(5 * np.ones((40, 40)), 1) - np.eye(40),
    ],
    ids=["unstable", "zero", "rotation", "saddle", "chain", "long chain"],
)
def test_nothing_is_certified_without_a_proof(W):
    found = lyapunov(W)
    assert not found.certified
    assert found.rate == 0.0
    assert found.transient == math.inf
    assert np.isinf(found.bound([0.0, 10.0])).all()
    assert found.status.startswith("no certificate")
    json.dumps(found.to_dict(), allow_nan=False)


def test_results_as_json_and_tensors():
    found = lyapunov(torch.tensor(CHAIN, dtype=torch.float32, requires_grad=True))
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["P"] == [[0.5, 25.0], [25.0, 2500.5]]
    assert plain["certified"] is True
    assert np.shape(lyapunov(CHAIN + 1j * np.eye(2)).to_dict()["P"]) == (2, 2, 2)


# Persidskii


def cycle(n, strength):
    """N leaks in a ring of which one link is inhibiting."""
    W = np.eye(n, k=1) - np.eye(n)
    W[-1, 0] = -strength
    return W


def check(W, found):
    """Whatever is claimed, in exact arithmetic."""
    assert found.outcome in ("certified", "impossible", "undecided")
    assert found.certified == (found.outcome == "certified") == (found.weights is not None)
    if found.certified:
        assert (found.weights > 0).all()
        n = len(W)
        S = falling(W, found.P)
        assert definite([[S[i][j] - Fraction(found.margin) * (i == j) for j in range(n)] for i in range(n)])
        assert found.margin > 0
    if found.outcome == "impossible":
        X = exact(found.witness)
        WX = product(exact(W), X)
        assert all(WX[i][i] >= 0 for i in range(len(W)))
        assert definite(X) or np.count_nonzero(found.witness) == 1
        assert X == [list(row) for row in zip(*X, strict=True)]


@pytest.mark.parametrize("method", ["barrier", "cvxpy"])
@pytest.mark.parametrize("n", [2, 3, 4, 7])
@pytest.mark.parametrize("share", [0.5, 0.98, 1.02, 3.0])
def test_rings_follow_the_secant_criterion(n, share, method):
    """A ring of n leaks is diagonally stable exactly below sec(pi / n)^n (Arcak & Sontag 2006, Theorem 1)."""
    if method == "cvxpy":
        pytest.importorskip("cvxpy", reason="cvxpy is not installed: the second way to solve the matrix inequality")
    limit = math.cos(math.pi / n) ** -n if n > 2 else 1e3  # two leaks: no limit
    W = cycle(n, share * limit)
    found = persidskii(W, method=method)
    check(W, found)
    assert found.outcome == ("certified" if share < 1 or n == 2 else "impossible")


def test_known_cases():
    assert persidskii(PERIODIC).outcome == "impossible"
    assert lyapunov(PERIODIC).certified  # the linear model forgets
    assert lyapunov(PERIODIC).persidskii.outcome == "impossible"  # and no diagonal P says that the tanh network does
    falling_at_once = gaussian(5, 3) - 5 * np.eye(5)
    found = persidskii(falling_at_once)
    check(falling_at_once, found)
    assert found.weights.tolist() == [1.0] * 5  # P = I where W + W^T < 0
    assert found.margin == pytest.approx(-np.linalg.eigvalsh(falling_at_once + falling_at_once.T)[-1], rel=2e-3)
    found = persidskii(CHAIN)  # triangular: certified whatever the size of the coupling
    check(CHAIN, found)
    assert found.certified
    assert persidskii([[0.0, 1.0], [-1.0, 0.0]]).outcome == "impossible"
    assert persidskii(np.zeros((3, 3))).outcome == "impossible"
    assert persidskii([[-1.0, 1.0], [1.0, -1.0]]).outcome == "undecided"  # singular, on the border


def test_two_states_in_closed_form():
    """Diagonally stable exactly where W_11 < 0, W_22 < 0 and det W > 0 (Cross 1978)."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        W = rng.normal(size=(2, 2)) - np.diag(np.abs(rng.normal(size=2)))
        truth = W[0, 0] < 0 and W[1, 1] < 0 and np.linalg.det(W) > 0
        found = persidskii(W)
        check(W, found)
        assert found.outcome == ("certified" if truth else "impossible")
        seen.add(found.outcome)
    assert len(seen) == 2


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(0, 10**6), st.floats(0.5, 2.5))
def test_every_claim_holds(n, seed, damping):
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(size=n))
    W = scale[:, None] * (rng.normal(size=(n, n)) - damping * math.sqrt(n) * np.eye(n)) / scale
    found = persidskii(W)
    check(W, found)
    assert found.outcome != "undecided"
    if np.linalg.eigvals(W).real.max() >= 0:
        assert found.outcome == "impossible"


def test_both_solvers_agree():
    pytest.importorskip("cvxpy", reason="cvxpy is not installed: the second way to solve the matrix inequality")
    rng = np.random.default_rng(1)
    outcomes = []
    for n in (3, 4, 6, 8):
        for damping in (1.0, 1.4, 1.8):
            W = rng.normal(size=(n, n)) - damping * math.sqrt(n) * np.eye(n)
            ours, theirs = persidskii(W), persidskii(W, method="cvxpy")
            check(W, theirs)
            assert ours.outcome == theirs.outcome
            outcomes.append(ours.outcome)
    assert {"certified", "impossible"} <= set(outcomes)


def test_a_certified_tanh_network_forgets():
    """Simulated: dh/dt under a constant input dies out; the periodic one does not."""
    for W, forgets in ((cycle(3, 7.0), True), (PERIODIC, False)):
        found = lyapunov(W).persidskii
        assert found.certified == forgets
        h, u, dt = np.zeros(len(W)), np.linspace(1.0, 3.0, len(W)), 0.01
        sizes = []
        for _ in range(60_000):
            speed = np.tanh(W @ h + u)
            middle = np.tanh(W @ (h + 0.5 * dt * speed) + u)
            h = h + dt * middle
            sizes.append(np.abs(speed).max())
        assert (max(sizes[-5000:]) < 1e-6) == forgets


def test_persidskii_as_json():
    for W in (CHAIN, PERIODIC, [[-1.0, 1.0], [1.0, -1.0]]):
        plain = json.loads(json.dumps(persidskii(W).to_dict(), allow_nan=False))
        assert plain["outcome"] in ("certified", "impossible", "undecided")


def test_without_cvxpy(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ValueError, match=r"perdure\[lmi\]"):
        persidskii(cycle(3, 7.0), method="cvxpy")


@pytest.mark.parametrize("measure", [lyapunov, persidskii])
@pytest.mark.parametrize("W", [[[1.0, 2.0]], [1.0], np.zeros((0, 0)), [[np.nan]], [[np.inf]]], ids=str)
def test_bad_matrices(measure, W):
    with pytest.raises(ValueError, match="expected argument `W`"):
        measure(W)


def test_bad_options():
    with pytest.raises(ValueError, match="`shift`"):
        lyapunov([[-1.0]], shift=-0.1)
    with pytest.raises(ValueError, match="`shift`"):
        lyapunov([[-1.0]], shift=math.nan)
    with pytest.raises(ValueError, match="'barrier', 'cvxpy'"):
        persidskii([[-1.0]], method="guess")
    with pytest.raises(ValueError, match="real"):
        persidskii([[-1.0 + 1j]])
    with pytest.raises(ValueError, match="`t`"):
        lyapunov([[-1.0]]).bound(-1.0)
    with pytest.raises(ValueError, match="`t`"):
        lyapunov([[-1.0]]).bound(math.nan)


def test_the_example_prints_what_the_lemma_gets_wrong(capsys, monkeypatch):
    path = Path(__file__).parents[2] / "examples" / "lemma_counterexample.py"
    spec = importlib.util.spec_from_file_location("lemma_counterexample", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr("sys.argv", ["lemma_counterexample.py"])
    module.main()
    text = capsys.readouterr().out
    numbers = {line[:44].strip(): line[44:].split()[0] for line in text.splitlines() if len(line) > 44}
    assert float(numbers["largest real part of the eigenvalues"]) == -1.0
    assert float(numbers["||P||_2"]) == pytest.approx(2500.75, abs=0.01)
    assert float(numbers["||P||_2 as the lemma has it"]) == 0.5
    assert float(numbers["stability radius"]) == pytest.approx(0.009999, abs=1e-6)
    assert float(numbers["Kreiss constant"]) == pytest.approx(25.01, abs=1e-2)
