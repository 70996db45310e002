"""Laws of repairing drafts by single edits."""

import numpy as np
import pytest

from nhin.decoding import ctc
from nhin.decoding.draft_repair import MAX_LETTERS, ROUNDS, WindowDraft, repair_drafts
from nhin.text.charset import EOS

VOCAB = 12


class PrefixDecoder:
    """Knows the text, and finds its place by the last two letters; without these, by the position."""

    def __init__(self, text):
        self.text, self.passes = text, 0

    def __call__(self, memory, tokens):
        self.passes += 1
        out = np.zeros((*tokens.shape, VOCAB), np.float32)
        for row, t in np.ndindex(*tokens.shape):
            last = tuple(tokens[row, max(1, t - 1) : t + 1])
            ends = [i + len(last) for i in range(len(self.text)) if self.text[i : i + len(last)] == last]
            at = min(ends, key=lambda end: abs(end - t), default=t) if t else 0
            out[row, t, self.text[at] if at < len(self.text) else EOS] = 5.0
        return out


def make_frames(ids, sure=0.9):
    """Return three frames a letter, the middle one its letter; what is not sure is even."""
    classes = [c for i in ids for c in (ctc.BLANK, i, ctc.BLANK)]
    out = np.full((len(classes), VOCAB), (1 - sure) / VOCAB)
    out[np.arange(len(classes)), classes] += sure
    return np.log(out)


def make_draft(ids, first=0, stop=None, is_end=True):
    spans = tuple((3 * k + 1, 3 * k + 2) for k in range(len(ids)))
    return WindowDraft(tuple(ids), spans, first, len(ids) if stop is None else stop, is_end)


def repair(decoder, draft, frames, **options):
    memory = np.zeros((1, 4, 2), np.float32)
    return repair_drafts(decoder, memory, frames[None], [draft], **options)[0]


TEXT = (4, 5, 6, 7, 8, 9, 10, 11, 4, 6, 8, 10)


@pytest.mark.parametrize(
    "wrong",
    [
        (*TEXT[:5], 11, *TEXT[6:]),  # another letter
        TEXT[:5] + TEXT[6:],  # one missing
        (*TEXT[:5], 5, *TEXT[5:]),  # one too many
        TEXT[1:],
        TEXT[:-1],
        (*TEXT, 5),
    ],
)
def test_one_wrong_letter_is_mended_in_few_passes_where_the_frames_allow_it(wrong):
    decoder = PrefixDecoder(TEXT)
    ids, log_probs = repair(decoder, make_draft(wrong), make_frames(wrong, sure=0.02))
    assert tuple(ids) == TEXT
    assert len(log_probs) == len(ids) + 1
    assert decoder.passes <= 2 * ROUNDS + 1


def test_frames_that_are_sure_keep_their_letter():
    wrong = (*TEXT[:5], 11, *TEXT[6:])
    ids, _ = repair(PrefixDecoder(TEXT), make_draft(wrong), make_frames(wrong, sure=0.9999))
    assert tuple(ids) == wrong
    ids, _ = repair(PrefixDecoder(TEXT), make_draft(wrong), make_frames(wrong, sure=0.9999), ctc_share=0.0)
    assert tuple(ids) == TEXT


def test_letters_outside_the_own_part_are_neither_changed_nor_returned():
    wrong = (11, 11, *TEXT[2:10], 11, 11)
    ids, log_probs = repair(
        PrefixDecoder(TEXT), make_draft(wrong, 2, 10, is_end=False), make_frames(wrong, sure=0.02)
    )
    assert tuple(ids) == TEXT[2:10]
    assert len(log_probs) == 8


def test_a_decoder_that_repeats_itself_is_asked_a_bounded_number_of_times():
    class Repeating(PrefixDecoder):
        def __call__(self, memory, tokens):
            super().__call__(memory, tokens)
            out = np.zeros((*tokens.shape, VOCAB), np.float32)
            np.put_along_axis(out, 4 + tokens[..., None] % 8, 4.0, axis=-1)
            return out

    decoder = Repeating(TEXT)
    draft = TEXT * 8
    ids, log_probs = repair(decoder, make_draft(draft), make_frames(draft, sure=0.9999))
    assert tuple(ids) == draft
    assert len(log_probs) == len(draft) + 1
    assert np.isfinite(log_probs).all()
    assert decoder.passes <= 2 * ROUNDS + 1
    assert len(draft) > MAX_LETTERS
