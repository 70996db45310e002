"""Generate text token by token, from a network or from any other scorer of the next token.

A network attends to at most ``context`` tokens. When a text grows longer, the latest half is kept and encoded
anew from position 0, so the window depends on the length alone, with a cache and without::

    context 6   length  6  [a b c d e f]
                        7   a b c d [e f g]
                        8   a b c d [e f g h]

With a cache every token is encoded again at most once per half context; without, at every step.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from nhin.attention.base import Cache
from nhin.decoding.beam_search import BeamScorer, BeamSearchConfig, Hypothesis, search_beams
from nhin.decoding.sampling import Sampler, SamplingParams, TokenLogits
from nhin.errors import UsageError
from nhin.models.gpt import GPT

TokenRows = Int[Tensor, "rows length"]


class Scorer(Protocol):
    """Scores the next token of one text."""

    def start(self, ids: Sequence[int]) -> TokenLogits:
        """Begin with a prompt, whatever came before; return a score per token."""
        ...

    def step(self, token: int) -> TokenLogits:
        """Append one token; return a score per token."""
        ...


class RowScorer(Scorer, BeamScorer, Protocol):
    """Scores the next token of several texts that begin with one prompt."""


class UncachedDecoder:
    """Encodes the whole window for every token: slow, obvious, the reference of ``CachedDecoder``.

    Args:
        model: A network in evaluation mode.
        rows: Texts decoded together, from one prompt.
        max_length: Maximum tokens of a text, prompt included; memory is allocated for that many.

    Raises:
        UsageError: The network is in training mode.
    """

    _cache: list[Cache] | None = None

    def __init__(self, model: GPT, rows: int = 1, max_length: int | None = None) -> None:
        if model.training:
            raise UsageError("the model is in training mode, in which answers vary; call its .eval() first")
        self.model, self.rows = model, rows
        self.context = None if getattr(model, "unbounded", False) else model.context
        self.capacity = min((n for n in (self.context, max_length) if n is not None), default=model.context)
        device = model.embedding.weight.device
        self._tokens: TokenRows = torch.zeros(rows, self.capacity, dtype=torch.long, device=device)
        self._length = 0

    def start(self, ids: Sequence[int]) -> TokenLogits:
        """Begin every row with one prompt; return a score per token.

        Raises:
            UsageError: It is empty, or longer than the context.
        """
        if not ids:
            raise UsageError("the prompt holds no token; give the tokenizer's end, which begins every text")
        if self.context is not None and len(ids) > self.context:
            raise UsageError(
                f"the prompt is {len(ids)} tokens long and the model's context is {self.context}; "
                f"shorten it by {len(ids) - self.context}"
            )
        self._reserve(len(ids))
        self._length = len(ids)
        self._tokens[:, : len(ids)] = torch.tensor(ids)
        return self._next_logits(is_restart=True)[0]

    def step(self, token: int) -> TokenLogits:
        """Append one token to every row; return a score per token."""
        return self._next_logits(self._append(token))[0]

    def scores(self, ids: NDArray[np.int64]) -> TokenLogits:
        """Append one token to each row; return scores, rows x vocabulary."""
        return self._next_logits(self._append(torch.from_numpy(ids).to(self._tokens.device)))

    def reorder(self, rows: NDArray[np.int64]) -> None:
        """Let row i continue the former row ``rows[i]``."""
        self._tokens = self._tokens[torch.from_numpy(rows).to(self._tokens.device)]

    def _append(self, ids: int | Int[Tensor, " rows"]) -> bool:
        """Store one token per row; return whether the window moved, so that positions begin anew."""
        is_full = self._length == self.context
        if is_full:
            kept = max(1, self._length // 2) - 1
            self._tokens[:, :kept] = self._tokens[:, self._length - kept : self._length].clone()
            self._length = kept
        self._reserve(self._length + 1)
        self._tokens[:, self._length] = ids
        self._length += 1
        return is_full

    def _reserve(self, length: int) -> None:
        """Allocate more memory for a text longer than announced."""
        if (more := length - self._tokens.shape[1]) > 0:
            self._tokens = F.pad(self._tokens, (0, max(more, length)))

    def _next_inputs(self, is_restart: bool) -> TokenRows:
        """Return the tokens to encode now."""
        return self._tokens[:, : self._length]

    def _next_logits(self, is_restart: bool) -> TokenLogits:
        """Return the logits after the last token of each row."""
        tokens = self._next_inputs(is_restart)
        with torch.inference_mode():
            # Only for the last position: the head is as wide as the vocabulary.
            hidden = self.model.hidden(tokens, cache=self._cache)[:, -1:]
            return self.model.logits(hidden)[:, 0].float().cpu().numpy()


class CachedDecoder(UncachedDecoder):
    """Encodes every token once and caches keys and values."""

    def reorder(self, rows: NDArray[np.int64]) -> None:
        """Let row i continue the former row ``rows[i]``."""
        super().reorder(rows)
        for cache in self._cache or ():
            cache.reorder(torch.from_numpy(rows))

    def _next_inputs(self, is_restart: bool) -> TokenRows:
        if is_restart:
            self._cache = self.model.new_cache(self.rows, self.capacity)
        return self._tokens[:, 0 if is_restart else self._length - 1 : self._length]


def generate(
    model: GPT | Scorer,
    prompt: Sequence[int],
    *,
    tokens: int,
    sampling: SamplingParams | None = None,
    stop: Collection[int] = (),
    cache: bool = True,
) -> Iterator[int]:
    """Yield the tokens that follow a prompt.

    Args:
        model: A network in evaluation mode, or another scorer.
        prompt: At least one token: the tokenizer's end where there is no text.
        tokens: Maximum number of tokens.
        sampling: How they are chosen; from the model's own distribution when None.
        stop: Ids that end the text; the one that does is yielded too.
        cache: Cache keys and values. Without, the text is the same, up to rounding of the scores, and takes
            many times as long.

    Raises:
        UsageError: The prompt is empty or longer than the context, or ``tokens`` is not positive.
        Diverged: The model's scores are not numbers.
    """
    if tokens < 1:
        raise UsageError(f"tokens is {tokens}; give 1 or more")
    if isinstance(model, GPT):
        model = (CachedDecoder if cache else UncachedDecoder)(model, max_length=len(prompt) + tokens)
    sampler = Sampler(SamplingParams() if sampling is None else sampling, prompt)
    return _sample_tokens(model, model.start(prompt), sampler, tokens, stop)


def _sample_tokens(
    scorer: Scorer, scores: TokenLogits, sampler: Sampler, tokens: int, stop: Collection[int]
) -> Iterator[int]:
    for remaining in range(tokens, 0, -1):
        token = sampler(scores)
        yield token
        if token in stop:
            return
        if remaining > 1:
            scores = scorer.step(token)


def beam_search(
    model: GPT | RowScorer, prompt: Sequence[int], config: BeamSearchConfig, *, cache: bool = True
) -> list[Hypothesis]:
    """Return the likeliest continuations of a prompt that a beam search finds, best first.

    Args:
        model: A network in evaluation mode, or another scorer of ``config.width`` rows.
        prompt: At least one token: the tokenizer's end where there is no text.
        config: The settings.
        cache: Cache keys and values of a network.

    Raises:
        UsageError: The prompt is empty or longer than the context.
        Diverged: The model's scores are not numbers.
    """
    if isinstance(model, GPT):
        decoder = CachedDecoder if cache else UncachedDecoder
        model = decoder(model, config.width, len(prompt) + config.tokens)
    return search_beams(model.start(prompt), model, config)
