"""`perdure sweep` and `perdure runs`: exit codes, what is printed, what is written."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from perdure import cli

SPEC = "title: small & <odd>\ntargets: [{kind: polynomial, power: 2}]\nwidths: [1, 2]\nparametrizations: [direct]\nradii: [0, 0.1]\n"


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SPEC)
    return path


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def refused(monkeypatch, capsys, *arguments):
    """Exit code and the line that the command prints."""
    monkeypatch.setattr(sys, "argv", ["perdure", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code, capsys.readouterr().err


def test_a_sweep_is_written_listed_and_not_computed_again(tmp_path, spec):
    first = run("sweep", spec, "--out", tmp_path / "runs", "--backend", "sequential")
    assert first.exit_code == 0, first.output
    assert "2 cells of 2 radii" in first.output
    assert "2 computed, 0 reused, 0 failed" in first.output
    (folder,) = (tmp_path / "runs").glob("sweep-mine-*")
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "table.parquet", "table.csv", "index.html"}
    assert len(pd.read_parquet(folder / "table.parquet")) == len(pd.read_csv(folder / "table.csv")) == 4
    assert "small &amp; &lt;odd&gt;" in (folder / "index.html").read_text()
    second = run("sweep", spec, "--out", tmp_path / "runs", "--backend", "sequential")
    assert "0 computed, 2 reused" in second.output
    listed = run("runs", "--out", tmp_path / "runs")
    assert listed.exit_code == 0
    assert [line.split()[:4] for line in listed.output.splitlines()[1:]] == [[folder.name, "sweep", "mine", "2/2"]]


def test_what_is_left_out_is_said_first(tmp_path, spec):
    spec.write_text(SPEC + "groups: [recurrent, bias]\n")
    result = run("sweep", spec, "--out", tmp_path / "runs", "--backend", "sequential")
    assert result.exit_code == 0
    assert "left out: linear, direct, usual, bias: an exponential sum has no bias" in result.output
    assert "2 cells of 2 radii; 1 combination left out" in result.output


def test_one_is_singular(tmp_path, spec):
    spec.write_text(SPEC.replace("[1, 2]", "[1]").replace("[0, 0.1]", "[0.1]"))
    assert "\n1 cell of 1 radius\n" in "\n" + run("sweep", spec, "--store", tmp_path / "runs", "--backend", "sequential").output
    (page,) = (tmp_path / "runs").glob("*/index.html")
    assert "1 of 1 cell has rows." in page.read_text()


def test_nothing_left_is_said_before_the_store_is_made(tmp_path, spec, monkeypatch, capsys):
    spec.write_text(SPEC + "groups: [bias]\n")
    code, text = refused(monkeypatch, capsys, "sweep", spec, "--store", tmp_path / "runs", "--backend", "sequential")
    assert code == 2
    assert text.startswith("perdure: expected one combination")
    assert "all are left out (an exponential sum has no bias)" in text
    assert text.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_keeps_what_is_finished(tmp_path, spec, monkeypatch):
    from perdure.experiments.sweep import Sweep

    real = Sweep.compute

    def stopped(self, job, data):
        if job["width"] == 2:
            raise KeyboardInterrupt
        return real(self, job, data)

    with monkeypatch.context() as patch:
        patch.setattr(Sweep, "compute", stopped)
        result = run("sweep", spec, "--store", tmp_path / "runs", "--backend", "sequential")
    assert result.exit_code == 130
    assert f"stopped: finished jobs are kept in {tmp_path / 'runs'}, and the same command goes on from there" in result.output
    assert "1 computed, 1 reused" in run("sweep", spec, "--store", tmp_path / "runs", "--backend", "sequential").output


def test_a_spec_with_a_long_name(tmp_path, spec):
    long = spec.rename(tmp_path / f"{'n' * 245}.yaml")
    result = run("sweep", long, "--store", tmp_path / "runs", "--backend", "sequential")
    assert result.exit_code == 0, result.output
    assert "n" * 245 in run("runs", "--store", tmp_path / "runs").output


def test_a_failed_cell_is_exit_code_1(tmp_path, spec, monkeypatch):
    from perdure.experiments.sweep import Sweep

    real = Sweep.compute

    def broken(self, job, data):
        if job["width"] == 2:
            raise RuntimeError("no luck")
        return real(self, job, data)

    monkeypatch.setattr(Sweep, "compute", broken)
    result = run("sweep", spec, "--out", tmp_path / "runs", "--backend", "sequential")
    assert result.exit_code == 1
    assert "1 computed, 0 reused, 1 failed" in result.output
    assert "RuntimeError: no luck" in result.output
    assert "1/2 (1 failed)" in run("runs", "--out", tmp_path / "runs").output


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--backend", "slurm"], "`backend` to be one of 'loky', 'dask', 'ray', 'sequential'"),
        (["--address", "tcp://x:1"], "add --backend dask or --backend ray"),
        (["--workers", "0"], "`workers` to be at least 1"),
    ],
)
def test_bad_options(tmp_path, spec, monkeypatch, capsys, extra, message):
    code, text = refused(monkeypatch, capsys, "sweep", spec, "--out", tmp_path / "runs", *extra)
    assert code == 2
    assert message in text
    assert text.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_missing_spec_and_a_store_that_is_a_file(tmp_path, spec, monkeypatch, capsys):
    code, text = refused(monkeypatch, capsys, "sweep", tmp_path / "none.yaml", "--out", tmp_path / "runs")
    assert code == 2
    assert "there is no" in text
    code, text = refused(monkeypatch, capsys, "sweep", spec, "--out", spec)
    assert code == 2
    assert "`--out` to be a folder" in text
    assert spec.read_text() == SPEC
    code, text = refused(monkeypatch, capsys, "sweep", spec, "--store", spec)
    assert code == 2
    assert "`--store` to be a folder" in text
    for option in ("--out", "--store"):
        code, text = refused(monkeypatch, capsys, "runs", option, tmp_path / "none")
        assert code == 2
        assert f"expected `{option}` to be the folder of a store" in text
        assert text.count("\n") == 1
    code, text = refused(monkeypatch, capsys, "runs", "--out", tmp_path, "--store", tmp_path / "none")
    assert code == 2
    assert "`--store` and `--out` to name one folder" in text


def test_the_list_of_an_empty_store_and_of_a_damaged_run(tmp_path):
    assert "no runs" in run("runs", "--out", tmp_path).output
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "manifest.json").write_text("{")
    result = run("runs", "--out", tmp_path)
    assert result.exit_code == 0
    assert "odd: manifest.json is damaged" in result.output


def test_the_example_s_grid_is_valid():
    from perdure.experiments.sweep_file import read_sweep
    from perdure.experiments.sweep_spec import cells

    jobs, skipped = cells(read_sweep(Path(__file__).parents[1] / "examples" / "sweep.yaml"))
    assert (len(jobs), skipped) == (12, {})
