r"""Recurrent decoders, which differ in where the context of a step comes from.

.. math::
    \text{fixed}: c_t = c \qquad \text{bahdanau}: c_t = a(s_{t-1}), \; s_t = f(s_{t-1}, [y_{t-1}; c_t]) \qquad
    \text{luong}: s_t = f(s_{t-1}, y_{t-1}), \; c_t = a(s_t)

All of them write from :math:`\tilde h_t = \tanh(W_c [c_t; s_t])`; Luong's input feeding makes it an input of
the next step. A decoder whose context does not depend on its own states computes all steps at once.

Source:  Cho et al. 2014, arXiv:1406.1078 (fixed); Bahdanau et al. 2014, arXiv:1409.0473, section 3.1; Luong
         et al. 2015, arXiv:1508.04025, sections 3 and 3.3.
Differs: one readout for all, Luong's; Bahdanau's is a maxout layer that also reads the last word. The first
         state of the decoder is a projection of the last ones of the encoder, in both directions.
"""

from dataclasses import replace

import torch
from torch import nn

from nhin.models.seq2seq.alignment import SourceAttention
from nhin.models.seq2seq.config import Seq2SeqConfig
from nhin.models.seq2seq.encoder import CELLS
from nhin.models.seq2seq.memory import Alignment, Carried, DecoderState, Hidden, Inputs, Memory


class RecurrentDecoder(nn.Module):
    """What the decoders share: a cell, a first state, and a readout."""

    input_parts = 1  # what is concatenated for an input of the cell, each of the width of the model

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        dim = config.dim
        dropout = config.dropout if config.depth > 1 else 0.0
        self.cell = CELLS[config.cell](
            dim * self.input_parts, dim, config.depth, batch_first=True, dropout=dropout
        )
        self.first = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2 if config.cell == "lstm" else 1))
        self.readout = nn.Linear(2 * dim, dim)
        self.attention: SourceAttention | None = None

    def start(self, memory: Memory) -> DecoderState:
        """Return the state before the first token."""
        carried = (project(x) for project, x in zip(self.first, memory.last, strict=True))
        return DecoderState(tuple(x.tanh() for x in carried))

    def forward(self, x: Hidden, memory: Memory, state: DecoderState) -> tuple[Hidden, Hidden, DecoderState]:
        """Take steps on embedded tokens.

        Returns:
            The attentional state of each step, the query that it attended with, and the state after the last.
        """
        raise NotImplementedError

    def weights(self, queries: Hidden, memory: Memory, step: int) -> Alignment:
        """Return the alignment of queries; a decoder without attention attends to nothing."""
        if self.attention is None:
            return queries.new_zeros(*queries.shape[:2], memory.states.shape[1])
        return self.attention.weights(queries, memory, step)

    def _run(self, x: Inputs, carried: tuple[Carried, ...]) -> tuple[Hidden, tuple[Carried, ...]]:
        """Run the cell; the state of an LSTM is a pair."""
        out, last = self.cell(x, carried if len(carried) == 2 else carried[0])
        return out, last if isinstance(last, tuple) else (last,)

    def _read_out(self, context: Hidden, states: Hidden) -> Hidden:
        return self.readout(torch.cat([context, states], -1)).tanh()


class FixedDecoder(RecurrentDecoder):
    """Without attention: the last state of the encoder is the context of every step."""

    input_parts = 2

    def forward(self, x: Hidden, memory: Memory, state: DecoderState) -> tuple[Hidden, Hidden, DecoderState]:
        """Take all steps at once; see ``RecurrentDecoder``."""
        context = memory.last[0][-1][:, None].expand(-1, x.shape[1], -1)
        states, carried = self._run(torch.cat([x, context], -1), state.carried)
        after = replace(state, carried=carried, step=state.step + x.shape[1])
        return self._read_out(context, states), states, after


class BahdanauDecoder(RecurrentDecoder):
    """Attends with the state before a step, and takes the step with what it found."""

    input_parts = 2

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__(config)
        self.attention = SourceAttention(config)

    def forward(self, x: Hidden, memory: Memory, state: DecoderState) -> tuple[Hidden, Hidden, DecoderState]:
        """Take steps one after another; see ``RecurrentDecoder``."""
        assert self.attention is not None
        queries, contexts, states, carried = [], [], [], state.carried
        for t, token in enumerate(x.split(1, 1)):
            queries.append(carried[0][-1][:, None])
            contexts.append(self.attention(queries[-1], memory, state.step + t))
            out, carried = self._run(torch.cat([token, contexts[-1]], -1), carried)
            states.append(out)
        after = replace(state, carried=carried, step=state.step + x.shape[1])
        hidden = self._read_out(torch.cat(contexts, 1), torch.cat(states, 1))
        return hidden, torch.cat(queries, 1), after


class LuongDecoder(RecurrentDecoder):
    """Attends with the state after a step."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__(config)
        self.attention = SourceAttention(config)

    def forward(self, x: Inputs, memory: Memory, state: DecoderState) -> tuple[Hidden, Hidden, DecoderState]:
        """Take all steps at once; see ``RecurrentDecoder``."""
        assert self.attention is not None
        states, carried = self._run(x, state.carried)
        hidden = self._read_out(self.attention(states, memory, state.step), states)
        return hidden, states, replace(state, carried=carried, step=state.step + x.shape[1])


class InputFeedingDecoder(LuongDecoder):
    """Luong's decoder whose attentional state is an input of the next step."""

    input_parts = 2

    def start(self, memory: Memory) -> DecoderState:
        """Return the state before the first token, when nothing was attended to."""
        return replace(super().start(memory), feed=torch.zeros_like(memory.states[:, 0]))

    def forward(self, x: Hidden, memory: Memory, state: DecoderState) -> tuple[Hidden, Hidden, DecoderState]:
        """Take steps one after another; see ``RecurrentDecoder``."""
        assert state.feed is not None
        hidden, queries = [], []
        for token in x.split(1, 1):
            assert state.feed is not None
            fed = torch.cat([token, state.feed[:, None]], -1)
            out, query, state = super().forward(fed, memory, state)
            state = replace(state, feed=out[:, 0])
            hidden.append(out)
            queries.append(query)
        return torch.cat(hidden, 1), torch.cat(queries, 1), state
