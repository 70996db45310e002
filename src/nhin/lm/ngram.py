r"""Counting: a language model that learns nothing, and the control every network is shown beside.

With ``h`` the tokens before, ``h'`` the same without the oldest, and ``c`` how often a gram was seen or,
below the longest order, how many different tokens were seen before it:

.. math::
    p_k(w \mid h) = \frac{\max(c(hw) - D_{c(hw)}, 0)}{\sum_v c(hv)}
        + \frac{\sum_v D_{c(hv)}}{\sum_v c(hv)} p_{k-1}(w \mid h')

    D_j = j - (j + 1) \frac{n_1}{n_1 + 2 n_2} \frac{n_{j+1}}{n_j}, \quad j = 1, 2, 3

where :math:`n_j` grams of that order have count j, and 3 stands for more too.

Cost:    counting O(N log N) per order; asking O(log N) per order and token.
Source:  Ney, Essen and Kneser 1994 (absolute discounting); Kneser and Ney 1995 (different tokens before);
         Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling" (one
         discount for each of 1, 2 and more).
Differs: one token falls back to equal chances, so that nothing is impossible; discounts stay between 0.1 and
         j, and are 0.5 where none can be estimated; the beginning of the text is one more token before.
         ``continued=False`` takes plain counts in every order: absolute discounting before Kneser and Ney.
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
        keys: Rising; each gram is its context's row in the table of the order below, times the vocabulary,
            plus its last token. Exact: rows, not hashes.
        counts: Of each gram; at least 1.
        probs: What each gram adds to the chance of its token.
        backoffs: By row of the table below: what is left to shorter contexts.
    """

    keys: Ints
    counts: Ints
    probs: Floats
    backoffs: Floats


class NGram:
    """Says how likely every token is after the few before it.

    Args:
        vocab: Tokens there are.
        grams: Keys and counts by order, from single tokens up; see ``Table``.
    """

    def __init__(self, vocab: int, grams: Sequence[tuple[Ints, Ints]]) -> None:
        check_sizes(vocab, len(grams))
        self.vocab = vocab
        rows = (1, *(len(keys) for keys, _ in grams))
        self.tables = [_build_table(*pair, vocab, below) for pair, below in zip(grams, rows, strict=False)]

    @property
    def order(self) -> int:
        """How many tokens a gram has."""
        return len(self.tables)

    def nats(self, tokens: ArrayLike) -> Floats:
        """Return what each token costs after all before it, -log p; the first has nothing before it."""
        tokens = as_tokens(tokens, self.vocab)
        out = np.empty(len(tokens))
        for start in range(0, len(tokens), _CHUNK_TOKENS):
            before = min(start, self.order - 1)
            piece = self._token_probs(tokens[start - before : start + _CHUNK_TOKENS])
            out[start : start + _CHUNK_TOKENS] = -np.log(piece[before:])
        return out

    def _token_probs(self, tokens: Ints) -> Floats:
        chances = np.full(len(tokens), 1 / self.vocab)
        rows = np.zeros(len(tokens), np.int64)
        for table in self.tables:
            known = np.flatnonzero(rows >= 0)
            found = np.full(len(tokens), -1)
            found[known] = hits = _find_rows(table.keys, rows[known] * self.vocab + tokens[known])
            chances[known] *= table.backoffs[rows[known]]
            chances[known[hits >= 0]] += table.probs[hits[hits >= 0]]
            # What ends at a token is the context of the next one.
            rows = np.concatenate(([-1], found[:-1]))
        return chances

    def next_token_probs(self, context: ArrayLike) -> Floats:
        """Return the chance of every token after these, oldest first; those too old do not matter."""
        recent = as_tokens(context, self.vocab)
        chances = np.full(self.vocab, 1 / self.vocab)
        for length, table in enumerate(self.tables):
            row = self._find_row(recent[len(recent) - length :]) if length <= len(recent) else -1
            if row < 0:
                break
            low, high = np.searchsorted(table.keys, [row * self.vocab, (row + 1) * self.vocab])
            chances *= table.backoffs[row]
            chances[table.keys[low:high] - row * self.vocab] += table.probs[low:high]
        return chances

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


def count_ngrams(tokens: ArrayLike, vocab: int, order: int, *, continuation_counts: bool = True) -> NGram:
    """Count the grams of a text.

    Args:
        tokens: Ids below ``vocab``, in the order of the text; any number of them.
        vocab: Tokens there are, up to 2**20.
        order: Tokens in the longest gram, 1 to 8.
        continuation_counts: Below the longest order count the different tokens before a gram, not how often it came.

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
    """Yield keys and counts order by order; ``ends`` holds the row of the gram that ends at each place."""
    keys, counts, ends = _unique_counts(tokens)
    for length in range(2, order + 1):
        longer, times, late = _unique_counts(ends[:-1] * vocab + tokens[length - 1 :])
        if continuation_counts and len(ends):
            one_place = np.empty(len(longer), np.int64)
            one_place[late] = np.arange(1, len(late) + 1)
            counts = np.bincount(ends[one_place], minlength=len(keys))
            counts[ends[0]] += 1
        yield keys, counts
        keys, counts, ends = longer, times, late
    yield keys, counts


def _unique_counts(keys: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the different keys, rising, how often each came, and the row of each in them."""
    # Faster than np.unique, which sorts rows along with keys to know where each came from.
    ordered = np.sort(keys)
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    distinct = ordered[starts]
    return distinct, np.diff(starts, append=len(keys)), np.searchsorted(distinct, keys)


def _build_table(keys: Ints, counts: Ints, vocab: int, context_count: int) -> NGramTable:
    """Work out what grams add and leave, ``context_count`` being how many contexts there are."""
    contexts = keys // vocab
    off = estimate_discounts(counts)[np.minimum(counts, 3)]
    totals = np.bincount(contexts, weights=counts, minlength=context_count)
    left = np.bincount(contexts, weights=off, minlength=context_count)
    # A context that only ended the text was never followed by anything: all is left to shorter ones.
    rests = np.divide(left, totals, out=np.ones(context_count), where=totals > 0)
    return NGramTable(keys, counts, (counts - off) / totals[contexts], rests)


def estimate_discounts(counts: Ints) -> Floats:
    """Return what is taken off a count of 0, of 1, of 2, and of 3 or more."""
    seen = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)
    if not (seen[1] and seen[2]):
        return np.array([0.0, *[_DEFAULT_DISCOUNT] * 3])
    one = seen[1] / (seen[1] + 2 * seen[2])
    raw = [j - (j + 1) * one * seen[j + 1] / seen[j] if seen[j] else one for j in (1, 2, 3)]
    return np.array([0.0, *np.clip(raw, _MIN_DISCOUNT, [1, 2, 3])])


def _find_rows(keys: Ints, queries: Ints) -> Ints:
    """Return the row of each wanted key, -1 where there is none."""
    if not len(keys):
        return np.full(len(queries), -1)
    rows = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.where(keys[rows] == queries, rows, -1)


def _is_valid_table(keys: NDArray[Any], counts: NDArray[Any], limit: int) -> bool:
    """Say whether these can be the grams of one order."""
    if not (keys.dtype == counts.dtype == np.int64 and keys.ndim == 1 and keys.shape == counts.shape):
        return False
    if not len(keys):
        return True
    rising = keys[0] >= 0 and keys[-1] < limit and (np.diff(keys) > 0).all()
    return bool(rising and counts.min() > 0 and counts.max() <= MAX_TOKENS)


def check_sizes(vocab: int, order: int) -> None:
    """Refuse sizes that cannot be counted."""
    if not 1 <= vocab <= MAX_VOCAB:
        raise ShapeError(f"n-grams need a vocabulary of 1 to {MAX_VOCAB} tokens, not {vocab}")
    if not 1 <= order <= MAX_ORDER:
        raise ShapeError(f"an n-gram's order is 1 to {MAX_ORDER}, not {order}")


def as_tokens(tokens: ArrayLike, vocab: int) -> Ints:
    """Return tokens as one row of whole numbers below ``vocab``, or say which is not."""
    row = np.asarray(tokens, np.int64).reshape(-1)
    if len(row) and not 0 <= row.min() <= row.max() < vocab:
        raise DataError(f"tokens are 0 to {vocab - 1} here; {row.min()} to {row.max()} were given")
    return row
