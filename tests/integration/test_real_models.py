"""Trained models from installed packages: their weights are read right, and what they are is measured right."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from perdure.adapters import measure

SPEC = importlib.util.spec_from_file_location("real_models", Path(__file__).parents[2] / "examples" / "real_models.py")
real_models = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(real_models)


def load(build, *arguments):
    try:
        return build(*arguments)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gru_step(x, h, w_ih, w_hh, b_ih, b_hh):
    """One step, rows in the order reset, update, new."""
    given_r, given_z, given_n = np.split(w_ih @ x + b_ih, 3)
    held_r, held_z, held_n = np.split(w_hh @ h + b_hh, 3)
    z = sigmoid(given_z + held_z)
    return (1 - z) * np.tanh(given_n + sigmoid(given_r + held_r) * held_n) + z * h


@pytest.mark.parametrize("part", ["enc", "dec"])
def test_the_gates_of_g2p_are_in_torchs_order(part):
    arrays = load(real_models.g2p_arrays)
    layer = real_models.g2p_encoder(part)
    weights = [arrays[f"{part}_{name}"].astype(float) for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
    x = arrays[f"{part}_emb"][np.random.default_rng(0).integers(0, 29, 20)].astype(float)
    expected, swapped = np.zeros((2, 20, weights[1].shape[1])), [np.concatenate([w[256:512], w[:256], w[512:]]) for w in weights]
    for k, used in enumerate((weights, swapped)):
        h = np.zeros(weights[1].shape[1])
        for t in range(20):
            h = expected[k, t] = gru_step(x[t], h, *used)
    with torch.no_grad():
        found = layer.double()(torch.from_numpy(x)[None])[0][0].numpy()
    np.testing.assert_allclose(found, expected[0], atol=1e-12)
    assert np.abs(found - expected[1]).max() > 0.5  # update before reset would be another network


def test_g2p_still_pronounces():
    """Encoder and decoder of torch, in the layout of the arrays, say a word they were not trained on."""
    arrays = load(real_models.g2p_arrays)
    encoder, decoder = real_models.g2p_encoder(), real_models.g2p_encoder("dec")
    letters = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
    numbers = [letters.index(letter) for letter in "activationist"] + [2]
    said, last = [], 2
    with torch.no_grad():
        h = encoder(torch.from_numpy(arrays["enc_emb"][numbers])[None])[1]
        while len(said) < 20:
            y, h = decoder(torch.from_numpy(arrays["dec_emb"][[last]])[None], h)
            last = int((y[0, 0].numpy() @ arrays["fc_w"].T + arrays["fc_b"]).argmax())
            if last == 3:
                break
            said.append(last)
    stressed = {"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"}
    plain = [
        "B",
        "CH",
        "D",
        "DH",
        "F",
        "G",
        "HH",
        "JH",
        "K",
        "L",
        "M",
        "N",
        "NG",
        "P",
        "R",
        "S",
        "SH",
        "T",
        "TH",
        "UW",
        "V",
        "W",
        "Y",
        "Z",
        "ZH",
    ]
    phonemes = ["<pad>", "<unk>", "<s>", "</s>", *sorted([f"{vowel}{k}" for vowel in stressed for k in range(3)] + plain)]
    heard = [phonemes[number] for number in said]
    assert [sound for sound in heard if sound in plain] == ["K", "T", "V", "SH", "N", "S", "T"]
    assert heard[0].startswith("AE")
    assert heard[5] == "EY1"


def test_the_letters_of_g2p():
    found = measure(load(real_models.g2p_encoder), 16)
    assert found.causal.holds
    assert found.stateful.holds is False
    assert (found.input_size, found.output_size) == (256, 256)
    assert found.parameters == 2 * 768 * 256 + 2 * 768
    assert len(found.applicable_probes) == 5


def lstm_one_way(x, weights, reverse):
    """One direction of one layer, rows in the order input, forget, cell, output."""
    w_ih, w_hh, b_ih, b_hh = weights
    h = c = np.zeros(w_hh.shape[1])
    out = np.zeros((len(x), len(h)))
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        i, f, g, o = np.split(w_ih @ x[t] + b_ih + w_hh @ h + b_hh, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = out[t] = sigmoid(o) * np.tanh(c)
    return out


def test_the_language_identifier_by_hand():
    model = load(real_models.language_identifier).double()
    held = {name: value.numpy() for name, value in model.state_dict().items()}
    x = held["char_embeddings.weight"][np.random.default_rng(0).integers(0, 600, 12)]
    y = x
    for layer in (0, 1):
        names = [f"lstm.{kind}_l{layer}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        y = np.concatenate([lstm_one_way(y, [held[n + end] for n in names], bool(end)) for end in ("", "_reverse")], 1)
    with torch.no_grad():
        found = model(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_allclose(found, y @ held["hidden2lang.weight"].T + held["hidden2lang.bias"], atol=1e-11)


def test_the_language_identifier_still_identifies():
    model = load(real_models.language_identifier)
    texts = {
        "en": "the weather has been very cold this week and the roads are closed",
        "de": "das Wetter war diese Woche sehr kalt und die Straßen sind gesperrt",
        "fr": "il a fait très froid cette semaine et les routes sont fermées",
        "fi": "tällä viikolla on ollut hyvin kylmä ja tiet ovat kiinni",
    }
    assert {model.language(text) for text in texts.values()} == set(texts)
    assert all(model.language(text) == name for name, text in texts.items())


def test_what_the_language_identifier_is():
    found = measure(load(real_models.language_identifier), 16, input_size=150)
    assert found.causal.holds is False
    assert found.causal.step == 0
    assert found.rows_independent.holds
    assert found.applicable_probes == ("influence",)


def test_minilm():
    pytest.importorskip("transformers")
    model = load(real_models.minilm)
    ids = torch.tensor([[101, 2023, 2003, 1037, 3231, 102]])
    with torch.no_grad():
        by_embeddings = model(inputs_embeds=model.get_input_embeddings()(ids)).last_hidden_state
        torch.testing.assert_close(by_embeddings, model(input_ids=ids).last_hidden_state)
    found = measure(model, 8)
    assert found.causal.holds is False
    assert (found.maximum_length, found.fails_at) == (512, 513)
    assert (found.input_size, found.output_size) == (384, 384)
    assert found.applicable_probes == ("influence",)
    assert sum(p.numel() for p in model.parameters()) == found.parameters > 22e6
