r"""A language model as a map of real sequences: an input says how much of one token takes the place of another.

With E the embedding, b_t the background token of step t and a_1, a_2, ... the tokens offered,

    e_t = E[b_t] + sum_i x_{t,i} (E[a_i] - E[b_t]),

so that x = 0 is the background text, and x_{t,i} = 1 the same text with token a_i at step t; in between lie mixtures, which can be differentiated.
With `hard`, tokens are swapped whole: a_i where x_{t,i} is the largest at step t and above 1/2, else b_t.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from perdure import _checks
from perdure._typing import Float, Tensor
from perdure.adapters.output import unpack
from perdure.adapters.sizes import parameters_of, takes_embeddings
from perdure.errors import ArgumentError, ArgumentTypeError, ModelError


class TokenModel(nn.Module):
    """A language model whose input is a substitution of tokens, (B, T, n) -> (B, T, o).

    Args:
        model: takes token numbers (B, T); a module of transformers, or any with an `nn.Embedding`.
        tokens: numbers b, a_1, ..., a_n: what stands where nothing is put in, and what can be put in there. "The memory of a at step 0
            against b" is `tokens=(b, a)`.
        background: token numbers of a text in which the substitution is made, in place of b everywhere; begun anew when it ends.
        hard: swap whole tokens instead of mixing embeddings.
        embedding: name of the embedding among the model's modules; None asks the model, or takes its only `nn.Embedding`.
        keep: numbers of the outputs to keep, None for all; a vocabulary of outputs is large.
        batch_first: whether the model takes tokens as (B, T); if not, as (T, B).

    Raises:
        ArgumentTypeError: the model is no torch module.
        ArgumentError: fewer than two tokens, a token outside of the vocabulary, or no embedding to be found (or several).

    >>> model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    >>> mixed = TokenModel(model, tokens=(0, 4))
    >>> x = torch.zeros(1, 6, 1)
    >>> x[0, 0] = 1.0
    >>> torch.allclose(mixed(x), model(torch.tensor([[4, 0, 0, 0, 0, 0]])))
    True
    """

    def __init__(
        self,
        model: Any,
        tokens: Any,
        *,
        background: Any = None,
        hard: bool = False,
        embedding: str | None = None,
        keep: Any = None,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise ArgumentTypeError(
                f"expected argument `model` to be a torch module, but got {type(model).__name__}: its embedding is needed"
            )
        self.model = model
        self.hard = bool(hard)
        self._time_first = not batch_first
        self._name = _embedding_name(model, embedding)
        size = self._table.weight.shape[0]
        self.register_buffer("tokens", _numbers(tokens, "tokens", size, 2), persistent=False)
        text = self.tokens[:1] if background is None else _numbers(background, "background", size, 1)
        self.register_buffer("background", text, persistent=False)
        self.register_buffer("keep", None if keep is None else _numbers(keep, "keep", None, 1), persistent=False)
        self.input_size = self.tokens.numel() - 1
        self.train(model.training)

    tokens: Tensor
    background: Tensor
    keep: Tensor | None

    @property
    def _table(self) -> Any:
        return self.model.get_submodule(self._name)

    @property
    def config(self) -> Any:
        """The model's own, which may say how many steps it takes."""
        return getattr(self.model, "config", None)

    def forward(self, x: Float[Tensor, "B T n"]) -> Float[Tensor, "B T o"]:
        """Outputs (B, T, o) for weights of substitution x."""
        text = self.background.repeat(x.shape[1] // self.background.numel() + 1)[: x.shape[1]].expand(x.shape[0], -1)
        offered = self.tokens[1:]
        if self.hard:
            weight, which = x.max(-1)
            y = self._run(torch.where(weight > 0.5, offered[which], text))
        else:
            table: Tensor = self._table.weight
            given = table[text] * (1 - x.sum(-1, keepdim=True)) + x.to(table.dtype) @ table[offered]
            y = self._embedded(given, text)
        return y if self.keep is None else y[..., self.keep]

    def _run(self, ids: Tensor) -> Tensor:
        named = {"use_cache": False} if "use_cache" in parameters_of(self.model) else {}
        y = unpack(self.model(ids.transpose(0, 1) if self._time_first else ids, **named))
        return y.transpose(0, 1) if self._time_first else y

    def _embedded(self, given: Tensor, text: Tensor) -> Tensor:
        """The model on vectors: by `inputs_embeds`, else with what its embedding returns replaced."""
        model: Any = self.model
        if takes_embeddings(model) and model.get_input_embeddings() is self._table:
            named = {"use_cache": False} if "use_cache" in parameters_of(self.model) else {}
            return unpack(self.model(inputs_embeds=given, **named))
        given = given.transpose(0, 1) if self._time_first else given
        calls = []

        def replaced(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            calls.append(output.shape)
            return given.to(output.dtype)

        handle = self._table.register_forward_hook(replaced)
        try:
            y = self._run(text)
        finally:
            handle.remove()
        if len(calls) != 1 or calls[0] != given.shape:
            raise ModelError(
                f"expected argument `model` to look up its tokens once, to embeddings {tuple(given.shape)}, but got {len(calls)} look-ups"
                f"{f' of shape {tuple(calls[0])}' if calls else ''}: pass `embedding`, the name of the module that does, or hard=True"
            )
        return y


def _numbers(value: Any, argument: str, size: int | None, least: int) -> Tensor:
    try:
        found = torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        found = torch.zeros(1)
    if found.ndim != 1 or found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise ArgumentTypeError(f"expected argument `{argument}` to be a list of token numbers, but got {value!r}: pass integers")
    if found.numel() < least:
        raise _checks.fail(argument, f"at least {least} token numbers", list(found.tolist()), "tokens=(b, a) puts a in the place of b")
    if int(found.min()) < 0 or (size is not None and int(found.max()) >= size):
        bad = int(found.min()) if int(found.min()) < 0 else int(found.max())
        raise _checks.fail(
            argument, f"numbers from 0 to {size - 1 if size else 'the last output'}", bad, "take them from the model's tokenizer"
        )
    return found.long()


def _embedding_name(model: nn.Module, named: str | None) -> str:
    tables = {name: part for name, part in model.named_modules() if isinstance(part, nn.Embedding)}
    if named is not None:
        return _checks.choice(named, "embedding", tables)
    if hasattr(model, "get_input_embeddings"):
        ask: Any = model.get_input_embeddings
        asked = ask()
        found = [name for name, part in tables.items() if part is asked]
    else:
        found = list(tables)
    if len(found) == 1:
        return found[0]
    raise ArgumentError(
        f"expected argument `embedding` to be given, because the model has {len(found)} that may take tokens ({', '.join(found) or 'none'}), "
        "but got None: pass the name of the one that does"
    )
