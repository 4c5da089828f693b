"""Models of all kinds give the same sequence as calling them by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from perdure import functionals
from perdure.adapters import SequenceMap, adapt, unpack
from perdure.errors import ArgumentError, ArgumentTypeError, ModelError

X = torch.linspace(-1, 1, 2 * 7 * 3).reshape(2, 7, 3)
TENSOR = torch.arange(10.0).reshape(1, 5, 2)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("batch_first", [True, False])
def test_recurrent_layers_of_either_layout(kind, batch_first):
    layer = kind(3, 4, batch_first=batch_first)
    call = adapt(layer)
    direct = layer(X)[0] if batch_first else layer(X.transpose(0, 1))[0].transpose(0, 1)
    assert torch.equal(call(X), direct)
    assert (call.input_size, call.output_size) == (3, 4)
    assert isinstance(call, SequenceMap)


def test_batch_first_can_be_told():
    layer = nn.GRU(3, 4)
    call = adapt(lambda x: layer(x), input_size=3, batch_first=False)
    assert torch.equal(call(X), layer(X.transpose(0, 1))[0].transpose(0, 1))


@pytest.mark.parametrize(
    "output",
    [
        TENSOR,
        (TENSOR, "state"),
        [TENSOR],
        (TENSOR, (TENSOR + 1, TENSOR + 2)),
        {"loss": torch.zeros(()), "logits": TENSOR},
        {"last_hidden_state": TENSOR},
        {"anything": TENSOR},
        SimpleNamespace(logits=TENSOR, last_hidden_state=TENSOR + 1),
        SimpleNamespace(last_hidden_state=TENSOR),
        TENSOR.numpy(),
    ],
)
def test_the_output_sequence_is_found(output):
    assert torch.equal(unpack(output), TENSOR)


@pytest.mark.parametrize("output", [None, 3.0, (), {}, SimpleNamespace(score=TENSOR)])
def test_no_sequence_to_be_found(output):
    with pytest.raises(ModelError, match="to return a tensor"):
        unpack(output)


class Embedder(nn.Module):
    """Called like a language model."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 3)
        self.head = nn.Linear(3, 11)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids=None, inputs_embeds=None):
        return SimpleNamespace(logits=self.head(inputs_embeds))


def test_language_models_are_measured_at_their_embeddings():
    model = Embedder()
    call = adapt(model)
    assert call.input_size == 3
    assert torch.equal(call(X), model.head(X))


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (nn.Linear(5, 2), 5),
        (nn.Sequential(nn.Tanh(), nn.Linear(6, 2)), 6),
        (nn.Sequential(nn.Conv1d(4, 2, 1)), 4),
        (SimpleNamespace(d_model=8, __call__=None), 8),
        (functionals.stack(functionals.exponential(1.0), functionals.exponential(2.0)), 2),
    ],
)
def test_input_size_is_read_off_the_model(model, size):
    from perdure.adapters.sizes import input_size

    assert input_size(model) == size


@pytest.mark.parametrize("model", [nn.LSTM(1, 4), nn.GRU(1, 4), nn.Sequential(nn.Linear(1, 4), nn.Tanh())])
def test_a_size_that_the_first_layer_does_not_take_is_refused(model):
    with pytest.raises(ArgumentError, match="`input_size` to be 1, the size of the model's first layer, but got 3: leave it out"):
        adapt(model, input_size=3)
    assert adapt(model, input_size=1).input_size == 1


def test_functionals_are_given_dt():
    target = functionals.exponential(0.5)
    x = np.ones((1, 9, 1))
    assert torch.equal(adapt(target, dt=0.25)(torch.as_tensor(x)), torch.as_tensor(target(x, dt=0.25)))


def test_unknown_input_size():
    with pytest.raises(ArgumentError, match="`input_size` to be given"):
        adapt(lambda x: x)
    with pytest.raises(ArgumentError, match="embedding of tokens"):
        adapt(nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3)))
    with pytest.raises(ArgumentError, match="`input_size` to be at least 1"):
        adapt(lambda x: x, input_size=0)
    with pytest.raises(ArgumentTypeError, match="callable"):
        adapt(3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: x[:, -1], "shape"),
        (lambda x: x[..., 0], r"unsqueeze\(-1\)"),
        (lambda x: x[:, 1:], "one output for each input step"),
        (lambda x: x[..., :0], "at least one output channel"),
        (lambda x: x.to(torch.complex128), "complex128"),
        (lambda x: x.argmax(-1, keepdim=True), "int64"),
    ],
)
def test_outputs_that_are_no_sequence(model, message):
    with pytest.raises(ModelError, match=message):
        adapt(model, input_size=3)(X)


def test_channels_first():
    torch.manual_seed(0)
    stack = nn.Sequential(nn.Dropout(0.0), nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(3, 4, 3), nn.Tanh())
    expected = stack(X.transpose(1, 2)).transpose(1, 2)
    call = adapt(stack)  # seen by its first layer
    assert (call.layout, call.input_size) == ("BCT", 3)
    assert torch.equal(call(X), expected)
    assert call.output_size == 4
    assert torch.equal(adapt(lambda x: stack(x), input_size=3, layout="BCT")(X), expected)
    with pytest.raises(ModelError, match=r"map \(B, d_in, T\) -> \(B, d_out, T\).*cut off what padding adds"):
        adapt(nn.Conv1d(3, 4, 3, padding=2))(X)


def test_a_module_of_convolutions_that_is_given_the_wrong_layout_says_how():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv1d(3, 4, 1)

        def forward(self, x):
            return self.layer(x)

    with pytest.raises(RuntimeError) as caught:
        adapt(Net())(X)
    assert "layout='BCT'" in caught.value.__notes__[0]
    assert adapt(Net(), layout="BCT")(X).shape == (2, 7, 4)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("deep", [True, False])
def test_transformer_layers_say_their_layout_by_their_attention(batch_first, deep):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=batch_first)
    model = (nn.TransformerEncoder(layer, 2, enable_nested_tensor=False) if deep else layer).eval()
    x = torch.randn(2, 7, 4)
    mask = nn.Transformer.generate_square_subsequent_mask(7)
    given = x if batch_first else x.transpose(0, 1)
    expected = model(given, mask)
    expected = expected if batch_first else expected.transpose(0, 1)
    call = adapt(model, mask="causal")
    torch.testing.assert_close(call(x), expected)
    later = x.clone()
    later[:, 4:] += 1
    assert torch.equal(call(later)[:, :4], call(x)[:, :4])
    assert not torch.equal(adapt(model)(later)[:, :4], adapt(model)(x)[:, :4])


def test_further_arguments():
    seen = {}

    def model(x, scale, shift=0.0):
        seen.update(scale=scale, shift=shift)
        return scale * x + shift

    call = adapt(model, input_size=3, arguments={"scale": torch.tensor(2.0, dtype=torch.float64), "shift": lambda x: x[:, :1]})
    assert torch.equal(call(X), 2 * X + X[:, :1])
    assert seen["scale"].dtype == X.dtype
    with pytest.raises(ArgumentError, match="to name arguments of the model, but got 'scales': it takes scale, shift, x"):
        adapt(model, input_size=3, arguments={"scales": 1})
    with pytest.raises(ArgumentTypeError, match="dictionary"):
        adapt(model, input_size=3, arguments=[1])
    with pytest.raises(ArgumentError, match="takes none of mask, src_mask"):
        adapt(nn.GRU(3, 4), mask="causal")
    with pytest.raises(ArgumentError, match="None or 'causal'"):
        adapt(nn.TransformerEncoderLayer(4, 2), mask="diagonal")


def test_numpy_functions_are_found_out_once():
    kinds = []

    def model(x):
        kinds.append(type(x))
        return np.add.accumulate(x, axis=1)

    call = adapt(model, input_size=3)
    expected = X.cumsum(1)
    torch.testing.assert_close(call(X), expected)
    torch.testing.assert_close(call(X), expected)
    assert kinds[0] is torch.Tensor or kinds[0] is np.ndarray
    assert set(kinds[1:]) == {np.ndarray}
    kinds.clear()
    adapt(model, input_size=3, arrays=True)(X.bfloat16())
    assert kinds == [np.ndarray]


def test_what_raises_on_both_raises_the_first():
    def model(x):
        raise ValueError(f"given {type(x).__name__}")

    with pytest.raises(ValueError, match="given Tensor"):
        adapt(model, input_size=1)(X[..., :1])
    with pytest.raises(ValueError, match="given ndarray"):
        adapt(model, input_size=1, arrays=True)(X[..., :1])
    with pytest.raises(ArgumentTypeError, match="`arrays`"):
        adapt(model, input_size=1, arrays="numpy")


def test_modules_are_never_tried_with_arrays():
    class Net(nn.Module):
        calls = 0

        def forward(self, x):
            Net.calls += 1
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        adapt(Net(), input_size=1)(X[..., :1])
    assert Net.calls == 1


def test_adapted_models_are_adapted_again():
    stack = nn.Conv1d(3, 3, 1)
    first = adapt(stack, dt=0.5)
    again = adapt(first)
    assert (again.layout, again.input_size, again.options, again.model) == ("BCT", 3, first.options, stack)
    assert adapt(first, dt=0.1).options["dt"] == 0.1
    other = nn.Conv1d(3, 3, 1)
    assert torch.equal(first.on(other)(X), adapt(other)(X))
    assert first.module is stack
    assert list(first.parameters()) == list(stack.parameters())
    assert adapt(lambda x: x, input_size=1).module is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "BT"}, "`layout` to be one of 'BTC'"),
        ({"layout": "BCT", "batch_first": False}, "to go with layout='BCT', but got False"),
        ({"layout": "TBC", "batch_first": True}, "to go with layout='TBC', but got True"),
        ({"dt": 0.0}, "`dt` to be positive"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ArgumentError, match=message):
        adapt(nn.GRU(3, 4), **options)
