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
from nhin.decoding.pair import Pair
from nhin.decoding.verify import Decoded, likelihoods, verify
from nhin.errors import UnknownName
from nhin.image.fit import HEIGHT, STRIDE, fit, scaled_width, tensor
from nhin.reading import views
from nhin.reading.types import Recognised, Span
from nhin.text.charset import Charset

Pixels = NDArray[np.uint8]
Mode = Literal["both", "exact", "fast"]
MODES: tuple[Mode, ...] = ("both", "exact", "fast")

BATCH = 32
_COLUMNS = 8192
"""Most columns of fitted pixels in one batch: bounds memory however long the lines are."""

NOTHING = Recognised("", 0.0)


class Recogniser:
    """Reads crops with one network."""

    def __init__(
        self,
        pair: Pair,
        charset: Charset,
        height: int = HEIGHT,
        mode: str = "both",
        temperatures: Mapping[str, float] | None = None,
    ) -> None:
        """Take a network over.

        Args:
            pair: The network, run by ONNX Runtime or torch.
            charset: What its ids mean.
            height: Height in pixels it was trained at.
            mode: ``fast`` takes the CTC draft; ``exact`` lets the decoder verify it, which gives its own
                greedy answer; ``both`` takes whichever of the two both heads together find likelier.
            temperatures: Per mode, what the scores are divided by before confidences are taken.
        """
        if mode not in MODES:
            raise UnknownName("reading mode", mode, MODES)
        self.pair, self.charset, self.height, self.mode = pair, charset, height, mode
        self.temperature = (temperatures or {}).get(mode, 1.0)

    def read(self, crops: Sequence[Pixels]) -> list[Recognised]:
        """Read crops (height x width x 3, RGB, or height x width), in their order.

        A blank crop, or one without pixels, gives no text and confidence 0.
        """
        upright = self._whole(crops)
        doubtful = [
            i
            for i, (crop, reading) in enumerate(zip(crops, upright, strict=True))
            if crop.size and views.is_tall(crop) and views.letter_mean(reading) < views.SURE
        ]
        turned = {
            degrees: self._whole([views.turn(crops[i], degrees) for i in doubtful]) for degrees in views.TURNS
        }
        for place, i in enumerate(doubtful):
            others = [replace(turned[degrees][place], turn=degrees) for degrees in views.TURNS]
            upright[i] = views.surest(upright[i], others)
        return upright

    def _whole(self, crops: Sequence[Pixels]) -> list[Recognised]:
        """Read crops the way they stand, very wide ones in pieces."""
        cuts = [views.cut(crop) if crop.size else [] for crop in crops]
        readings = iter(self._pieces([piece.picture for pieces in cuts for piece in pieces]))
        return [views.join(pieces, [next(readings) for _ in pieces]) for pieces in cuts]

    def _pieces(self, pictures: Sequence[Pixels]) -> list[Recognised]:
        """Read pictures in batches of equal fitted width."""
        fitted = [fit(picture, self.height) for picture in pictures]
        out = [NOTHING] * len(pictures)
        for batch in _batches([image.shape[1] for image in fitted]):
            readings = self._batch(tensor([fitted[i] for i in batch]))
            for i, (text, told, frames) in zip(batch, readings, strict=True):
                out[i] = self._recognised(text, told, frames, pictures[i].shape)
        return out

    def _batch(self, pictures: NDArray[np.float32]) -> Iterator[tuple[list[int], list[float], NDArray]]:
        """Yield the ids, their log-probabilities (the end's last) and the CTC frames of each picture."""
        memory, log_probs = self.pair.encode(pictures)
        frames = ctc.readable(log_probs)
        drafts = [ctc.greedy(row) for row in frames]
        if self.mode == "fast":
            soft = _soften(frames, self.temperature)
            for ids, row in zip(drafts, soft, strict=True):
                yield ids, np.log(ctc.confidences(row, ids) or [1.0]).tolist(), row
            return
        rows = [i for i, draft in enumerate(drafts) if draft]
        answers = iter(self._answers(memory[rows], frames[rows], [drafts[i] for i in rows]) if rows else ())
        for draft, row in zip(drafts, frames, strict=True):
            answer = next(answers) if draft else None
            yield (list(answer.ids), list(answer.log_probs), row) if answer else ([], [], row)

    def _answers(
        self, memory: NDArray[np.float32], frames: NDArray[np.floating], drafts: Sequence[Sequence[int]]
    ) -> list[Decoded]:
        """Return the decoder's answers; in mode ``both``, the draft where both heads together prefer it.

        A decoder may lose its place in a longer line and leave a word out; the CTC head seldom does.
        """
        limit = frames.shape[1] + 2
        answers = verify(self.pair.decode, memory, drafts, limit, self.temperature)
        if self.mode != "both":
            return answers
        apart = [i for i, answer in enumerate(answers) if answer.ids != tuple(drafts[i])]
        texts = [answers[i].ids for i in apart] + [tuple(drafts[i]) for i in apart]
        if not texts:
            return answers
        decoder = list(map(sum, likelihoods(self.pair.decode, memory[apart * 2], texts)))
        together = [
            a + ctc.log_likelihood(frames[i], ids)
            for a, i, ids in zip(decoder, apart * 2, texts, strict=True)
        ]
        drafted = likelihoods(self.pair.decode, memory[apart], texts[len(apart) :], self.temperature)
        for place, i in enumerate(apart):
            if together[len(apart) + place] > together[place]:
                answers[i] = Decoded(texts[len(apart) + place], drafted[place], answers[i].passes + 2)
        return answers

    def _recognised(
        self, ids: Sequence[int], told: Sequence[float], frames: NDArray, shape: Sequence[int]
    ) -> Recognised:
        """Turn ids into text with places in the picture's own pixels; outer spaces are dropped."""
        text = self.charset.decode(ids)
        kept = len(text.rstrip())
        first = len(text) - len(text.lstrip())
        if kept <= first:
            return NOTHING
        height, width = shape[0], shape[1]
        fitted = scaled_width(width, height, self.height)
        edges = _edges(ctc.align(frames, ids), fitted / STRIDE)
        scale = STRIDE * width / fitted
        spans = tuple(
            Span(char, min(1.0, exp(score)), float(left * scale), float(min(width, right * scale)))
            for char, score, (left, right) in zip(text, told, edges, strict=False)
        )
        return Recognised(text[first:kept], min(1.0, prod(map(exp, told))), spans[first:kept])


def _batches(widths: Sequence[int]) -> Iterable[list[int]]:
    """Yield places of equal width, at most ``BATCH`` and ``_COLUMNS`` columns together."""
    order = sorted(range(len(widths)), key=widths.__getitem__)
    for width, group in groupby(order, key=widths.__getitem__):
        places = list(group)
        size = max(1, min(BATCH, _COLUMNS // width))
        yield from (places[start : start + size] for start in range(0, len(places), size))


def _soften(frames: NDArray[np.floating], temperature: float) -> NDArray[np.floating]:
    """Divide log-probabilities by the temperature and normalise them again."""
    if temperature == 1.0:
        return frames
    scaled = frames / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=-1, keepdims=True)


def _edges(spans: Sequence[tuple[int, int]], width: float) -> list[tuple[float, float]]:
    """Widen spans of frames until neighbours meet; the outer ones by half a letter, inside ``width``.

    CTC fires near the middle of a letter, so its own spans are narrower than the letters.
    """
    centres = [(left + right) / 2 for left, right in spans]
    pitch = float(np.median(np.diff(centres))) if len(centres) > 1 else width
    outer = max(0.0, centres[0] - pitch / 2), max(spans[-1][1], min(width, centres[-1] + pitch / 2))
    middles = [(a[1] + b[0]) / 2 for a, b in pairwise(spans)]
    return [(min(a, width), min(b, width)) for a, b in pairwise([outer[0], *middles, outer[1]])]
