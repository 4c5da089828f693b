"""Small models of every kind that the adapters know, in one table, for every suite that has to hold for all of them.

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_something(case):
        model = case.build()          # a fresh model (skips with the reason where it cannot be built here), in training mode
        call = case.adapt(model)      # behind (B, T, d) -> (B, T, o)

Suites in other folders first say `sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))`, or load this file by its path.

`causal`, `stateful`, `rows`, `linear` and `homogeneous` say what each model is by its construction; None where nothing is claimed. `length` is the
most steps it takes. All are measured in tests/adapters/test_properties.py. Widths are at most 8, and nothing takes a second on 64 steps.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from perdure.adapters import Adapted, TokenModel, adapt


@dataclass(frozen=True)
class Case:
    """A model and what is known about it.

    Attributes:
        name: of the case.
        make: builds the model; its random weights are seeded by `build`.
        options: for `adapt`.
        causal, stateful, rows, linear, homogeneous: see the module; `rows`: the rows of a batch are independent.
        blind: a constant input gets a constant answer, as from attention without positions or with relative ones.
        flat: a step function of its input.
        length: steps it takes at most, None for any.
        library: "transformers" where that must be installed.
    """

    name: str
    make: Callable[[], Any]
    options: dict[str, Any] = field(default_factory=dict)
    causal: bool = True
    stateful: bool = False
    rows: bool = True
    linear: bool | None = False
    homogeneous: bool | None = None
    blind: bool = False
    flat: bool = False
    length: int | None = None
    library: str = ""

    def build(self) -> Any:
        """A fresh model, always with the same weights."""
        if self.library:
            pytest.importorskip(self.library)
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what constructors say about nested tensors, or missing fast kernels
            torch.manual_seed(0)
            return self.make()

    def adapt(self, model: Any) -> Adapted:
        """The model adapted with the case's options."""
        return adapt(model, **self.options)

    def __str__(self) -> str:
        return self.name


class CausalConvolutions(nn.Module):
    """A TCN as it is usually written: padded on both sides, and what sticks out is chomped off; (B, C, T) throughout."""

    def __init__(self, channels=(2, 6, 4), width=3):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, width, padding=(width - 1) * 2**k, dilation=2**k) for k, (a, b) in enumerate(itertools.pairwise(channels))
        )
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        for layer in self.layers:
            x = self.drop(torch.relu(layer(x)[..., : x.shape[-1]]))
        return x


class GatedReadout(nn.Module):
    """A recurrent layer with a readout, returning a dictionary."""

    def __init__(self, cell=nn.GRU):
        super().__init__()
        self.core = cell(2, 5, batch_first=True)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return {"loss": None, "logits": self.head(self.drop(self.core(x)[0]))}


class KeepsState(nn.Module):
    """Goes on from where the last call ended."""

    input_size = 2

    def __init__(self):
        super().__init__()
        self.core = nn.GRU(2, 4, batch_first=True)
        self.state = None

    def forward(self, x):
        before = self.state if self.state is not None and self.state.shape[1] == len(x) else None
        y, self.state = self.core(x, before)
        return y


class Positions(nn.Module):
    """Attention with learned positions for 128 steps."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.randn(128, 4))
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    def forward(self, x):
        steps = x.shape[1]
        mask = torch.full((steps, steps), -torch.inf, dtype=x.dtype).triu(1)
        return self.layer(x + self.position[:steps], src_mask=mask)


class LanguageModel(nn.Module):
    """Tokens to logits by a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.core = nn.LSTM(6, 5, batch_first=True)
        self.head = nn.Linear(5, 11)

    def forward(self, ids):
        return self.head(self.core(self.table(ids))[0])


class Tied(nn.Module):
    """The same matrix on the way in and out."""

    def __init__(self):
        super().__init__()
        self.inward = nn.Linear(3, 5, bias=False)
        self.core = nn.RNN(5, 5, batch_first=True)
        self.outward = nn.Linear(5, 3, bias=False)
        self.outward.weight = nn.Parameter(self.inward.weight.detach().T.clone())
        self.again = nn.Linear(3, 5, bias=False)
        self.again.weight = self.inward.weight

    def forward(self, x):
        return self.again(self.outward(self.core(self.inward(x))[0]))


class Uncopyable(GatedReadout):
    """Of which there is one only; counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)

    def __deepcopy__(self, memo):
        raise RuntimeError("there is one of me only")


def in_inference_mode(make):
    """Weights that were made under torch.inference_mode."""

    def made():
        with torch.inference_mode():
            return make()

    return made


def hooked():
    """Weights normalised by a hook before each call, and an output scaled by another after it."""
    model = nn.GRU(2, 4, batch_first=True)
    nn.utils.parametrizations.weight_norm(model, "weight_hh_l0")
    model.register_forward_hook(lambda _module, _given, output: (2 * output[0], output[1]))
    return model


def initialised_lazily():
    """Sizes found at the first call."""
    model = nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.Linear(4, 2))
    model(torch.zeros(1, 1, 3))
    return model


def running_mean(x):
    """A leaky average on numpy arrays."""
    y = np.zeros_like(x)
    state = np.zeros_like(x[:, 0])
    for t in range(x.shape[1]):
        state = 0.9 * state + 0.1 * x[:, t].copy()
        y[:, t] = state
    return y


def transformers_model(name, **config):
    """A random model of transformers, by the name of its class."""

    def make():
        import transformers

        transformers.logging.set_verbosity_error()
        kind = getattr(transformers, name, None)
        if kind is None:
            pytest.skip(f"this version of transformers has no {name}")
        return kind(kind.config_class(**{"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, **config}))

    return make


def layers_of_perdure():
    """Ours, which return (output, state) too."""
    from perdure import nn as ours

    return [
        Case("ContinuousRNN", lambda: ours.ContinuousRNN(2, 4, dt=0.1, dtype=torch.float32)),
        Case("ContinuousRNN, linear", lambda: ours.ContinuousRNN(2, 4, activation="linear", bias=False), linear=True, homogeneous=True),
        Case("DiagonalSSM", lambda: ours.DiagonalSSM(2, 4, state_size=8), linear=None),
        Case("DiagonalSSM, two layers", lambda: ours.DiagonalSSM(2, 4, state_size=8, num_layers=2, batch_first=True), linear=None),
    ]


ATTENTION = {"num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 160}
TRANSFORMERS = [
    Case("BERT", transformers_model("BertModel", **ATTENTION), causal=False, length=160),
    Case("ModernBERT", transformers_model("ModernBertModel", **ATTENTION, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2), causal=False),
    Case("GPT-2", transformers_model("GPT2LMHeadModel", n_head=2, n_positions=160), length=160),
    Case("GPT-NeoX", transformers_model("GPTNeoXModel", **ATTENTION), blind=True),
    Case("Llama", transformers_model("LlamaModel", **ATTENTION, num_key_value_heads=2), blind=True),
    Case("Mistral", transformers_model("MistralModel", **ATTENTION, num_key_value_heads=1, sliding_window=8), blind=True),
    Case("T5 encoder", transformers_model("T5EncoderModel", d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2), causal=False),
    Case("Mamba", transformers_model("MambaModel", state_size=4)),
    Case("Mamba2", transformers_model("Mamba2Model", state_size=4, num_heads=4, head_dim=4, n_groups=1, chunk_size=16)),
    Case("Falcon-Mamba", transformers_model("FalconMambaModel", state_size=4)),
    Case("RWKV", transformers_model("RwkvModel", attention_hidden_size=8, intermediate_size=16, context_length=160)),
    Case("RecurrentGemma", transformers_model(
        "RecurrentGemmaModel", num_hidden_layers=3, num_attention_heads=2, lru_width=8, intermediate_size=16, attention_window_size=8, head_dim=4)),
    Case("xLSTM", transformers_model("xLSTMModel", num_blocks=2, num_heads=2)),
    Case("Qwen3-Next", transformers_model(
        "Qwen3NextModel", num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1, head_dim=4, intermediate_size=16,
        moe_intermediate_size=8, num_experts=2, num_experts_per_tok=1, shared_expert_intermediate_size=8, linear_num_key_heads=2,
        linear_num_value_heads=2, linear_key_head_dim=4, linear_value_head_dim=4)),
    Case("GPT-2 by tokens", lambda: TokenModel(transformers_model("GPT2LMHeadModel", n_head=2, n_positions=160)(), tokens=(0, 3, 7)), length=160),
]  # fmt: skip
TRANSFORMERS = [Case(**{**vars(case), "library": "transformers"}) for case in TRANSFORMERS]

TORCH = [
    Case("RNN", lambda: nn.RNN(2, 4)),
    Case("RNN, relu, no bias", lambda: nn.RNN(2, 4, nonlinearity="relu", bias=False, batch_first=True), homogeneous=True),
    Case("GRU, two layers, dropout", lambda: nn.GRU(2, 4, num_layers=2, dropout=0.4)),
    Case("GRU, no bias", lambda: nn.GRU(2, 4, bias=False, batch_first=True), homogeneous=True),
    Case("LSTM", lambda: nn.LSTM(2, 4, batch_first=True)),
    Case("LSTM, projected", lambda: nn.LSTM(2, 5, num_layers=2, proj_size=3)),
    Case("LSTM, both ways", lambda: nn.LSTM(2, 4, bidirectional=True, batch_first=True), causal=False),
    Case("GRU, both ways, no bias", lambda: nn.GRU(2, 3, bidirectional=True, bias=False), causal=False, homogeneous=True),
    Case("recurrent with a readout", GatedReadout),
    Case("convolutions, chomped", CausalConvolutions, {"layout": "BCT"}),
    Case("convolutions, padded on the left", lambda: nn.Sequential(
        nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(2, 4, 3, bias=False), nn.ConstantPad1d((8, 0), 0.0), nn.Conv1d(4, 3, 3, dilation=4, bias=False)),
        linear=True, homogeneous=True),
    Case("convolutions, centred", lambda: nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv1d(4, 3, 5, padding=2)), causal=False),
    Case("transformer layer, masked", lambda: nn.TransformerEncoderLayer(4, 2, 8), {"mask": "causal"}, homogeneous=False, blind=True),
    Case("transformer encoder, masked", lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=True), 2, enable_nested_tensor=False), {"mask": "causal"}, homogeneous=False, blind=True),
    Case("transformer encoder", lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2, enable_nested_tensor=False), causal=False),
    Case("transformer decoder, masked", lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 8, batch_first=True), 1),
        {"mask": "causal", "arguments": {"memory": lambda x: torch.ones_like(x[:, :3])}}, blind=True),
    Case("encoder and decoder", lambda: nn.Transformer(4, 2, 1, 1, 8, batch_first=True),
        {"mask": "causal", "arguments": {"tgt": lambda x: x, "memory_mask": lambda x: torch.full((x.shape[1],) * 2, -torch.inf).triu(1)}}, blind=True),
    Case("attention with positions", Positions, {"input_size": 4}, length=128),
    Case("linear", lambda: nn.Linear(2, 3), linear=True, homogeneous=True),
    Case("tokens, mixed", lambda: TokenModel(LanguageModel(), tokens=(0, 3, 7))),
    Case("tokens, swapped", lambda: TokenModel(LanguageModel(), tokens=(0, 3, 7), background=[1, 2, 5, 8], hard=True, keep=[0, 1]), flat=True),
    Case("tied weights", Tied),
    Case("made in inference mode", in_inference_mode(lambda: nn.LSTM(2, 4, batch_first=True))),
    Case("uncopyable", Uncopyable),
    Case("uncopyable, made in inference mode", in_inference_mode(Uncopyable)),
    Case("hooks", hooked),
    Case("sizes found at the first call", initialised_lazily),
    Case("keeps a state", KeepsState, stateful=True),
    Case("numpy", lambda: running_mean, {"input_size": 2}, linear=True, homogeneous=True),
    Case("function of tensors", lambda: lambda x: x.cumsum(1) / 8, {"input_size": 2}, linear=True, homogeneous=True),
    Case("bound method", lambda: GatedReadout(nn.LSTM).forward, {"input_size": 2}),
]  # fmt: skip

CASES = [*TORCH, *layers_of_perdure(), *TRANSFORMERS]

QUICK = (
    "BERT",
    "GPT-2",
    "Llama",
    "Mamba",
)  # of transformers: in every run of the tests; the others are slow, and longer checks go through them
COMMON = [pytest.param(case, marks=pytest.mark.slow) if case.library and case.name not in QUICK else case for case in CASES]
