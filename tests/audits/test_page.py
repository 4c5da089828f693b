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
        assert heat(Heatmap("plot-x", "t", "lag", "layer", np.arange(9), names, values, "share")).startswith(b"\x89PNG")


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
    found = audit(lambda x: x.mean(1, keepdim=True).expand_as(x) + x.flip(1), input_size=1, horizon=32, parts=("properties", "reach"))
    assert "≥ " in page(found)


def test_a_heat_map_is_strict_json():
    made = specify(
        Heatmap("plot-x", "t", "lag", "layer", np.arange(3), ("<b>", "two"), np.array([[0.0, 1e-3, 1.0], [1e-30, 0.1, 0.2]]), "share")
    )
    trace = made["data"][0]
    assert trace["z"][0] == [None, -3.0, 0.0]
    assert trace["y"] == ["&lt;b&gt;", "two"]
    assert (trace["zmin"], trace["zmax"]) == (-12, 0)


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
ROW = {"spectral_radius": 0.9, "time_constant": 9.5, "name": "l", "kind": "GRU"}
HELD = {"holds": True, "gap": 0.5, "reason": ""}
NOT = {"holds": False, "gap": 0.0, "reason": ""}


def bits(value):
    return {"format": "int8", "readings": {"horizon_1": {"value": value}}}


def length(law, left):
    return {"law": law, "left": left, "steps": 100}


BOTH_WAYS = {
    "sees_the_future": (made(properties={"causal": {**NOT, "gap": 0.2}}), made(properties={"causal": HELD})),
    "draws_or_keeps": (made(properties={"random": HELD, "stateful": NOT}), made(properties={"random": NOT, "stateful": NOT})),
    "never_forgets": (made(memory=memory(heaviside=curve(LEVEL))), made(memory=memory(heaviside=curve(SLOW)))),
    "keeps_the_past": (made(forgetting={"forgets": False, "reason": "r"}), made(forgetting={"forgets": None, "reason": "r"})),
    "close_to_unstable": (
        made(recurrence={"layers": [{**ROW, "stability_radius": 0.001}]}),
        made(recurrence={"layers": [{**ROW, "stability_radius": 0.1}]}),
    ),
    "no_memory": (made(memory=memory(heaviside=curve(T == 0))), made(memory=memory(heaviside=curve(T == 0), impulse=curve(SLOW)))),
    "horizon_too_short": (made(memory=memory(heaviside=curve(1 / (1 + 1e-3 * T)))), made(memory=memory(heaviside=curve(SLOW)))),
    "looks_back_briefly": (made(memory=memory(heaviside=curve(FAST))), made(memory=memory(heaviside=curve(SLOW)))),
    "loses_in_few_bits": (made(storage={"rows": [bits(100.0), bits(50.0)]}), made(storage={"rows": [bits(100.0), bits(99.0)]})),
    "hangs_on_one_group": (
        made(fragility={"rows": [{"group": g, "memory": v} for g, v in (("a", 9.0), ("b", 1.0), ("c", 1.0))]}),
        made(fragility={"rows": [{"group": g, "memory": v} for g, v in (("a", 2.0), ("b", 1.0), ("c", 1.0))]}),
    ),
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
    assert re.search(r"\d|nothing|Found: r", said["number"])
    assert said in recommend(speaks)
    assert rule(silent) is None
    assert rule(made()) is None


def test_a_radius_of_zero_is_said():
    from perdure.audits.advice import close_to_unstable

    behind = {"layers": [{**ROW, "stability_radius": 0.001, "stable_map": True}]}
    assert close_to_unstable(made(recurrence=behind)) is None
    said = close_to_unstable(made(recurrence={"layers": [{**ROW, "stability_radius": 0.0}]}))
    assert "does not fade" in said["text"]


def test_an_echo_state_network_at_the_edge_does_not_forget_its_past():
    model = nn.RNN(1, 8, batch_first=True, bias=False)
    with torch.no_grad():
        model.weight_hh_l0.copy_(1.5 * torch.eye(8))
        model.weight_ih_l0.fill_(0.05)
    found = audit(model, horizon=64, parts=("properties", "forgetting", "recurrence"))
    assert found.part("forgetting")["forgets"] is False
    assert found.part("recurrence")["layers"][0]["stability_radius"] == 0
    model.weight_hh_l0.data.mul_(0.4)  # 0.6 I
    calm = audit(model, horizon=64, parts=("properties", "forgetting", "recurrence"))
    assert calm.part("forgetting")["forgets"] is True
    assert calm.part("recurrence")["layers"][0]["stability_radius"] == pytest.approx(0.4, rel=1e-6)
    assert calm.part("recurrence")["layers"][0]["time_constant"] == pytest.approx(-1 / np.log(0.6), rel=1e-6)


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
    profile = np.array(found["profiles"]["input"])
    assert profile[: len(profile) // 3] == pytest.approx(0.8 ** np.array(found["lags"])[: len(profile) // 3], rel=1e-9)
    assert found["half"]["input"]["half"] == 3  # 1 - 0.8^(k + 1) >= 1/2 from k = 3 on


def test_weights_in_fewer_bits_move_the_rate_they_store():
    model = nn.RNN(1, 1, nonlinearity="relu", bias=False, batch_first=True)
    with torch.no_grad():
        model.weight_ih_l0.fill_(1.0)
        model.weight_hh_l0.fill_(1 - 1 / 700)  # bfloat16 rounds it to 1: nothing between 1 - 1/256 and 1
    rows = {
        row["format"]: row
        for row in audit(model, horizon=2048, parts=("memory", "storage"), lengths=(1,), bound=0.01).part("storage")["rows"]
    }
    assert rows["as given"]["law"]["parameters"]["rate"] == pytest.approx(-np.log(1 - 1 / 700), rel=1e-3)
    assert rows["bfloat16"]["law"]["law"] == "persistent"
    assert rows["float16"]["law"]["parameters"]["rate"] == pytest.approx(-np.log(float(torch.tensor(1 - 1 / 700).half())), rel=1e-3)
