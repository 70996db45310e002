r"""Recurrent memory: a sequence is processed in segments, and memory tokens pass from each to the next.

::

    segment s:   memory_s | tokens | memory_s   -> blocks ->   ... | logits | memory_{s+1}

The memory comes before the tokens, where all of them attend to it, and after them, where it attends to the
whole segment and is updated. Nothing else passes from one segment to the next; gradients flow through it.

Cost:    for every segment, that of context + 2 memory positions: linear in the length of the sequence, with a
         cache that does not grow with it.
Source:  Bulatov et al. 2022, arXiv:2207.06881.
Differs: the model's last norm is applied to the memory, as to the inputs of the head; memory has positions
         like tokens; gradients flow through all segments of a training sequence.
"""

from collections.abc import Iterator, Sequence

import torch
from einops import repeat
from torch import Tensor, nn

from nhin.attention.base import Cache
from nhin.errors import UsageError
from nhin.layers.multihead import Hidden
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT, Caches, Lengths, Tokens, cross_entropy
from nhin.models.recurrent_cache import MemoryTokens, RecurrentCache


class RecurrentMemoryGPT(GPT):
    """A GPT over segments of ``config.context`` tokens with a memory between them.

    It accepts sequences of any length (``unbounded``); ``context``, the length it is trained and evaluated
    on, is that of ``config.segments`` segments.

    Args:
        vocab: Number of tokens.
        config: Its settings; with a memory.
    """

    unbounded = True

    def __init__(self, vocab: int, config: ModelConfig) -> None:
        if not config.memory:
            raise UsageError("memory is 0; a recurrent model needs 1 or more vectors of it")
        super().__init__(vocab, config)
        self.segment_length = config.context
        self.context = config.segments * config.context
        self.memory = nn.Parameter(torch.randn(config.memory, self.dim) * 0.02)

    def hidden(self, tokens: Tokens, *, cache: Caches = None, lengths: Lengths = None) -> Hidden:
        """Return the output of the last block, before the norm."""
        if cache is not None:
            return self._run_cached(tokens, _recurrent_cache(cache), lengths)
        return torch.cat(list(self._run_segments(tokens)), 1)

    def loss(self, tokens: Tokens, targets: Tokens) -> dict[str, Tensor]:
        """Return the mean loss over all segments in nats per token, and its parts; see ``GPT.loss``."""
        outputs, balances = [], []
        for x in self._run_segments(tokens):
            outputs.append(x)
            balances.append(self.balance_loss())
        nats = cross_entropy(self.logits(torch.cat(outputs, 1)), targets)
        return self.combine_losses(nats, torch.stack(balances).mean() if self.config.experts else None)

    def new_cache(self, batch: int, context: int | None = None) -> list[Cache]:
        """Build an empty ``RecurrentCache``, alone in a list; it holds sequences of any length."""
        size = self.config.max_positions
        caches = [block.attention.new_cache(batch, size) for block in self.iter_blocks()]
        return [RecurrentCache(self._initial_memory(batch).detach(), caches)]

    @torch.no_grad()
    def explain(self, tokens: Tokens) -> list[dict[str, Tensor]]:
        """Return the intermediates of the last segment, with the memory before its tokens."""
        memory = self._initial_memory(len(tokens))
        *earlier, last = tokens.split(self.segment_length, 1)
        for segment in earlier:
            memory = self._run_segment(memory, segment, write_memory=True)[1]
        return self.explain_layers(self.add_positions(torch.cat([memory, self.embedding(last)], 1)))

    def _run_segments(self, tokens: Tokens) -> Iterator[Hidden]:
        """Yield the output of the last block for the tokens of each segment."""
        memory = self._initial_memory(len(tokens))
        *earlier, last = tokens.split(self.segment_length, 1)
        for segment in earlier:
            x, memory = self._run_segment(memory, segment, write_memory=True)
            yield x
        yield self._run_segment(memory, last, write_memory=False)[0]

    def _run_segment(
        self, memory: MemoryTokens, segment: Tokens, *, write_memory: bool
    ) -> tuple[Hidden, MemoryTokens]:
        """Return the output of the last block for the tokens of a segment, and the memory after it."""
        parts = [memory, self.embedding(segment), *([memory] if write_memory else [])]
        x = self.run_blocks(self.add_positions(torch.cat(parts, 1)))
        start, stop = memory.shape[1], memory.shape[1] + segment.shape[1]
        return x[:, start:stop], self._to_memory(x[:, stop:]) if write_memory else memory

    def _run_cached(self, tokens: Tokens, cache: RecurrentCache, lengths: Lengths) -> Hidden:
        """Continue from a cache, with a new segment whenever one is full."""
        length = tokens.shape[1]
        if lengths is not None and any(valid != length for valid in lengths):
            raise UsageError(
                f"lengths is {list(lengths)}, but rows of a model with memory begin their next segment "
                "together; process texts of different lengths apart"
            )
        outputs = [self.embedding(tokens[:, :0])]
        while tokens.shape[1]:
            if cache.segment_position == self.segment_length:
                cache.start_segment(self._to_memory(self._run_step(cache.memory, cache)))
            piece, tokens = tokens.tensor_split([self.segment_length - cache.segment_position], 1)
            if cache.segment_position == 0:
                self._run_step(cache.memory, cache)
            outputs.append(self._run_step(self.embedding(piece), cache))
            cache.advance(piece.shape[1])
        return torch.cat(outputs, 1)

    def _run_step(self, x: Hidden, cache: RecurrentCache) -> Hidden:
        """Apply the blocks from the current position of the segment on."""
        return self.run_blocks(self.add_positions(x, cache.caches[0].lengths), cache.caches)

    def _initial_memory(self, batch: int) -> MemoryTokens:
        return repeat(self.memory, "memory c -> b memory c", b=batch)

    def _to_memory(self, outputs: MemoryTokens) -> MemoryTokens:
        """Return the next memory from the output of the last block at its positions."""
        return self.norm(outputs)


def _recurrent_cache(cache: Sequence[Cache]) -> RecurrentCache:
    if len(cache) != 1 or not isinstance(cache[0], RecurrentCache):
        raise UsageError("a recurrent model needs its own cache; build it with model.new_cache(batch)")
    return cache[0]
