"""Files give weights and nothing else; what does not fit or is not safe is refused with the reason."""

import os
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from perdure.audits.loading import load_object, load_transformers, load_weights, read_weights
from perdure.errors import ArgumentError, ArgumentTypeError, ModelError


class Malicious:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module of the user's."""
    (tmp_path / "of_a_user.py").write_text(
        "import torch\n"
        "MODEL = torch.nn.GRU(2, 3)\n"
        "SIZE = 3\n"
        "class Holder:\n    build = staticmethod(lambda: torch.nn.LSTM(1, 2))\n"
        "def build():\n    return torch.nn.Linear(1, 4)\n"
        "def sized(n):\n    return torch.nn.Linear(1, n)\n"
        "def wrong():\n    return 3\n"
        "def fails():\n    return torch.nn.Linear('a')\n"
    )
    (tmp_path / "needs_more.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "of_a_user"
    sys.modules.pop("of_a_user", None)


def test_a_name_gives_the_model(package):
    assert load_object(f"{package}:build").out_features == 4
    assert load_object(f"{package}:Holder.build").hidden_size == 2
    assert isinstance(load_object("torch.nn:Identity"), nn.Identity)
    assert load_object(f"{package}:MODEL") is load_object(f"{package}:MODEL")


def test_a_module_in_the_current_folder_is_found_and_the_path_is_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "in_this_folder.py").write_text(
        "import torch\ndef build():\n    from beside_it import SIZE\n    return torch.nn.Linear(1, SIZE)\n"
    )
    (tmp_path / "beside_it.py").write_text("SIZE = 7\n")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = list(sys.path)
    with pytest.raises(ArgumentError, match="current folder"):
        load_object("in_this_folder:build")
    monkeypatch.chdir(tmp_path)
    try:
        assert load_object("in_this_folder:build").out_features == 7
        with pytest.raises(ArgumentError, match="something that in_this_folder defines"):
            load_object("in_this_folder:built")
    finally:
        for name in ("in_this_folder", "beside_it"):
            sys.modules.pop(name, None)
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("of_a_user", r"of the form package\.module:build"),
        ("of_a_user:", "of the form"),
        ("of_a_user:build()", "of the form"),
        ("../of_a_user:build", "of the form"),
        ("no_such_module_at_all:build", "in a module that can be found"),
        ("torch.no_such_part:build", "in a module that can be found"),
        ("needs_more:build", "needs 'no_such_library'"),
        ("of_a_user:built", r"something that of_a_user defines \(Holder, MODEL, build"),
        ("of_a_user:SIZE", "a model or a function that builds one"),
        ("of_a_user:sized", "a function without arguments.*'n'"),
        ("of_a_user:wrong", "which returns int"),
    ],
)
def test_names_that_give_no_model(package, name, message):
    with pytest.raises(ArgumentError, match=message):
        load_object(name)


def test_an_error_inside_the_users_function_is_the_users(package):
    with pytest.raises(TypeError, match="required positional") as caught:
        load_object(f"{package}:fails")
    assert not isinstance(caught.value, ArgumentError)
    with pytest.raises(ArgumentTypeError, match="a string"):
        load_object(nn.Linear(1, 1))


def saved(model, path):
    if path.suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.bin"])
def test_weights_arrive(name, tmp_path):
    source, target = nn.GRU(2, 3), nn.GRU(2, 3).double()
    assert load_weights(target, saved(source, tmp_path / name)) is target
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value.double())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
@pytest.mark.parametrize("part", [None, "state_dict", "model_state_dict"])
def test_checkpoints_and_wrappers(prefix, part, tmp_path):
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    weights = {prefix + key: value for key, value in source.state_dict().items()}
    torch.save(weights if part is None else {part: weights, "epoch": 3, "names": ["a"]}, tmp_path / "w.pt")
    assert torch.equal(load_weights(target, tmp_path / "w.pt").weight, source.weight)


def test_tied_weights_are_stored_once(tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
        model[1].weight = model[0].weight
        return model

    source = tied()
    save_file({"0.weight": source[0].weight.detach()}, tmp_path / "w.safetensors")
    target = load_weights(tied(), tmp_path / "w.safetensors")
    assert torch.equal(target[1].weight, source[0].weight)
    assert target[1].weight is target[0].weight


def test_what_does_not_fit_is_listed_and_nothing_is_loaded(tmp_path):
    path = saved(nn.GRU(2, 4, bias=False), tmp_path / "w.pt")
    model = nn.GRU(2, 3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        ModelError, match=r"missing \(2\) bias_ih_l0, bias_hh_l0; of another shape \(2\) weight_ih_l0 \(12, 2\) for \(9, 2\), weight_hh"
    ):
        load_weights(model, path)
    with pytest.raises(ModelError, match=r"unexpected \(2\) weight_ih_l0, weight_hh_l0"):
        load_weights(nn.Linear(1, 1), path)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_file_is_refused_and_not_run(legacy, tmp_path):
    trap = tmp_path / "sprung"
    torch.save({"weight": torch.zeros(1, 1), "extra": Malicious(trap)}, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(
        ArgumentError, match=r"which names (posix|nt)\.mkdir: unpickling runs whatever code a file names.*nothing of it was run"
    ):
        load_weights(nn.Linear(1, 1), tmp_path / "w.pt")
    assert not trap.exists()
    torch.load(tmp_path / "w.pt", weights_only=False)  # the trap is a real one
    assert trap.exists()


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(nn.Linear(1, 1), tmp_path / "w.pt")
    with pytest.raises(ArgumentError, match=r"names torch\.nn\.modules\.linear\.Linear.*save it anew"):
        read_weights(tmp_path / "w.pt")


def test_files_that_hold_no_weights(tmp_path):
    with pytest.raises(ArgumentError, match="`weights` to be a file"):
        read_weights(tmp_path / "none.pt")
    with pytest.raises(ArgumentError, match="it is a folder"):
        read_weights(tmp_path)
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("hello " * 30)
        with pytest.raises(ArgumentError, match=r"text\.(pt|safetensors)"):
            read_weights(tmp_path / name)
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(ArgumentError, match=r"empty\.pt"):
        read_weights(tmp_path / "empty.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ArgumentError, match=r"a dictionary of tensors, but got list\.pt with a list"):
        read_weights(tmp_path / "list.pt")
    torch.save({"epoch": 1}, tmp_path / "keys.pt")
    with pytest.raises(ArgumentError, match="with keys epoch"):
        read_weights(tmp_path / "keys.pt")
    with pytest.raises(ArgumentTypeError, match="torch module"):
        load_weights(lambda x: x, tmp_path / "keys.pt")


def small(kind="GPT2LMHeadModel"):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=11, n_embd=8, n_layer=1, n_head=2, n_positions=32)
    return getattr(transformers, kind)(config).eval()


@pytest.mark.parametrize(("kind", "width"), [("GPT2LMHeadModel", 11), ("GPT2Model", 8)])
def test_a_folder_of_transformers(kind, width, tmp_path):
    model = small(kind)
    model.save_pretrained(tmp_path)
    loaded = load_transformers(tmp_path)
    assert not loaded.training
    x = torch.randn(1, 5, 8)
    with torch.no_grad():
        ours, theirs = loaded(inputs_embeds=x)[0], model(inputs_embeds=x)[0]
    assert ours.shape[2] == width
    assert torch.equal(ours, theirs)
    assert load_transformers(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_folders_that_transformers_must_not_load(tmp_path):
    with pytest.raises(ArgumentError, match="nothing is downloaded"):
        load_transformers("gpt2-of-the-internet")
    with pytest.raises(ArgumentError, match=r"a config\.json"):
        load_transformers(tmp_path)
    model = small()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ArgumentError, match=r"one with pytorch_model\.bin"):
        load_transformers(tmp_path)


def test_no_bar_is_drawn_and_bars_stay_as_they_were(tmp_path, capfd):
    model = small()
    model.save_pretrained(tmp_path)
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    capfd.readouterr()
    load_transformers(tmp_path)
    assert capfd.readouterr().err == ""
    assert logging.is_progress_bar_enabled() == shown


def test_code_in_a_folder_is_not_run(tmp_path):
    pytest.importorskip("transformers")
    trap = tmp_path / "sprung"
    (tmp_path / "config.json").write_text(
        '{"model_type": "of_its_own", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}'
    )
    (tmp_path / "code.py").write_text(f"import os\nos.mkdir({str(trap)!r})\n")
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ArgumentError, match="a folder that transformers can load"):
        load_transformers(tmp_path)
    assert not trap.exists()
