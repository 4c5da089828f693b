"""Interrupted trainings: they end where uninterrupted ones do, and files that do not belong are set aside."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from perdure import functionals as F
from perdure.nn import ContinuousRNN
from perdure.training import fit

D = torch.float64
SLOW = F.polynomial(1.5)
SHORT = {"dt": 0.1, "horizon": 2.0}


def rnn(width=4, activation="tanh", dtype=D):
    torch.manual_seed(0)
    return ContinuousRNN(1, width, activation=activation, parametrization="direct", structure="dense", dt=0.1, output_size=1, dtype=dtype)


class Stop(Exception):
    pass


def stop_at(step):
    def callback(at, loss):
        if at == step:
            raise Stop

    return callback


QUICK = {"sequences": 256, "batch": 64, "steps": 4}
METHODS = {"auto": {"steps": 6}, "gauss-newton": {"steps": 6}, "lbfgs": {"steps": 4}, "adam": QUICK}


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(method, at, tmp_path):
    target = F.wiener(F.exponential(1.0), "tanh")
    options = {**SHORT, **METHODS[method], "method": method, "checkpoint": tmp_path / "fit.safetensors"}
    whole, parts = rnn(3), rnn(3)
    given = {name: p.clone() for name, p in parts.state_dict().items()}
    expected = fit(whole, target, **{**options, "checkpoint": None})
    with pytest.raises(Stop):
        fit(parts, target, **options, callback=stop_at(at))
    assert all(torch.equal(p, given[name]) for name, p in parts.state_dict().items())  # not changed before the end
    seen = []
    found = fit(parts, target, **options, callback=lambda step, loss: seen.append(step))
    assert seen[0] == at + 1
    assert np.array_equal(found.losses, expected.losses)
    assert (found.best_step, found.stopped, found.error) == (expected.best_step, expected.stopped, expected.error)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)
    again = fit(rnn(3), target, **options, callback=lambda *_: pytest.fail("nothing is left to do"))
    assert again.error == expected.error
    assert again.stopped == expected.stopped
    assert [path.name for path in tmp_path.iterdir()] == ["fit.safetensors"]


def test_a_longer_training_goes_on_from_a_shorter_one(tmp_path):
    options = {**SHORT, "method": "gauss-newton"}
    whole, parts = rnn(3), rnn(3)
    expected = fit(whole, SLOW, **options, steps=6)
    fit(parts, SLOW, **options, steps=2, checkpoint=tmp_path / "a")
    assert np.array_equal(fit(parts, SLOW, **options, steps=6, checkpoint=tmp_path / "a").losses, expected.losses)


def damage(path, kind):
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif kind == "noise":
        path.write_bytes(b"not a checkpoint at all, and longer than a header")
    elif kind == "other":
        safetensors.torch.save_file({"weight": torch.zeros(2)}, path)
    elif kind == "future":
        with safetensors.safe_open(path, "pt") as file:
            record = json.loads(file.metadata()["perdure.fit"])
        safetensors.torch.save_file({"a": torch.zeros(1)}, path, metadata={"perdure.fit": json.dumps({**record, "format": 99})})


@pytest.mark.parametrize("kind", ["cut", "noise", "other", "future"])
def test_a_damaged_checkpoint_is_set_aside_and_named(kind, tmp_path):
    path, options = tmp_path / "run", {**SHORT, "method": "gauss-newton", "steps": 3}
    expected = fit(rnn(2), SLOW, **options)
    fit(rnn(2), SLOW, **options, checkpoint=path)
    damage(path, kind)
    damaged = path.read_bytes()
    with pytest.warns(UserWarning, match=r"run is not used.*kept as run\.set-aside"):
        found = fit(rnn(2), SLOW, **options, checkpoint=path)
    assert np.array_equal(found.losses, expected.losses)
    assert (tmp_path / "run.set-aside").read_bytes() == damaged
    path.write_bytes(b"again")
    with pytest.warns(UserWarning, match=r"set-aside1"):
        fit(rnn(2), SLOW, **options, checkpoint=path)


@pytest.mark.parametrize(("model", "target", "more", "differs"), [
    (lambda: rnn(3), SLOW, {}, "model, parameters"), (lambda: rnn(2, "hardtanh"), SLOW, {}, "model"), (lambda: rnn(2), F.polynomial(1.6), {}, "sequences"),
    (lambda: rnn(2), SLOW, {"seed": 1}, "seed, sequences"), (lambda: rnn(2), SLOW, {"method": "lbfgs"}, "method"),
    (lambda: rnn(2, dtype=torch.float32), SLOW, {}, "parameters"), (lambda: rnn(2), SLOW, {"method": "adam", **QUICK}, "method"),
])  # fmt: skip
def test_a_checkpoint_of_another_training_is_set_aside_and_named(model, target, more, differs, tmp_path):
    options = {**SHORT, "method": "gauss-newton", "steps": 2}
    fit(rnn(2), SLOW, **options, checkpoint=tmp_path / "run")
    with pytest.warns(UserWarning, match=rf"another training:.*{differs}"):
        found = fit(model(), target, **{**options, **more}, checkpoint=tmp_path / "run")
    assert found.steps[0] == 0
    assert (tmp_path / "run.set-aside").exists()
