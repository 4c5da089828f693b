"""`perdure audit` and `perdure compare`: files, exit codes, refusals before the work."""

import contextlib
import io
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from perdure.cli import main

MODELS = """
import torch
from perdure import functionals

def leak():
    return functionals.exponential(rate=0.05)

def gru():
    torch.manual_seed(0)
    return torch.nn.GRU(2, 3, batch_first=True)
"""
QUICK = ("--horizon", "200", "--parts", "memory")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    (path / "mine.py").write_text(MODELS)
    return path


def run(folder, *arguments):
    """The command in this process, from inside the folder: a process of its own would import torch anew each time."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["perdure", *arguments])
        patch.setattr(sys, "path", [str(folder), *sys.path])
        with pytest.raises(SystemExit) as stopped:
            main()
    for name in ("mine", "broken"):
        sys.modules.pop(name, None)
    return SimpleNamespace(returncode=int(stopped.value.code or 0), stdout=out.getvalue(), stderr=err.getvalue())


def test_as_a_process_of_its_own(folder):
    command = [sys.executable, "-m", "perdure", "audit", "mine:leak", *QUICK, "--out", "process.html"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "process.html").is_file()


def test_page_json_and_requirements_that_are_met(folder):
    done = run(
        folder,
        "audit",
        "mine:leak",
        *QUICK,
        "--out",
        "a.html",
        "--json",
        "a.json",
        "--require",
        "horizon(0.01) >= 90",
        "--require",
        "law == exponential",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("met: ") == 2
    assert "NOT" not in done.stdout
    assert (folder / "a.html").read_text().startswith("<!doctype html>")
    assert json.loads((folder / "a.json").read_text())["headline"]["law"] == "exponential"
    assert not done.stderr


def test_a_requirement_that_is_not_met_is_exit_code_1(folder):
    done = run(folder, "audit", "mine:leak", *QUICK, "--require", "horizon(0.01) >= 512", "--out", "b.html", "--json", "b.json")
    assert done.returncode == 1
    assert "NOT met: horizon(0.01) >= 512 (found 92.1)" in done.stdout
    both = run(folder, "compare", "b.json", "b.json", "--out", "c.html")
    assert both.returncode == 0, both.stderr
    assert (folder / "c.html").is_file()


def test_weights_and_data(folder):
    import torch
    from safetensors.torch import save_file

    layer = torch.nn.GRU(2, 3)
    save_file({name: torch.zeros_like(w) for name, w in layer.state_dict().items()}, folder / "w.safetensors")
    np.save(folder / "x.npy", np.zeros((2, 64, 2)))
    done = run(
        folder,
        "audit",
        "mine:gru",
        "--weights",
        "w.safetensors",
        "--data",
        "x.npy",
        "--horizon",
        "32",
        "--parts",
        "memory",
        "--json",
        "w.json",
        "--out",
        "w.html",
    )
    assert done.returncode == 0, done.stderr
    curves = json.loads((folder / "w.json").read_text())["parts"]["memory"]["data"]["curves"]
    assert "impulse, data" in curves
    assert max(curves["impulse"]["values"]) == 0  # all weights are zero


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("audit",), "neither"),
        (("audit", "mine:leak", "--transformers", "d"), "both"),
        (("audit", "mine:leak", "--require", "depth > 3"), "known: half_life"),
        (("audit", "mine:leak", "--require", "import os"), "quantity comparator value"),
        (("audit", "mine:leak", "--budget", "soon"), "--budget"),
        (("audit", "mine:leak", "--budget", "-3s"), "--budget"),
        (("audit", "mine:leak", "--out", "no/such/a.html"), "--out"),
        (("audit", "mine:leak", "--json", "no/such/a.json"), "--json"),
        (("audit", "mine:leak", "--parts", "soul"), "parts"),
        (("audit", "mine:leak", "--data", "mine.py"), "--data"),
        (("audit", "mine:nothing"), "nothing"),
        (("audit", "nowhere:leak"), "nowhere"),
        (("audit", "mine"), "package.module"),
        (("audit", "mine:leak", "--horizon", "3"), "horizon"),
        (("compare", "mine:leak"), "at least two"),
        (("compare", "gone.json", "mine:leak"), "gone.json"),
    ],
)
def test_bad_input_is_exit_code_2_in_one_line(folder, arguments, says):
    done = run(folder, *arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_model_that_fails_is_exit_code_1(folder):
    (folder / "broken.py").write_text(
        "def model():\n    def f(x):\n        raise RuntimeError('gone wrong')\n    f.input_size = 1\n    return f\n"
    )
    done = run(folder, "audit", "broken:model", "--input-size", "1")
    assert done.returncode == 1
    assert "gone wrong" in done.stderr


def test_the_help_says_what_is_run(folder):
    assert "the only code of yours that runs" in " ".join(run(folder, "audit", "--help").stdout.replace("│", " ").split())
