"""torch.compile of every layer, in a process of its own (see compiled.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("compiled.py")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_layers_give_the_same_results(backend):
    result = subprocess.run([sys.executable, str(SCRIPT), backend], capture_output=True, text=True, env=os.environ, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert result.stdout.count("\n") == 19  # 2 operations, 15 and 2 layers
