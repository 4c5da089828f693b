"""Shape annotations are checked in tests: the hook must be in place before perdure is imported."""

import warnings

import jaxtyping
import pytest

jaxtyping.install_import_hook("perdure", "beartype.beartype")

import matplotlib  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

matplotlib.use("agg")
with warnings.catch_warnings(), torch.autograd.forward_ad.dual_level():  # torch's first dual tensor loads parts that warn about themselves
    warnings.simplefilter("ignore", DeprecationWarning)
    torch.autograd.forward_ad.make_dual(torch.zeros(1), torch.zeros(1))
torch.set_num_threads(2)  # many small recurrences: more threads only wait for one another
settings.register_profile("perdure", deadline=None, derandomize=True)
settings.load_profile("perdure")


@pytest.fixture(autouse=True)
def _global_random_state_is_left_alone():
    """Nothing in perdure may draw from, or reseed, the global generators."""
    before = torch.get_rng_state()
    yield
    torch.set_rng_state(before)
