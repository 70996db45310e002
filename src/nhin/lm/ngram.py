r"""An n-gram language model with interpolated Kneser-Ney smoothing: the baseline of every network.

With ``h`` the previous tokens, ``h'`` the same without the oldest, and ``c`` the count of a gram or, below
the longest order, the number of different tokens before it:

.. math::
    p_k(w \mid h) = \frac{\max(c(hw) - D_{c(hw)}, 0)}{\sum_v c(hv)}
        + \frac{\sum_v D_{c(hv)}}{\sum_v c(hv)} p_{k-1}(w \mid h')

    D_j = j - (j + 1) \frac{n_1}{n_1 + 2 n_2} \frac{n_{j+1}}{n_j}, \quad j = 1, 2, 3

where :math:`n_j` grams of that order have count j, and 3 stands for 3 or more.

Cost:    counting O(N log N) per order; scoring O(log N) per order and token.
Source:  Ney, Essen and Kneser 1994 (absolute discounting); Kneser and Ney 1995 (different tokens before);
         Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling" (one
         discount for each of 1, 2 and more).
Differs: unigrams back off to a uniform distribution, so that nothing has probability 0; discounts stay
         between 0.1 and j, and are 0.5 where none can be estimated; the beginning of the text counts as one
         more previous token. ``continuation_counts=False`` takes plain counts in every order: absolute
         discounting.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nhin.errors import CheckpointError, DataError, ShapeError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_TOKENS, MAX_VOCAB, MAX_ORDER = 2**40, 2**20, 8
_CHUNK_TOKENS = 2**20
_MIN_DISCOUNT, _DEFAULT_DISCOUNT = 0.1, 0.5


@dataclass(frozen=True, slots=True)
class NGramTable:
    """The grams of one order.

    Args:
        keys: Increasing; each gram is its context's row in the table of the order below, times the
            vocabulary, plus its last token. Exact: rows, not hashes.
        counts: Of each gram; at least 1.
        probs: What each gram adds to the probability of its token.
        backoffs: By row of the table below: the probability left to shorter contexts.
    """

    keys: Ints
    counts: Ints
    probs: Floats
    backoffs: Floats


class NGram:
    """Gives the probability of every token after the few before it.

    Args:
        vocab: Number of tokens.
        grams: Keys and counts by order, from single tokens up; see ``NGramTable``.
    """

    def __init__(self, vocab: int, grams: Sequence[tuple[Ints, Ints]]) -> None:
        check_sizes(vocab, len(grams))
        self.vocab = vocab
        rows = (1, *(len(keys) for keys, _ in grams))
        self.tables = [_build_table(*pair, vocab, below) for pair, below in zip(grams, rows, strict=False)]

    @property
    def order(self) -> int:
        """Tokens of the longest gram."""
        return len(self.tables)

    def nats(self, tokens: ArrayLike) -> Floats:
        """Return -log p of each token after all before it; the first has no context."""
        tokens = as_tokens(tokens, self.vocab)
        out = np.empty(len(tokens))
        for start in range(0, len(tokens), _CHUNK_TOKENS):
            before = min(start, self.order - 1)
            piece = self._token_probs(tokens[start - before : start + _CHUNK_TOKENS])
            out[start : start + _CHUNK_TOKENS] = -np.log(piece[before:])
        return out

    def _token_probs(self, tokens: Ints) -> Floats:
        probs = np.full(len(tokens), 1 / self.vocab)
        rows = np.zeros(len(tokens), np.int64)
        for table in self.tables:
            known = np.flatnonzero(rows >= 0)
            found = np.full(len(tokens), -1)
            found[known] = hits = _find_rows(table.keys, rows[known] * self.vocab + tokens[known])
            probs[known] *= table.backoffs[rows[known]]
            probs[known[hits >= 0]] += table.probs[hits[hits >= 0]]
            # The gram that ends at a token is the context of the next one.
            rows = np.concatenate(([-1], found[:-1]))
        return probs

    def next_token_probs(self, context: ArrayLike) -> Floats:
        """Return the probability of every next token after a context, oldest first, of any length."""
        recent = as_tokens(context, self.vocab)
        probs = np.full(self.vocab, 1 / self.vocab)
        for length, table in enumerate(self.tables):
            row = self._find_row(recent[len(recent) - length :]) if length <= len(recent) else -1
            if row < 0:
                break
            low, high = np.searchsorted(table.keys, [row * self.vocab, (row + 1) * self.vocab])
            probs *= table.backoffs[row]
            probs[table.keys[low:high] - row * self.vocab] += table.probs[low:high]
        return probs

    def _find_row(self, context: Ints) -> int:
        """Return the row of a context in the table of its length, -1 if it was not seen."""
        row = 0
        for table, token in zip(self.tables, context, strict=False):
            row = int(_find_rows(table.keys, np.array([row * self.vocab + token]))[0])
            if row < 0:
                break
        return row

    def tensors(self) -> dict[str, Ints]:
        """Return all it knows, by name; the inverse of ``from_tensors``."""
        named = enumerate(self.tables, start=1)
        return {f"{k}.{part}": getattr(table, part) for k, table in named for part in ("keys", "counts")}

    @classmethod
    def from_tensors(cls, vocab: int, tensors: Mapping[str, NDArray[Any]], where: str) -> "NGram":
        """Build from what ``tensors`` returned.

        Raises:
            CheckpointError: Something is missing, foreign or impossible.
        """
        order = len(tensors) // 2
        names = [(f"{k}.keys", f"{k}.counts") for k in range(1, order + 1)]
        if not 1 <= order <= MAX_ORDER or {name for pair in names for name in pair} != tensors.keys():
            raise CheckpointError(
                f"{where} holds no n-grams: it has the tensors {', '.join(sorted(tensors))}"
            )
        grams, below = [], 1
        for keys, counts in ((tensors[a], tensors[b]) for a, b in names):
            if not _is_valid_table(keys, counts, below * vocab):
                raise CheckpointError(f"{where} holds n-grams that cannot be; count them again")
            grams.append((keys, counts))
            below = len(keys)
        return cls(vocab, grams)


class NGramScorer:
    """Scores the next token of ``rows`` texts: a ``RowScorer`` of ``lm.generate``; stores contexts."""

    def __init__(self, model: NGram, rows: int = 1) -> None:
        self.model, self.rows = model, rows
        self._contexts: list[list[int]] = [[]] * rows

    def start(self, ids: Sequence[int]) -> Floats:
        """Begin every text with one prompt, which may be empty; return a score per token."""
        self._contexts = [self._shorten([*ids])] * self.rows
        return self._log_probs(self._contexts[0])

    def step(self, token: int) -> Floats:
        """Append one token to every text; return a score per token."""
        return self.scores(np.full(self.rows, token))[0]

    def scores(self, ids: Ints) -> Floats:
        """Append one token to each text; return scores, rows x vocabulary."""
        pairs = zip(self._contexts, ids.tolist(), strict=True)
        self._contexts = [self._shorten([*context, token]) for context, token in pairs]
        return np.stack([self._log_probs(context) for context in self._contexts])

    def reorder(self, rows: Ints) -> None:
        """Let row i continue the former row ``rows[i]``."""
        self._contexts = [self._contexts[row] for row in rows]

    def _shorten(self, context: list[int]) -> list[int]:
        return context[max(0, len(context) - self.model.order + 1) :]

    def _log_probs(self, context: list[int]) -> Floats:
        return np.log(self.model.next_token_probs(context))


def count_ngrams(tokens: ArrayLike, vocab: int, order: int, *, continuation_counts: bool = True) -> NGram:
    """Count the grams of a text.

    Args:
        tokens: Ids below ``vocab``, in the order of the text; any number of them.
        vocab: Number of tokens, up to 2**20.
        order: Tokens in the longest gram, 1 to 8.
        continuation_counts: Below the longest order, count the different tokens before a gram, not the gram.

    Raises:
        ShapeError: ``vocab`` or ``order`` is out of range.
        DataError: A token is not below ``vocab``.
    """
    check_sizes(vocab, order)
    tokens = as_tokens(tokens, vocab)
    return NGram(vocab, list(_count_orders(tokens, vocab, order, continuation_counts)))


def _count_orders(
    tokens: Ints, vocab: int, order: int, continuation_counts: bool
) -> Iterator[tuple[Ints, Ints]]:
    """Yield keys and counts order by order; ``ends`` is the row of the gram that ends at each position."""
    keys, counts, ends = _unique_counts(tokens)
    for length in range(2, order + 1):
        longer, longer_counts, longer_ends = _unique_counts(ends[:-1] * vocab + tokens[length - 1 :])
        if continuation_counts and len(ends):
            some_end = np.empty(len(longer), np.int64)  # a position where each longer gram ends
            some_end[longer_ends] = np.arange(1, len(longer_ends) + 1)
            counts = np.bincount(ends[some_end], minlength=len(keys))
            counts[ends[0]] += 1
        yield keys, counts
        keys, counts, ends = longer, longer_counts, longer_ends
    yield keys, counts


def _unique_counts(keys: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the different keys in increasing order, the count of each, and the row of every key."""
    # Faster than np.unique, which sorts indices along with keys.
    ordered = np.sort(keys)
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    distinct = ordered[starts]
    return distinct, np.diff(starts, append=len(keys)), np.searchsorted(distinct, keys)


def _build_table(keys: Ints, counts: Ints, vocab: int, context_count: int) -> NGramTable:
    """Compute probabilities and backoffs; ``context_count`` is the number of contexts."""
    contexts = keys // vocab
    off = estimate_discounts(counts)[np.minimum(counts, 3)]
    totals = np.bincount(contexts, weights=counts, minlength=context_count)
    left = np.bincount(contexts, weights=off, minlength=context_count)
    # A context that occurs only at the end of the text leaves everything to shorter ones.
    backoffs = np.divide(left, totals, out=np.ones(context_count), where=totals > 0)
    return NGramTable(keys, counts, (counts - off) / totals[contexts], backoffs)


def estimate_discounts(counts: Ints) -> Floats:
    """Return the discounts of a count of 0, 1, 2, and 3 or more."""
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)
    if not (n[1] and n[2]):
        return np.array([0.0, *[_DEFAULT_DISCOUNT] * 3])
    y = n[1] / (n[1] + 2 * n[2])
    raw = [j - (j + 1) * y * n[j + 1] / n[j] if n[j] else y for j in (1, 2, 3)]
    return np.array([0.0, *np.clip(raw, _MIN_DISCOUNT, [1, 2, 3])])


def _find_rows(keys: Ints, queries: Ints) -> Ints:
    """Return the row of each queried key, -1 where there is none."""
    if not len(keys):
        return np.full(len(queries), -1)
    rows = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.where(keys[rows] == queries, rows, -1)


def _is_valid_table(keys: NDArray[Any], counts: NDArray[Any], limit: int) -> bool:
    """Return whether these can be the grams of one order."""
    if not (keys.dtype == counts.dtype == np.int64 and keys.ndim == 1 and keys.shape == counts.shape):
        return False
    if not len(keys):
        return True
    is_increasing = keys[0] >= 0 and keys[-1] < limit and (np.diff(keys) > 0).all()
    return bool(is_increasing and counts.min() > 0 and counts.max() <= MAX_TOKENS)


def check_sizes(vocab: int, order: int) -> None:
    """Refuse sizes that cannot be counted."""
    if not 1 <= vocab <= MAX_VOCAB:
        raise ShapeError(f"n-grams need a vocabulary of 1 to {MAX_VOCAB} tokens, not {vocab}")
    if not 1 <= order <= MAX_ORDER:
        raise ShapeError(f"an n-gram's order is 1 to {MAX_ORDER}, not {order}")


def as_tokens(tokens: ArrayLike, vocab: int) -> Ints:
    """Return tokens as one row of ids below ``vocab``, or refuse them."""
    row = np.asarray(tokens, np.int64).reshape(-1)
    if len(row) and not 0 <= row.min() <= row.max() < vocab:
        raise DataError(f"tokens are 0 to {vocab - 1} here; {row.min()} to {row.max()} were given")
    return row
