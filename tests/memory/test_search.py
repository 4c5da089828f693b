"""The search for the worst input of one channel, against a brute-force sup."""

import numpy as np
import pytest
import torch

from perdure.memory import memory_function

CASES = [
    (-1.0, 1.0, 1.0, 0.02, 256),
    (-1.0, 1.0, 10.0, 0.02, 256),
    (-1.0, 1.0, 100.0, 0.01, 512),
    (-0.5, 2.0, 30.0, 0.02, 512),
    (-1.0, 1.0, 100.0, 0.1, 512),
    (-1.0, 2.0, 100.0, 0.05, 1000),
    (-3.0, 0.5, 100.0, 0.02, 500),
]


@pytest.mark.parametrize(("w", "u", "bound", "dt", "steps"), CASES)
def test_scalar_tanh_is_within_two_percent_of_brute_force(w, u, bound, dt, steps):
    def model(x):
        h, out = torch.zeros_like(x[:, 0]), []
        for k in range(x.shape[1]):
            h = h + dt * torch.tanh(w * h + u * x[:, k])
            out.append(h)
        return torch.stack(out, 1)

    x = np.union1d(np.geomspace(1e-3 * min(bound, 1.0), bound, 1500), np.linspace(bound / 1e4, bound, 1500))
    z = model(torch.as_tensor(x)[:, None, None].expand(-1, steps, 1))[..., 0].numpy()
    brute = (np.abs(np.diff(z, axis=1, prepend=0.0)) / dt / x[:, None]).max(0)
    memory = memory_function(model, input_size=1, horizon=steps, dt=dt, bound=bound)
    loud = brute > 50 * memory.noise_floor
    ratio = (memory.values / brute)[loud]
    assert ratio.min() > 0.98
    assert ratio.max() < 1.001  # the brute force has a grid, too
    assert memory.rows <= 192
