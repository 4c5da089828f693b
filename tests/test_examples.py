"""Every script in examples/ runs as its docstring says, and what it prints makes sense."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def drop_in(text):
    """All four layers beat "next week as this week", and look back further for 1 % than for a half."""
    head, baseline, *rows = text.splitlines()
    assert "error" in head
    persistence = float(baseline.split()[-1])
    assert persistence == pytest.approx(0.527, abs=0.001)  # a fact of the record, not of the models
    names = [row.split()[0] for row in rows]
    assert names == ["torch.nn.RNN", "perdure.nn.ContinuousRNN", "torch.nn.LSTM", "perdure.nn.DiagonalSSM"]
    for row in rows:
        error, milliseconds, half, hundredth = (float(cell) for cell in row.split()[1:])
        assert 0.2 < error < 0.97 * persistence, row
        assert milliseconds > 0
        assert 0 < half < hundredth, row


def fit_functional(text):
    """The error falls with the width; what a nudge of 0.05 does under the exp map does not grow."""
    rows = [line.split() for line in text.splitlines()[1:]]
    assert [row[0] for row in rows] == ["4", "8", "16"]
    errors, moved = ([float(row[k]) for row in rows] for k in (1, 2))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert max(moved) < 0.1


def linearise_gru(text):
    """The slowest mode is the late fall of the memory."""
    rows = re.findall(r"^ +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", text, re.MULTILINE)
    assert len(rows) == 6
    for *_, predicted, measured in rows:
        assert float(measured) == pytest.approx(float(predicted), rel=0.03)


def memory_of_an_lstm(text):
    """Open forget gates lengthen the memory, under both probes."""
    half = dict(re.findall(r"^(\w+ +(?:as initialised|forget bias \+ 2)) +half-life +([\d.]+)", text, re.MULTILINE))
    half = {" ".join(name.split()): float(value) for name, value in half.items()}
    assert len(half) == 4
    for probe in ("heaviside", "impulse"):
        assert half[f"{probe} forget bias + 2"] > 3 * half[f"{probe} as initialised"]


def which_law(text):
    """Each filter gets the law it was built with."""
    found = dict(re.findall(r"^(\S+(?: \S+)*)  +(exponential|polynomial|finite|persistent|stretched|undecided)", text, re.MULTILINE))
    assert found == {
        "leaky integrator": "exponential",
        "three leaks in a row": "exponential",
        "forty leaks side by side": "polynomial",
        "moving average of 300": "finite",
        "integrator": "persistent",
    }


def lemma_counterexample(text):
    """The lemma says 0.5; P is five thousand times that, the radius a hundredth of the rate."""
    numbers = {line[:44].strip(): line[44:].split()[0] for line in text.splitlines() if len(line) > 44}
    assert float(numbers["||P||_2"]) == pytest.approx(2500.75, abs=0.01)
    assert float(numbers["||P||_2 as the lemma has it"]) == 0.5
    assert float(numbers["stability radius"]) == pytest.approx(0.009999, abs=1e-6)
    assert float(numbers["Kreiss constant"]) == pytest.approx(25.01, abs=0.01)


def memory_of_a_task(text):
    """The leak's time constant, 15 steps, inside its interval; the power law's half-life under a step."""
    found = re.findall(r"^(.+?): half-life ([\d.]+) \(95 %: ([\d.]+) to ([\d.]+)\)", text, re.MULTILINE)
    rows = {name: tuple(map(float, numbers)) for name, *numbers in found}
    assert set(rows) == {"leaky integrator", "power law"}
    half, low, high = rows["leaky integrator"]
    assert low <= half <= high
    assert half == pytest.approx(15 * 0.6931, rel=0.1)
    assert rows["power law"][0] < 1.5


def audit_an_lstm(text):
    """Open forget gates lengthen the memory, and both are read off the curve that speaks."""
    found = re.findall(r"^(as initialised|forget bias \+ 2) +half-life ([\d.]+) steps, 1 % left after (?:≥ )?([\d.]+)", text, re.MULTILINE)
    half = {name: float(value) for name, value, _ in found}
    assert set(half) == {"as initialised", "forget bias + 2"}
    assert half["forget bias + 2"] > 3 * half["as initialised"]
    assert "NOT met: horizon(0.01) >= 30" in text.splitlines()[1]


def real_models(text):
    """What sees both ways is left to influence; the letters of a word are remembered. What is not installed says so."""
    for name in ("MiniLM encoder", "letters of g2p-en", "LanguageIdentifier"):
        assert re.search(rf"^{name}: (left out|[\d,]+ numbers)", text, re.MULTILINE)


CASES = {  # name: arguments, what the output must say
    "audit_an_lstm": (["compare.html"], audit_an_lstm),
    "drop_in": (["--quick"], drop_in),
    "fit_functional": (["figure.png"], fit_functional),
    "lemma_counterexample": (["figure.png"], lemma_counterexample),
    "linearise_gru": (["figure.png"], linearise_gru),
    "memory_of_a_task": (["figure.png"], memory_of_a_task),
    "memory_of_an_lstm": (["figure.png"], memory_of_an_lstm),
    "real_models": ([], real_models),
    "which_law": (["figure.png"], which_law),
}


def test_no_example_is_left_out():
    assert sorted(CASES) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", CASES)
def test_example(name, tmp_path):
    arguments, check = CASES[name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check(done.stdout)
    if "figure.png" in arguments:
        assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    if "compare.html" in arguments:
        for page in ("compare.html", "compare-1.html", "compare-2.html"):
            assert "<title>" in (tmp_path / page).read_text(encoding="utf-8")


def test_a_missing_folder_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "memory_of_an_lstm.py"), str(tmp_path / "no" / "figure.png")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no such folder" in done.stderr
