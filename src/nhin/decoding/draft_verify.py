r"""Greedy decoding in few passes: draft, verify, repeat.

The decoder is run once on a whole draft. Where the draft equals what the decoder itself would have
written, it is accepted; the decoder's own choices become the next draft. A draft that survives with its
end is a fixed point of

.. math::
    y_t = \operatorname{argmax} p(\cdot \mid y_{<t}), \quad t = 1, 2, \ldots

and the only fixed point is the greedy answer, so the result is exact however wild the draft was.

Cost:    at most one pass more than the answer is long; one or two when the draft is good.
Source:  Santilli et al. 2023, arXiv:2305.10427, algorithm 1 (Jacobi decoding).
Differs: begins with the CTC head's answer instead of padding, and each row of a batch ends by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nhin.text.charset import EOS, PAD, SOS, UNK

Decode = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]
"""Memory (batch x places x dim) and tokens (batch x length) to logits, as ``Pair.decode``."""

_NOT_WRITTEN = [PAD, SOS, UNK]


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """One greedy answer.

    Args:
        ids: Without SOS and EOS.
        log_probs: One per id and, unless the limit cut the answer, one for EOS.
        passes: How often the decoder ran for this row.
    """

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    passes: int


def verify_drafts(
    decode: Decode,
    memory: NDArray[np.float32],
    drafts: Sequence[Sequence[int]],
    max_length: int,
    temperature: float = 1.0,
) -> list[DecodeResult]:
    """Return each row's greedy answer, using its draft to save passes.

    Args:
        decode: The decoder; a row's logits must not depend on other rows or on later tokens.
        memory: batch x places x dim.
        drafts: One guess per row, without SOS and EOS; any ids at all.
        max_length: Most ids an answer may have, at least 1.
        temperature: Softens the probabilities told, never the choice.
    """
    answers: list[DecodeResult | None] = [None] * len(drafts)
    open_rows = list(range(len(drafts)))
    guesses = [_until_eos(draft)[:max_length] for draft in drafts]
    # What is accepted stays: a decoder whose rounding wavers with the length must not go in circles.
    settled = [0] * len(drafts)
    passes = 0
    while open_rows:
        passes += 1
        logits = decode(memory[open_rows], _pad_tokens([guesses[row] for row in open_rows]))
        for row, table in zip(open_rows, mask_specials(logits), strict=True):
            guess = guesses[row]
            choices = table[: len(guess) + 1].argmax(axis=-1).tolist()
            if (right := _count_agreed(guess, choices, settled[row])) == max_length:
                answers[row] = DecodeResult(tuple(guess), _log_probs(table, guess, temperature), passes)
            elif choices[right] == EOS:
                ids = guess[:right]
                answers[row] = DecodeResult(tuple(ids), _log_probs(table, [*ids, EOS], temperature), passes)
            else:
                guesses[row] = (guess[:right] + _until_eos(choices[right:]))[:max_length]
                settled[row] = right + 1
        open_rows = [row for row in open_rows if answers[row] is None]
    return [answer for answer in answers if answer is not None]


def score_texts(
    decode: Decode, memory: NDArray[np.float32], texts: Sequence[Sequence[int]], temperature: float = 1.0
) -> list[tuple[float, ...]]:
    """Return the decoder's log-probability of each id of some texts, the end's last, in one pass."""
    tables = mask_specials(decode(memory, _pad_tokens(texts)))
    return [_log_probs(table, [*ids, EOS], temperature) for table, ids in zip(tables, texts, strict=True)]


def decode_stepwise(
    decode: Decode, memory: NDArray[np.float32], max_length: int, temperature: float = 1.0
) -> list[DecodeResult]:
    """Return each row's greedy answer one token at a time: slow, obvious, the reference of ``verify``."""
    answers: list[DecodeResult] = []
    for row in range(len(memory)):
        ids: list[int] = []
        told: list[float] = []
        while len(ids) < max_length and EOS not in ids:
            table = mask_specials(decode(memory[row : row + 1], _pad_tokens([ids])))[0]
            ids.append(int(table[-1].argmax()))
            told.append(_log_probs(table[-1:], ids[-1:], temperature)[0])
        answers.append(DecodeResult(tuple(i for i in ids if i != EOS), tuple(told), len(told)))
    return answers


def mask_specials(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return a copy (any shape x vocab) where only the end and real characters are possible."""
    out = np.array(logits, dtype=np.float64)
    out[..., _NOT_WRITTEN] = -np.inf
    return out


def _until_eos(ids: Sequence[int]) -> list[int]:
    return list(ids[: ids.index(EOS)] if EOS in ids else ids)


def _pad_tokens(guesses: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Stack SOS and each guess, filled with PAD to the longest."""
    out = np.full((len(guesses), 1 + max(map(len, guesses))), PAD, dtype=np.int64)
    out[:, 0] = SOS
    for row, guess in zip(out, guesses, strict=True):
        row[1 : 1 + len(guess)] = guess
    return out


def _count_agreed(guess: Sequence[int], choices: Sequence[int], accepted: int) -> int:
    """Count the leading ids on which guess and choices agree; the settled ones are not asked again."""
    return next((i for i in range(accepted, len(guess)) if guess[i] != choices[i]), len(guess))


def _log_probs(table: NDArray[np.float64], ids: Sequence[int], temperature: float) -> tuple[float, ...]:
    """Return the log-probability of id ``t`` in row ``t`` of a table of logits."""
    scaled = table[: len(ids)] / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    norms = np.log(np.exp(scaled).sum(axis=-1))
    return tuple(float(row[i] - norm) for row, i, norm in zip(scaled, ids, norms, strict=True))
