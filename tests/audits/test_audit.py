"""The audit: parts that stand alone, numbers that come from the model, a model that is left as it was."""

import contextlib
import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import perdure
from perdure import functionals
from perdure.audits.audit import PARTS, audit
from perdure.audits.cost import Budget
from perdure.audits.result import Audit

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))
from cases import CASES, COMMON

CHEAP = {
    "horizon": 16,
    "lengths": (1,),
    "budget": 600.0,
    "probes": ("jacobian",),
    "parts": ("properties", "reach", "precision", "sensitivity"),
}


class Leak(nn.Module):
    """y_k = a y_{k-1} + x_k, raising on the call after `calls` of them."""

    def __init__(self, a=0.9, calls=10**9):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))
        self.register_buffer("count", torch.tensor(1.0))
        self.calls = calls
        self.input_size = 1

    def forward(self, x):
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("half-way")
        y, ys = torch.zeros_like(x[:, 0]), []
        for k in range(x.shape[1]):
            y = self.a * y + x[:, k]
            ys.append(y)
        return torch.stack(ys, 1)


@pytest.fixture(scope="module")
def leak():
    return audit(Leak(), horizon=100, lengths=(1, 2), parts=("properties", "memory", "lengths"))


def test_a_leak_is_a_leak(leak):
    assert leak.law == "exponential"
    assert leak.parameters["rate"] == pytest.approx(-math.log(0.9), rel=1e-6)
    assert leak.half_life == pytest.approx(math.log(2) / -math.log(0.9), rel=1e-3)
    assert leak.reading(0.01).status == "exact"
    assert leak.horizon_at(0.01) == pytest.approx(math.log(100) / -math.log(0.9), rel=1e-3)
    assert leak.part("properties")["linear"]["holds"]
    assert [row["steps"] for row in leak.part("lengths")["rows"]] == [100, 200]
    assert {c["status"] for c in leak.part("memory")["curves"].values()} == {"exact"}


def test_time_between_steps_scales_times():
    slow = audit(Leak(), horizon=100, dt=0.5, parts=("memory",))
    assert slow.half_life == pytest.approx(0.5 * math.log(2) / -math.log(0.9), rel=1e-3)


def test_data_give_curves_amid_them(leak):
    found = audit(Leak(), horizon=50, data=np.random.default_rng(0).standard_normal((2, 60, 1)), parts=("memory",))
    assert set(found.part("memory")["curves"]) == {"heaviside", "impulse", "reversed", "jacobian", "impulse, data", "jacobian, data"}


def test_it_survives_the_way_through_json(leak, tmp_path):
    leak.to_json(tmp_path / "a.json")
    json.loads((tmp_path / "a.json").read_text())
    again = Audit.from_json(tmp_path / "a.json")
    assert again.to_dict() == leak.to_dict()
    assert again.reading(0.03) == leak.reading(0.03)


def test_a_part_that_fails_leaves_the_others():
    class OnlyShort(Leak):
        def forward(self, x):
            if x.shape[1] > 50:
                raise RuntimeError("too long for me")
            return super().forward(x)

    found = audit(OnlyShort(), horizon=40, lengths=(1, 4), parts=("memory", "lengths"))
    assert found.parts["memory"].data is not None
    assert "reversed" in found.part("memory")["curves"]  # with a shorter warm-up
    assert found.parts["lengths"].status == "not measured"
    assert "50 steps" in found.parts["lengths"].reason
    assert found.provenance["options"]["limit"] == 50


def test_a_probe_that_fails_leaves_the_others():
    class Undifferentiable(Leak):
        def forward(self, x):
            if x.shape[1] > 150:  # the reversed probe is the only one so long
                raise RuntimeError("too long for me")
            return super().forward(x)

    found = audit(Undifferentiable(), horizon=100, lengths=(1,), parts=("memory",))
    assert set(found.part("memory")["curves"]) == {"heaviside", "impulse", "reversed", "jacobian"} - set(found.part("memory")["failed"])
    assert "reversed" in found.part("memory")["failed"]


def test_a_model_that_fails_in_every_call_is_an_error():
    with pytest.raises(RuntimeError, match="half-way") as error:
        audit(Leak(calls=0), horizon=20)
    assert any("first call" in note for note in error.value.__notes__)


def test_a_model_that_looks_ahead_gets_no_memory_function():
    found = audit(lambda x: x.flip(1), input_size=1, horizon=32, parts=("properties", "memory", "lengths"))
    assert found.curve is None
    assert "sees the future" in found.parts["memory"].reason
    with pytest.raises(perdure.ArgumentError, match="sees the future"):
        found.reading(0.5)
    assert found.recommendations[0]["section"] == "properties"


def test_many_input_channels_are_served_through_few_directions(monkeypatch):
    wide = nn.Sequential(nn.Linear(64, 4), nn.GRU(4, 3, batch_first=True))
    options = {"horizon": 20, "budget": None, "parts": ("memory",), "lengths": (1,), "probes": ("jacobian",)}
    full = audit(wide, **options)
    answers = iter([False] * 4)  # all channels are too dear, with however few inputs
    monkeypatch.setattr(Budget, "affords", lambda *_: next(answers, True))
    found = audit(wide, **options)
    assert found.parts["memory"].status == "reduced"
    assert found.part("memory")["directions"] == 8
    assert found.part("memory")["curves"]["jacobian"]["status"].startswith("lower bound (8 of 64")
    low, high = (np.array(a.part("memory")["curves"]["jacobian"]["values"]) for a in (found, full))
    assert (low <= high * (1 + 1e-9)).all()
    assert (low > 0).any()


def test_names_of_parts_are_checked():
    with pytest.raises(perdure.ArgumentError, match="one of 'properties', 'memory'"):
        audit(Leak(), parts=("memories",))
    with pytest.raises(perdure.ArgumentError, match="at least one name"):
        audit(Leak(), parts=())
    with pytest.raises(perdure.ArgumentError, match="one of 'heaviside'"):
        audit(Leak(), probes=("step",))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"horizon": 4}, "`horizon`"),
        ({"dt": 0.0}, "`dt`"),
        ({"bound": -1.0}, "`bound`"),
        ({"seed": -1}, "`seed`"),
        ({"memory": 0.0}, "`memory`"),
        ({"lengths": (0,)}, "`lengths`"),
        ({"data": np.zeros((2, 5, 1)), "horizon": 16}, "`data`"),
        ({"data": np.full((2, 50, 1), np.nan), "horizon": 16}, "`data`"),
        ({"dtype": "float64"}, "dtype"),
        ({"input_size": 3}, "input_size"),
    ],
)
def test_bad_arguments(options, says):
    model = nn.GRU(1, 2) if "input_size" in options else Leak()
    with pytest.raises((perdure.ArgumentError, perdure.ArgumentTypeError, TypeError), match=says):
        audit(model, **options)


@pytest.mark.parametrize("model", [3, "lstm", None])
def test_what_cannot_be_called_is_refused(model):
    with pytest.raises(perdure.ArgumentTypeError):
        audit(model)


def test_readings_want_a_share(leak):
    for level in (0.0, 1.0, -0.1):
        with pytest.raises(perdure.ArgumentError, match="level"):
            leak.reading(level)


@pytest.mark.parametrize("text", ["{}", "[1]", "not json", '{"format": 2, "parts": 3}', '{"format": 1, "parts": {}}', '{"format": 99}'])
def test_what_is_no_audit_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(perdure.ArgumentError, match="audit"):
        Audit.from_json(path)


def test_a_file_in_no_folder_is_refused(leak, tmp_path):
    with pytest.raises(perdure.ArgumentError, match="folder"):
        leak.to_json(tmp_path / "no" / "a.json")
    with pytest.raises(perdure.ArgumentError, match="file name"):
        leak.save(tmp_path)


def every(step, cases):
    """One of `step` in every run of the tests; the others, some seconds each, are in the longer checks."""
    return [case if hasattr(case, "marks") or i % step == 0 else pytest.param(case, marks=pytest.mark.slow) for i, case in enumerate(cases)]


def state(model):
    """Everything about a module that an audit could change."""
    if not isinstance(model, nn.Module):
        return ()
    return (
        [
            (n, p.detach().clone(), p.dtype, p.requires_grad, None if p.grad is None else p.grad.clone())
            for n, p in model.named_parameters()
        ],
        [(n, b.clone(), b.dtype) for n, b in model.named_buffers()],
        [
            (n, m.training, len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), sorted(m.__dict__))
            for n, m in model.named_modules()
        ],
        torch.get_rng_state(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
    )


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def left_alone(case, **options):
    """Audit a case, with gradients in place, and hold its state against that of before."""
    model = case.build()
    if isinstance(model, nn.Module):
        for p in model.parameters():
            p.grad = torch.ones_like(p)
    before = state(model)
    found = audit(case.adapt(model), **options)
    assert same(before, state(model))
    assert found.curve is None or case.causal
    return found


@pytest.mark.parametrize("case", every(4, COMMON), ids=str)
def test_the_model_is_left_bit_for_bit(case):
    """Through the parts that differentiate, hook, copy and move a model."""
    found = left_alone(case, **CHEAP)
    assert found.parts["properties"].data is not None


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_model_is_left_bit_for_bit_by_all_parts(case):
    left_alone(case, horizon=min(24, case.length or 24), lengths=(1, 2), budget=20.0)


@pytest.mark.parametrize("case", every(2, CASES), ids=str)
def test_also_when_it_raises_half_way(case):
    model = case.build()
    if not isinstance(model, nn.Module):
        pytest.skip("a plain function has no state of ours to protect")
    calls, limit = [0], [math.inf]

    def strike(*_):
        calls[0] += 1
        if calls[0] > limit[0]:
            raise RuntimeError("half-way")

    for part in model.modules():
        part.register_forward_hook(strike)
    adapted = case.adapt(model)
    inference = any(p.is_inference() for p in model.parameters())
    with torch.inference_mode(inference), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says about projections
        adapted(torch.zeros(1, 16, adapted.input_size))
    limit[0] = calls[0] + calls[0] * 20 + calls[0] // 2  # past the first calls, in the middle of a part, in the middle of the model
    before = state(model)
    with contextlib.suppress(RuntimeError):  # of a model that has to be measured in its own type after all
        found = audit(adapted, **{**CHEAP, "parts": ("properties", "memory", "reach")})
        assert any("half-way" in part.reason for part in found.parts.values())
    assert calls[0] > limit[0]
    assert same(before, state(model))


def test_every_part_is_there_or_says_why():
    found = audit(nn.GRU(2, 4), horizon=32, lengths=(1, 2))
    assert list(found.parts) == list(PARTS)
    for part in found.parts.values():
        assert (part.data is None) == (part.status == "not measured")
        assert part.reason or part.status == "measured"
    again = audit(nn.GRU(2, 4), horizon=32, lengths=(1, 2), parts=("memory",))
    assert list(again.parts) == ["memory"]


def test_the_same_seed_gives_the_same_numbers():
    one, two = (
        audit(functionals.polynomial(power=1.5), horizon=64, parts=("memory",), seed=3).to_dict()["parts"]["memory"]["data"]
        for _ in range(2)
    )
    assert one == two


def test_a_model_that_keeps_a_state_has_no_memory_function():
    """What it remembers of an earlier call would be read as memory of this one."""

    class Keeper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.decay = torch.nn.Parameter(torch.tensor(0.9))
            self.kept = None

        def forward(self, x):
            h = torch.zeros_like(x[:, 0]) if self.kept is None or self.kept.shape != x[:, 0].shape else self.kept
            steps = []
            for u in x.unbind(1):
                h = self.decay * h + u
                steps.append(h)
            self.kept = h.detach()
            return torch.stack(steps, 1)

    found = audit(Keeper(), 1, horizon=32, parts=("properties", "memory"))
    assert found.parts["properties"].data["stateful"]["holds"] is True
    assert "keeps a state" in found.parts["memory"].reason
