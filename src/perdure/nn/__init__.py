"""Recurrent layers whose memory lasts: `ContinuousRNN`, `DiagonalSSM`, and `init` for their time constants."""

from perdure.nn import init
from perdure.nn.continuous_rnn import ContinuousRNN
from perdure.nn.ssm import DiagonalSSM

__all__ = ["ContinuousRNN", "DiagonalSSM", "init"]
