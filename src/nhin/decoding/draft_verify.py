r"""Greedy decoding in few passes: draft, verify, repeat.

One pass of the decoder scores a whole draft. The draft is accepted up to where it differs from the
decoder's own choices, and these choices become the next draft. A draft accepted to its end is a fixed
point of

.. math::
    y_t = \operatorname{argmax} p(\cdot \mid y_{<t}), \quad t = 1, 2, \ldots

and the only fixed point is the greedy answer, so the result is exact for any draft.

Cost:    at most one pass more than the length of the answer; one or two if the draft is good.
Source:  Santilli et al. 2023, arXiv:2305.10427, algorithm 1 (Jacobi decoding).
Differs: begins with the CTC head's answer instead of padding; each row of a batch ends by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nhin.decoding.protocol import Decode, mask_specials
from nhin.text.charset import EOS, PAD, SOS


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """One greedy answer.

    Args:
        ids: Without SOS and EOS.
        log_probs: One per id and, unless the answer reached the limit, one for EOS.
        passes: Decoder passes for this row.
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
    """Return each row's greedy answer; its draft saves passes.

    Args:
        decode: The decoder; a row's logits must not depend on other rows or on later tokens.
        memory: batch x positions x dim.
        drafts: One per row, without SOS and EOS; any ids.
        max_length: Maximum number of ids in an answer, at least 1.
        temperature: Divides the logits of the log-probabilities; the answer does not change.
    """
    answers: list[DecodeResult | None] = [None] * len(drafts)
    open_rows = list(range(len(drafts)))
    pending = [_until_eos(draft)[:max_length] for draft in drafts]
    # Accepted ids stay: rounding may vary with the length, which could make the loop endless.
    accepted = [0] * len(drafts)
    passes = 0
    while open_rows:
        passes += 1
        logits = decode(memory[open_rows], pad_tokens([pending[row] for row in open_rows]))
        for row, table in zip(open_rows, mask_specials(logits, EOS), strict=True):
            draft = pending[row]
            choices = table[: len(draft) + 1].argmax(axis=-1).tolist()
            if (agreed := _count_agreed(draft, choices, accepted[row])) == max_length:
                answers[row] = DecodeResult(tuple(draft), token_log_probs(table, draft, temperature), passes)
            elif choices[agreed] == EOS:
                ids = draft[:agreed]
                answers[row] = DecodeResult(
                    tuple(ids), token_log_probs(table, [*ids, EOS], temperature), passes
                )
            else:
                pending[row] = (draft[:agreed] + _until_eos(choices[agreed:]))[:max_length]
                accepted[row] = agreed + 1
        open_rows = [row for row in open_rows if answers[row] is None]
    return [answer for answer in answers if answer is not None]


def score_texts(
    decode: Decode, memory: NDArray[np.float32], texts: Sequence[Sequence[int]], temperature: float = 1.0
) -> list[tuple[float, ...]]:
    """Return the decoder's log-probability of each id of each text and of its end, in one pass."""
    tables = mask_specials(decode(memory, pad_tokens(texts)), EOS)
    return [
        token_log_probs(table, [*ids, EOS], temperature) for table, ids in zip(tables, texts, strict=True)
    ]


def decode_stepwise(
    decode: Decode, memory: NDArray[np.float32], max_length: int, temperature: float = 1.0
) -> list[DecodeResult]:
    """Return each row's greedy answer one token at a time: the slow reference of ``verify_drafts``."""
    answers: list[DecodeResult] = []
    for row in range(len(memory)):
        ids: list[int] = []
        log_probs: list[float] = []
        while len(ids) < max_length and EOS not in ids:
            table = mask_specials(decode(memory[row : row + 1], pad_tokens([ids])), EOS)[0]
            ids.append(int(table[-1].argmax()))
            log_probs.append(token_log_probs(table[-1:], ids[-1:], temperature)[0])
        answers.append(DecodeResult(tuple(i for i in ids if i != EOS), tuple(log_probs), len(log_probs)))
    return answers


def _until_eos(ids: Sequence[int]) -> list[int]:
    return list(ids[: ids.index(EOS)] if EOS in ids else ids)


def pad_tokens(drafts: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Stack the drafts after SOS, padded to the longest."""
    out = np.full((len(drafts), 1 + max(map(len, drafts))), PAD, dtype=np.int64)
    out[:, 0] = SOS
    for row, draft in zip(out, drafts, strict=True):
        row[1 : 1 + len(draft)] = draft
    return out


def _count_agreed(draft: Sequence[int], choices: Sequence[int], accepted: int) -> int:
    """Count the leading ids on which draft and choices agree, given those already accepted."""
    return next((i for i in range(accepted, len(draft)) if draft[i] != choices[i]), len(draft))


def token_log_probs(table: NDArray[np.float64], ids: Sequence[int], temperature: float) -> tuple[float, ...]:
    """Return the log-probability of id ``t`` in row ``t`` of a table of logits."""
    scaled = table[: len(ids)] / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    norms = np.log(np.exp(scaled).sum(axis=-1))
    return tuple(float(row[i] - norm) for row, i, norm in zip(scaled, ids, norms, strict=True))
