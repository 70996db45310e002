"""A text goes on, token by token: from a network, or from anything that scores what comes next.

A network looks at ``context`` tokens at most. When a text is longer, the latest half is kept and read anew
from place 0, so where reading starts depends on the length alone, with a cache and without::

    context 6   length  6  [a b c d e f]
                        7   a b c d [e f g]
                        8   a b c d [e f g h]

With a cache every token is read once more at most for every half a context; without, at every step.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from nhin.attention.base import Cache
from nhin.decoding.beam_search import BeamSearchConfig, Hypothesis, search_beams
from nhin.decoding.sampling import Sampler, SamplingParams, TokenLogits
from nhin.errors import UsageError
from nhin.models.gpt import GPT

TokenRows = Int[Tensor, "rows held"]
NextTokens = Int[Tensor, " rows"]
NextLogits = Float[Tensor, "rows V"]


class Scorer(Protocol):
    """Says what may come next in one text."""

    def start(self, ids: Sequence[int]) -> TokenLogits:
        """Read the beginning of a text, whatever was read before; return a score per token."""
        ...

    def step(self, token: int) -> TokenLogits:
        """Read one more token; return a score per token."""
        ...


class UncachedDecoder:
    """Reads all that is looked at again for every token: slow, obvious, the reference of ``Cached``.

    Args:
        model: A network in evaluation mode.
        rows: Texts that are read on together, from one beginning.
        max_length: Most tokens of a text, its beginning included; room is taken for so many.

    Raises:
        UsageError: The network is in training mode.
    """

    def __init__(self, model: GPT, rows: int = 1, max_length: int | None = None) -> None:
        if model.training:
            raise UsageError("the model is in training mode, in which answers vary; call its .eval() first")
        self.model, self.rows = model, rows
        self.context = None if getattr(model, "unbounded", False) else model.context
        self.capacity = min((n for n in (self.context, max_length) if n is not None), default=model.context)
        self._tokens = torch.zeros(
            rows, self.capacity, dtype=torch.long, device=model.embedding.weight.device
        )
        self._length = 0

    def start(self, ids: Sequence[int]) -> TokenLogits:
        """Read one beginning in every row; return a score per token.

        Raises:
            UsageError: It is empty, or longer than the context.
        """
        if not ids:
            raise UsageError("the prompt holds no token; give the tokenizer's end, which begins every text")
        if self.context is not None and len(ids) > self.context:
            raise UsageError(
                f"the prompt is {len(ids)} tokens long and the model looks at {self.context}; "
                f"shorten it by {len(ids) - self.context}"
            )
        self._reserve(len(ids))
        self._length = len(ids)
        self._tokens[:, : len(ids)] = torch.tensor(ids)
        return _to_numpy(self._prefill())[0]

    def step(self, token: int) -> TokenLogits:
        """Read one more token in every row; return a score per token."""
        return _to_numpy(self._append(token))[0]

    def scores(self, ids: NDArray[np.int64]) -> TokenLogits:
        """Read one more token in each row; return scores, rows x vocabulary."""
        return _to_numpy(self._append(torch.from_numpy(ids).to(self._tokens.device)))

    def reorder(self, rows: NDArray[np.int64]) -> None:
        """Let row i continue what row ``rows[i]`` was."""
        self._tokens = self._tokens[torch.from_numpy(rows).to(self._tokens.device)]

    def _append(self, ids: int | NextTokens) -> NextLogits:
        full = self._length == self.context
        if full:
            kept = max(1, self._length // 2) - 1
            self._tokens[:, :kept] = self._tokens[:, self._length - kept : self._length].clone()
            self._length = kept
        self._reserve(self._length + 1)
        self._tokens[:, self._length] = ids
        self._length += 1
        return self._prefill() if full else self._extend()

    def _reserve(self, length: int) -> None:
        """Have room for a text that is longer than was said."""
        if (more := length - self._tokens.shape[1]) > 0:
            self._tokens = F.pad(self._tokens, (0, max(more, length)))

    def _prefill(self) -> NextLogits:
        """Score what comes after all that is looked at, nothing of which was read before."""
        return _last_logits(self.model, self._tokens[:, : self._length])

    def _extend(self) -> NextLogits:
        """Score what comes after one more token."""
        return self._prefill()


class CachedDecoder(UncachedDecoder):
    """Reads every token once and remembers what the network made of it."""

    _cache: list[Cache]

    def reorder(self, rows: NDArray[np.int64]) -> None:
        """Let row i continue what row ``rows[i]`` was."""
        super().reorder(rows)
        for state in self._cache:
            state.reorder(torch.from_numpy(rows))

    def _prefill(self) -> NextLogits:
        self._cache = self.model.new_cache(self.rows, self.capacity)
        return _last_logits(self.model, self._tokens[:, : self._length], self._cache)

    def _extend(self) -> NextLogits:
        return _last_logits(self.model, self._tokens[:, self._length - 1 : self._length], self._cache)


def generate(
    model: GPT | Scorer,
    prompt: Sequence[int],
    *,
    tokens: int,
    sampling: SamplingParams | None = None,
    stop: Collection[int] = (),
    cache: bool = True,
) -> Iterator[int]:
    """Choose the tokens that follow a prompt.

    Args:
        model: A network in evaluation mode, or what else scores tokens.
        prompt: At least one token: the tokenizer's end where there is no text.
        tokens: Most that are chosen.
        sampling: How; as the model says when None.
        stop: Ids that end the text; the one that did is the last to come.
        cache: Remember what was read. The text is the same without, up to scores that differ by less than
            rounding does, and takes many times as long.

    Raises:
        UsageError: The prompt is empty or longer than the context, or ``tokens`` is not positive.
        Diverged: The model's scores are not numbers.
    """
    if tokens < 1:
        raise UsageError(f"tokens is {tokens}; give 1 or more")
    if isinstance(model, GPT):
        model = (CachedDecoder if cache else UncachedDecoder)(model, max_length=len(prompt) + tokens)
    chooser = Sampler(SamplingParams() if sampling is None else sampling, prompt)
    return _sample_tokens(model, model.start(prompt), chooser, tokens, stop)


def _sample_tokens(
    scorer: Scorer, scores: TokenLogits, sampler: Sampler, tokens: int, stop: Collection[int]
) -> Iterator[int]:
    for left in range(tokens, 0, -1):
        chosen = sampler(scores)
        yield chosen
        if chosen in stop:
            return
        if left > 1:
            scores = scorer.step(chosen)


def beam_search(
    model: GPT, prompt: Sequence[int], config: BeamSearchConfig, *, cache: bool = True
) -> list[Hypothesis]:
    """Return the likeliest texts that were found after a prompt, best first.

    Raises:
        UsageError: The prompt is empty or longer than the context.
        Diverged: The model's scores are not numbers.
    """
    rows = (CachedDecoder if cache else UncachedDecoder)(model, config.width, len(prompt) + config.tokens)
    return search_beams(rows.start(prompt), rows, config)


@torch.inference_mode()
def _last_logits(model: GPT, tokens: TokenRows, cache: Sequence[Cache] | None = None) -> NextLogits:
    """Score what comes after the last token."""
    # The head is as wide as the vocabulary: not for places whose scores nobody asked for.
    return model.logits(model.hidden(tokens, cache=cache)[:, -1:])[:, 0]


def _to_numpy(logits: NextLogits) -> TokenLogits:
    return logits.float().cpu().numpy()
