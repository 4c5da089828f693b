"""Every measure of an audit on every kind of model: plain results, or a refusal in words, and a model that is as it was."""

import contextlib
import json
import sys
import warnings
from pathlib import Path

import pytest
import torch

from perdure.adapters.owner import owner
from perdure.audits.matrices import recurrent_matrices
from perdure.audits.precision import precision
from perdure.audits.sensitivity import sensitivity
from perdure.errors import PerdureError
from perdure.memory.capacity import memory_capacity
from perdure.memory.ensemble import memory_ensemble
from perdure.memory.fading import fading
from perdure.memory.influence import influence

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))
from cases import CASES  # pyright: ignore[reportMissingImports]

MEASURES = {
    "influence": lambda model: influence(model, horizon=16, count=1),
    "fading": lambda model: fading(model, horizon=16, past=8, pairs=1),
    "capacity": lambda model: memory_capacity(model, horizon=8, length=24, samples=200),
    "ensemble": lambda model: memory_ensemble(model, horizon=8, count=1, probes=8),
    "precision": lambda model: precision(model, horizon=16, formats=("bfloat16", "int8")),
    "matrices": recurrent_matrices,
    "sensitivity": lambda model: sensitivity(model, horizon=16, seconds=0.5, ascent=False),
}


def state(module):
    tensors = {k: v.detach().clone() for k, v in [*module.named_parameters(), *module.named_buffers()]}
    flags = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in module.modules()]
    return tensors, flags, [(p.requires_grad, p.grad is None, p.dtype) for p in module.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_measure_on_every_model(case):
    model = case.build()
    module = owner(model)
    before = None if module is None else state(module)
    for name, measure in MEASURES.items():
        random = torch.get_rng_state()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a model's library says about types and fast kernels
            with contextlib.suppress(PerdureError):  # a refusal in words is an answer, anything else is not
                json.dumps(measure(case.adapt(model)).to_dict(), allow_nan=False)
        assert torch.equal(random, torch.get_rng_state()), name
        if before is not None:
            tensors, flags, rest = state(module)
            assert all(torch.equal(tensors[k], v) for k, v in before[0].items()), name
            assert (flags, rest) == before[1:], name
