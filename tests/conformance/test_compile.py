"""torch.compile of every layer, in a process of its own (see compiled.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("compiled.py")


def names_that_agree(*arguments):
    result = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, env=os.environ, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout.splitlines()


def test_one_layer_of_each_kind_compiles():
    assert names_that_agree("aot_eager", "few") == ["recurrence (4, 4)", "ContinuousRNN diagonal euler", "DiagonalSSM real=False"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_layers_give_the_same_results(backend):
    assert len(names_that_agree(backend)) == 19  # 2 operations, 15 and 2 layers
