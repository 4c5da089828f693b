"""Recurrent matrices against their closed forms: eigenvalues, radii, growth, poles of state-space layers."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from perdure.adapters import adapt
from perdure.audits.matrices import recurrent_matrices, sizes
from perdure.errors import ArgumentError
from perdure.nn import ContinuousRNN, DiagonalSSM


def set_weight(p, value):
    with torch.no_grad():
        p.copy_(torch.as_tensor(value))


def test_a_normal_matrix_has_the_distance_of_its_eigenvalues():
    layer = nn.RNN(1, 2, bias=False)
    turn = 0.8 * np.array([[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]])
    set_weight(layer.weight_hh_l0, turn)
    (m,) = recurrent_matrices(layer).matrices
    np.testing.assert_allclose(np.abs(m.eigenvalues), 0.8, rtol=1e-6)
    assert m.stability_radius == pytest.approx(0.2, rel=1e-5)
    assert m.slowest == pytest.approx(-1 / math.log(0.8), rel=1e-5)
    assert m.growth == 1.0
    assert m.kind == "rnn"


def test_a_jordan_block_swells_before_it_fades():
    layer = nn.RNN(1, 2, bias=False, nonlinearity="tanh")
    J = np.array([[0.9, 10.0], [0.0, 0.9]])
    set_weight(layer.weight_hh_l0, J)
    (m,) = recurrent_matrices(layer).matrices
    sizes = [np.linalg.norm(np.linalg.matrix_power(J, k), 2) for k in range(200)]
    assert m.growth == pytest.approx(max(sizes), rel=1e-5)
    assert m.growth_step == int(np.argmax(sizes))
    angles = np.exp(1j * np.linspace(0, 2 * np.pi, 2001))
    assert m.stability_radius == pytest.approx(min(np.linalg.svd(z * np.eye(2) - J)[1][-1] for z in angles), rel=1e-4)


def test_layers_and_directions_of_a_gru_one_by_one():
    torch.manual_seed(0)
    stack = nn.GRU(2, 3, num_layers=2, bidirectional=True, bias=False)
    found = recurrent_matrices(adapt(stack))
    assert [m.name for m in found.matrices] == ["GRU.l0", "GRU.l0_reverse", "GRU.l1", "GRU.l1_reverse"]
    for m, suffix in zip(found.matrices, ("_l0", "_l0_reverse", "_l1", "_l1_reverse"), strict=True):
        n = getattr(stack, f"weight_hh{suffix}").detach().double().numpy()[6:]
        mu = np.linalg.eigvals(0.5 * np.eye(3) + 0.5 * 0.5 * n)  # z = r = 1/2 at rest
        np.testing.assert_allclose(np.sort_complex(m.eigenvalues), np.sort_complex(mu), rtol=1e-6, atol=1e-9)
    assert found.stability_radius == min(m.stability_radius for m in found.matrices)
    assert found.slowest == max(m.slowest for m in found.matrices)


def test_parametrised_weights_are_the_ones_in_use():
    layer = nn.GRU(1, 3, bias=False)
    plain = recurrent_matrices(layer).matrices[0].eigenvalues
    nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    np.testing.assert_allclose(recurrent_matrices(layer).matrices[0].eigenvalues, plain, rtol=1e-6)


def test_an_lstm_without_bias_forgets_half_a_step():
    layer = nn.LSTM(1, 2, bias=False)
    set_weight(layer.weight_hh_l0, np.zeros((8, 2)))
    (m,) = recurrent_matrices(layer).matrices
    np.testing.assert_allclose(np.sort(np.abs(m.eigenvalues)), [0, 0, 0.5, 0.5], atol=1e-9)
    assert recurrent_matrices(nn.LSTMCell(1, 2)).matrices[0].kind == "lstm"


def test_our_layers_through_their_structure():
    ssm = DiagonalSSM(1, 1, state_size=3, real=True, dt=0.5)
    ssm.assign_timescales(torch.tensor([1.0, 10.0, 1e6]))
    (m,) = recurrent_matrices(ssm).matrices
    np.testing.assert_allclose(np.sort(m.time_constants), [2.0, 20.0, 2e6], rtol=1e-4)
    assert m.stability_radius == pytest.approx(0.5e-6, rel=1e-4)
    layer = ContinuousRNN(1, 2, parametrization="direct", dt=0.5, dtype=torch.float64)
    layer.recurrent_l0.assign(torch.diag(torch.tensor([-1.0, -0.1], dtype=torch.float64)))
    (m,) = recurrent_matrices(layer).matrices
    np.testing.assert_allclose(m.eigenvalues.real, [0.95, 0.5], rtol=1e-9)
    assert m.kind == "continuous"


class Holder(nn.Module):
    def __init__(self, **parameters):
        super().__init__()
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(torch.as_tensor(value, dtype=torch.float64)))


def test_poles_by_the_names_that_publications_use():
    A = np.log(np.array([[1.0, 2.0], [1.0, 3.0]]))
    bias = np.array([-4.0, 0.5])
    (m,) = recurrent_matrices(Holder(A_log=A, dt_bias=bias)).matrices
    expected = np.exp(-np.log1p(np.exp(bias))[:, None] * np.exp(A)).ravel()
    np.testing.assert_allclose(np.sort(m.eigenvalues.real), np.sort(expected), rtol=1e-9)
    assert m.kind == "gated"
    assert m.stability_radius == pytest.approx(1 - expected.max(), rel=1e-9)
    (m,) = recurrent_matrices(Holder(log_A_real=np.log([[0.5, 0.5]]), A_imag=[[0.0, 3.0]], log_dt=[math.log(0.1)])).matrices
    np.testing.assert_allclose(
        np.sort_complex(m.eigenvalues), np.sort_complex(np.exp(0.1 * (-0.5 + 1j * np.array([0.0, 3.0])))), rtol=1e-12
    )
    (m,) = recurrent_matrices(Holder(time_decay=[-5.0])).matrices
    assert m.slowest == pytest.approx(math.exp(5.0), rel=1e-9)
    gates = Holder(recurrent_param=[0.3], recurrent_gate_bias=[[0.0]])
    assert recurrent_matrices(gates).matrices[0].slowest == pytest.approx(1 / (4 * np.log1p(np.exp(0.3))), rel=1e-9)
    (m,) = recurrent_matrices(Holder(A_log=A)).matrices
    assert "no bias" in m.what


def test_what_is_not_known_is_a_candidate_and_claims_nothing():
    found = recurrent_matrices(Holder(reservoir=[[0.5, 0.0], [0.0, -0.7]], other=np.eye(3), W=[[0.1]]))
    assert [m.kind for m in found.matrices] == ["candidate", "candidate"]
    np.testing.assert_allclose(found.matrices[0].eigenvalues.real, [-0.7, 0.5])
    assert found.stability_radius is None
    assert found.slowest is None
    assert recurrent_matrices(torch.tanh).matrices == ()
    assert recurrent_matrices(nn.Linear(3, 3)).status == "no recurrent matrix was found"


def test_unstable_large_and_late():
    layer = nn.RNN(1, 2, bias=False)
    set_weight(layer.weight_hh_l0, [[1.5, 0.0], [0.0, 0.5]])
    (m,) = recurrent_matrices(layer).matrices  # at h = 0, where the run from zero stays
    assert m.stability_radius == 0.0
    assert m.slowest == math.inf
    (m,) = recurrent_matrices(nn.GRU(1, 5), largest=4).matrices
    assert m.stability_radius is None
    assert "left out" in m.notes[-1]
    (m,) = recurrent_matrices(layer, largest=1).matrices
    assert m.stability_radius == 0.0  # unstable as it is: nothing has to be computed
    assert m.growth is None
    found = recurrent_matrices(nn.GRU(1, 3, num_layers=3), seconds=1e-9)
    assert set(found.left_out) == {"GRU.l0", "GRU.l1", "GRU.l2"}
    assert len(found.notes) == 3


def test_plain_results_and_an_untouched_model():
    model = nn.Sequential(nn.LSTM(2, 3))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = recurrent_matrices(model)
    assert found.matrices[0].name == "0.l0"
    json.dumps(found.to_dict(), allow_nan=False)
    assert len(found.to_frame()) == 1
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(("options", "message"), [({"largest": 0}, "largest"), ({"seed": -1}, "seed"), ({"seconds": 0.0}, "seconds")])
def test_bad_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        recurrent_matrices(nn.GRU(1, 1), **options)


def test_weights_behind_stable_maps_are_known():
    exposed = ContinuousRNN(1, 2, structure="dense", parametrization="direct")
    for model, stable in ((DiagonalSSM(1, 2), True), (Holder(A_log=[[0.0]]), True), (nn.GRU(1, 2), False), (exposed, False)):
        assert [m.stable_map for m in recurrent_matrices(model).matrices] == [stable]


def test_a_layer_that_comes_to_no_rest_is_shown_and_does_not_count():
    layer = nn.RNN(1, 2, bias=False)
    drift = nn.RNN(1, 1, nonlinearity="relu")
    for p, value in ((drift.weight_hh_l0, [[1.0]]), (drift.bias_hh_l0, [1.0]), (drift.bias_ih_l0, [0.0])):
        set_weight(p, value)  # h' = h + 1
    set_weight(layer.weight_hh_l0, [[0.5, 0.0], [0.0, 0.2]])
    found = recurrent_matrices(nn.ModuleList([layer, drift]))
    assert found.stability_radius == pytest.approx(0.5)
    assert all(m.counts for m in found.matrices)
    assert list(found.left_out) == ["1.l0"]
    assert sizes(nn.LSTM(1, 4, num_layers=2)) == {"LSTM.l0": 8, "LSTM.l1": 8}
