"""Recognize crops with the decoder alone, for networks that were trained without a CTC head.

Each crop is read once, as it is: neither turned, nor cut, nor by ranking candidates. Nothing tells where a
character stands, so the spans divide the crop evenly.
"""

from collections.abc import Sequence
from math import exp, prod

import numpy as np

from nhin.decoding.draft_verify import DecodeResult, verify_drafts
from nhin.decoding.protocol import EncoderDecoder
from nhin.image.preprocess import HEIGHT, Pixels, preprocess_crop, to_batch
from nhin.reading.batching import group_by_width
from nhin.reading.recognizer import EMPTY, Recognizer
from nhin.reading.result import Recognition, Span
from nhin.text.charset import Charset

MAX_LENGTH = 80
"""Characters of a text at most: a decoder that was trained little may write without end."""


class DecoderRecognizer(Recognizer):
    """Reads crops with the decoder's greedy answer."""

    def __init__(self, model: EncoderDecoder, charset: Charset, height: int = HEIGHT) -> None:
        super().__init__(model, charset, height, "exact")

    def read(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Read crops (height x width x 3, RGB, or height x width); one without pixels gives no text."""
        out = [EMPTY] * len(crops)
        filled = [i for i, crop in enumerate(crops) if crop.size]
        inputs = [preprocess_crop(crops[i], self.height) for i in filled]
        for batch in group_by_width([image.shape[1] for image in inputs]):
            memory, _ = self.model.encode(to_batch([inputs[k] for k in batch]))
            answers = verify_drafts(self.model.decode, memory, [()] * len(batch), MAX_LENGTH)
            for k, answer in zip(batch, answers, strict=True):
                out[filled[k]] = self._from_answer(answer, crops[filled[k]].shape[1])
        return out

    def _from_answer(self, answer: DecodeResult, width: int) -> Recognition:
        text = self.charset.decode(answer.ids)
        first, stop = len(text) - len(text.lstrip()), len(text.rstrip())
        if stop <= first:
            return EMPTY
        edges = np.linspace(0, width, len(text) + 1).tolist()
        chars = [
            Span(char, min(1.0, exp(score)), edges[i], edges[i + 1])
            for i, (char, score) in enumerate(zip(text, answer.log_probs, strict=False))
        ]
        confidence = min(1.0, prod(map(exp, answer.log_probs)))
        return Recognition(text[first:stop], confidence, tuple(chars[first:stop]))
