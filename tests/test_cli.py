"""Exit codes and refusals of the command line."""

import subprocess
import sys

import pytest

import perdure


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "perdure", *arguments], capture_output=True, text=True, check=False)


def test_version():
    result = run("--version")
    assert result.returncode == 0
    assert result.stdout.strip() == f"perdure {perdure.__version__}"


def test_unwritable_folder_is_reported_before_the_work(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("here first")
    result = run("demo", "--out", str(blocked / "below"))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "`--out`" in result.stderr
    assert blocked.read_text() == "here first"


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_folder_name_is_refused(name):
    result = run("demo", "--out", name)
    assert result.returncode == 2
    assert "expected `--out` to be a folder, but got an empty name" in result.stderr


def test_unknown_option_is_bad_input():
    assert run("demo", "--loud").returncode == 2
