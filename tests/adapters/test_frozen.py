"""The stand-in for the model: what it is, and that the model never notices."""

import pytest
import torch
from torch import nn

from perdure.adapters.frozen import frozen, native_dtype
from perdure.errors import ModelError


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex64))
        self.register_buffer("count", torch.zeros(2, dtype=torch.int64))
        self.scale = nn.Parameter(torch.ones(2))


def test_copy_is_double_and_keeps_complex_and_integer_tensors():
    model = Complex()
    with frozen(model, torch.float64) as twin:
        assert twin.model is not model
        assert twin.model.rate.dtype == torch.complex128
        assert twin.model.rate[0].item() == 1 + 2j
        assert twin.model.count.dtype == torch.int64
        assert twin.model.scale.dtype == torch.float64
        assert not twin.model.training
        assert not twin.model.scale.requires_grad
    assert model.training
    assert model.rate.dtype == torch.complex64


class Uncopyable(nn.Module):
    """Writes to a buffer whenever called."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(1, 2).eval()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.head(self.drop(x))

    def __deepcopy__(self, memo):
        raise RuntimeError("there is one of me only")


def test_a_model_that_cannot_be_copied_is_put_back():
    model = Uncopyable()
    with frozen(model, torch.float64) as twin:
        assert twin.model is model
        assert twin.dtype == torch.float32
        assert "one of me" in twin.notes[0]
        assert not model.drop.training
        model(torch.ones(1, 1, 1))
    assert model.training
    assert model.drop.training
    assert not model.head.training
    assert model.calls == 0


def test_bound_methods_are_copied_with_their_module():
    model = nn.Linear(2, 3)
    with frozen(model.forward, torch.float64) as twin:
        assert twin.model(torch.ones(1, 1, 2, dtype=torch.float64)).dtype == torch.float64


def test_native_dtype():
    assert native_dtype(nn.Linear(1, 1).bfloat16()) == torch.bfloat16
    assert native_dtype(lambda x: x) == torch.get_default_dtype()


def test_weights_that_make_no_sense_are_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        model[1].bias[0] = float("nan")
    with pytest.raises(ModelError, match=r"NaN in `1\.bias`"), frozen(model, torch.float64):
        pass
    with torch.no_grad():
        model[1].bias[0] = float("inf")
    with pytest.raises(ModelError, match=r"infinity in `1\.bias`"), frozen(model, torch.float64):
        pass
    with pytest.raises(ModelError, match="lazy parameter"), frozen(nn.LazyLinear(3), torch.float64):
        pass


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    with frozen(model, torch.float64) as twin:
        assert twin.model[0].weight is twin.model[1].weight
        assert twin.model[0].weight is not model[0].weight


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.Linear])
def test_weights_made_in_inference_mode(kind):
    with torch.inference_mode():
        model = kind(2, 3)
        model.register_buffer("count", torch.zeros(2))
    x = torch.ones(1, 4, 2, dtype=torch.float64, requires_grad=True)
    with frozen(model, torch.float64) as twin:
        assert twin.notes == ()
        assert not any(t.is_inference() for t in (*twin.model.parameters(), *twin.model.buffers()))
        y = twin.model(x)
        (y if kind is nn.Linear else y[0]).sum().backward()
    assert x.grad.abs().max() > 0
    assert all(p.is_inference() for p in model.parameters())


def test_tensors_computed_from_others_are_copied():
    """copy.deepcopy alone refuses a module that holds one."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.raw = nn.Parameter(torch.ones(1))
            self.scale = 2 * self.raw

        def forward(self, x):
            return x * self.scale.to(x.dtype)

    with frozen(Scaled(), torch.float64) as twin:
        assert twin.notes == ()
        assert twin.model(torch.ones(1, 1, 1)).item() == 2


def test_in_place_on_weights_made_in_inference_mode():
    with torch.inference_mode():
        model = Uncopyable()
    held = model.calls
    with frozen(model, torch.float64) as twin:
        twin.model(torch.ones(1, 1, 1))
        assert twin.model.calls == 1
    assert model.calls is held
    assert model.calls == 0
    assert model.head.weight.is_inference()


def test_adapted_models_and_partials():
    from functools import partial

    from perdure.adapters import adapt

    layer = nn.Conv1d(2, 3, 1)
    with frozen(adapt(layer), torch.float64) as twin:
        assert twin.model.layout == "BCT"
        assert twin.model.module is not layer
        assert twin.model(torch.zeros(1, 5, 2, dtype=torch.float64)).shape == (1, 5, 3)
    linear = nn.Linear(2, 3)
    with frozen(partial(linear), torch.float64) as twin:
        assert twin.model.func is not linear
        assert twin.model(torch.zeros(1, 5, 2, dtype=torch.float64)).dtype == torch.float64
    assert native_dtype(adapt(nn.Linear(1, 1).half())) == torch.float16


def test_in_some_type_falls_back_to_the_models_own():
    from perdure.adapters import in_some_type

    class Picky(nn.Linear):
        def forward(self, x):
            if x.dtype == torch.float64:
                raise RuntimeError("no doubles here")
            return super().forward(x)

    def body(twin, notes):
        return twin.model(torch.zeros(1, 1, 1, dtype=twin.dtype)).dtype, notes

    found, notes = in_some_type(Picky(1, 1), torch.float64, body)
    assert found == torch.float32
    assert "no doubles here" in notes[-1]
    with pytest.raises(RuntimeError, match="no doubles"):
        in_some_type(Picky(1, 1).double(), torch.float64, body)
