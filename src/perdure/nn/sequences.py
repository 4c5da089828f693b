"""What torch's recurrent layers accept as a batch of sequences: any layout, one sequence alone, packed sequences of different lengths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from perdure import _checks
from perdure.errors import ArgumentTypeError


@dataclass(frozen=True)
class Batch:
    """Sequences with time first, and how to give results back in the form they came in.

    Attributes:
        x: (T, B, d).
        lengths: (B,) on the CPU, None when all are T.
        batched: False for one sequence alone.
        batch_first: whether the user has the batch on axis 0.
        packed: the packed sequence it came from.
    """

    x: Tensor
    lengths: Tensor | None
    batched: bool
    batch_first: bool
    packed: PackedSequence | None

    def restore(self, y: Tensor) -> Tensor | PackedSequence:
        """Outputs (T, B, o) in the form of the input."""
        if self.packed is not None and self.lengths is not None:
            order = self.packed.sorted_indices
            y, lengths = (y, self.lengths) if order is None else (y.index_select(1, order), self.lengths[order.cpu()])
            data = pack_padded_sequence(y, lengths).data
            return PackedSequence(data, self.packed.batch_sizes, order, self.packed.unsorted_indices)
        if not self.batched:
            return y[:, 0]
        return y.transpose(0, 1) if self.batch_first else y

    def reverse(self, y: Tensor) -> Tensor:
        """(T, B, o) with each sequence turned round in its own length, padding left where it is."""
        if self.lengths is None:
            return y.flip(0)
        steps = torch.arange(y.shape[0], device=y.device)[:, None]
        turned = self.lengths.to(y.device) - 1 - steps
        index = torch.where(turned >= 0, turned, steps)
        return y.gather(0, index[..., None].expand_as(y))

    def last(self, states: Tensor, last: Tensor) -> Tensor:
        """The state (B, m) at the end of each sequence, from all states (T, B, m) and the one after step T."""
        if self.lengths is None:
            return last
        index = (self.lengths - 1).to(states.device)[None, :, None].expand(1, *states.shape[1:])
        return states.gather(0, index)[0]


def read(x: Tensor | PackedSequence, size: int, dtype: torch.dtype, batch_first: bool, name: str = "input") -> Batch:
    """A `Batch` from what the user passed.

    Args:
        x: (T, B, d), (B, T, d) with batch_first, (T, d), or a packed sequence.
        size: d.
        dtype: type of the layer's weights; with autocast on, other floating types pass.
        batch_first: layout of the user's tensors.
        name: what the user calls x, for messages.

    Raises:
        ArgumentTypeError: no tensor, or not of the layer's type.
        ArgumentError: wrong rank or number of channels.
    """
    packed, layout = None, "(B, T, d)" if batch_first else "(T, B, d)"
    if isinstance(x, PackedSequence):
        packed = x
        x, lengths = pad_packed_sequence(x)
        batch = Batch(x, lengths, True, batch_first, packed)
    elif not isinstance(x, Tensor):
        raise ArgumentTypeError(f"expected argument `{name}` to be a tensor or a PackedSequence, but got {type(x).__name__}: pass {layout}")
    elif x.ndim == 3:
        batch = Batch(x.transpose(0, 1) if batch_first else x, None, True, batch_first, None)
    elif x.ndim == 2:
        batch = Batch(x[:, None], None, False, batch_first, None)
    else:
        raise _checks.fail(name, f"of shape {layout}, or (T, d) for one sequence", tuple(x.shape), "add or remove an axis")
    if batch.x.shape[-1] != size:
        raise _checks.fail(name, f"of {size} channels on its last axis", tuple(x.shape), "it is the layer's input_size")
    if batch.x.dtype != dtype and not (batch.x.is_floating_point() and torch.is_autocast_enabled(batch.x.device.type)):
        raise ArgumentTypeError(
            f"expected argument `{name}` to be of {dtype}, as the layer, but got {batch.x.dtype}: use {name}.to({dtype})"
        )
    return batch
