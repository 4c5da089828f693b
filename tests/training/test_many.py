"""Many trainings: together as alone, in order, and refused where they make no sense."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from perdure import _random
from perdure import functionals as F
from perdure.nn import ContinuousRNN
from perdure.parametrizations import Exp
from perdure.training import fit, fit_many
from perdure.training.together import outputs

D = torch.float64
TARGET = F.polynomial(1.5)
QUICK = {"method": "adam", "horizon": 1.5, "sequences": 96, "batch": 40, "steps": 3}


def build(structure="dense", parametrization="direct", activation="tanh", **options):
    return lambda m: ContinuousRNN(
        1, m, activation=activation, parametrization=parametrization, structure=structure, dt=0.1, output_size=1, dtype=D, **options
    )  # fmt: skip


@pytest.mark.parametrize("make", [
    build(), build("diagonal", "exp"), build("dissipative", "softplus", "sigmoid"), build(activation="softplus", bias=False), build("diagonal", "exp", "relu", batch_first=True),
])  # fmt: skip
def test_one_batch_gives_what_each_gives_alone(make):
    """Also where sigma(0) is not 0, for which padding must not move."""
    many = fit_many(make, TARGET, (2, 5, 3), (0, 4), together=True, **QUICK)
    assert many.together
    assert list(many) == [(2, 0), (2, 4), (5, 0), (5, 4), (3, 0), (3, 4)]
    for (width, seed), result in many.items():
        with _random.isolated(seed):
            model = make(width)
        alone = fit(model, TARGET, seed=seed, **QUICK)
        np.testing.assert_allclose(result.losses, alone.losses, rtol=1e-9)
        for a, b in zip(result.model.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_padding_stays_zero_and_outputs_agree():
    models = [build(activation="sigmoid")(m) for m in (3, 1, 4)]
    x = torch.randn(3, 2, 6, 1, dtype=D)
    found = outputs(models, x)
    for model, part, y in zip(models, x, found, strict=True):
        torch.testing.assert_close(y, model(part.transpose(0, 1))[0][:, :, 0].T)


def test_each_stops_for_its_own_reason():
    """The tolerance lies between the first losses of the two."""
    first = {m: result.losses[0] for (m, _), result in fit_many(build(), TARGET, (2, 3), **QUICK).items()}
    low, high = sorted(first.values())
    many = fit_many(build(), TARGET, (2, 3), tolerance=0.5 * (low + high), together=True, **{**QUICK, "lr": 1e-9})
    for (width, _), result in many.items():
        assert result.stopped.startswith("loss at most") == (first[width] == low)
        assert result.steps[-1] == (0 if first[width] == low else 3)


class Cliff(Exp):
    """NaN from v = 5 on."""

    def _map(self, v, low, high):
        return torch.where(v < 5.0, super()._map(v, low, high), math.nan)


def test_a_copy_that_breaks_is_undone_and_does_not_touch_the_others():
    """One copy stands a tenth of a step from the cliff."""
    make = build("diagonal", Cliff())

    def near(m):
        model = make(m)
        if m == 4:
            with torch.no_grad():
                model.recurrent_l0.raw.fill_(5.0 - 5e-4)
        return model

    many = fit_many(near, TARGET, (2, 4), together=True, **QUICK)
    with _random.isolated(0):
        alone = make(2)
    np.testing.assert_allclose(many[2, 0].losses, fit(alone, TARGET, **QUICK).losses, rtol=1e-9)
    assert many[2, 0].rolled_back == 0
    assert many[4, 0].rolled_back == 3
    assert float((many[4, 0].model.recurrent_l0.raw - (5.0 - 5e-4)).detach().abs().max()) == 0.0


def test_the_default_goes_one_by_one_and_so_does_every_other_model():
    many = fit_many(build(), TARGET, (2, 3), **QUICK)
    assert not many.together

    class Net(nn.Module):
        input_size = 1

        def __init__(self, m):
            super().__init__()
            self.layer, self.out = nn.RNN(1, m, batch_first=True), nn.Linear(m, 1)

        def forward(self, x):
            return self.out(self.layer(x)[0])

    assert not fit_many(Net, TARGET, (2, 3), **QUICK).together
    with pytest.raises(ValueError, match="`together`"):
        fit_many(Net, TARGET, (2, 3), together=True, **QUICK)
    with pytest.raises(ValueError, match="`together`"):
        fit_many(build(), TARGET, (2, 3), together=True)


def test_errors_of_the_default_method_fall_with_the_width():
    many = fit_many(build("diagonal", "exp", "hardtanh"), TARGET, (4, 8, 16))
    errors = many.to_frame()["error"].to_numpy()
    assert (errors[1:] < 0.25 * errors[:-1]).all()
    plain = json.loads(json.dumps(many.to_dict(), allow_nan=False))
    assert [row["width"] for row in plain["results"]] == [4, 8, 16]
    assert len(many) == 3


def test_global_randomness_is_left_alone():
    state = torch.get_rng_state()
    one, two = (fit_many(build(), TARGET, (2,), (7,), **QUICK)[2, 7] for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(one.losses, two.losses)


@pytest.mark.parametrize(("arguments", "options", "message"), [
    (("tanh", TARGET, (2,)), {}, "`build`"), ((build(), TARGET, ()), {}, "`widths`"), ((build(), TARGET, (2, 2)), {}, "`widths`"),
    ((build(), TARGET, (0,)), {}, "`widths`"), ((build(), TARGET, (2,), ()), {}, "`seeds`"), ((build(), TARGET, (2,), (-1,)), {}, "`seeds`"),
    ((build(), TARGET, (2,)), {"seed": 1}, "`seed`"), ((build(), TARGET, (2,)), {"checkpoint": "a"}, "`checkpoint`"), ((build(), TARGET, (2,)), {"method": "sgd"}, "'auto'"),
])  # fmt: skip
def test_refusals(arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit_many(*arguments, **options)
