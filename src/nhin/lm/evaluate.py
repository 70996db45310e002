"""Measure a language model on a whole text, and an n-gram baseline.

A network reads the text in windows of its context; every token but the first is predicted once. With a stride
shorter than the context windows overlap, and a token counts in the first window that holds it, so all but the
first few have at least ``context - stride`` tokens of context.
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
    """The cost of a text, and the seconds that computing it took."""

    cost: TextCost
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as one flat table for JSON; None for infinity."""
        figures = {k: v if math.isfinite(v) else None for k, v in self.cost.figures().items()}
        sizes = {name: getattr(self.cost, name) for name in ("tokens", "characters", "bytes")}
        return {**figures, **sizes, "seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class EvalWindow:
    """Inputs are the tokens from ``start`` up to ``stop``; the targets of the last ``new_tokens`` count."""

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
        run: A network, or n-grams, which need no windows.
        text: Read piece by piece; it need not fit in memory.
        stride: Tokens from window to window, 1 to the context; the context when None, without overlap.
        batch: Windows per batch; as many as fit in little memory when None.
        on_progress: Called with the number of tokens done since the last call.

    Raises:
        UsageError: ``stride`` or ``batch`` is out of range.
        DataError: The text has fewer than two tokens.
        Diverged: The losses are not finite.
    """
    if len(text) < 2:
        raise DataError(f"there is nothing to predict: the text has {len(text)} tokens, and 2 are needed")
    if isinstance(run, NGramRun):
        if stride is not None:
            raise UsageError("a stride is for networks; n-grams need no windows")
        costs = _ngram_nats(run.model, text)
    else:
        costs = _model_nats(run.model, text, stride, batch)
    total, done, begin = 0.0, 1, time.perf_counter()
    for nats in costs:
        if not np.isfinite(nats).all():
            raise Diverged(f"the model's loss after token {done} is not finite; its weights are broken")
        total, done = total + float(nats.sum()), done + len(nats)
        if on_progress is not None:
            on_progress(len(nats))
    assert done == len(text), f"{done} of {len(text)} tokens were counted"
    return LMEvalResult(_total_cost(total, text, run.tokenizer), time.perf_counter() - begin)


def mean_nats(
    model: GPT, text: TokenReader, max_tokens: int | None = None, dtype: torch.dtype = torch.float32
) -> float:
    """Return the mean nats per token of a text, or of about ``max_tokens`` tokens taken evenly from it.

    Args:
        model: In any mode, which is restored; it is measured without dropout.
        text: At least two tokens.
        max_tokens: All when None.
        dtype: Of the computation.

    Raises:
        Diverged: They are not finite.
    """
    was_training = model.training
    model.eval()
    step = 1 if max_tokens is None else max(1, round(len(text) / max(1, max_tokens)))
    windows = islice(iter_windows(len(text), model.context, model.context), 0, None, step)
    total, count = 0.0, 0
    with autocast(dtype, next(model.parameters()).device.type):
        for costs in _batched_nats(model, text, windows):
            total, count = total + float(costs.sum()), count + len(costs)
    model.train(was_training)
    if not math.isfinite(total):
        raise Diverged("the model's loss is not finite; a lower rate may help")
    return total / count


def build_ngram_baseline(corpus: Corpus, order: int | None = None) -> tuple[NGramRun, int]:
    """Count the n-grams of a prepared text's training split, as a baseline.

    Args:
        corpus: The text.
        order: When None, 5 for characters and bytes, 3 for byte pairs.

    Returns:
        The model, and the number of tokens counted: all, or as many from the beginning as fit in memory.
    """
    if order is None:
        order = DEFAULT_BPE_ORDER if corpus.tokenizer.name.startswith("bpe") else DEFAULT_ORDER
    train = corpus.split("train")
    count = min(len(train), max_countable_tokens(order))
    model = count_ngrams(train.read(0, count), corpus.tokenizer.vocab, order)
    return NGramRun(model, corpus.tokenizer, LMRecipe(ngram=order), 0), count


def iter_windows(length: int, context: int, stride: int) -> Iterator[EvalWindow]:
    """Yield windows that predict each of ``length`` tokens but the first once."""
    start, done = 0, 0
    while done < length - 1:
        stop = min(start + context, length - 1)
        yield EvalWindow(start, stop, stop - done)
        start, done = start + stride, stop


def _ngram_nats(model: NGram, text: TokenReader) -> Iterator[TokenNats]:
    for start in range(1, len(text), _CHUNK_TOKENS):
        context = min(start, model.order - 1)
        ids = text.read(start - context, min(start + _CHUNK_TOKENS, len(text)))
        yield model.nats(ids)[context:]


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
    # The last window may be shorter than the others, and windows of a batch have one length.
    for _, group in groupby(windows, lambda window: window.stop - window.start):
        while some := list(islice(group, batch)):
            yield _window_nats(model, text, some)


@torch.no_grad()
def _window_nats(model: GPT, text: TokenReader, windows: list[EvalWindow]) -> TokenNats:
    """Return the nats of the new tokens of some windows, in the order of the text."""
    rows = torch.from_numpy(np.stack([text.read(window.start, window.stop + 1) for window in windows]))
    rows = rows.to(model.embedding.weight.device)
    logits = model(rows[:, :-1]).float()
    losses = F.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none").double().cpu().numpy()
    return np.concatenate([row[-window.new_tokens :] for row, window in zip(losses, windows, strict=True)])


def _total_cost(nats: float, text: TokenReader, tokenizer: Tokenizer) -> TextCost:
    """Return the cost with the characters and bytes of all tokens but the first."""
    sizes = np.array([[len(piece), sum(b & 0xC0 != 0x80 for b in piece)] for piece in tokenizer.pieces])
    sums = np.zeros(2, np.int64)
    for start in range(1, len(text), _CHUNK_TOKENS):
        sums += sizes[text.read(start, min(start + _CHUNK_TOKENS, len(text)))].sum(0)
    return TextCost(nats, len(text) - 1, characters=int(sums[1]), bytes=int(sums[0]))
