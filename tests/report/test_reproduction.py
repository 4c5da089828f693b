"""The reproduction page: what it holds, what it says where something is missing, and that it keeps private things to itself."""

from __future__ import annotations

import base64
import dataclasses
import getpass
import io
import json
import platform
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perdure.experiments import catalogue
from perdure.experiments.base import Claim, Data
from perdure.report import provenance
from perdure.report.chapter import NAMED, chapter
from perdure.report.chart import Chart, Series
from perdure.report.claims import counts, headline
from perdure.report.interactive import outline, specification
from perdure.report.reproduction import EMBEDDED, PREVIEW, save
from toy_experiment import Needy, Squares, frame

SQUARES = Squares()
QUICK = SQUARES.profiles["quick"]


class Page(HTMLParser):
    """Elements and visible text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self._inside = "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data):
        if self._inside == ["script"]:
            self.scripts.append(data)
        elif not self._inside:
            self.text += data

    def of(self, tag, **attributes):
        return [a for t, a in self.elements if t == tag and all(a.get(k.rstrip("_")) == v for k, v in attributes.items())]


@pytest.fixture(scope="module")
def whole():
    return chapter(SQUARES, "quick", QUICK, frame(SQUARES, QUICK), seconds=3.0)


@pytest.fixture(scope="module")
def skipped():
    return chapter(Needy(), "quick", QUICK, None, missing=["k=0", "k=1", "k=2"], needs=Needy().missing(Data()))


@pytest.fixture(scope="module")
def written(whole, skipped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    page = save(folder, [whole, skipped], {"Versions": "python 3", "Command": "perdure reproduce <all>"}, ["part <x> was set aside"])
    return folder, page, Page(page.read_text(encoding="utf-8"))


def test_every_claim_stands_in_the_summary_with_its_outcome_in_words(written):
    _, _, page = written
    for text in ("The largest is a square.", "exact arithmetic", "Squares are negative.", "they are not", "pass their folder as --mnist"):
        assert page.text.count(text) >= 2, text  # in the summary and in its section
    for outcome, symbol in {"agrees": "✓", "differs": "✕", "could not be tested": "–"}.items():
        assert f"{symbol} {outcome}" in page.text
    assert "3 claims: 1 agrees, 1 differs, 1 could not be tested." in page.text


def test_summary_comes_before_the_sections(written):
    ids = [a["id"] for t, a in written[2].elements if t == "section" and a.get("id")]
    assert ids == ["summary", "fig1a", "table1", "provenance"]


def test_contents_lead_to_sections_that_exist(written):
    page = written[2]
    ids = {a["id"] for _, a in page.elements if a.get("id")}
    links = [a["href"] for a in page.of("a") if (a.get("href") or "").startswith("#")]
    assert {"#summary", "#fig1a", "#table1", "#provenance"} <= set(links)
    assert {link[1:] for link in links} <= ids


def test_texts_are_escaped(written):
    _, path, page = written
    html = path.read_text(encoding="utf-8")
    assert "squares <of> & numbers" in page.text
    assert "first </script> panel" in page.text
    assert "part <x> was set aside" in page.text
    assert "<of>" not in html
    assert "<x>" not in html


def test_every_figure_is_interactive_with_a_picture_behind_it(written):
    page = written[2]
    charts = json.loads(next(s for s in page.scripts if s.startswith("[")))
    plots = [a["id"] for a in page.of("div", class_="plot")]
    assert [chart["name"] for chart in charts] == plots == ["fig1a-1-a", "fig1a-2-b"]
    assert charts[0]["data"][0]["y"] == [0.0, 1.0, 4.0]
    for image in page.of("img"):
        kind, content = image["src"].split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")
        assert image["alt"]
    assert len(page.of("img")) == 2


def test_plotly_is_there_once_and_nothing_is_fetched(written):
    html = written[1].read_text(encoding="utf-8")
    assert len(re.findall(r"plotly\.js v", html)) == 1
    for tag, attributes in written[2].elements:
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:", "tables/", "https://arxiv.org/")), (tag, value[:60])


def test_pictures_and_tables_lie_beside_the_page(written):
    from PIL import Image

    folder = written[0]
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "figures/fig1a.png",
        "index.html",
        "tables/claims.csv",
        "tables/fig1a.csv",
    ]
    with Image.open(folder / "figures" / "fig1a.png") as panels:
        assert panels.width > 1.8 * panels.height  # two side by side
    pd.testing.assert_frame_equal(pd.read_csv(folder / "tables" / "fig1a.csv"), frame(SQUARES, QUICK), check_dtype=False)


def test_the_table_can_be_downloaded_from_the_page(written):
    link = written[2].of("a", download="fig1a.csv")[0]["href"]
    table = pd.read_csv(io.BytesIO(base64.b64decode(link.split(",")[1])))
    assert table["y"].tolist() == [0.0, 1.0, 4.0]


def test_all_claims_are_a_table_of_their_own(written, whole, skipped):
    claims = pd.read_csv(written[0] / "tables" / "claims.csv")
    assert claims["experiment"].tolist() == ["fig1a", "fig1a", "table1"]
    assert claims["outcome"].tolist() == [c.outcome for c in (*whole.claims, *skipped.claims)]
    assert claims["ours"].tolist()[:2] == ["4", "0"]


def test_a_large_table_lies_beside_the_page_only(tmp_path, whole):
    long = pd.DataFrame({"k": range(20_000), "y": np.arange(20_000.0)})
    assert len(long.to_csv().encode()) > EMBEDDED
    page = Page(save(tmp_path, [dataclasses.replace(whole, table=long)], {}).read_text(encoding="utf-8"))
    assert page.of("a", download="fig1a.csv")[0]["href"] == "tables/fig1a.csv"
    assert f"of which the first {PREVIEW} are shown" in page.text
    assert len(pd.read_csv(tmp_path / "tables" / "fig1a.csv")) == 20_000


def test_an_unfinished_experiment_says_how_much_is_there_and_claims_nothing():
    table = frame(SQUARES, QUICK).head(2)
    found = chapter(SQUARES, "quick", QUICK, table, missing=["k=2"])
    assert (found.done, found.total) == (2, 3)
    assert found.notes == ("Unfinished: 2 of 3 jobs have rows. Missing: k=2.",)
    assert {claim.outcome for claim in found.claims} == {"could not be tested"}
    assert found.claims[0].why == "Only 2 of 3 jobs have rows; from these: differs. exact arithmetic"
    assert len(found.charts) == 2


def test_many_missing_jobs_are_counted_not_listed():
    labels = [f"k={k}" for k in range(NAMED + 5)]
    found = chapter(SQUARES, "quick", QUICK, None, missing=labels, total=NAMED + 5)
    assert f"k={NAMED - 1}; and 5 more." in found.notes[0]
    assert f"k={NAMED}" not in found.notes[0]


def test_a_failed_job_is_named_with_its_error():
    found = chapter(SQUARES, "quick", QUICK, frame(SQUARES, QUICK).head(2), missing=["k=2"], failed={"k=2": "RuntimeError: the pen broke"})
    assert found.notes == ("A job failed, k=2: RuntimeError: the pen broke",)
    assert {claim.outcome for claim in found.claims} == {"could not be tested"}


@pytest.mark.parametrize("part", ["charts", "claims"])
def test_a_drawing_that_raises_leaves_the_rest(part, monkeypatch, tmp_path):
    def broken(self, table, spec):
        raise KeyError("column gone")

    monkeypatch.setattr(Squares, part, broken)
    found = chapter(SQUARES, "quick", QUICK, frame(SQUARES, QUICK))
    assert "KeyError: 'column gone'" in found.notes[0]
    assert bool(found.charts) == (part == "claims")
    assert [claim.outcome for claim in found.claims] == (["could not be tested"] if part == "claims" else ["agrees", "differs"])
    assert "column gone" in Page(save(tmp_path, [found], {}).read_text(encoding="utf-8")).text


def test_charts_of_one_name_get_different_places(monkeypatch):
    line = Series("", np.arange(2.0), np.arange(2.0))
    monkeypatch.setattr(
        Squares, "charts", lambda self, table, spec: [Chart("a b", "one", "x", "y", (line,)), Chart("a b", "two", "x", "y", (line,))]
    )
    assert [chart.name for chart in chapter(SQUARES, "quick", QUICK, frame(SQUARES, QUICK)).charts] == ["fig1a-1-a-b", "fig1a-2-a-b"]


def test_counts_and_headline(whole, skipped):
    claims = [*whole.claims, *skipped.claims]
    assert list(counts(claims).values()) == [1, 1, 1]
    assert headline([whole]) == "2 claims: 1 agrees, 1 differs, 0 could not be tested."
    assert headline([whole, whole]) == "4 claims: 2 agree, 2 differ, 0 could not be tested."


def test_long_texts_are_cut_in_the_summary_and_whole_in_the_section(tmp_path, whole):
    why = "The first sentence says what decides it, at some length so that it fills a line or two of the table. " * 3
    claim = dataclasses.replace(whole.claims[0], why=why)
    text = Page(save(tmp_path, [dataclasses.replace(whole, claims=(claim,))], {}).read_text(encoding="utf-8")).text
    assert text.count(why) == 1
    assert "a line or two of the table …" in text


def test_machine_tells_no_names():
    facts = " ".join([*provenance.machine().values(), *provenance.versions().values()])
    for private in (platform.node(), getpass.getuser(), str(Path.cwd()), str(Path.home())):
        assert len(private) < 3 or private not in facts


def test_machine_and_versions_name_what_numbers_depend_on():
    assert {"python", "perdure", "torch", "numpy"} <= set(provenance.versions())
    machine = provenance.machine()
    assert set(machine) == {"processor", "processors used", "memory", "system"}
    assert int(machine["processors used"]) >= 1
    assert float(machine["memory"].removesuffix(" GiB")) > 0.1


def test_a_long_line_keeps_its_extremes_and_its_breaks():
    y = np.sin(np.arange(50_000.0) / 500)
    y[12_345], y[20_000:20_200] = 7.0, np.nan
    x, thin = outline(np.arange(50_000.0), y)
    assert thin.size == 2000
    assert np.nanmax(thin) == 7.0
    assert x[np.nanargmax(thin)] == 12_345
    assert np.isnan(thin).any()
    assert (np.diff(x) >= 0).all()


def _y_axis(y):
    return specification(Chart("a", "t", "x", "y", (Series("s", np.arange(float(y.size)), y),), y_log=True))["layout"]["yaxis"]


@pytest.mark.parametrize("y", [np.empty(0), np.array([np.nan, np.inf]), np.array([-1.0, 0.0]), np.array([2.0, 4.0])])
def test_a_logarithmic_chart_of_nothing_or_little_has_labels_between_powers(y):
    assert _y_axis(y)["dtick"] == "D2"  # labels at 1, 2 and 5


def test_a_logarithmic_chart_of_many_decades_has_whole_powers_at_its_ticks():
    assert _y_axis(np.array([1e-12, 1.0]))["dtick"] == 2
    assert _y_axis(np.array([1e-3, 1.0, np.inf]))["dtick"] == 1
    assert _y_axis(np.array([5e-324, 1e300]))["dtick"] == 104


def test_a_cloud_of_points_keeps_all_of_them():
    x = np.arange(500.0)
    cloud, samples = Series("", x, x, line=None, marker="circle", thin=False), Series("", x, x, line=None, marker="circle")
    traces = specification(Chart("a", "t", "x", "y", (cloud, samples)))["data"]
    assert (len(traces[0]["x"]), len(traces[1]["x"])) == (500, 42)


def test_a_page_of_all_experiments_is_written_in_time(whole, tmp_path):
    many = [
        dataclasses.replace(whole, name=name, charts=tuple(dataclasses.replace(c, name=f"{name}-{c.name}") for c in whole.charts))
        for name in catalogue.names()
    ]
    start = time.perf_counter()
    path = save(tmp_path, many, {})
    assert time.perf_counter() - start < 40  # 20 s are aimed at; a busy machine gets twice as long
    assert path.stat().st_size < 12e6


def test_a_claim_without_rows_is_a_claim_not_tested(skipped):
    assert skipped.claims == (
        Claim(
            "squares of digits",
            "see the method",
            "no rows",
            "could not be tested",
            "Not run: MNIST's four IDX files: pass their folder as --mnist",
        ),
    )
    assert skipped.charts == ()
