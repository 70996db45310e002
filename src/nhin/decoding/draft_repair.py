"""Repair a draft by single edits that the decoder proposes and both heads together prefer.

A decoder that sees a part of a line, or more letters than it was trained on, repeats itself without end, and
``draft_verify`` then takes a pass for every letter. Here the draft stays the text: one pass scores it, and
where the decoder's choice differs, that letter is replaced, inserted or left out if this raises the sum of
both heads' log-probabilities over the letters and frames around it.

Cost:    a pass over the drafts, and in each of at most ``ROUNDS`` rounds one over the edits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nhin.decoding import ctc
from nhin.decoding.draft_verify import pad_tokens, score_texts, token_log_probs
from nhin.decoding.protocol import Decode, mask_specials
from nhin.text.charset import EOS

MAX_LETTERS = 72
"""Letters of a draft that the decoder is asked about: it was trained on no longer texts."""
ROUNDS = 2
_MAX_EDITS = 6
_APART = 3
_AROUND = 3
_AFTER = 5
_MAX_ROWS = 64
_IMPOSSIBLE = -1e4


@dataclass(frozen=True, slots=True)
class WindowDraft:
    """The draft of what a window shows.

    Args:
        ids: The letters, without SOS and EOS.
        spans: The frames (first, past last) of each.
        first: The first letter that may change and is returned.
        stop: The first one after those.
        is_end: The text ends in this window.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    first: int
    stop: int
    is_end: bool


@dataclass(frozen=True, slots=True)
class _Edit:
    """Replace the letters from ``left`` to ``right`` by ``ids``; the decoder disagreed at ``position``."""

    row: int
    position: int
    left: int
    right: int
    ids: tuple[int, ...]


def repair_drafts(
    decode: Decode,
    memory: NDArray[np.float32],
    frames: NDArray[np.floating],
    drafts: Sequence[WindowDraft],
    temperature: float = 1.0,
    ctc_share: float = 1.0,
) -> list[tuple[list[int], list[float]]]:
    """Return the ids from ``first`` to ``stop`` of each repaired draft, and their log-probabilities.

    Args:
        decode: The decoder; a row's logits must not depend on other rows or on later tokens.
        memory: batch x positions x dim.
        frames: CTC log-probabilities, batch x frames x vocab.
        drafts: One per row.
        temperature: Divides the logits of the log-probabilities; the texts do not change.
        ctc_share: Weight of the CTC head's log-probability; the decoder's is 1.

    Returns:
        Where ``is_end``, the log-probability of the end is the last. Letters past ``MAX_LETTERS`` have the
        CTC head's.
    """
    answers: list[tuple[list[int], list[float]]] = [([], [])] * len(drafts)
    pending = dict(enumerate(drafts))
    for rounds in range(ROUNDS + 1):
        rows = list(pending)
        tables = mask_specials(
            decode(memory[rows], pad_tokens([pending[row].ids[:MAX_LETTERS] for row in rows])), EOS
        )
        edits = [
            edit
            for row, table in zip(rows, tables, strict=True)
            if rounds < ROUNDS
            for edit in _propose_edits(row, pending[row], table)
        ]
        gains = _measure_gains(decode, memory, frames, pending, dict(zip(rows, tables, strict=True)), edits)
        gains = [ctc_share * heads[0] + heads[1] for heads in gains]
        for row, table in zip(rows, tables, strict=True):
            best = sorted(
                (-gain, edit.position, k)
                for k, (gain, edit) in enumerate(zip(gains, edits, strict=True))
                if edit.row == row and gain > 0
            )
            accepted = _choose_apart([edits[k] for _, _, k in best])
            if accepted:
                pending[row] = _apply(pending[row], accepted)
            else:
                answers[row] = _finish(pending.pop(row), table, frames[row], temperature)
        if not pending:
            break
    return answers


def _propose_edits(row: int, draft: WindowDraft, table: NDArray[np.float64]) -> list[_Edit]:
    """List the edits at the positions where the decoder is surest that the draft is wrong."""
    count = len(draft.ids)
    wanted = [*range(draft.first, min(draft.stop, MAX_LETTERS))]
    if draft.is_end and count < MAX_LETTERS:
        wanted.append(count)
    letters = [*draft.ids, EOS]
    choices = table.argmax(axis=-1)
    margins = {t: float(table[t, choices[t]] - table[t, letters[t]]) for t in wanted}
    doubted = sorted((t for t in wanted if margins[t] > 0), key=lambda t: (-margins[t], t))[:_MAX_EDITS]
    out = []
    for t in doubted:
        choice = int(choices[t])
        if t < count and choice == letters[t + 1] and (choice != EOS or draft.is_end):
            out.append(_Edit(row, t, t, t + 1, ()))
        if choice != EOS:
            out.append(_Edit(row, t, t, t, (choice,)))
            if t < count:
                out.append(_Edit(row, t, t, t + 1, (choice,)))
    return out


def _measure_gains(
    decode: Decode,
    memory: NDArray[np.float32],
    frames: NDArray[np.floating],
    drafts: dict[int, WindowDraft],
    tables: dict[int, NDArray[np.float64]],
    edits: Sequence[_Edit],
) -> list[tuple[float, float]]:
    """Return what each edit adds to the log-probabilities of the CTC head and of the decoder."""
    out: list[tuple[float, float]] = []
    for begin in range(0, len(edits), _MAX_ROWS):
        part = edits[begin : begin + _MAX_ROWS]
        stops = [min(len(drafts[edit.row].ids), MAX_LETTERS, edit.position + _AFTER) for edit in part]
        texts = [_edited(drafts[edit.row].ids, edit, 0, stop) for edit, stop in zip(part, stops, strict=True)]
        scores = score_texts(decode, memory[[edit.row for edit in part]], texts)
        likelihoods = _compare_ctc(frames, drafts, part)
        for edit, stop, score, gain in zip(part, stops, scores, likelihoods, strict=True):
            draft = drafts[edit.row]
            ends = draft.is_end and stop == len(draft.ids)
            before = token_log_probs(tables[edit.row], [*draft.ids[:stop], *([EOS] * ends)], 1.0)
            after = score if ends else score[:-1]
            out.append((gain, sum(after[edit.position :]) - sum(before[edit.position :])))
    return out


def _compare_ctc(
    frames: NDArray[np.floating], drafts: dict[int, WindowDraft], edits: Sequence[_Edit]
) -> NDArray[np.float64]:
    """Return what each edit adds to the CTC log-likelihood of the frames around it."""
    parts, before, after = [], [], []
    for edit in edits:
        draft = drafts[edit.row]
        left, right = max(0, edit.left - _AROUND), min(len(draft.ids), edit.right + _AROUND)
        # What a window shows of letters at its edges, which are not in its draft, explains no letter inside.
        start = draft.spans[left - 1][1] if left else draft.spans[0][0] if draft.first else 0
        stop = draft.spans[right][0] if right < len(draft.ids) else len(frames[edit.row])
        stop = draft.spans[-1][1] if right == len(draft.ids) and not draft.is_end else stop
        parts.append(frames[edit.row][start:stop])
        before.append(draft.ids[left:right])
        after.append(_edited(draft.ids, edit, left, right))
    # Frames that are surely blank make all parts equally long and change no likelihood.
    padded = np.full((len(parts), max(map(len, parts)), frames.shape[2]), _IMPOSSIBLE)
    padded[:, :, ctc.BLANK] = 0.0
    for row, part in zip(padded, parts, strict=True):
        row[: len(part)] = part
    rows = list(range(len(parts)))
    scores = ctc.log_likelihoods(padded, rows * 2, before + after)
    return scores[len(parts) :] - scores[: len(parts)]


def _edited(ids: tuple[int, ...], edit: _Edit, start: int, stop: int) -> tuple[int, ...]:
    """Return the letters from ``start`` to ``stop`` after an edit."""
    return ids[start : edit.left] + edit.ids + ids[edit.right : stop]


def _choose_apart(edits: Sequence[_Edit]) -> list[_Edit]:
    """Choose edits, best first, that do not meet; return them from right to left."""
    out: list[_Edit] = []
    for edit in edits:
        if all(abs(edit.position - other.position) > _APART for other in out):
            out.append(edit)
    return sorted(out, key=lambda edit: -edit.position)


def _apply(draft: WindowDraft, edits: Sequence[_Edit]) -> WindowDraft:
    """Apply edits, from right to left; a new letter has the frames of the old one, or those between two."""
    for edit in edits:
        left, right, count = edit.left, edit.right, len(draft.ids)
        if right > left:
            spans = draft.spans[left:right][: len(edit.ids)]
        else:
            start = draft.spans[left - 1][1] if left else 0
            spans = ((start, draft.spans[left][0] if left < count else start),)
        draft = replace(
            draft,
            ids=_edited(draft.ids, edit, 0, count),
            spans=draft.spans[:left] + spans + draft.spans[right:],
            stop=draft.stop + len(edit.ids) - (right - left),
        )
    return draft


def _finish(
    draft: WindowDraft, table: NDArray[np.float64], frames: NDArray[np.floating], temperature: float
) -> tuple[list[int], list[float]]:
    ids = draft.ids
    log_probs = list(token_log_probs(table, [*ids[:MAX_LETTERS], EOS], temperature))
    if len(ids) > MAX_LETTERS:
        log_probs = log_probs[:-1] + np.log(ctc.char_confidences(frames, ids)).tolist()[MAX_LETTERS:] + [0.0]
    own = log_probs[draft.first : draft.stop]
    return list(ids[draft.first : draft.stop]), own + (log_probs[-1:] if draft.is_end else [])
