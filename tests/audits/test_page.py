"""The page: whole, self-contained, in order, and safe whatever the names are."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from torch import nn

from perdure import functionals
from perdure.audits.advice import RULES, recommend
from perdure.audits.audit import PARTS, audit
from perdure.audits.charts import Heatmap, memory_charts, safe, specify
from perdure.audits.page import page
from perdure.audits.pictures import heat
from perdure.audits.result import Audit, Part
from perdure.audits.sections import SECTIONS

EVIL = "<script>alert(1)</script><!--"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.ids, self.targets, self.outside = [], [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.seen.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a" and given.get("href", "").startswith("#"):
            self.targets.append(given["href"][1:])
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and v.startswith("http") and tag != "a"]


def parsed(text):
    tags = Tags()
    tags.feed(text)
    return tags


class Named(nn.Module):
    """A model whose parts have names that no page should run."""

    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleDict({EVIL.replace(".", ""): nn.GRU(2, 4, batch_first=True)})
        self.add_module("</script>{{7*7}}%{x}", nn.Linear(4, 2))
        self.input_size = 2

    def forward(self, x):
        return self._modules["</script>{{7*7}}%{x}"](next(iter(self.inner.values()))(x)[0])


@pytest.fixture(scope="module")
def gru():
    return audit(Named(), horizon=32, lengths=(1, 2), name=EVIL)


def test_every_section_is_there_in_order(gru):
    text = page(gru)
    places = [text.index(f'<section id="{anchor}">') for anchor in (*SECTIONS, "provenance", "reading")]
    assert places == sorted(places)
    assert {part for section in SECTIONS.values() for part in section.parts} == set(PARTS)


def test_nothing_is_fetched_and_links_lead_somewhere(gru):
    tags = parsed(page(gru))
    assert not tags.outside
    assert set(tags.targets) <= set(tags.ids)
    assert len(tags.ids) == len(set(tags.ids))


def test_names_are_shown_and_not_run(gru):
    plain = parsed(page(audit(nn.GRU(2, 4), horizon=32, lengths=(1, 2))))
    text = page(gru)
    assert parsed(text).seen.count("script") == plain.seen.count("script")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "49" not in re.findall(r"\{\{?7\*7\}?\}|>49<", text)
    data = text[text.index('id="charts">') :]
    assert "<" not in data[12 : data.index("</script>")]


def test_every_chart_has_its_place(gru):
    text = page(gru)
    names = set(re.findall(r'"name": "(plot-[a-z-]+)"', text))
    assert names
    assert names <= set(parsed(text).ids)


def test_what_was_not_measured_is_said_where_it_is_missed():
    found = audit(lambda x: x.flip(1), input_size=1, horizon=32)
    text = page(found)
    assert "Not measured (memory): the model sees the future" in text
    assert "no recurrent layer was found" in text
    assert '<section id="memory">' not in text  # no section without content
    assert "99 % of it within" in text
    assert "does not apply" in text


def test_the_numbers_on_the_cards_are_those_of_the_audit():
    found = audit(functionals.exponential(rate=0.05), horizon=300, parts=("memory",))
    text = page(found)
    for value in ("13.9", "92.1", "exponential", "rate 0.05"):
        assert value in text


def test_a_page_can_be_made_again_from_json(gru, tmp_path):
    gru.to_json(tmp_path / "a.json")
    assert page(Audit.from_json(tmp_path / "a.json")) == page(gru)


def test_a_model_without_memory_has_a_page():
    found = audit(nn.Linear(2, 2), horizon=32, lengths=(1, 2))
    assert "nothing is left after the first step" in page(found)
    assert any("no memory" in r["text"] for r in found.recommendations)


def test_memory_charts_leave_noise_out(gru):
    linear, log = memory_charts(gru)
    floor = {name: c["noise_floor"] for name, c in gru.part("memory")["curves"].items()}
    for series in linear.series:
        if series.label in floor:
            assert np.nanmin(series.y) > floor[series.label]
    assert all((s.x > 0).all() for s in log.series)


def test_without_scripts_there_are_pictures(gru, tmp_path):
    text = gru.save(tmp_path / "a.html").read_text(encoding="utf-8")
    names = set(re.findall(r'"name": "(plot-[a-z-]+)"', text))
    pictures = re.findall(r'<noscript><img src="data:image/png;base64,[A-Za-z0-9+/=]{1000,}" alt="([^"]+)"></noscript>', text)
    assert len(pictures) == len(names)
    assert sum(map(len, re.findall(r"data:image[^\"]*", text))) < 600_000
    assert not parsed(text).outside


def test_a_heat_map_is_a_picture_whatever_its_names_and_zeros():
    names = ("$x", "<b>", "three")
    for values in (np.zeros((3, 9)), np.full((3, 9), 1e-30), np.geomspace(1e-20, 1, 27).reshape(3, 9)):
        assert heat(Heatmap("plot-x", "t", "lag", "layer", ("$", *map(str, range(8))), names, values, "share")).startswith(b"\x89PNG")


def test_probes_that_agree_are_said_to():
    found = audit(functionals.exponential(rate=0.05), horizon=200, parts=("memory", "agreement"))
    data = found.part("agreement")
    assert data["agree"]
    assert max(pair["distance"] for pair in data["pairs"]) < 1e-6
    assert all(pair["half_life_ratio"] == pytest.approx(1, abs=1e-6) for pair in data["pairs"])
    text = page(found)
    assert all(sentence["text"].split("'")[0][:30] in text for sentence in data["sentences"])


def test_a_gate_makes_the_memory_depend_on_what_is_read():
    class Gate(nn.Module):
        """y_k = f_k y_{k-1} + x_k with f_k = 0.95 in silence and less in noise."""

        input_size = 1

        def forward(self, x):
            y, ys = torch.zeros_like(x[:, 0]), []
            for k in range(x.shape[1]):
                y = 0.95 * torch.exp(-x[:, k].abs()) * y + x[:, k]
                ys.append(y)
            return torch.stack(ys, 1)

    found = audit(Gate(), horizon=64, parts=("properties", "memory", "backgrounds"), lengths=(1,))
    data = found.part("backgrounds")
    values = {name: np.array(data[name]) for name in ("median", "worst", "lower", "upper")}
    assert data["input_dependent"]
    assert (values["lower"] <= values["median"]).all()
    assert (values["median"] <= values["upper"]).all()
    assert (values["upper"] <= values["worst"]).all()
    assert data["members"][0]["label"] == "zeros"
    rate = -np.log(0.95)
    assert data["members"][0]["half_life"]["value"] == pytest.approx(np.log(2) / rate, rel=0.02)
    assert data["readings"]["median"]["half_life"]["value"] < 3  # E|x| = 1/2: the mean rate is 0.55
    assert any("depends on what" in r["text"] for r in found.recommendations)
    assert "memory amid different inputs" in page(found)


def test_a_linear_model_has_one_memory_amid_every_input():
    found = audit(functionals.exponential(rate=0.1), horizon=64, parts=("properties", "memory", "backgrounds"))
    assert "linear (measured)" in found.parts["backgrounds"].reason


def test_a_lag_at_the_end_of_what_was_seen_is_a_bound():
    found = audit(lambda x: x.mean(1, keepdim=True).expand_as(x), input_size=1, horizon=32, parts=("properties", "reach"))
    assert "≥ " in page(found)


def test_a_heat_map_is_strict_json():
    made = specify(
        Heatmap("plot-x", "t", "lag", "layer", ("0", "1", "<i>"), ("<b>", "two"), np.array([[0.0, 1e-3, 1.0], [1e-30, 0.1, 0.2]]), "share")
    )
    trace = made["data"][0]
    assert trace["z"][0] == [None, -3.0, 0.0]
    assert trace["y"] == ["&lt;b&gt;", "two"]
    assert (trace["zmin"], trace["zmax"]) == (-12, 0)
    assert trace["text"][1] == ["0", "1", "&lt;i&gt;"]
    assert made["layout"]["xaxis"]["ticktext"] == ["0", "1"]


def test_safe_leaves_plain_names():
    assert safe("layers.0.weight_hh") == "layers.0.weight_hh"


def made(**parts):
    """An audit of given data."""
    return Audit("m", 1, 100, 1.0, {name: Part(name, "measured", data=data) for name, data in parts.items()})


def curve(values, floor=0.0):
    from perdure.audits.recall import described

    return described(
        {
            "times": np.arange(len(values), dtype=float),
            "values": np.asarray(values, float),
            "noise_floor": floor,
            "status": "exact",
            "notes": [],
            "probe": "heaviside",
        }
    )


def memory(**curves):
    from perdure.audits.recall import headline

    return {"curves": curves, "failed": {}, "headline": headline(curves), "directions": None, "probes": None}


T = np.arange(100.0)
FAST, SLOW, LEVEL = np.exp(-0.8 * T), np.exp(-0.1 * T), 0.5 + 0.5 * np.exp(-0.5 * T)
ROW = {"spectral_radius": 0.9, "slowest": 9.5, "name": "l", "kind": "gru", "counts": True, "stable_map": False}
HELD = {"holds": True, "gap": 0.5, "reason": ""}
NOT = {"holds": False, "gap": 0.0, "reason": ""}


def bits(value):
    def row(name, horizon):
        return {"format": name, "where": "weights", "horizon_1": horizon}

    return {"readable": True, "reference": row("as it is", 100.0), "rows": [row("float16", 99.0), row("int8", value)]}


def gains(**values):
    rows = [{"group": g, "gain": v} for g, v in values.items()]
    return {"rows": rows, "ranking": sorted(values, key=values.get, reverse=True)}


def length(law, left):
    return {"law": law, "left": left, "steps": 100}


BOTH_WAYS = {
    "sees_the_future": (made(properties={"causal": {**NOT, "gap": 0.2}}), made(properties={"causal": HELD})),
    "draws_or_keeps": (made(properties={"random": HELD, "stateful": NOT}), made(properties={"random": NOT, "stateful": NOT})),
    "never_forgets": (made(memory=memory(heaviside=curve(LEVEL))), made(memory=memory(heaviside=curve(SLOW)))),
    "keeps_the_past": (
        made(forgetting={"forgets": "does not forget", "reason": "r 1"}),
        made(forgetting={"forgets": "undecided", "reason": "r 1"}),
    ),
    "close_to_unstable": (
        made(recurrence={"matrices": [{**ROW, "stability_radius": 0.001}]}),
        made(
            recurrence={
                "matrices": [
                    {**ROW, "stability_radius": 0.1},
                    {**ROW, "stability_radius": None},
                    {**ROW, "stability_radius": 0.0, "counts": False},
                ]
            }
        ),
    ),
    "no_memory": (made(memory=memory(heaviside=curve(T == 0))), made(memory=memory(heaviside=curve(T == 0), impulse=curve(SLOW)))),
    "horizon_too_short": (made(memory=memory(heaviside=curve(1 / (1 + 1e-3 * T)))), made(memory=memory(heaviside=curve(SLOW)))),
    "looks_back_briefly": (made(memory=memory(heaviside=curve(FAST))), made(memory=memory(heaviside=curve(SLOW)))),
    "loses_in_few_bits": (made(precision=bits(50.0)), made(precision=bits(95.0))),
    "hangs_on_one_group": (made(sensitivity=gains(a=1.0, b=9.0, c=1.0)), made(sensitivity=gains(a=2.0, b=1.0, c=1.0))),
    "other_law_beyond": (
        made(lengths={"rows": [length("exponential", 0.1), length("polynomial", 0.05)]}),
        made(lengths={"rows": [length("exponential", 0.1), length("undecided", 0.05)]}),
    ),
    "depends_on_input": (
        made(backgrounds={"input_dependent": True, "spread": 2.0, "labels": ["zeros", "noise 1"]}),
        made(backgrounds={"input_dependent": True, "spread": 0.5, "labels": ["zeros", "noise 1"]}),
    ),
    "blind_probe": (made(memory=memory(heaviside=curve(T == 0), impulse=curve(SLOW))), made(memory=memory(heaviside=curve(SLOW)))),
    "one_rate": (made(memory=memory(heaviside=curve(SLOW))), made(memory=memory(heaviside=curve((1 + T) ** -1.5)))),
    "ends_somewhere": (
        Audit("m", 1, 100, 1.0, {}, provenance={"options": {"limit": 128}}),
        Audit("m", 1, 100, 1.0, {}, provenance={"options": {"limit": None}}),
    ),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_speaks_where_it_should_and_is_silent_elsewhere(rule):
    speaks, silent = BOTH_WAYS[rule.__name__]
    said = rule(speaks)
    assert said is not None
    assert said["section"] in SECTIONS
    assert re.search(r"\d|nothing", said["number"])
    assert said in recommend(speaks)
    assert rule(silent) is None
    assert rule(made()) is None


def test_a_radius_of_zero_is_said():
    from perdure.audits.advice import close_to_unstable

    behind = {"matrices": [{**ROW, "stability_radius": 0.001, "stable_map": True}]}
    assert close_to_unstable(made(recurrence=behind)) is None
    said = close_to_unstable(made(recurrence={"matrices": [{**ROW, "stability_radius": 0.0}]}))
    assert "does not fade" in said["text"]


def test_a_jacobian_taken_where_there_is_no_rest_counts_for_nothing():
    from perdure.audits.quantities import QUANTITIES
    from perdure.errors import ArgumentError

    row = {**ROW, "counts": False, "stability_radius": 0.0}
    for name in ("stability_radius", "spectral_radius"):
        with pytest.raises(ArgumentError, match="equilibrium"):
            QUANTITIES[name].read(made(recurrence={"matrices": [row]}))
        settled = {**ROW, "stability_radius": 0.1}
        assert QUANTITIES[name].read(made(recurrence={"matrices": [row, settled]})) == (
            {"stability_radius": 0.1, "spectral_radius": 0.9}[name],
            False,
        )
    with pytest.raises(ArgumentError, match="too large"):
        QUANTITIES["stability_radius"].read(
            made(recurrence={"matrices": [{**ROW, "stability_radius": None}, {**ROW, "stability_radius": 0.1}]})
        )
    unstable = [{**ROW, "stability_radius": None}, {**ROW, "stability_radius": 0.0}]
    assert QUANTITIES["stability_radius"].read(made(recurrence={"matrices": unstable})) == (0.0, False)


def test_an_echo_state_network_at_the_edge_does_not_forget_its_past():
    model = nn.RNN(1, 8, batch_first=True, bias=False)
    with torch.no_grad():
        model.weight_hh_l0.copy_(1.5 * torch.eye(8))
        model.weight_ih_l0.fill_(0.05)
    found = audit(model, horizon=64, parts=("properties", "forgetting", "recurrence"))
    assert found.part("forgetting")["forgets"] == "does not forget"
    assert found.part("recurrence")["matrices"][0]["stability_radius"] == 0
    model.weight_hh_l0.data.mul_(0.4)  # 0.6 I
    calm = audit(model, horizon=64, parts=("properties", "forgetting", "recurrence"))
    assert calm.part("forgetting")["forgets"] == "forgets"
    assert calm.part("recurrence")["matrices"][0]["stability_radius"] == pytest.approx(0.4, rel=1e-6)
    assert calm.part("recurrence")["matrices"][0]["slowest"] == pytest.approx(-1 / np.log(0.6), rel=1e-6)


def test_capacity_of_a_delay_line_is_its_length():
    class Delays(nn.Module):
        input_size = 1

        def forward(self, x):
            return torch.cat([torch.roll(torch.nn.functional.pad(x, (0, 0, 8, 0)), k, 1)[:, 8:] for k in range(5)], -1)

    found = audit(Delays(), horizon=64, parts=("capacity",)).part("capacity")
    assert found["capacity"] == pytest.approx(4, abs=1e-3)  # Jaeger's: delays of one step or more
    assert found["total"] == pytest.approx(5, abs=1e-3)
    assert found["most"] == 5
    assert [s > 0.99 for s in found["shares"][:6]] == [True] * 5 + [False]


def test_influence_of_a_linear_recurrence_is_its_kernel():
    class Fade(nn.Module):
        input_size = 1

        def forward(self, x):
            k = torch.arange(x.shape[1], dtype=x.dtype)
            lag = k[:, None] - k
            return torch.where(lag >= 0, 0.8 ** lag.clamp_min(0), 0.0) @ x

    found = audit(Fade(), horizon=64, parts=("properties", "reach")).part("reach")
    assert found["blocks"] == ["output"]
    lags, last = np.array(found["lags"]), np.array(found["last"])
    mean = [np.sqrt(np.mean(0.64 ** np.arange(a, b + 1))) for a, b in zip(lags, last, strict=True)]
    assert found["rms"][0] == pytest.approx(mean, abs=1e-9)
    assert found["reach"]["0.5"] == [1]  # 1 - 0.64^(k + 1) >= 1/2 from k = 1 on
    assert found["reach"]["0.99"] == [10]


def test_the_influence_is_in_double_precision_where_the_budget_allows(monkeypatch):
    """In single precision central differences leave 1e-4 of the output."""
    from perdure.audits.audit import FULL
    from perdure.audits.cost import Cost

    monkeypatch.setattr(
        Cost, "forward", lambda self, rows, steps: 1e9 if rows == FULL else 1e-6
    )  # double precision is too dear for the audit
    found = audit(nn.GRU(2, 4, batch_first=True), horizon=32, lengths=(1,), parts=("properties", "reach", "forgetting"))
    assert found.provenance["options"]["dtype"] == "float32"
    assert found.part("forgetting")["dtype"] == "float32"
    assert found.part("reach")["dtype"] == "float64"
    assert max(found.part("reach")["noise_floor"]) < 1e-9
    asked = audit(nn.GRU(2, 4, batch_first=True), horizon=32, dtype=torch.float32, parts=("properties", "reach"))
    assert asked.part("reach")["dtype"] == "float32"


def test_signed_lags_of_a_model_that_sees_the_future():
    """y_k = x_k + x_{k+3} / 2: half of the input comes three steps before its time."""
    found = audit(
        lambda x: x + 0.5 * nn.functional.pad(x, (0, 0, 0, 3))[:, 3:], input_size=1, horizon=32, parts=("properties", "reach")
    ).part("reach")
    values = dict(zip(found["lags"], found["rms"][0], strict=True))
    assert found["signed"]
    assert values[0] == pytest.approx(1, abs=1e-9)
    assert values[-3] == pytest.approx(0.5, abs=1e-9)
    assert max(v for lag, v in values.items() if lag not in (0, -3)) < 1e-9
    assert (found["reach"]["0.5"], found["reach"]["0.9"]) == ([0], [3])


def test_a_rate_that_bfloat16_rounds_to_one_never_ends():
    model = nn.RNN(1, 1, nonlinearity="relu", bias=False, batch_first=True)
    with torch.no_grad():
        model.weight_ih_l0.fill_(1.0)
        model.weight_hh_l0.fill_(1 - 1 / 700)  # bfloat16 rounds it to 1: nothing between 1 - 1/256 and 1
    found = audit(model, horizon=2048, parts=("memory", "precision"), lengths=(1,), bound=0.01)
    data = found.part("precision")
    rows = {(row["format"], row["where"]): row for row in data["rows"]}
    assert data["probe"] == "heaviside"
    assert data["reference"]["half_life"] == pytest.approx(np.log(2) / -np.log(1 - 1 / 700), rel=1e-3)
    assert rows["bfloat16", "weights"]["half_life"] == np.inf
    half = float(torch.tensor(1 - 1 / 700).half())
    assert rows["float16", "weights"]["half_life"] == pytest.approx(np.log(2) / -np.log(half), rel=1e-3)
    assert next(h["pole"] for h in data["holds"] if h["format"] == "bfloat16") == pytest.approx(255.5, rel=1e-3)
    said = next(r for r in found.recommendations if r["section"] == "precision")
    assert "changes with bfloat16 weights" in said["text"]
    assert "float16 weights" in said["text"].split("within")[1]
    assert "no longer ends" in said["number"]


def test_the_sensitivity_of_a_linear_map_is_the_share_moved():
    """y = w x: one per cent of w is one per cent of y, by whatever search."""

    class Gain(nn.Module):
        input_size = 1

        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

        def forward(self, x):
            return self.second(self.first(x))

    found = audit(Gain(), horizon=32, parts=("sensitivity",)).part("sensitivity")
    assert {row["group"] for row in found["rows"]} == {"first", "second"}
    for row in found["rows"]:
        assert row["relative"] == pytest.approx(row["share"], rel=0.02)
        assert row["gain"] == pytest.approx(1, rel=0.02)


def test_without_a_memory_curve_half_lives_are_not_shown():
    """Responses of a model that sees the future are no memory."""
    found = audit(nn.GRU(2, 4, bidirectional=True), horizon=32, parts=("properties", "memory", "precision", "sensitivity"))
    assert "no memory curve" in found.parts["precision"].reason
    assert found.part("precision")["rows"][0]["error"] < 1e-6
    section = SECTIONS["precision"].content(found)
    assert {row[3] for row in section["tables"][0].rows} == {"–"}
    assert not section["charts"]
    assert {row[5] for row in SECTIONS["sensitivity"].content(found)["tables"][0].rows} == {"–"}
