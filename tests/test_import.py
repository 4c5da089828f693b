"""Importing perdure is cheap, and its public names are there when asked for."""

import subprocess
import sys

import pytest

import perdure

HEAVY = ["torch", "scipy", "pandas", "matplotlib", "plotly", "pyarrow", "statsmodels", "jinja2", "rich", "typer"]


def test_import_loads_nothing_heavy():
    code = f"import sys, perdure; perdure.__all__; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_measuring_loads_no_plotting():
    code = "import sys, perdure; [getattr(perdure, n) for n in perdure.__all__]; print([n for n in ('matplotlib', 'plotly', 'statsmodels') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", perdure.__all__)
def test_public_names_exist(name):
    assert getattr(perdure, name) is not None
    assert name in dir(perdure)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="perdure has no attribute 'forgetting'"):
        _ = perdure.forgetting


def test_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert perdure.__version__ == version("perdure")
