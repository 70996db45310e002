"""The recurrent encoder: packed batches, so that padding changes nothing, in one direction or both.

Source:  Sutskever et al. 2014, arXiv:1409.3215 (one direction); Bahdanau et al. 2014, arXiv:1409.0473,
         section 3.2 (both: the state of a word is the pair of the states before and after it).
Differs: with two directions each has half the width, so that both encoders have states of one width.
"""

from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nhin.models.seq2seq.config import Seq2SeqConfig
from nhin.models.seq2seq.memory import Memory

CELLS: dict[str, type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]] = {
    "rnn": nn.RNN,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
Cell = Literal["rnn", "lstm", "gru"]


class RecurrentEncoder(nn.Module):
    """Encodes the embedded source."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.directions = config.directions
        self.cell = CELLS[config.cell](
            config.dim,
            config.dim // config.directions,
            config.depth,
            batch_first=True,
            dropout=config.dropout if config.depth > 1 else 0.0,
            bidirectional=config.directions == 2,
        )

    def forward(self, x: Float[Tensor, "B S C"], keep: Bool[Tensor, "B S"]) -> Memory:
        """Encode; every row of ``keep`` begins with True and ends with the padding."""
        packed = pack_padded_sequence(x, keep.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        states, last = self.cell(packed)
        states = pad_packed_sequence(states, batch_first=True, total_length=x.shape[1])[0]
        both = (
            rearrange(part, "(layers two) b c -> layers b (two c)", two=self.directions)
            for part in (last if isinstance(last, tuple) else (last,))
        )
        return Memory(states, keep, tuple(map(torch.Tensor.contiguous, both)))
