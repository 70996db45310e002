"""Crops of words and short lines in, text with confidences and places out; no torch.

A crop is fitted by itself, read together with others of its fitted width, and never padded to theirs, so
its answer does not depend on what it is read with.

Confidence: a character's is the decoder's probability of it (in ``fast`` mode the CTC head's, in the
character's clearest frame); a reading's is the product over its characters and its end, which is the
model's own probability that the WHOLE text is right. Both are softened by the temperature that
calibration found, if the weights carry one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from math import exp, prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nhin.decoding import ctc
from nhin.decoding.draft_verify import DecodeResult, score_texts, verify_drafts
from nhin.decoding.protocol import EncoderDecoder
from nhin.errors import UnknownName
from nhin.image.preprocess import HEIGHT, STRIDE, preprocess_crop, scaled_width, to_batch
from nhin.reading import long_lines
from nhin.reading.result import Recognition, Span
from nhin.text.charset import Charset

Pixels = NDArray[np.uint8]
Mode = Literal["both", "exact", "fast"]
MODES: tuple[Mode, ...] = ("both", "exact", "fast")

BATCH_SIZE = 32
_MAX_BATCH_WIDTH = 8192
"""Most columns of fitted pixels in one batch: bounds memory however long the lines are."""

EMPTY = Recognition("", 0.0)


class Recognizer:
    """Reads crops with one network."""

    def __init__(
        self,
        model: EncoderDecoder,
        charset: Charset,
        height: int = HEIGHT,
        mode: str = "both",
        temperatures: Mapping[str, float] | None = None,
    ) -> None:
        """Take a network over.

        Args:
            model: The network, run by ONNX Runtime or torch.
            charset: What its ids mean.
            height: Height in pixels it was trained at.
            mode: ``fast`` takes the CTC draft; ``exact`` lets the decoder verify it, which gives its own
                greedy answer; ``both`` takes whichever of the two both heads together find likelier.
            temperatures: Per mode, what the scores are divided by before confidences are taken.
        """
        if mode not in MODES:
            raise UnknownName("reading mode", mode, MODES)
        self.model, self.charset, self.height, self.mode = model, charset, height, mode
        self.temperature = (temperatures or {}).get(mode, 1.0)

    def read(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Read crops (height x width x 3, RGB, or height x width), in their order.

        A blank crop, or one without pixels, gives no text and confidence 0.
        """
        upright = self._read_unrotated(crops)
        doubtful = [
            i
            for i, (crop, reading) in enumerate(zip(crops, upright, strict=True))
            if crop.size
            and long_lines.is_tall(crop)
            and long_lines.mean_confidence(reading) < long_lines.MIN_UPRIGHT_CONFIDENCE
        ]
        turned = {
            degrees: self._read_unrotated([long_lines.rotate(crops[i], degrees) for i in doubtful])
            for degrees in long_lines.ROTATIONS
        }
        for place, i in enumerate(doubtful):
            others = [replace(turned[degrees][place], turn=degrees) for degrees in long_lines.ROTATIONS]
            upright[i] = long_lines.most_confident(upright[i], others)
        return upright

    def _read_unrotated(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Read crops the way they stand, very wide ones in pieces."""
        cuts = [long_lines.split_long(crop) if crop.size else [] for crop in crops]
        readings = iter(self._read_pieces([piece.picture for pieces in cuts for piece in pieces]))
        return [long_lines.join_pieces(pieces, [next(readings) for _ in pieces]) for pieces in cuts]

    def _read_pieces(self, pictures: Sequence[Pixels]) -> list[Recognition]:
        """Read pictures in batches of equal fitted width."""
        fitted = [preprocess_crop(picture, self.height) for picture in pictures]
        out = [EMPTY] * len(pictures)
        for batch in _group_by_width([image.shape[1] for image in fitted]):
            readings = self._read_batch(to_batch([fitted[i] for i in batch]))
            for i, (text, told, frames) in zip(batch, readings, strict=True):
                out[i] = self._to_recognition(text, told, frames, pictures[i].shape)
        return out

    def _read_batch(self, pictures: NDArray[np.float32]) -> Iterator[tuple[list[int], list[float], NDArray]]:
        """Yield the ids, their log-probabilities (the end's last) and the CTC frames of each picture."""
        memory, log_probs = self.model.encode(pictures)
        frames = ctc.mask_specials(log_probs)
        drafts = [ctc.greedy_decode(row) for row in frames]
        if self.mode == "fast":
            soft = _apply_temperature(frames, self.temperature)
            for ids, row in zip(drafts, soft, strict=True):
                yield ids, np.log(ctc.char_confidences(row, ids) or [1.0]).tolist(), row
            return
        rows = [i for i, draft in enumerate(drafts) if draft]
        answers = iter(self._decode(memory[rows], frames[rows], [drafts[i] for i in rows]) if rows else ())
        for draft, row in zip(drafts, frames, strict=True):
            answer = next(answers) if draft else None
            yield (list(answer.ids), list(answer.log_probs), row) if answer else ([], [], row)

    def _decode(
        self, memory: NDArray[np.float32], frames: NDArray[np.floating], drafts: Sequence[Sequence[int]]
    ) -> list[DecodeResult]:
        """Return the decoder's answers; in mode ``both``, the draft where both heads together prefer it.

        A decoder may lose its place in a longer line and leave a word out; the CTC head seldom does.
        """
        limit = frames.shape[1] + 2
        answers = verify_drafts(self.model.decode, memory, drafts, limit, self.temperature)
        if self.mode != "both":
            return answers
        apart = [i for i, answer in enumerate(answers) if answer.ids != tuple(drafts[i])]
        texts = [answers[i].ids for i in apart] + [tuple(drafts[i]) for i in apart]
        if not texts:
            return answers
        decoder = list(map(sum, score_texts(self.model.decode, memory[apart * 2], texts)))
        together = [
            a + ctc.log_likelihood(frames[i], ids)
            for a, i, ids in zip(decoder, apart * 2, texts, strict=True)
        ]
        drafted = score_texts(self.model.decode, memory[apart], texts[len(apart) :], self.temperature)
        for place, i in enumerate(apart):
            if together[len(apart) + place] > together[place]:
                answers[i] = DecodeResult(texts[len(apart) + place], drafted[place], answers[i].passes + 2)
        return answers

    def _to_recognition(
        self, ids: Sequence[int], log_probs: Sequence[float], frames: NDArray, shape: Sequence[int]
    ) -> Recognition:
        """Turn ids into text with places in the picture's own pixels; outer spaces are dropped."""
        text = self.charset.decode(ids)
        kept = len(text.rstrip())
        first = len(text) - len(text.lstrip())
        if kept <= first:
            return EMPTY
        height, width = shape[0], shape[1]
        fitted = scaled_width(width, height, self.height)
        edges = _char_edges(ctc.forced_align(frames, ids), fitted / STRIDE)
        scale = STRIDE * width / fitted
        spans = tuple(
            Span(char, min(1.0, exp(score)), float(left * scale), float(min(width, right * scale)))
            for char, score, (left, right) in zip(text, log_probs, edges, strict=False)
        )
        return Recognition(text[first:kept], min(1.0, prod(map(exp, log_probs))), spans[first:kept])


def _group_by_width(widths: Sequence[int]) -> Iterable[list[int]]:
    """Yield places of equal width, at most ``BATCH`` and ``_COLUMNS`` columns together."""
    order = sorted(range(len(widths)), key=widths.__getitem__)
    for width, group in groupby(order, key=widths.__getitem__):
        places = list(group)
        size = max(1, min(BATCH_SIZE, _MAX_BATCH_WIDTH // width))
        yield from (places[start : start + size] for start in range(0, len(places), size))


def _apply_temperature(frames: NDArray[np.floating], temperature: float) -> NDArray[np.floating]:
    """Divide log-probabilities by the temperature and normalise them again."""
    if temperature == 1.0:
        return frames
    scaled = frames / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=-1, keepdims=True)


def _char_edges(spans: Sequence[tuple[int, int]], width: float) -> list[tuple[float, float]]:
    """Widen spans of frames until neighbours meet; the outer ones by half a letter, inside ``width``.

    CTC fires near the middle of a letter, so its own spans are narrower than the letters.
    """
    centres = [(left + right) / 2 for left, right in spans]
    pitch = float(np.median(np.diff(centres))) if len(centres) > 1 else width
    outer = max(0.0, centres[0] - pitch / 2), max(spans[-1][1], min(width, centres[-1] + pitch / 2))
    middles = [(a[1] + b[0]) / 2 for a, b in pairwise(spans)]
    return [(min(a, width), min(b, width)) for a, b in pairwise([outer[0], *middles, outer[1]])]
