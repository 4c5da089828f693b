"""One suite over every structure x map: round trips, spectra, gradients, copies, transforms, bad input."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from perdure import parametrizations as P
from perdure.errors import ArgumentTypeError, ModelError
from perdure.parametrizations.structures import BY_NAME, Dense, Diagonal, Structure, Symmetric, get_structure

MAPS = ["direct", "exp", "softplus", "inverse"]
TURNING = ("complex", "dissipative", "dense")
every = pytest.mark.parametrize(("name", "g"), [(name, g) for name in BY_NAME for g in MAPS])
names = pytest.mark.parametrize("name", list(BY_NAME))


def paired(name, rates):
    """The rates (m,), each of a pair the first of its two where a structure turns."""
    return rates[torch.arange(len(rates)) // 2 * 2] if name in TURNING else rates


def make(name, m, g, dtype=torch.float64, seed=0):
    """A structure with an ordinary spectrum, not that of the constructor."""
    structure = get_structure(name, m, g, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    rates = paired(name, torch.logspace(-2, 0, m, dtype=torch.float64))
    frequencies = torch.linspace(0.3, 1.5, m // 2, dtype=torch.float64) if name in TURNING else None
    structure.assign_spectrum(rates, frequencies, generator)
    return structure


def member(name, m, rng):
    """A random W of each structure, built without it: real parts between -1.9 and -0.02, frequencies below pi."""
    rates = np.exp(rng.uniform(np.log(0.02), np.log(1.9), m))
    if name == "diagonal":
        return np.diag(-rates)
    if name == "complex":
        blocks = [np.array([[-r, -w], [w, -r]]) for r, w in zip(rates[: m // 2], rng.uniform(-2.5, 2.5, m // 2), strict=True)]
        return linalg.block_diag(*blocks, *([[-rates[-1]]] if m % 2 else []))
    Q = np.linalg.qr(rng.normal(size=(m, m)))[0]
    S = -(Q * rates) @ Q.T
    if name == "symmetric":
        return (S + S.T) / 2
    K = rng.normal(size=(m, m)) / m
    if name == "dissipative":
        return (S + S.T) / 2 + K - K.T
    T = np.eye(m) + 0.5 * rng.normal(size=(m, m)) / m  # dense: not normal either
    return T @ member("complex", m, rng) @ np.linalg.inv(T)


@every
@settings(max_examples=25)
@given(m=st.integers(1, 7), seed=st.integers(0, 10**6))
def test_assign_then_forward(name, g, m, seed):
    W = torch.as_tensor(member(name, m, np.random.default_rng(seed)))
    structure = get_structure(name, m, g, dtype=torch.float64)
    structure.assign(W)
    assert structure().shape == (m, m)
    assert (structure() - W).abs().max().item() <= 1e-12 * W.abs().max().item()
    poles = torch.linalg.eigvals(W)
    distance = (structure.spectrum()[:, None] - poles[None, :]).abs()
    assert distance.min(0).values.max().item() <= 1e-6
    assert distance.min(1).values.max().item() <= 1e-6


@every
def test_assign_in_float32(name, g):
    W = torch.as_tensor(member(name, 6, np.random.default_rng(1))).float()
    structure = get_structure(name, 6, g, dtype=torch.float32)
    structure.assign(W)
    assert structure().dtype == torch.float32
    assert (structure() - W).abs().max().item() <= 2e-5 * W.abs().max().item()
    structure.assign(structure().detach())  # its own product, with the rounding of it


@every
@pytest.mark.parametrize("m", [1, 2, 5, 6])
def test_assigned_spectrum(name, g, m):
    generator = torch.Generator().manual_seed(3)
    rates = torch.logspace(-3, 0.2, m, dtype=torch.float64)
    structure = get_structure(name, m, g, dtype=torch.float64)
    if name == "complex":
        rates = paired(name, rates)
    structure.assign_spectrum(rates, generator=generator)
    if name == "complex":
        torch.testing.assert_close(structure.spectrum(), torch.complex(-rates, torch.zeros(m, dtype=torch.float64)))
    elif name == "dissipative":
        part = torch.linalg.eigvalsh(structure() + structure().T) / 2
        torch.testing.assert_close(part, -rates.flip(0), rtol=1e-9, atol=1e-12)
        poles = structure.spectrum()
        near = poles[poles.real.argsort(descending=True)]
        assert ((near + rates).abs() / rates).max().item() < 0.2  # the skew part is small beside the rates it couples
    else:
        poles = structure.spectrum().real.sort(descending=True).values
        torch.testing.assert_close(poles, -rates, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        torch.linalg.eigvals(structure()).real.sort().values, structure.spectrum().real.sort().values, rtol=1e-6, atol=1e-9
    )


@every
@pytest.mark.parametrize("m", [2, 5])
def test_assigned_pairs(name, g, m):
    rates, turns = torch.linspace(0.1, 0.5, m, dtype=torch.float64), torch.linspace(0.7, 2.0, m // 2, dtype=torch.float64)
    rates = paired(name, rates)
    structure = get_structure(name, m, g, dtype=torch.float64)
    if name not in TURNING:
        with pytest.raises(ValueError, match=r"`frequencies`.*real.*0\.7"):
            structure.assign_spectrum(rates, turns)
        structure.assign_spectrum(rates, torch.zeros(m // 2))
        return
    structure.assign_spectrum(rates, turns, torch.Generator().manual_seed(0))
    first = rates[0 : 2 * (m // 2) : 2]
    want = torch.cat([torch.complex(-first, turns), torch.complex(-first, -turns), (-rates[2 * (m // 2) :]).to(torch.complex128)])
    got = torch.linalg.eigvals(structure())
    tolerance = 1e-9 if name != "dissipative" else 0.05
    assert (got[:, None] - want[None, :]).abs().min(0).values.max().item() < tolerance
    if name == "complex":  # frequencies of both states of a pair, the first of which counts
        W = structure().detach()
        structure.assign_spectrum(rates, torch.cat([torch.stack([turns, torch.full_like(turns, 9.0)], 1).flatten(), torch.ones(m % 2)]))
        assert torch.equal(structure(), W)


@pytest.mark.parametrize("m", [2, 4, 5])
@pytest.mark.parametrize("name", TURNING)
def test_two_rates_in_one_pair_are_refused(name, m):
    """Conjugate eigenvalues have one real part: neither rate may be dropped in silence."""
    rates, turns = torch.linspace(0.1, 0.5, m, dtype=torch.float64), torch.full((m // 2,), 0.7, dtype=torch.float64)
    structure = get_structure(name, m, "exp", dtype=torch.float64)
    before = structure().detach().clone()
    with pytest.raises(ValueError, match=rf"`rates` to be the same for states 0 and 1, a pair .* '{name}', but got \(0\.1, "):
        structure.assign_spectrum(rates, turns)
    assert torch.equal(structure(), before)
    if name == "complex":
        with pytest.raises(ValueError, match="states 0 and 1"):
            structure.assign_spectrum(rates)
    else:  # pairs that do not turn are two real eigenvalues
        structure.assign_spectrum(rates, torch.zeros(m // 2, dtype=torch.float64), torch.Generator().manual_seed(0))
        found = structure.spectrum().real.sort().values
        torch.testing.assert_close(found, -rates.flip(0), rtol=1e-9 if name == "dense" else 0.1, atol=0)
    structure.assign_spectrum(structure.by_state(torch.linspace(0.1, 0.5, structure.rate_count, dtype=torch.float64)))
    assert structure.rate_count == ((m + 1) // 2 if name == "complex" else m)


@every
def test_first_values_are_a_spread_of_rates(name, g):
    structure = get_structure(name, 7, g, dtype=torch.float64)
    rates = -structure.spectrum().real.sort(descending=True).values
    want = np.geomspace(1e-2, 1.0, 4).repeat(2)[:7] if name == "complex" else np.geomspace(1e-2, 1.0, 7)
    np.testing.assert_allclose(rates.numpy(), want, rtol=1e-9)
    again = get_structure(name, 7, g, dtype=torch.float64)
    assert torch.equal(structure(), again())
    slow = get_structure(name, 7, P.Inverse(b=10.0), dtype=torch.float64)  # reaches 0.1 only
    assert -0.1 < slow.spectrum().real.min().item() <= -0.04


@every
def test_gradients(name, g):
    structure = make(name, 5, g)
    raw = [p.detach().clone().requires_grad_(True) for p in structure.parameters()]
    if name == "symmetric":
        torch.manual_seed(0)
        raw = [p + 0.3 * torch.randn_like(p) for p in raw]
        raw = [p.detach().requires_grad_(True) for p in raw]
    keys = [key for key, _ in structure.named_parameters()]
    assert torch.autograd.gradcheck(lambda *p: torch.func.functional_call(structure, dict(zip(keys, p, strict=True)), ()), raw)


@every
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, on the first jvp of a process
def test_transforms(name, g):
    """Many weight sets at once, forward mode, and gradients of many sets: what ensembles of perturbed copies need."""
    structure = make(name, 4, g)
    several = {k: torch.stack([p.detach() * s for s in (1.0, 0.9, 1.1)]) for k, p in structure.named_parameters()}

    def weight(p):
        return torch.func.functional_call(structure, p, ())

    apart = [weight({k: p[i] for k, p in several.items()}) for i in range(3)]
    torch.testing.assert_close(torch.func.vmap(weight)(several), torch.stack(apart))
    G = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(4, 4)
    grads = torch.func.vmap(torch.func.grad(lambda p: (weight(p) * G).sum()))(several)
    one = {k: p[1].clone().requires_grad_(True) for k, p in several.items()}
    alone = torch.autograd.grad((weight(one) * G).sum(), list(one.values()))
    for key, value in zip(one, alone, strict=True):
        torch.testing.assert_close(grads[key][1], value, rtol=1e-9, atol=1e-12)
    tangent = {k: torch.full_like(p[1], 0.3) for k, p in several.items()}
    _, moved = torch.func.jvp(weight, ({k: p.detach() for k, p in one.items()},), (tangent,))
    change = sum((value * tangent[key]).sum() for key, value in zip(one, alone, strict=True))
    torch.testing.assert_close((moved * G).sum(), change, rtol=1e-9, atol=1e-12)


@every
def test_copies(name, g):
    structure = make(name, 4, g)
    W = structure().detach()
    other = copy.deepcopy(structure)
    assert torch.equal(other(), W)
    assert torch.equal(pickle.loads(pickle.dumps(structure))(), W)
    buffer = io.BytesIO()
    torch.save(structure.state_dict(), buffer)
    fresh = get_structure(name, 4, g, dtype=torch.float64)
    fresh.load_state_dict(torch.load(io.BytesIO(buffer.getvalue())))
    assert torch.equal(fresh(), W)
    with torch.no_grad():
        other.raw.add_(1.0)
    assert not torch.equal(other(), W)
    assert torch.equal(structure(), W)


@every
def test_meta_device(name, g):
    structure = get_structure(name, 4, g, device="meta", dtype=torch.float32)
    assert structure().is_meta
    assert structure().shape == (4, 4)
    with pytest.raises(ModelError, match="to_empty"):
        structure.assign_spectrum(torch.full((4,), 0.5))
    structure.to_empty(device="cpu")
    structure.reset_parameters()
    assert torch.equal(structure(), get_structure(name, 4, g, dtype=torch.float32)())


@every
def test_half_precision_and_autocast(name, g):
    structure = make(name, 4, g, dtype=torch.float32)
    W = structure().detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(structure(), W)
    half = copy.deepcopy(structure).bfloat16()
    assert half().dtype == torch.bfloat16
    assert (half().float() - W).abs().max().item() < 0.1 * W.abs().max().item()


@every
def test_wrong_matrices(name, g):
    structure = make(name, 3, g)
    before = structure().detach().clone()
    good = before.clone()
    for wrong in (good[:2], good[:2, :2], good[None], torch.zeros(0, 0, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"`W` to be of shape \(3, 3\), but got"):
            structure.assign(wrong)
    for value in (float("nan"), float("inf")):
        bad = good.clone()
        bad[1, 2] = value
        with pytest.raises(ValueError, match=rf"`W` to be finite.*{value} at index \[1, 2\]"):
            structure.assign(bad)
    for wrong in (good.to(torch.complex128), good.to(torch.int64), good.numpy()):
        with pytest.raises((ArgumentTypeError, TypeError)):
            structure.assign(wrong)
    for rates in (torch.ones(2), torch.ones(3, 1), torch.tensor([0.1, float("nan"), 0.2])):
        with pytest.raises(ValueError, match="`rates`"):
            structure.assign_spectrum(rates)
    with pytest.raises(ValueError, match=r"`frequencies` to be of shape \(1,\) or \(3,\)"):
        structure.assign_spectrum(torch.full((3,), 0.5), torch.ones(2))
    assert torch.equal(structure(), before)


@names
@pytest.mark.parametrize("g", ["exp", "softplus", "inverse"])
def test_growth_is_refused_by_stable_maps(name, g):
    structure = get_structure(name, 2, g)
    with pytest.raises(ValueError, match=r"`rates`.*negatives.*but got -0\.25"):
        structure.assign_spectrum(torch.tensor([0.5, -0.25]))
    direct = get_structure(name, 2, "direct")
    direct.assign_spectrum(torch.tensor([0.5, 0.5] if name == "complex" else [0.5, -0.25]), generator=torch.Generator().manual_seed(0))
    grows = torch.tensor([[0.25, 0.0], [0.0, 0.25]])
    if (name, g) != ("dense", "inverse"):  # -1/(a v^2 + b) with v = i v' reaches growth rates as a matrix
        with pytest.raises(ValueError, match=r"`W`.*0\.25"):
            structure.assign(grows)
    direct.assign(grows)
    torch.testing.assert_close(direct(), grows)


def test_what_each_structure_asks_of_W():
    W = torch.tensor([[-1.0, 0.5], [0.0, -1.0]])
    with pytest.raises(ValueError, match=r"diagonal, but got '0\.5 at index \[0, 1\]'"):
        Diagonal(2).assign(W)
    with pytest.raises(ValueError, match=r"blocks \[\[a, -w\], \[w, a\]\].*0\.5 instead of"):
        get_structure("complex", 2).assign(W)
    with pytest.raises(ValueError, match=r"symmetric, but got '0\.[05] and 0\.[05] at \[0, 1\] and \[1, 0\]'"):
        Symmetric(2).assign(W)
    with pytest.raises(ValueError, match=r"W \+ W\^T < 0 .* of 0\.25"):
        get_structure("dissipative", 2).assign(torch.tensor([[-1.0, 2.5], [0.0, -1.0]]))
    with pytest.raises(ValueError, match=r"symmetric with eigenvalues in .*Inverse.*but got -2\.5"):
        Symmetric(2, "inverse").assign(torch.tensor([[-2.5, 0.0], [0.0, -1.0]]))
    get_structure("dissipative", 2, "inverse").assign(
        torch.tensor([[-250.0, 3.0], [0.0, -100.0]])
    )  # L L^T takes what the map does not reach


@names
def test_description(name):
    for g in MAPS:
        structure = get_structure(name, 3, g)
        assert isinstance(structure, Structure)
        assert structure.name == name
        assert structure.map.name == g
        protected = g != "direct" and name != "dense"
        assert (structure.stable, structure.dissipative) == (protected, protected)
        assert structure.guarantee.startswith("none") != protected
        assert "size=3" in repr(structure)


def test_names_and_sizes_are_checked():
    with pytest.raises(ValueError, match="'diagonal', 'complex', 'symmetric', 'dissipative', 'dense', but got 'banded'"):
        get_structure("banded", 3)
    with pytest.raises(ValueError, match=r"`size`.*at least 1, but got 0"):
        get_structure("diagonal", 0)
    with pytest.raises(TypeError, match=r"`size`.*integer"):
        get_structure("diagonal", True)
    with pytest.raises(ValueError, match="`parametrization`"):
        get_structure("diagonal", 3, "sine")
    with pytest.raises(ValueError, match="'LRU'"):
        get_structure("dense", 3, P.LRU())


def test_dense_knows_only_its_matrix_functions():
    class Cubic(P.Exp):
        name = "cubic"

    class Other(P.Parametrization):
        name = "other"
        guarantee = "negative"

        def _map(self, v, low, high):
            return -v * v - 1

        _slope = _inverse = _map

    Dense(2, Cubic())
    with pytest.raises(ValueError, match=r"one of Direct, Exp, Softplus, Inverse .*'other'"):
        Dense(2, Other())


@every
def test_random_bases_come_from_the_generator(name, g):
    first, second, third = (make(name, 4, g, seed=seed)() for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert torch.equal(first, third) == (name in ("diagonal", "complex"))
    state = torch.get_rng_state()
    make(name, 4, g)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own: dynamo and inductor 2.13 use what torch has deprecated
@every
def test_compiled(name, g):
    structure = make(name, 4, g, dtype=torch.float32)
    torch.compiler.reset()  # the maps share their code, and eight versions of it are the limit
    compiled = torch.compile(structure)
    torch.testing.assert_close(compiled(), structure())
    compiled().square().sum().backward()
    got = [p.grad.clone() for p in structure.parameters()]
    structure.zero_grad()
    structure().square().sum().backward()
    for a, p in zip(got, structure.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-4, atol=1e-6)
