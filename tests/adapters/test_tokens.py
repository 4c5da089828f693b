"""A language model measured by substitution gives what the model gives on the substituted text."""

import pytest
import torch
from cases import LanguageModel
from torch import nn

from perdure.adapters import TokenModel, adapt
from perdure.errors import ArgumentError, ArgumentTypeError, ModelError


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LanguageModel().eval()


def one_hot(steps, places):
    x = torch.zeros(1, steps, 2)
    for step, channel in places:
        x[0, step, channel] = 1.0
    return x


@pytest.mark.parametrize("hard", [False, True])
def test_whole_substitutions_are_the_text_itself(model, hard):
    call = adapt(TokenModel(model, (9, 3, 7), background=[1, 2, 5], hard=hard))
    assert call.input_size == 2
    text = torch.tensor([[1, 2, 5, 1, 2, 5, 1]])
    torch.testing.assert_close(call(torch.zeros(1, 7, 2)), model(text))
    text[0, 0], text[0, 4] = 3, 7
    torch.testing.assert_close(call(one_hot(7, [(0, 0), (4, 1)])), model(text))


def test_mixtures_are_linear_in_the_embedding_and_differentiable(model):
    x = (0.3 * torch.rand(1, 5, 2)).requires_grad_()
    table = model.table.weight
    given = table[9] + x[..., :1] * (table[3] - table[9]) + x[..., 1:] * (table[7] - table[9])
    expected = model.head(model.core(given)[0])
    found = TokenModel(model, (9, 3, 7))(x)
    torch.testing.assert_close(found, expected)
    (ours,), (theirs,) = torch.autograd.grad(found.sum(), x), torch.autograd.grad(expected.sum(), x)
    torch.testing.assert_close(ours, theirs)
    assert not model.table._forward_hooks


def test_hard_swaps_have_a_threshold(model):
    call = TokenModel(model, (9, 3, 7), hard=True)
    x = torch.tensor([[[0.5, 0.0], [0.6, 0.8], [-2.0, -3.0]]])
    torch.testing.assert_close(call(x), model(torch.tensor([[9, 7, 9]])))


def test_kept_outputs_and_time_first(model):
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, ids):
            return self.inner.head(self.inner.core(self.inner.table(ids).transpose(0, 1))[0]).transpose(0, 1)

    x = one_hot(6, [(0, 0)])
    whole = TokenModel(model, (9, 3, 7))(x)
    assert torch.equal(TokenModel(model, (9, 3, 7), keep=[4, 0])(x), whole[..., [4, 0]])
    for hard in (False, True):
        torch.testing.assert_close(TokenModel(TimeFirst(), (9, 3, 7), hard=hard, batch_first=False)(x), whole)


def test_a_model_of_transformers():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    lm = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=11, n_embd=8, n_layer=1, n_head=2, n_positions=32)).eval()
    text = torch.tensor([[3, 9, 9, 7]])
    x = one_hot(4, [(0, 0), (3, 1)])
    for hard in (False, True):
        torch.testing.assert_close(TokenModel(lm, (9, 3, 7), hard=hard)(x), lm(text).logits)


def test_the_hook_is_gone_when_the_model_raises(model):
    model.core.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        TokenModel(model, (0, 1))(torch.zeros(1, 3, 1))
    assert not model.table._forward_hooks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": (1,)}, "`tokens` to be at least 2 token numbers"),
        ({"tokens": (1, 11)}, "`tokens` to be numbers from 0 to 10, but got 11"),
        ({"tokens": (-1, 1)}, "but got -1"),
        ({"tokens": (0, 1), "background": []}, "`background`"),
        ({"tokens": (0, 1), "embedding": "head"}, "`embedding` to be one of 'table'"),
    ],
)
def test_bad_arguments(model, options, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        TokenModel(model, **options)


def test_models_without_one_embedding(model):
    with pytest.raises(ArgumentTypeError, match="list of token numbers"):
        TokenModel(model, (0.5, 1.0))
    with pytest.raises(ArgumentTypeError, match="a torch module"):
        TokenModel(lambda x: x, (0, 1))
    with pytest.raises(ArgumentError, match=r"has 0 that may take tokens \(none\)"):
        TokenModel(nn.Linear(1, 1), (0, 1))

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 3)

        def forward(self, ids):
            return self.table(ids) + self.table(ids)

    with pytest.raises(ModelError, match=r"once, to embeddings .* but got 2 look-ups"):
        TokenModel(Twice(), (0, 1))(torch.zeros(1, 3, 1))
