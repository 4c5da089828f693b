"""Transformers beside recurrent models: half-life, horizon, law, and whether the past is forgotten, at random initialisation and after a short training.

Run `python benchmarks/architectures.py` (about five minutes on one core). Every model has one input and one output channel and is 16 wide; those in the
second half of the table were trained for `--steps` steps of Adam on the same task: the functional with kernel (1 + t)^-1.5 of white noise over 128
steps. What is printed is the table of docs/transformers-versus-recurrent.md.
"""

from __future__ import annotations

import argparse
import math
import warnings

import torch
from torch import nn

from perdure import functionals
from perdure.audits.audit import audit
from perdure.audits.sections import said

WIDTH, LENGTH, BATCH = 16, 128, 16


class Between(nn.Module):
    """A sequence model between a linear map into it and one out of it."""

    def __init__(self, core, call):
        super().__init__()
        self.inward, self.core, self.outward = nn.Linear(1, WIDTH), core, nn.Linear(WIDTH, 1)
        self.call = call
        self.input_size = 1

    def forward(self, x):
        """(B, T, 1) -> (B, T, 1)."""
        return self.outward(self.call(self.core, self.inward(x)))


def first(core, x):
    return core(x)[0]


def embedded(core, x):
    return core(inputs_embeds=x, use_cache=False).last_hidden_state


def gpt2():
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(n_embd=WIDTH, n_layer=2, n_head=4, n_positions=1024, vocab_size=8, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    return Between(GPT2Model(config), embedded)


def llama():
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=8
    )
    return Between(LlamaModel(config), embedded)


def mamba():
    from transformers import MambaConfig, MambaModel

    return Between(MambaModel(MambaConfig(hidden_size=WIDTH, num_hidden_layers=2, state_size=8, vocab_size=8)), embedded)


def continuous():
    from perdure.nn import ContinuousRNN

    return Between(ContinuousRNN(WIDTH, WIDTH, batch_first=True), first)


def diagonal():
    from perdure.nn import DiagonalSSM

    return Between(DiagonalSSM(WIDTH, WIDTH, batch_first=True), first)


def s4d():
    from perdure.nn import DiagonalSSM

    stack = nn.ModuleList([DiagonalSSM(WIDTH, WIDTH, state_size=16, batch_first=True) for _ in range(2)])

    def residual(layers, x):
        for layer in layers:
            x = x + nn.functional.gelu(layer(x)[0])
        return x

    return Between(stack, residual)


MODELS = {
    "LSTM": lambda: Between(nn.LSTM(WIDTH, WIDTH, batch_first=True), first),
    "GRU": lambda: Between(nn.GRU(WIDTH, WIDTH, batch_first=True), first),
    "ContinuousRNN": continuous,
    "DiagonalSSM": diagonal,
    "S4D-style, 2 layers": s4d,
    "Mamba, 2 layers": mamba,
    "GPT-2-style, 2 layers": gpt2,
    "Llama-style, 2 layers": llama,
}


def train(model, steps):
    """Adam on the polynomial functional; the share of the target's variance that is left over at the end."""
    target = functionals.polynomial(power=1.5)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    share = math.nan
    for step in range(steps + 1):
        x = torch.randn(BATCH, LENGTH, 1, generator=generator)
        y = target(x, dt=1.0).to(x)
        loss = (model(x) - y).square().mean()
        share = float(loss / y.square().mean())
        if step < steps:
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
    return share


def row(name, model, error):
    found = audit(
        model,
        horizon=LENGTH,
        parts=("properties", "memory", "forgetting", "lengths"),
        lengths=(1, 4),
        budget=40.0,
        probes=("heaviside", "impulse"),
        name=name,
    )
    curves = (found.part("memory") or {"curves": {}})["curves"]
    cells = [name, "–" if math.isnan(error) else f"{error:.2f}"]
    for probe in ("heaviside", "impulse"):
        curve = curves.get(probe)
        if curve is None:
            cells += ["–", "–", "–"]
        elif curve["blind"]:
            cells += ["blind", "blind", "–"]
        else:
            law = curve["law"]
            shown = "none" if law is None else law["law"] if law["law"] != "undecided" else f"undecided ({law['best_law']})"
            cells += [said(curve["readings"]["half_life"]), said(curve["readings"]["horizon_1"]), shown]
    forgetting = found.part("forgetting")
    cells.append("–" if forgetting is None else {"forgets": "yes", "does not forget": "no"}.get(forgetting["forgets"], "undecided"))
    cells.append("–" if forgetting is None else f"{forgetting['worst'][-1]:.1g}")
    lengths = found.part("lengths")
    cells.append("–" if lengths is None else f"{lengths['rows'][-1]['left']:.1g}")
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    arguments = parser.parse_args()
    heads = ["model", "error", "step: half", "step: 1 %", "law", "pulse: half", "pulse: 1 %", "law", "forgets?", "past left", "left at 512"]
    print("| " + " | ".join(heads) + " |")
    print("|" + " --- |" * len(heads))
    for steps in (0, arguments.steps):
        for name in arguments.only:
            torch.manual_seed(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = MODELS[name]()
                error = train(model, steps) if steps else math.nan
                print("| " + " | ".join(row(name if not steps else f"{name}, trained", model.eval(), error)) + " |", flush=True)


if __name__ == "__main__":
    main()
