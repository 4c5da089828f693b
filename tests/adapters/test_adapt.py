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
