"""The fast recurrence against plain torch operations in float64: outputs, every gradient, every way of differentiating."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.ops import threads
from perdure.ops.recurrence import ACTIVATIONS, kernels, recurrence
from perdure.ops.recurrence.function import ONCE

KINDS = ("dense", "diagonal")


def problem(kind, T, B, m, dtype=torch.float64, copies=None, seed=0):
    """Drive, weight, start and gains, all wanting gradients."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    lead = () if copies is None else (copies,)
    weight = normal(*lead, m, m) / m**0.5 - torch.eye(m).double()
    if kind == "diagonal":
        weight = -torch.rand(*((*lead, 1, m) if lead else (m,)), generator=g, dtype=torch.float64)
    tensors = normal(*lead, T, B, m), weight, normal(*lead, B, m), 0.1 + 0.3 * torch.rand(*lead, m, generator=g, dtype=torch.float64)
    return [t.to(dtype).requires_grad_() for t in tensors]


def everything(inputs, activation, kernel):
    """States, last state and all gradients for fixed random weights of the outputs."""
    x, weight, h0, step = inputs
    states, last = recurrence(x, weight, h0, step=step, activation=activation, kernel=kernel)
    g = torch.Generator().manual_seed(1)
    loss = sum((t * torch.randn(t.shape, generator=g, dtype=torch.float64).to(t)).sum() for t in (states, last))
    return [states, last, *torch.autograd.grad(loss, inputs, materialize_grads=True)]


def assert_close(found, wanted, rtol):
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        if b.numel():
            a, b = a.detach().double(), b.detach().double()
            assert float((a - b).abs().max()) <= rtol * max(1.0, float(b.abs().max()))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients(kind, activation):
    inputs = problem(kind, 9, 7, 5)
    assert_close(everything(inputs, activation, "fast"), everything(inputs, activation, "reference"), 1e-12)
    single = [t.detach().float().requires_grad_() for t in inputs]
    assert_close(everything(single, activation, "fast"), everything(inputs, activation, "reference"), 3e-5)


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 5), st.integers(0, 7), st.integers(1, 19), st.sampled_from([None, 1, 3]), st.sampled_from([1, 2, 3]))
@settings(max_examples=40)
def test_sizes_copies_and_threads(kind, T, B, m, copies, count):
    """Every shape, with the work split over several threads however small it is."""
    inputs = problem(kind, T, B, m, copies=copies)
    if kind == "diagonal" and copies and m == 1:
        return  # (E, 1, 1) is a matrix as well
    before, worth = torch.get_num_threads(), threads.WORTH
    try:
        torch.set_num_threads(count)
        threads.WORTH = 1e-12
        found = everything(inputs, "tanh", "fast")
    finally:
        torch.set_num_threads(before)
        threads.WORTH = worth
    assert_close(found, everything(inputs, "tanh", "reference"), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_without_numba_and_without_blas_the_results_are_the_same(kind, monkeypatch):
    inputs = problem(kind, 6, 9, 6, copies=2)
    fast = everything(inputs, "silu", "fast")
    monkeypatch.setattr(kernels, "ADDRESSES", (0, 0, 0))
    assert_close(everything(inputs, "silu", "fast"), fast, 1e-13)
    monkeypatch.setattr(kernels, "compiled", None)
    assert_close(everything(inputs, "silu", "fast"), fast, 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_finite_differences(kind):
    inputs = problem(kind, 4, 2, 3)
    assert torch.autograd.gradcheck(lambda x, w, h, p: recurrence(x, w, h, step=p), inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_mode(kind):
    inputs = [t.detach() for t in problem(kind, 6, 2, 4)]
    tangents = [torch.randn_like(t) for t in inputs]

    def run(kernel):
        return torch.func.jvp(lambda x, w, h, p: recurrence(x, w, h, step=p, kernel=kernel), tuple(inputs), tuple(tangents))[1]

    for a, b in zip(run("fast"), run("reference"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_mode_through_dual_numbers(kind):
    import torch.autograd.forward_ad as forward_ad

    x, weight, h0, step = (t.detach() for t in problem(kind, 6, 2, 4))
    tangent = torch.randn_like(x)
    with forward_ad.dual_level():
        states, _ = recurrence(forward_ad.make_dual(x, tangent), weight, h0, step=step)
        found = forward_ad.unpack_dual(states).tangent
    small = 1e-6
    plus, minus = (recurrence(x + s * small * tangent, weight, h0, step=step)[0] for s in (1, -1))
    torch.testing.assert_close(found, (plus - minus) / (2 * small), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("over", ["weight", "x", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_vmap_is_the_loop(kind, over):
    x, weight, h0, step = (t.detach() for t in problem(kind, 5, 3, 4))
    weights = torch.stack([weight, 0.5 * weight, -0.1 * weight])
    xs = torch.stack([x, 2 * x, -x], 1)
    in_dims = {"weight": (None, 0), "x": (1, None), "both": (1, 0)}[over]

    def loss(x, weight):
        states, last = recurrence(x, weight, h0, step=step)
        return (states.square().sum() + last.sum(), states)

    given_x, given_w = xs if in_dims[0] == 1 else x, weights if in_dims[1] == 0 else weight
    gradient = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1), has_aux=True), in_dims=in_dims)
    (by_x, by_w), states = gradient(given_x, given_w)
    for i in range(3):
        one_x, one_w = (xs[:, i] if in_dims[0] == 1 else x).requires_grad_(), (weights[i] if in_dims[1] == 0 else weight).requires_grad_()
        value, wanted = loss(one_x, one_w)
        torch.testing.assert_close(states[i], wanted)
        for found, want in zip((by_x[i], by_w[i]), torch.autograd.grad(value, (one_x, one_w)), strict=True):
            torch.testing.assert_close(found, want)
        one_x.requires_grad_(False)
        one_w.requires_grad_(False)


def test_vmap_of_vmap():
    x, weight, h0, _ = (t.detach() for t in problem("dense", 5, 3, 4))
    weights = torch.stack([torch.stack([weight * (i + 1), weight * (j - 1)]) for i in range(2) for j in range(1)]).reshape(2, 2, 4, 4)
    nested = torch.func.vmap(torch.func.vmap(lambda w: recurrence(x, w, h0, step=0.2)[1]))(weights)
    flat = recurrence(x, weights.reshape(4, 4, 4), h0, step=0.2)[1].reshape(2, 2, 3, 4)
    torch.testing.assert_close(nested, flat)


def test_second_derivatives_are_refused_by_the_fast_kernel_and_given_by_the_reference():
    x, weight, h0, step = problem("dense", 3, 2, 3)
    states, _ = recurrence(x, weight, h0, step=step)
    (first,) = torch.autograd.grad(states.square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="kernel='reference'"):
        first.sum().backward()
    assert "differentiable once" in ONCE
    assert torch.autograd.gradgradcheck(lambda w: recurrence(x.detach(), w, step=0.1, kernel="reference")[1], weight)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_can_be_used_twice(kind):
    inputs = problem(kind, 4, 3, 5)
    states, _ = recurrence(inputs[0], inputs[1], inputs[2], step=inputs[3])
    once = torch.autograd.grad(states.sum(), inputs, retain_graph=True)
    again = torch.autograd.grad(states.sum(), inputs)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_passed_on_from_their_step_and_row(kind, bad):
    x, weight, h0, step = (t.detach() for t in problem(kind, 8, 6, 5))
    for activation in ("tanh", "linear", "relu", "sigmoid", "softplus", "silu", "gelu", "elu", "softsign", "hardtanh"):
        clean, _ = recurrence(x, weight, h0, step=step, activation=activation)
        dirty = x.clone()
        dirty[3, 2, 1] = bad
        found, _ = recurrence(dirty, weight, h0, step=step, activation=activation)
        wanted, _ = recurrence(dirty, weight, h0, step=step, activation=activation, kernel="reference")
        assert torch.equal(found[:3], clean[:3])
        assert torch.equal(found[:, :2], clean[:, :2])
        if activation == "gelu" and bad > 0:  # torch's gelu(inf) is inf in some builds and sizes and NaN in others
            assert torch.equal(torch.isfinite(found), torch.isfinite(wanted))
            continue
        assert torch.equal(torch.isnan(found), torch.isnan(wanted)), activation
        torch.testing.assert_close(found, wanted, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_layouts_in_memory_do_not_matter(kind):
    x, weight, h0, step = problem(kind, 6, 5, 4)
    scattered = x.detach().permute(1, 2, 0).contiguous().permute(2, 0, 1).requires_grad_()
    a = torch.autograd.grad(recurrence(scattered, weight, h0, step=step)[0].square().sum(), (scattered, weight))
    b = torch.autograd.grad(recurrence(x, weight, h0, step=step)[0].square().sum(), (x, weight))
    for found, wanted in zip(a, b, strict=True):
        torch.testing.assert_close(found, wanted)


def test_half_precision_and_meta_take_the_plain_path():
    x, weight, h0, _ = (t.detach().bfloat16() for t in problem("dense", 4, 3, 4))
    states, _ = recurrence(x, weight, h0, step=0.2)
    wanted, _ = recurrence(x.double(), weight.double(), h0.double(), step=0.2)
    assert states.dtype == torch.bfloat16
    assert float((states.double() - wanted).abs().max()) < 0.05
    assert recurrence(x.to("meta"), weight.to("meta"), h0.to("meta"))[0].shape == (4, 3, 4)


@pytest.mark.parametrize(("argument", "change"), [
    ("x", {"x": torch.zeros(3, 4)}),
    ("weight", {"weight": torch.zeros(3, 4)}),
    ("h0", {"h0": torch.zeros(3, 4)}),
    ("activation", {"activation": "sine"}),
    ("kernel", {"kernel": "best"}),
    ("weight", {"weight": torch.zeros(4, 4).double()}),
])  # fmt: skip
def test_bad_input(argument, change):
    arguments = {"x": torch.zeros(5, 2, 4), "weight": torch.zeros(4, 4), "h0": torch.zeros(2, 4)} | change
    with pytest.raises((ValueError, TypeError), match=f"`{argument}`"):
        recurrence(**arguments)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_a_number_that_is_not_finite(kind, dtype, bad, monkeypatch):
    """The same by compiled loops and by plain torch; what is finite is what autograd says, and no NaN of autograd's is hidden.

    The other way round autograd hides some: its relu has slope 1 at NaN, and 0 times a NaN gradient is 0 to it.
    """
    for activation in set(ACTIVATIONS) - ({"gelu"} if bad > 0 else set()):  # torch's gelu(inf) is inf here and NaN there
        inputs = problem(kind, 6, 2, 3, dtype=dtype)
        with torch.no_grad():
            inputs[0][3, 0, 1] = bad
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "compiled", None)
            plain = everything(inputs, activation, "fast")
        found, wanted = everything(inputs, activation, "fast"), everything(inputs, activation, "reference")
        many = 6 if bad != bad else 3  # those of the weights are sums with 0 times infinity, where rounding to 0 decides about NaN
        for a, b, c in zip(found[:many], plain[:many], wanted[:many], strict=True):
            torch.testing.assert_close(a, b, equal_nan=True, rtol=1e-4, atol=1e-5, msg=lambda text, name=activation: f"{name}: {text}")
            torch.testing.assert_close(
                a[~a.isnan()], c[~a.isnan()], rtol=1e-4, atol=1e-5, msg=lambda text, name=activation: f"{name}: {text}"
            )
        assert found[2][:, 1].isfinite().all()  # the other row, whose gradients no NaN may reach
        if bad != bad and kind == "dense":
            slopes = found[2][:4, 0]
            assert bool(slopes.isfinite().all()) if activation == "linear" else bool(slopes.isnan().all()), activation
