"""What the tests of the layers share."""

import jaxtyping
import pytest


@pytest.fixture
def as_installed():
    """perdure as users have it: without the type checks at run time that the test suite adds, whose errors would stand in for ours."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
