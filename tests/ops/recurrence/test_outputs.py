"""Outputs without states against plain torch operations: every activation, size, way of sharing, and the layer that uses them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call, vmap

from perdure.nn import ContinuousRNN
from perdure.ops import threads
from perdure.ops.recurrence import ACTIVATIONS, kernels, recurrence
from perdure.ops.recurrence import outputs as module
from perdure.ops.recurrence.outputs import ROWS, outputs

compiled = pytest.importorskip("perdure.ops.recurrence.compiled_outputs", reason="needs numba")
KINDS = ("dense", "diagonal")
NAMES = ("u", "into", "bias", "weight", "readout", "step", "h0")
D = torch.float64


def problem(kind, sizes, copies=None, shared=(), seed=0):
    """Arguments by name in float64; those in `shared` are the same for all copies."""
    T, B, m, d, o = sizes
    g = torch.Generator().manual_seed(seed)

    def normal(name, *shape):
        return torch.randn(*(() if copies is None or name in shared else (copies,)), *shape, generator=g, dtype=D)

    weight = normal("weight", m, m) / m**0.5 - torch.eye(m).double()
    if kind == "diagonal":
        alone = copies is None or "weight" in shared
        weight = -normal("weight", *(() if alone else (1,)), m).abs().clamp(max=2)
    found = {"u": normal("u", T, B, d), "into": normal("into", m, d), "bias": normal("bias", m), "weight": weight}
    return found | {"readout": normal("readout", o, m), "step": 0.1 + 0.2 * normal("step", m).abs(), "h0": normal("h0", B, m)}


def one(args, e):
    """The arguments of one copy."""
    axes = {"u": 3, "into": 2, "bias": 1, "weight": 2, "readout": 2, "step": 1, "h0": 2}
    m = args["into"].shape[-2]
    picked = {n: t[e] if t.ndim > axes[n] and not (n == "weight" and t.shape == (m, m)) else t for n, t in args.items()}
    return picked | {"weight": picked["weight"].reshape(m) if picked["weight"].shape == (1, m) and m > 1 else picked["weight"]}


def by_states(args, activation="tanh"):
    """y and last state of one copy, by the reference kernel and a product with all states."""
    x = args["u"] @ args["into"].T + args["bias"]
    states, last = recurrence(x, args["weight"], args["h0"], step=args["step"], activation=activation, kernel="reference")
    return states @ args["readout"].T, last


def assert_close(found, wanted, rtol):
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert float((a.double() - b).abs().max()) <= rtol * max(1.0, float(b.abs().max()))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_activation_in_both_types(kind, activation, monkeypatch):
    args = problem(kind, (9, 37, 11, 3, 2))
    wanted = by_states(args, activation)
    monkeypatch.setattr(module, "_stored", None)  # nothing may go by way of the states
    assert_close(outputs(**args, activation=activation), wanted, 1e-12)
    assert_close(outputs(**{n: t.float() for n, t in args.items()}, activation=activation), wanted, 3e-5)


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.tuples(st.integers(1, 5), st.sampled_from([1, 5, 16, 17, 40, 259, 515]), st.integers(1, 21), st.sampled_from([1, 2, 13]),
              st.sampled_from([1, 3, 11])),
    st.sampled_from([None, 1, 3]), st.sets(st.sampled_from(NAMES)), st.sampled_from([1, 2, 3]),
)  # fmt: skip
@settings(max_examples=60)
def test_sizes_copies_sharing_and_threads(kind, sizes, copies, shared, count):
    """Every shape, with the work split over several threads however small it is."""
    args = problem(kind, sizes, copies, shared)
    before, worth = torch.get_num_threads(), threads.WORTH
    try:
        torch.set_num_threads(count)
        threads.WORTH = 1e-12
        y, last = outputs(**args)
    finally:
        torch.set_num_threads(before)
        threads.WORTH = worth
    if copies is None or len(shared) == len(NAMES):
        assert_close((y, last), by_states(args), 1e-12)
    else:
        assert y.shape[0] == last.shape[0] == copies
        for e in range(copies):
            assert_close((y[e], last[e]), by_states(one(args, e)), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_without_blas_and_without_numba_the_results_are_the_same(kind, monkeypatch):
    args = problem(kind, (6, 20, 13, 2, 9), copies=3, shared={"u"})
    fast = outputs(**args)
    monkeypatch.setattr(kernels, "ADDRESSES", (0, 0, 0))
    assert_close(outputs(**args), fast, 1e-13)
    monkeypatch.setattr(module, "compiled", None)
    assert_close(outputs(**args), fast, 1e-13)


@pytest.mark.parametrize("shared", [(), ("u",), ("weight", "h0"), ("u", "into", "bias", "readout", "step", "h0")])
@pytest.mark.parametrize("kind", KINDS)
def test_vmap_is_the_loop(kind, shared):
    args = problem(kind, (5, 20, 6, 2, 1), copies=4, shared=shared)
    if kind == "diagonal" and "weight" not in shared:
        args["weight"] = args["weight"][:, 0]
    dims = {name: None if name in shared else 0 for name in NAMES}
    flat = vmap(lambda a: outputs(**a), in_dims=(dims,))(args)
    nested = {name: t if name in shared else t.unflatten(0, (2, 2)).transpose(0, 1) for name, t in args.items()}  # copies in another order
    twice = vmap(vmap(lambda a: outputs(**a), in_dims=(dims,)), in_dims=(dims,))(nested)
    for e in range(4):
        wanted = by_states({name: t if name in shared else t[e] for name, t in args.items()})
        assert_close([t[e] for t in flat], wanted, 1e-12)
        assert_close([t[e % 2, e // 2] for t in twice], wanted, 1e-12)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_nan_and_infinity_stay_in_their_row(activation, bad):
    args = problem("dense", (6, 300, 9, 2, 1))
    clean, _ = outputs(**args, activation=activation)
    args["u"][2, 40, 0] = bad
    found, last = outputs(**args, activation=activation)
    wanted, end = by_states(args, activation)
    torch.testing.assert_close(found, wanted, equal_nan=True)
    torch.testing.assert_close(last, end, equal_nan=True)
    assert torch.equal(found[:2], clean[:2])
    assert not torch.equal(found[2:, 40], clean[2:, 40])
    others = torch.arange(300) != 40
    assert torch.equal(found[:, others], clean[:, others])


def test_no_steps_and_layouts_in_memory():
    args = problem("dense", (4, 20, 5, 2, 3))
    scattered = {n: t.T.contiguous().T if t.ndim == 2 else t.transpose(0, -1).contiguous().transpose(0, -1) for n, t in args.items()}
    assert_close(outputs(**scattered), outputs(**args), 1e-14)
    y, last = outputs(**args | {"u": args["u"][:0]})
    assert y.shape == (0, 20, 3)
    assert torch.equal(last, args["h0"])
    y, last = outputs(**args | {"readout": args["readout"][:0]})  # the last state alone
    assert y.shape == (4, 20, 0)
    assert torch.equal(last, outputs(**args)[1])


def test_no_gradient_comes_out():
    args = problem("dense", (4, 20, 5, 2, 3))
    args["weight"].requires_grad_()
    assert not any(t.requires_grad for t in outputs(**args))


def spied(monkeypatch):
    """Calls of the operation, counted."""
    calls = []
    monkeypatch.setattr("perdure.nn.continuous_rnn.outputs", lambda *args, **rest: calls.append(1) or outputs(*args, **rest))
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, D])
@pytest.mark.parametrize("options", [
    {}, {"batch_first": True}, {"bias": False, "activation": "relu"}, {"structure": "dissipative", "dt": 0.3}, {"output_size": 3},
    {"structure": "dense", "parametrization": "direct"}, {"structure": "complex", "hidden_size": 7}, {"hidden_size": 1},
])  # fmt: skip
def test_the_layer_with_and_without_gradients(options, dtype, monkeypatch):
    torch.manual_seed(0)
    layer = ContinuousRNN(**{"input_size": 2, "hidden_size": 9, "output_size": 1, "dtype": dtype} | options)
    x, h0 = torch.randn(33, 35, 2, dtype=dtype), torch.randn(1, 35 if not layer.batch_first else 33, layer.hidden_size, dtype=dtype)
    wanted, last = layer(x, h0)
    calls = spied(monkeypatch)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            found, end = layer(x, h0)
            bare, _ = layer(x)
        torch.testing.assert_close(found, wanted.detach())
        torch.testing.assert_close(end, last.detach())
        torch.testing.assert_close(bare, layer(x)[0].detach())
    assert len(calls) == 4


@pytest.mark.parametrize("structure", ["diagonal", "dissipative", "dense"])
@pytest.mark.parametrize("moved", [None, "weight_ih_l0", "readout.weight"])
def test_copies_of_the_layer(structure, moved, monkeypatch):
    torch.manual_seed(0)
    layer = ContinuousRNN(2, 6, structure=structure, dt=0.2, output_size=2, batch_first=True, dtype=D)
    params = {n: p.detach() + 0.1 * torch.randn(5, *p.shape, dtype=D) for n, p in layer.named_parameters() if moved in (None, n)}
    x = torch.randn(5, 20, 7, 2, dtype=D)
    calls = spied(monkeypatch)
    with torch.no_grad():
        y, h_n = vmap(lambda p, x: functional_call(layer, p, (x,)))(params, x)
        same, _ = vmap(lambda p: functional_call(layer, p, (x[0],)))(params)
    assert len(calls) == 2
    for e in range(5):
        wanted, last = functional_call(layer, {n: p[e] for n, p in params.items()}, (x[e],))
        torch.testing.assert_close(y[e], wanted.detach())
        torch.testing.assert_close(h_n[e], last.detach())
        torch.testing.assert_close(same[e], functional_call(layer, {n: p[e] for n, p in params.items()}, (x[0],))[0].detach())


def test_where_the_states_are_needed_they_are_computed(monkeypatch):
    """Gradients of any kind, hooks on the readout, another integrator or type, few rows: the ordinary way, with the same results."""
    torch.manual_seed(0)
    layer, x = ContinuousRNN(2, 5, output_size=1, dtype=D), torch.randn(6, 20, 2, dtype=D)
    calls = spied(monkeypatch)
    layer(x)
    torch.func.jvp(lambda v: layer(v)[0], (x,), (x,))
    torch.func.grad(lambda v: layer(v)[0].sum())(x)
    with torch.no_grad():
        with torch.autograd.forward_ad.dual_level():
            dual = layer(torch.autograd.forward_ad.make_dual(x, x))[0]
            assert torch.autograd.forward_ad.unpack_dual(dual).tangent is not None
        seen = []
        handle = layer.readout.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        layer(x)
        handle.remove()
        assert seen[0].shape == (6, 20, 5)
        layer(x[:, : ROWS - 1])
        layer(torch.nn.utils.rnn.pack_sequence([x[:, 0]] * 20))
        ContinuousRNN(2, 5, output_size=1, dtype=D, integrator="rk4")(x)
        ContinuousRNN(2, 5, output_size=1, dtype=D, num_layers=2)(x)
        ContinuousRNN(2, 5, output_size=1, dtype=torch.bfloat16)(x.bfloat16())
        ContinuousRNN(2, 5, dtype=D)(x)
        with torch.autocast("cpu", torch.bfloat16):
            layer.float()(x.float())
    assert not calls


@pytest.mark.parametrize(("argument", "change"), [
    ("u", {"u": torch.zeros(20, 2)}),
    ("u", {"u": torch.zeros(2, 3, 4, 20, 2)}),
    ("into", {"into": torch.zeros(5)}),
    ("u", {"into": torch.zeros(5, 3)}),
    ("weight", {"weight": torch.zeros(4, 4)}),
    ("weight", {"weight": torch.zeros(3, 5)}),
    ("weight", {"weight": torch.zeros(3, 2, 5)}),
    ("weight", {"weight": torch.zeros(4)}),
    ("bias", {"bias": torch.zeros(4)}),
    ("readout", {"readout": torch.zeros(5)}),
    ("readout", {"readout": torch.zeros(1, 4)}),
    ("readout", {"readout": torch.zeros(2, 1, 5), "weight": torch.zeros(3, 5, 5)}),
    ("step", {"step": torch.zeros(4)}),
    ("h0", {"h0": torch.zeros(19, 5)}),
    ("activation", {"activation": "sine"}),
    ("weight", {"weight": torch.zeros(5, 5).double()}),
])  # fmt: skip
def test_bad_input(argument, change):
    arguments = {
        "u": torch.zeros(4, 20, 2),
        "into": torch.zeros(5, 2),
        "bias": None,
        "weight": torch.zeros(5, 5),
        "readout": torch.zeros(1, 5),
    }
    with pytest.raises((ValueError, TypeError), match=f"`{argument}`"):
        outputs(**arguments | change)
