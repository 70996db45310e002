r"""Recurrent memory: a text is read in segments, and a few vectors carry what was read to the next.

::

    segment s:   memory_s | tokens | memory_s   -> blocks ->   ... | logits | memory_{s+1}

The memory stands before the tokens, to be read by all of them, and behind them, where it sees the whole
segment and is written anew. Nothing else crosses from one segment to the next, and gradients run back
through it.

Cost:    for every segment, that of context + 2 memory places: linear in the length of the text, and what is
         kept to read on does not grow with it.
Source:  Bulatov et al. 2022, arXiv:2207.06881.
Differs: what is carried is normed by the model's last norm, as what goes to the head is; memory has positions
         like tokens; gradients run through all segments of a training text.
"""

from collections.abc import Iterator, Sequence

import torch
from einops import repeat
from torch import Tensor, nn

from nhin.attention.base import State
from nhin.errors import UsageError
from nhin.layers.multihead import Wide
from nhin.models.design import Design
from nhin.models.gpt import GPT, Tokens, cross_entropy
from nhin.models.passage import Memory, Passage


class Recurrent(GPT):
    """A GPT over segments of ``design.context`` tokens with a memory between them.

    It reads texts of any length (``unbounded``); ``context``, the length it is trained and evaluated on, is
    that of ``design.segments`` segments.

    Args:
        vocab: Tokens there are.
        design: What it is made of; with a memory.
    """

    unbounded = True

    def __init__(self, vocab: int, design: Design) -> None:
        if not design.memory:
            raise UsageError("memory is 0; a recurrent model needs 1 or more vectors of it")
        super().__init__(vocab, design)
        self.segment = design.context
        self.context = design.segments * design.context
        self.memory = nn.Parameter(torch.randn(design.memory, self.dim) * 0.02)

    def hidden(
        self, tokens: Tokens, *, cache: Sequence[State] | None = None, lengths: Sequence[int] | None = None
    ) -> Wide:
        """Return what the last block makes of every token, before the norm."""
        if cache is not None:
            return self._read_on(tokens, _passage(cache), lengths)
        return torch.cat(list(self._segments(tokens)), 1)

    def loss(self, tokens: Tokens, targets: Tokens) -> dict[str, Tensor]:
        """Return the mean loss over all segments in nats per token, and its parts; see ``GPT.loss``."""
        made, balances = [], []
        for x in self._segments(tokens):
            made.append(x)
            balances.append(self.balance())
        nats = cross_entropy(self.scores(torch.cat(made, 1)), targets)
        return self.parts(nats, torch.stack(balances).mean() if self.design.experts else None)

    def new_cache(self, batch: int, context: int | None = None) -> list[State]:
        """Build an empty passage, alone in a list, to read a text piece by piece; it holds any length."""
        states = [one.attention.new_cache(batch, self.design.room) for one in self.each_block()]
        return [Passage(self._first(batch).detach(), states)]

    @torch.no_grad()
    def explain(self, tokens: Tokens) -> list[dict[str, Tensor]]:
        """Return the intermediates of the text's last segment, with the memory it reads before its tokens."""
        *before, last = tokens.split(self.segment, 1)
        memory = self._first(len(tokens))
        for piece in before:
            memory = self._read(memory, piece, writes=True)[1]
        return self.explained(self.placed(torch.cat([memory, self.embedding(last)], 1)))

    def _segments(self, tokens: Tokens) -> Iterator[Wide]:
        """Yield what the last block makes of the tokens of each segment."""
        memory = self._first(len(tokens))
        *before, last = tokens.split(self.segment, 1)
        for piece in before:
            made, memory = self._read(memory, piece, writes=True)
            yield made
        yield self._read(memory, last, writes=False)[0]

    def _read(self, memory: Memory, piece: Tokens, *, writes: bool) -> tuple[Wide, Memory]:
        """Read a segment; return what the last block makes of its tokens, and the memory after it."""
        parts = [memory, self.embedding(piece), *([memory] if writes else [])]
        made = self.through(self.placed(torch.cat(parts, 1)))
        start, stop = memory.shape[1], memory.shape[1] + piece.shape[1]
        return made[:, start:stop], self._written(made[:, stop:]) if writes else memory

    def _read_on(self, tokens: Tokens, passage: Passage, lengths: Sequence[int] | None) -> Wide:
        """Read tokens where a passage stands, turning to a new segment when one is full."""
        length = tokens.shape[1]
        if lengths is not None and any(more != length for more in lengths):
            raise UsageError(
                f"lengths is {list(lengths)}, but rows of a model with memory turn to their next segment "
                "together; read texts of different lengths apart"
            )
        made = [self.embedding(tokens[:, :0])]
        while tokens.shape[1]:
            if passage.read == self.segment:
                passage.turn(self._written(self._step(passage.memory, passage)))
            piece, tokens = tokens.tensor_split([self.segment - passage.read], 1)
            if passage.read == 0:
                self._step(passage.memory, passage)
            made.append(self._step(self.embedding(piece), passage))
            passage.go_on(piece.shape[1])
        return torch.cat(made, 1)

    def _step(self, x: Wide, passage: Passage) -> Wide:
        """Put vectors through the blocks from where the segment stands."""
        return self.through(self.placed(x, passage.states[0].lengths), passage.states)

    def _first(self, batch: int) -> Memory:
        return repeat(self.memory, "memory c -> b memory c", b=batch)

    def _written(self, made: Memory) -> Memory:
        """Return the memory that the last block's answer at its places means."""
        return self.norm(made)


def _passage(cache: Sequence[State]) -> Passage:
    if len(cache) != 1 or not isinstance(cache[0], Passage):
        raise UsageError(
            "a recurrent model reads on from its own cache; build it with model.new_cache(batch)"
        )
    return cache[0]
