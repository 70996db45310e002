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

from nhin.attention.base import Cache
from nhin.errors import UsageError
from nhin.layers.multihead import Hidden
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT, Tokens, cross_entropy
from nhin.models.recurrent_cache import MemoryTokens, RecurrentCache


class RecurrentMemoryGPT(GPT):
    """A GPT over segments of ``design.context`` tokens with a memory between them.

    It reads texts of any length (``unbounded``); ``context``, the length it is trained and evaluated on, is
    that of ``design.segments`` segments.

    Args:
        vocab: Tokens there are.
        config: What it is made of; with a memory.
    """

    unbounded = True

    def __init__(self, vocab: int, config: ModelConfig) -> None:
        if not config.memory:
            raise UsageError("memory is 0; a recurrent model needs 1 or more vectors of it")
        super().__init__(vocab, config)
        self.segment_length = config.context
        self.context = config.segments * config.context
        self.memory = nn.Parameter(torch.randn(config.memory, self.dim) * 0.02)

    def hidden(
        self, tokens: Tokens, *, cache: Sequence[Cache] | None = None, lengths: Sequence[int] | None = None
    ) -> Hidden:
        """Return what the last block makes of every token, before the norm."""
        if cache is not None:
            return self._run_cached(tokens, _recurrent_cache(cache), lengths)
        return torch.cat(list(self._run_segments(tokens)), 1)

    def loss(self, tokens: Tokens, targets: Tokens) -> dict[str, Tensor]:
        """Return the mean loss over all segments in nats per token, and its parts; see ``GPT.loss``."""
        made, balances = [], []
        for x in self._run_segments(tokens):
            made.append(x)
            balances.append(self.balance_loss())
        nats = cross_entropy(self.logits(torch.cat(made, 1)), targets)
        return self.combine_losses(nats, torch.stack(balances).mean() if self.config.experts else None)

    def new_cache(self, batch: int, context: int | None = None) -> list[Cache]:
        """Build an empty passage, alone in a list, to read a text piece by piece; it holds any length."""
        states = [one.attention.new_cache(batch, self.config.max_positions) for one in self.iter_blocks()]
        return [RecurrentCache(self._initial_memory(batch).detach(), states)]

    @torch.no_grad()
    def explain(self, tokens: Tokens) -> list[dict[str, Tensor]]:
        """Return the intermediates of the text's last segment, with the memory it reads before its tokens."""
        *before, last = tokens.split(self.segment_length, 1)
        memory = self._initial_memory(len(tokens))
        for piece in before:
            memory = self._run_segment(memory, piece, write_memory=True)[1]
        return self.explain_layers(self.add_positions(torch.cat([memory, self.embedding(last)], 1)))

    def _run_segments(self, tokens: Tokens) -> Iterator[Hidden]:
        """Yield what the last block makes of the tokens of each segment."""
        memory = self._initial_memory(len(tokens))
        *before, last = tokens.split(self.segment_length, 1)
        for piece in before:
            made, memory = self._run_segment(memory, piece, write_memory=True)
            yield made
        yield self._run_segment(memory, last, write_memory=False)[0]

    def _run_segment(
        self, memory: MemoryTokens, segment: Tokens, *, write_memory: bool
    ) -> tuple[Hidden, MemoryTokens]:
        """Read a segment; return what the last block makes of its tokens, and the memory after it."""
        parts = [memory, self.embedding(segment), *([memory] if write_memory else [])]
        made = self.run_blocks(self.add_positions(torch.cat(parts, 1)))
        start, stop = memory.shape[1], memory.shape[1] + segment.shape[1]
        return made[:, start:stop], self._to_memory(made[:, stop:]) if write_memory else memory

    def _run_cached(self, tokens: Tokens, cache: RecurrentCache, lengths: Sequence[int] | None) -> Hidden:
        """Read tokens where a passage stands, turning to a new segment when one is full."""
        length = tokens.shape[1]
        if lengths is not None and any(more != length for more in lengths):
            raise UsageError(
                f"lengths is {list(lengths)}, but rows of a model with memory turn to their next segment "
                "together; read texts of different lengths apart"
            )
        made = [self.embedding(tokens[:, :0])]
        while tokens.shape[1]:
            if cache.segment_position == self.segment_length:
                cache.start_segment(self._to_memory(self._run_step(cache.memory, cache)))
            piece, tokens = tokens.tensor_split([self.segment_length - cache.segment_position], 1)
            if cache.segment_position == 0:
                self._run_step(cache.memory, cache)
            made.append(self._run_step(self.embedding(piece), cache))
            cache.advance(piece.shape[1])
        return torch.cat(made, 1)

    def _run_step(self, x: Hidden, cache: RecurrentCache) -> Hidden:
        """Put vectors through the blocks from where the segment stands."""
        return self.run_blocks(self.add_positions(x, cache.caches[0].lengths), cache.caches)

    def _initial_memory(self, batch: int) -> MemoryTokens:
        return repeat(self.memory, "memory c -> b memory c", b=batch)

    def _to_memory(self, outputs: MemoryTokens) -> MemoryTokens:
        """Return the memory that the last block's answer at its places means."""
        return self.norm(outputs)


def _recurrent_cache(cache: Sequence[Cache]) -> RecurrentCache:
    if len(cache) != 1 or not isinstance(cache[0], RecurrentCache):
        raise UsageError(
            "a recurrent model reads on from its own cache; build it with model.new_cache(batch)"
        )
    return cache[0]
