"""Whatever is measured on whatever model, the model is bit for bit as it was: also when its forward raises half-way."""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import CASES, COMMON
from torch import nn

from perdure.adapters import adapt, frozen, measure
from perdure.adapters.owner import owner
from perdure.errors import ModelError
from perdure.memory import memory_function


def attributes(part):
    """What a part holds, as text or identity where it is no tensor; hooks by identity and order."""
    found = {}
    for name, value in vars(part).items():
        if isinstance(value, dict):
            found[name] = [(key, id(item)) for key, item in value.items()]
        elif not isinstance(value, torch.Tensor):
            found[name] = (id(value), repr(value) if isinstance(value, bool | int | float | str | list | tuple) else "")
        else:
            found[name] = id(value)
    return found


def state(model):
    """Everything about a model, and about the generators, that a measurement could change."""
    module = owner(model)
    parts = [] if module is None else [(id(part), part.training, attributes(part)) for part in module.modules()]
    tensors = (
        {}
        if module is None
        else {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers(remove_duplicate=False))}
    )
    values = {
        name: (
            id(t),
            t.detach().clone(),
            t.dtype,
            t.requires_grad,
            t.is_inference(),
            t.grad_fn,
            None if t.grad is None else (id(t.grad), t.grad.clone()),
        )
        for name, t in tensors.items()
    }
    generators = torch.get_rng_state(), np.random.get_state()[1].copy(), np.random.get_state()[2]  # noqa: NPY002
    return parts, values, generators


def assert_same(before, after):
    assert before[0] == after[0]
    assert before[1].keys() == after[1].keys()
    for name, (place, value, *rest, grad) in before[1].items():
        place_after, value_after, *rest_after, grad_after = after[1][name]
        assert place == place_after, name
        assert torch.equal(value, value_after), name
        assert rest == rest_after, name
        assert (grad is None) == (grad_after is None), name
        assert grad is None or (grad[0] == grad_after[0] and torch.equal(grad[1], grad_after[1])), name
    assert torch.equal(before[2][0], after[2][0])
    assert (before[2][1] == after[2][1]).all()
    assert before[2][2] == after[2][2]


class StopsError(Exception):
    """Raised by a hook that counts."""


def prepared(case):
    """A model with a gradient, a frozen parameter, mixed modes and a hook of the user's."""
    model = case.build()
    module = owner(model)
    if module is not None:
        parameters = [p for p in module.parameters() if not p.is_inference()]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        if parameters:
            parameters[-1].requires_grad_(False)
        module.train()
        list(module.modules())[-1].eval()
        module.register_forward_hook(lambda *_: None)
    return model


MEASUREMENTS = {
    "properties": lambda call: measure(call, 8),
    "memory": lambda call: memory_function(call, horizon=4, probe="impulse", probes=8),
    "derivative": lambda call: memory_function(call, horizon=4, probe="jacobian"),
    "in place": lambda call: _in_place(call),
}


def _in_place(call):
    from perdure.adapters.snapshot import make_plain, put_back

    module = call.module
    if module is None:
        return
    with put_back(module):
        make_plain(module)
        module.eval()
        module.register_forward_hook(lambda *_: None)
        module.extra = 3
        x = torch.zeros(2, 5, call.input_size, dtype=torch.float32)
        with torch.inference_mode(False):
            call.on(call.model)(x)
        with torch.no_grad():
            for t in (*module.parameters(), *module.buffers()):
                t.add_(1)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch says so in single precision
@pytest.mark.parametrize("measurement", MEASUREMENTS)
@pytest.mark.parametrize("case", COMMON, ids=str)
def test_the_model_is_left_as_it_was(case, measurement):
    model = prepared(case)
    call = case.adapt(model)
    before = state(model)
    refused = measurement in ("memory", "derivative") and not case.causal
    with pytest.raises(ModelError) if refused else nullcontext():
        MEASUREMENTS[measurement](call)
    assert_same(before, state(model))


@pytest.mark.parametrize(("measurement", "calls"), [("properties", 1), ("properties", 8), ("memory", 1), ("derivative", 2)])
@pytest.mark.parametrize("case", [case for case in CASES if case.name not in ("numpy", "function of tensors")], ids=str)
def test_also_when_it_raises_half_way(case, calls, measurement):
    """A hook raises in a part of the model at its n-th call, after the parts before it have done their work."""
    if case.library and calls == 1:
        pytest.skip("later calls stand for the first ones: these models are slow to build")
    model = prepared(case)
    module = owner(model)
    fired = []

    def stop(*_):
        fired.append(1)
        if len(fired) >= calls:
            raise StopsError

    leaves = [
        part for part in module.modules() if not list(part.children()) and not isinstance(part, nn.Embedding | nn.Dropout | nn.Identity)
    ]
    handles = [leaf.register_forward_hook(stop) for leaf in leaves[len(leaves) // 2 :]]
    call = case.adapt(model)
    before = state(model)
    with pytest.raises(StopsError) as caught:
        MEASUREMENTS[measurement](call)
    assert fired
    assert "called the model" in caught.value.__notes__[-1]
    assert_same(before, state(model))
    for handle in handles:
        handle.remove()


def test_the_generator_of_python_stands_still():
    """In a process of its own: the type checks of the tests draw from it."""
    code = """
import random
import torch
from cases import CASES
from perdure.adapters import measure
from torch import nn

class Draws(nn.Module):
    def forward(self, x):
        return x.cumsum(1) * (1 + random.random() + torch.rand(()).item())

class Stops(nn.Module):
    def forward(self, x):
        raise RuntimeError(str(random.random()))

models = [(case.adapt, case.build()) for case in CASES if not case.library] + [(lambda m: m, Draws()), (lambda m: m, Stops())]
for adapted, model in models:
    before = random.getstate(), torch.get_rng_state()
    try:
        measure(adapted(model), 8, **({"input_size": 1} if type(model) in (Draws, Stops) else {}))
    except RuntimeError:
        pass
    assert before[0] == random.getstate(), model
    assert torch.equal(before[1], torch.get_rng_state()), model
print(len(models))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_a_state_kept_in_lists_and_attributes_is_put_back():
    class Diary(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(1, 1)
            self.register_buffer("mean", torch.zeros(1))
            self.entries, self.last, self.seen = [1], None, {"a": 1}

        def forward(self, x):
            self.entries.append(2)
            self.seen["b"] = 2
            self.last = x
            self.mean = self.mean + x.mean()
            self.later = nn.Linear(1, 1)
            self.head.weight.data.mul_(0.5)
            return self.head(x)

        def __deepcopy__(self, memo):
            raise RuntimeError("one only")

    model = Diary()
    before = state(model)
    with frozen(model, torch.float64) as twin, torch.random.fork_rng():
        adapt(twin.model, input_size=1)(torch.ones(1, 3, 1))
        assert len(model.entries) == 2
    assert_same(before, state(model))
    assert (model.entries, model.last, model.seen) == ([1], None, {"a": 1})
    assert not hasattr(model, "later")


def test_a_pending_backward_pass_still_works():
    model = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))
    loss = model(torch.ones(1, 3, 1)).sum()
    measure(model, 8)
    from perdure.adapters.snapshot import put_back

    with put_back(model):
        model.eval()
    loss.backward()
    assert model[0].weight.grad is not None
