"""Measure a language model on a whole text, and the n-gram beside it.

A network reads the text in windows of its context, one after the other; every token but the first is
predicted once. With a stride shorter than the context windows overlap, and tokens are counted in the first
window they come in, so all but the first few have at least ``context - stride`` tokens before them.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from nhin.data.text.token_dataset import Corpus
from nhin.errors import DataError, Diverged, UsageError
from nhin.lm.loading import LMRun, NGramRun
from nhin.lm.ngram import NGram, count_ngrams
from nhin.lm.recipe import LMRecipe
from nhin.lm.train_ngram import TokenReader, max_countable_tokens
from nhin.metrics.perplexity import TextCost
from nhin.models.gpt import GPT
from nhin.text.tokenizers import Tokenizer
from nhin.training.precision import autocast

DEFAULT_ORDER, DEFAULT_BPE_ORDER = 5, 3
_CHUNK_TOKENS = 2**18
_MAX_BATCH_TOKENS, _MAX_BATCH_LOGITS = 2**13, 2**25

TokenNats = NDArray[np.float64]
OnProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class LMEvalResult:
    """What came of measuring: the cost of the text, and how long computing it took."""

    cost: TextCost
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as one flat table for JSON; None for what no number is large enough for."""
        figures = {k: v if math.isfinite(v) else None for k, v in self.cost.figures().items()}
        size = {"tokens": self.cost.tokens, "characters": self.cost.characters, "bytes": self.cost.bytes}
        return {**figures, **size, "seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class EvalWindow:
    """Tokens ``start`` up to ``stop`` are read; what follows the last ``new_tokens`` of them is counted."""

    start: int
    stop: int
    new_tokens: int


def evaluate(
    run: LMRun | NGramRun,
    text: TokenReader,
    *,
    stride: int | None = None,
    batch: int | None = None,
    on_progress: OnProgress | None = None,
) -> LMEvalResult:
    """Measure a model on all of a text.

    Args:
        run: A network, or n-grams: these have all that is before a token for context, without windows.
        text: Read piece by piece; it need not fit in memory.
        stride: From window to window, 1 to the context; the context when None, so that none overlap.
        batch: Windows that are read at once; as many as fit in little memory when None.
        on_progress: Told how many more tokens are done, every now and then.

    Raises:
        UsageError: ``stride`` or ``batch`` is out of range.
        DataError: The text has fewer than two tokens.
        Diverged: What the model says is no number.
    """
    if len(text) < 2:
        raise DataError(f"there is nothing to predict: the text has {len(text)} tokens, and 2 are needed")
    if isinstance(run, NGramRun):
        if stride is not None:
            raise UsageError("a stride is for networks; n-grams have all that is before a token anyway")
        costs = _ngram_nats(run.model, text)
    else:
        costs = _model_nats(run.model, text, stride, batch)
    total, done, begin = 0.0, 1, time.perf_counter()
    for some in costs:
        if not np.isfinite(some).all():
            raise Diverged(f"the model's answers after token {done} are not numbers; its weights are broken")
        total, done = total + float(some.sum()), done + len(some)
        if on_progress is not None:
            on_progress(len(some))
    assert done == len(text), f"{done} of {len(text)} tokens were counted"
    return LMEvalResult(_total_cost(total, text, run.tokenizer), time.perf_counter() - begin)


def mean_nats(
    model: GPT, text: TokenReader, max_tokens: int | None = None, dtype: torch.dtype = torch.float32
) -> float:
    """Return the mean nats per token of a text, or of about ``max_tokens`` tokens taken evenly from it.

    Args:
        model: In any mode; it is measured without dropout, and left as it was.
        text: At least two tokens.
        max_tokens: All when None.
        dtype: In which numbers to compute.

    Raises:
        Diverged: They are no number.
    """
    was = model.training
    model.eval()
    every = 1 if max_tokens is None else max(1, round(len(text) / max(1, max_tokens)))
    taken = islice(iter_windows(len(text), model.context, model.context), 0, None, every)
    total, count = 0.0, 0
    with autocast(dtype, next(model.parameters()).device.type):
        for costs in _batched_nats(model, text, taken):
            total, count = total + float(costs.sum()), count + len(costs)
    model.train(was)
    if not math.isfinite(total):
        raise Diverged("the model's answers are not numbers; a lower rate may help")
    return total / count


def build_ngram_baseline(corpus: Corpus, order: int | None = None) -> tuple[NGramRun, int]:
    """Count the n-grams of a prepared text's training split, as a model to compare others with.

    Args:
        corpus: The text.
        order: 5 for characters and bytes, 3 for byte pairs when None.

    Returns:
        The model, and how many tokens were counted: all, or those from the beginning that fit in memory.
    """
    if order is None:
        order = DEFAULT_BPE_ORDER if corpus.tokenizer.name.startswith("bpe") else DEFAULT_ORDER
    train = corpus.split("train")
    taken = min(len(train), max_countable_tokens(order))
    model = count_ngrams(train.read(0, taken), corpus.tokenizer.vocab, order)
    return NGramRun(model, corpus.tokenizer, LMRecipe(ngram=order), 0), taken


def iter_windows(length: int, context: int, stride: int) -> Iterator[EvalWindow]:
    """Yield the windows in which every token of ``length`` but the first is predicted once."""
    start, done = 0, 0
    while done < length - 1:
        stop = min(start + context, length - 1)
        yield EvalWindow(start, stop, stop - done)
        start, done = start + stride, stop


def _ngram_nats(model: NGram, text: TokenReader) -> Iterator[TokenNats]:
    for start in range(1, len(text), _CHUNK_TOKENS):
        before = min(start, model.order - 1)
        ids = text.read(start - before, min(start + _CHUNK_TOKENS, len(text)))
        yield model.nats(ids)[before:]


def _model_nats(model: GPT, text: TokenReader, stride: int | None, batch: int | None) -> Iterator[TokenNats]:
    context = model.context
    stride = context if stride is None else stride
    if not 1 <= stride <= context:
        raise UsageError(f"stride is {stride}; give 1 to {context}, the model's context")
    if batch is not None and batch < 1:
        raise UsageError(f"batch is {batch}; give 1 or more")
    yield from _batched_nats(model, text, iter_windows(len(text), context, stride), batch)


def _batched_nats(
    model: GPT, text: TokenReader, windows: Iterable[EvalWindow], batch: int | None = None
) -> Iterator[TokenNats]:
    if batch is None:
        batch = max(1, min(_MAX_BATCH_TOKENS, _MAX_BATCH_LOGITS // model.vocab) // model.context)
    # The last window may be shorter than the others, and windows of a batch are equally long.
    for _, alike in groupby(windows, lambda window: window.stop - window.start):
        while some := list(islice(alike, batch)):
            yield _window_nats(model, text, some)


@torch.no_grad()
def _window_nats(model: GPT, text: TokenReader, windows: list[EvalWindow]) -> TokenNats:
    """Return what the counted tokens of some windows cost, in the order of the text."""
    rows = torch.from_numpy(np.stack([text.read(window.start, window.stop + 1) for window in windows]))
    rows = rows.to(model.embedding.weight.device)
    scores = model(rows[:, :-1]).float()
    costs = F.cross_entropy(scores.transpose(1, 2), rows[:, 1:], reduction="none")
    return np.concatenate(
        [row[-window.new_tokens :] for row, window in zip(costs.double().cpu().numpy(), windows, strict=True)]
    )


def _total_cost(nats: float, text: TokenReader, tokenizer: Tokenizer) -> TextCost:
    """Count the characters and bytes that all tokens but the first stand for."""
    pieces = tokenizer.pieces
    sizes = np.array([[len(piece), sum(byte & 0xC0 != 0x80 for byte in piece)] for piece in pieces])
    sums = np.zeros(2, np.int64)
    for start in range(1, len(text), _CHUNK_TOKENS):
        sums += sizes[text.read(start, min(start + _CHUNK_TOKENS, len(text)))].sum(0)
    return TextCost(nats, len(text) - 1, characters=int(sums[1]), bytes=int(sums[0]))
