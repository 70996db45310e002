"""A network without a CTC head is read by its decoder alone."""

import numpy as np
from bars import LETTERS, Bars, bars

from nhin.reading.decoder_recognizer import DecoderRecognizer
from nhin.reading.recognizer import Recognizer


class NoDraft(Bars):
    """Reads bars; its CTC head knows nothing."""

    def encode(self, pictures):
        memory, log_probs = super().encode(pictures)
        return memory, np.full_like(log_probs, -np.log(log_probs.shape[-1]))


def test_it_reads_what_the_decoder_writes_whatever_the_ctc_head_says():
    crops = [bars(text) for text in ("bad", "feed", "a", "bad")]
    wants = Recognizer(Bars(), LETTERS, mode="exact").read(crops)
    for want, got in zip(wants, DecoderRecognizer(NoDraft(), LETTERS).read(crops), strict=True):
        assert (got.text, got.confidence) == (want.text, want.confidence)
        assert [char.text for char in got.chars] == list(got.text)
    assert DecoderRecognizer(NoDraft(), LETTERS).read([np.zeros((0, 4, 3), np.uint8)])[0].text == ""
