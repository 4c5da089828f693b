"""The store: what is whole is used, what is not is set aside and named, and nothing is lost."""

import json
import math
import shutil

import counting_toy
import pytest
from counting_toy import Counting, CountingSpec
from pandas.testing import assert_frame_equal

from perdure.errors import ArgumentError
from perdure.experiments import pool as pools
from perdure.experiments.fingerprint import canonical, key_of
from perdure.experiments.part import DamagedPart, decode, encode
from perdure.experiments.pool import Pool
from perdure.experiments.run import run
from perdure.experiments.store import list_runs, open_run, preferred

SPEC = CountingSpec(count=6, pause=0.0)


def go(store, spec=SPEC, **options):
    return run(Counting(), spec, store=store, backend="sequential", **options)


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTING_LOG", str(tmp_path / "log"))
    return lambda: [k for _, k in counting_toy.logged(tmp_path / "log")]


def test_a_part_gives_back_what_was_put_in():
    job = {"k": 3, "inf": math.inf, "none": None}
    rows = [{"x": 1, "y": 0.1, "s": "ä", "b": True}, {"x": 2.5, "y": math.nan, "s": None, "b": False}]
    part = decode(encode({"key": "a", "seconds": 1.5}, job, rows), "a")
    assert part.seconds == 1.5
    found = part.table.to_pylist()
    assert math.isnan(found[1].pop("y"))
    assert found == [
        {"k": 3, "inf": math.inf, "none": None, "x": 1.0, "y": 0.1, "s": "ä", "b": True},
        {"k": 3, "inf": math.inf, "none": None, "x": 2.5, "s": None, "b": False},
    ]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([{"k": 1}], "column 'k' that the job has as well"),
        ([{"x": 1}, {"x": "one"}], "column 'x' mixes int and str"),
        ([{"x": True}, {"x": 1}], "column 'x' mixes bool and int"),
        ([{"x": [1]}], r"column 'x' holds \[1\] of type list"),
        ([{"x": 2**63}], "column 'x' holds a whole number beyond 64 bits"),
    ],
)
def test_rows_that_cannot_be_written(rows, text):
    with pytest.raises(ValueError, match=text):
        encode({"key": "a", "seconds": 0.0}, {"k": 0}, rows)


def test_every_flipped_byte_and_every_cut_is_noticed():
    content = encode({"key": "a", "seconds": 1.0}, {"k": 3, "word": "some"}, [{"x": 0.25, "n": 7}, {"x": 0.5, "n": 8}])
    whole = decode(content, "a").table
    noticed = 0
    for i in range(len(content)):
        spoilt = bytearray(content)
        spoilt[i] ^= 0x10
        try:
            found = decode(bytes(spoilt), "a")
        except DamagedPart:
            noticed += 1
        else:  # a bit that carries nothing, as in the statistics of a column: the values are those that were written
            assert found.table.equals(whole)
            assert found.seconds == 1.0
    assert noticed > 0.5 * len(content)
    for length in range(len(content)):
        with pytest.raises(DamagedPart):
            decode(content[:length], "a")


def test_addresses_depend_on_everything():
    job = {"k": 1, "x": 1.0}
    other = Counting()
    keys = {
        key_of(Counting(), job, "c", "d"),
        key_of(Counting(), {**job, "k": 2}, "c", "d"),
        key_of(Counting(), {**job, "x": 1}, "c", "d"),
        key_of(Counting(), {**job, "x": "1.0"}, "c", "d"),
        key_of(Counting(), {**job, "x": math.inf}, "c", "d"),
        key_of(Counting(), {**job, "x": "inf"}, "c", "d"),
        key_of(Counting(), job, "c2", "d"),
        key_of(Counting(), job, "c", "d2"),
    }
    assert len(keys) == 8
    other.version = 2
    assert key_of(other, job, "c", "d") not in keys
    assert key_of(Counting(), {"x": 1.0, "k": 1}, "c", "d") in keys
    with pytest.raises(TypeError, match="expected a text, a number"):
        canonical({"x": object()})


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_bit(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"PAR1", 1) // 3] ^= 1  # in the columns' pages
    path.write_bytes(content)


def damage_empty(path):
    path.write_bytes(b"")


def damage_foreign(path):
    import pandas as pd

    pd.DataFrame({"y": [1.0]}).to_parquet(path)


def damage_swapped(path):
    other = next(one for one in sorted(path.parents[1].rglob("*.parquet")) if one != path)
    shutil.copy(other, path)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (damage_cut, "not a whole Parquet file"),
        (damage_bit, "(its contents differ|not a whole)"),
        (damage_empty, "not a whole Parquet file"),
        (damage_foreign, "a Parquet file of something else"),
        (damage_swapped, "the part of another job"),
    ],
)
def test_a_part_that_cannot_be_trusted_is_set_aside_and_computed_again(tmp_path, log, damage, why):
    whole = go(tmp_path / "runs")
    path = Pool(tmp_path / "runs").path(whole.keys[4])
    damage(path)
    spoilt = path.read_bytes()
    again = go(tmp_path / "runs")
    assert log() == [0, 1, 2, 3, 4, 5, 4]
    assert (again.reused, again.computed) == (5, 1)
    (line,) = again.set_aside
    assert line.startswith(f"parts/{whole.keys[4][:2]}/{whole.keys[4]}.parquet: ")
    assert pytest.importorskip("re").search(why, line)
    kept = list((tmp_path / "runs" / "set-aside").iterdir())
    assert [one.read_bytes() for one in kept] == [spoilt]
    assert kept[0].name in line
    assert_frame_equal(again.table, whole.table, check_exact=True)
    assert go(tmp_path / "runs").set_aside == ()


def test_strangers_among_the_parts_are_set_aside_and_hidden_files_are_left(tmp_path):
    whole = go(tmp_path)
    shelf = tmp_path / "parts" / whole.keys[0][:2]
    (shelf / "notes.txt").write_text("mine")
    (tmp_path / "parts" / "copy of parts").mkdir()
    (shelf / ".half-written").write_text("x")
    again = go(tmp_path)
    assert [line.split(": ")[1].split(";")[0] for line in again.set_aside] == ["not the file of a job"] * 2
    assert {path.name.split("-", 1)[1] for path in (tmp_path / "set-aside").iterdir()} == {"notes.txt", "copy of parts"}
    assert (shelf / ".half-written").exists()
    assert again.computed == 0


def test_files_set_aside_under_one_name_do_not_replace_one_another(tmp_path):
    pool = Pool(tmp_path)
    for text in ("one", "two"):
        (tmp_path / "same").write_text(text)
        pool.set_aside(tmp_path / "same", "a test")
    assert sorted(path.read_text() for path in (tmp_path / "set-aside").iterdir()) == ["one", "two"]
    assert "another process has moved it" in pool.set_aside(tmp_path / "same", "a test")


def test_a_damaged_manifest_is_set_aside_and_the_jobs_are_kept(tmp_path):
    whole = go(tmp_path)
    (whole.folder / "manifest.json").write_text('{"format": 1, "exp')
    (summary,) = list_runs(tmp_path)
    assert "manifest.json is damaged: not JSON" in summary.problem
    assert not summary.complete
    assert preferred([summary], lambda run: run.experiment) == {}
    with pytest.raises(ArgumentError, match="is damaged: not JSON"):
        open_run(whole.folder)
    again = go(tmp_path)
    assert (again.computed, again.reused) == (0, 6)
    assert len(again.set_aside) == 1
    assert "not JSON" in again.set_aside[0]
    assert list_runs(tmp_path)[0].complete


def test_another_program_s_json_is_no_run(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "manifest.json").write_text("{}")
    assert "something else than a run" in list_runs(tmp_path)[0].problem
    (tmp_path / "x" / "manifest.json").write_text("[" * 100_000)
    assert "not JSON" in list_runs(tmp_path)[0].problem


DAMAGES = [
    ({"jobs": [1, 2]}, "`jobs[0]` is 1, which no run writes there"),
    ({"jobs": [{"key": "../../secret", "job": {}}]}, "`jobs[0].key` is '../../secret'"),
    (
        {"jobs": [{"key": "0" * 64, "job": {"beta": {"float": "many"}}}]},
        "`jobs[0].job.beta` is {'float': 'many'}, which no run writes there",
    ),
    ({"jobs": [{"key": "0" * 64, "job": {"beta": [1]}}]}, "`jobs[0].job.beta` is [1]"),
    ({"sessions": [{}]}, "`sessions[0].started` is missing"),
    (
        {"sessions": [{"started": "once", "ended": None, "backend": "loky", "workers": 1, "seconds": None}]},
        "`sessions[0].started` is 'once'",
    ),
    ({"code": None}, "`code` is None"),
    ({"code": ...}, "`code` is missing"),
    ({"failures": [{"key": "0" * 64, "message": "m"}]}, "a failure is of 0000000000000000, which is none of its jobs"),
    ({"started": "2026-01-01"}, "`started` is '2026-01-01'"),
    ({"version": "1"}, "`version` is '1'"),
    ({"machine": {"memory": [3]}}, "`machine.memory` is [3]"),
]


@pytest.mark.parametrize(("change", "text"), DAMAGES)
def test_a_manifest_of_another_shape_is_damaged_and_the_other_runs_stay(tmp_path, change, text):
    whole = go(tmp_path)
    other = go(tmp_path, CountingSpec(count=2, pause=0.0))
    path = whole.folder / "manifest.json"
    changed = json.loads(path.read_text()) | change
    path.write_text(json.dumps({name: value for name, value in changed.items() if value is not ...}))
    found = {run.folder: run for run in list_runs(tmp_path)}
    assert text in found[whole.folder].problem
    assert "\n" not in found[whole.folder].problem
    assert found[other.folder].complete
    with pytest.raises(ArgumentError, match="is damaged: "):
        open_run(whole.folder)
    again = go(tmp_path)
    assert (again.computed, len(again.set_aside)) == (0, 1)
    assert_frame_equal(open_run(whole.folder).table, whole.table, check_exact=True)


def test_a_complete_run_is_preferred_and_then_the_one_worked_on_last(tmp_path):
    def best():
        return preferred(list_runs(tmp_path), lambda run: run.experiment)["counting"].folder

    small, large = CountingSpec(count=3, pause=0.0), CountingSpec(count=4, pause=0.0)
    first, second = go(tmp_path, small), go(tmp_path, large)
    assert best() == second.folder
    go(tmp_path, small)
    assert best() == first.folder, "begun first, worked on last"
    go(tmp_path, large)
    Pool(tmp_path).path(second.keys[3]).unlink()
    assert best() == first.folder, "the other lacks a job"


def test_a_run_is_opened_from_inside_its_folder(tmp_path, monkeypatch):
    whole = go(tmp_path)
    monkeypatch.chdir(whole.folder)
    assert_frame_equal(open_run(".").table, whole.table, check_exact=True)


def test_a_long_profile_fits_a_folder_s_name(tmp_path):
    found = go(tmp_path, profile="long" * 70)
    assert len(found.folder.name) < 128
    assert open_run(found.folder).profile == "long" * 70
    assert go(tmp_path, profile="long" * 70).folder == found.folder


def test_jobs_are_shared_by_profiles_and_the_manifest_says_what_ran(tmp_path, log):
    go(tmp_path, CountingSpec(count=3, pause=0.0))
    found = go(tmp_path, SPEC)
    assert (found.reused, found.computed) == (3, 3)
    assert log() == [0, 1, 2, 3, 4, 5]
    assert go(tmp_path, Counting.profiles["tiny"].model_copy(update={"pause": 0.01})).profile == "tiny"
    manifest = json.loads((found.folder / "manifest.json").read_text())
    assert manifest["spec"] == SPEC.model_dump(mode="json")
    assert [entry["key"] for entry in manifest["jobs"]] == list(found.keys)
    assert set(manifest["seconds_by_job"]) == set(found.keys)
    assert manifest["versions"]["pyarrow"]
    assert manifest["ended"] >= manifest["started"]
    assert [session["computed"] for session in manifest["sessions"]] == [3]
    places = preferred(list_runs(tmp_path), lambda run: (run.experiment, run.profile))
    assert places["counting", "custom"].folder == found.folder


def test_an_opened_run_is_the_run(tmp_path):
    found = go(tmp_path, CountingSpec(count=6, pause=0.0, broken=(2,)))
    opened = open_run(found.folder)
    assert_frame_equal(opened.table, found.table, check_exact=True)
    assert (opened.keys, opened.missing, opened.failures) == (found.keys, found.missing, found.failures)
    assert (opened.reused, opened.computed) == (5, 0)
    assert CountingSpec.model_validate(opened.spec).broken == (2,)
    (summary,) = list_runs(tmp_path)
    assert (summary.finished, summary.total, summary.failed) == (5, 6, 1)
    assert summary.bytes == sum(path.stat().st_size for path in (tmp_path / "parts").rglob("*.parquet"))


@pytest.mark.parametrize("name", ["nothing", "."])
def test_a_folder_without_a_run(tmp_path, name):
    with pytest.raises(ArgumentError, match=r"expected the folder of a run, but got .*has no manifest"):
        open_run(tmp_path / name)


def test_no_store(tmp_path):
    with pytest.raises(ArgumentError, match="folder of a store"):
        list_runs(tmp_path / "nothing")


def test_a_full_disk_keeps_what_is_there_and_leaves_no_half_file(tmp_path, monkeypatch, log):
    whole = go(tmp_path / "whole")
    written = []
    real = pools.write

    def full(path, content):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        return real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(pools, "write", full)
        with pytest.raises(OSError, match=r"no space left on device.*those before it are kept"):
            go(tmp_path / "runs")
    found = go(tmp_path / "runs")
    assert (found.reused, found.computed) == (3, 3)
    assert_frame_equal(found.table, whole.table, check_exact=True)


def test_a_write_that_breaks_off_leaves_nothing_behind(tmp_path, monkeypatch):
    import os

    def broken(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="No space left"):
        Pool(tmp_path).put("ab" * 32, b"content")
    assert list((tmp_path / "parts" / "ab").iterdir()) == []
