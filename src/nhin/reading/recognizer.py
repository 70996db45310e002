"""Recognize crops of words and short lines: text, confidences and character spans, without torch.

Crops are batched with others of equal preprocessed width and never padded to them, so a result does not
depend on the batch.

The confidence of a character is the decoder's probability of it (in ``fast`` mode the CTC head's, in the
character's clearest frame); that of a text is the product over its characters and its end: the model's
probability that the whole text is right. Both use the temperature of the weights, if any. The calibration of
the weights, if any, turns them into the share of such answers that is right, see ``confidence``.
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
from nhin.decoding.protocol import EncoderDecoder, mask_specials
from nhin.errors import UnknownName
from nhin.image.preprocess import HEIGHT, STRIDE, Pixels, preprocess_crop, scaled_width, to_batch
from nhin.reading import long_lines
from nhin.reading.confidence import ReadingCalibration
from nhin.reading.result import Recognition, Span
from nhin.text.charset import Charset

Mode = Literal["both", "exact", "fast"]
MODES: tuple[Mode, ...] = ("both", "exact", "fast")

BATCH_SIZE = 32
_MAX_BATCH_WIDTH = 8192
"""Columns of preprocessed pixels in one batch; bounds memory for long lines."""

EMPTY = Recognition("", 0.0)


class Recognizer:
    """Reads crops with one network.

    Args:
        model: The network, run by ONNX Runtime or torch.
        charset: The characters of its ids.
        height: Its input height in pixels.
        mode: ``fast`` takes the CTC draft; ``exact`` has the decoder verify it, which gives the decoder's
            greedy answer; ``both`` takes the likelier of the two under both heads together.
        temperatures: Per mode, the divisor of the logits before confidences are computed.
        calibrations: Per mode, what is done with the confidences of the final answers.
    """

    def __init__(
        self,
        model: EncoderDecoder,
        charset: Charset,
        height: int = HEIGHT,
        mode: str = "both",
        temperatures: Mapping[str, float] | None = None,
        calibrations: Mapping[str, ReadingCalibration] | None = None,
    ) -> None:
        if mode not in MODES:
            raise UnknownName("reading mode", mode, MODES)
        self.model, self.charset, self.height, self.mode = model, charset, height, mode
        self.temperature = (temperatures or {}).get(mode, 1.0)
        self.calibration = (calibrations or {}).get(mode)

    def read(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Read crops (height x width x 3, RGB, or height x width).

        A blank crop, or one without pixels, gives no text and confidence 0.
        """
        recognitions = self._read_unrotated(crops)
        doubtful = [
            i
            for i, (crop, upright) in enumerate(zip(crops, recognitions, strict=True))
            if crop.size
            and long_lines.is_tall(crop)
            and long_lines.mean_confidence(upright) < long_lines.MIN_UPRIGHT_CONFIDENCE
        ]
        rotated = [self._read_rotated([crops[i] for i in doubtful], d) for d in long_lines.ROTATIONS]
        for i, *others in zip(doubtful, *rotated, strict=True):
            recognitions[i] = long_lines.most_confident(recognitions[i], others)
        if self.calibration is None:
            return recognitions
        return [self.calibration.apply(recognition) for recognition in recognitions]

    def _read_rotated(self, crops: Sequence[Pixels], degrees: int) -> list[Recognition]:
        recognitions = self._read_unrotated([long_lines.rotate(crop, degrees) for crop in crops])
        return [replace(recognition, rotation=degrees) for recognition in recognitions]

    def _read_unrotated(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Read crops as they are, very wide ones in pieces."""
        split = [long_lines.split_long(crop) if crop.size else [] for crop in crops]
        recognitions = iter(self._read_pieces([piece.picture for pieces in split for piece in pieces]))
        return [long_lines.join_pieces(pieces, [next(recognitions) for _ in pieces]) for pieces in split]

    def _read_pieces(self, pictures: Sequence[Pixels]) -> list[Recognition]:
        """Read pictures in batches of equal preprocessed width."""
        inputs = [preprocess_crop(picture, self.height) for picture in pictures]
        out = [EMPTY] * len(pictures)
        for batch in _group_by_width([image.shape[1] for image in inputs]):
            answers = self._read_batch(to_batch([inputs[i] for i in batch]))
            for i, (ids, log_probs, frames) in zip(batch, answers, strict=True):
                out[i] = self._to_recognition(ids, log_probs, frames, pictures[i].shape)
        return out

    def _read_batch(self, pictures: NDArray[np.float32]) -> Iterator[tuple[list[int], list[float], NDArray]]:
        """Yield the ids, their log-probabilities (the end's last) and the CTC frames of each picture."""
        memory, log_probs = self.model.encode(pictures)
        frames = mask_specials(log_probs, ctc.BLANK)
        drafts = [ctc.greedy_decode(row) for row in frames]
        if self.mode == "fast":
            scaled = _apply_temperature(frames, self.temperature)
            for ids, row in zip(drafts, scaled, strict=True):
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
        """Return the decoder's answers; in mode ``both``, the drafts that both heads together prefer.

        In a longer line a decoder may skip a word; the CTC head seldom does.
        """
        limit = frames.shape[1] + 2
        answers = verify_drafts(self.model.decode, memory, drafts, limit, self.temperature)
        if self.mode != "both":
            return answers
        differing = [i for i, answer in enumerate(answers) if answer.ids != tuple(drafts[i])]
        count = len(differing)
        texts = [answers[i].ids for i in differing] + [tuple(drafts[i]) for i in differing]
        if not texts:
            return answers
        decoder = list(map(sum, score_texts(self.model.decode, memory[differing * 2], texts)))
        joint = [
            score + ctc.log_likelihood(frames[i], ids)
            for score, i, ids in zip(decoder, differing * 2, texts, strict=True)
        ]
        draft_log_probs = score_texts(self.model.decode, memory[differing], texts[count:], self.temperature)
        for k, i in enumerate(differing):
            if joint[count + k] > joint[k]:
                answers[i] = DecodeResult(texts[count + k], draft_log_probs[k], answers[i].passes + 2)
        return answers

    def _to_recognition(
        self, ids: Sequence[int], log_probs: Sequence[float], frames: NDArray, shape: Sequence[int]
    ) -> Recognition:
        """Decode ids to text, with spans in the picture's pixels; outer spaces are dropped."""
        text = self.charset.decode(ids)
        first, stop = len(text) - len(text.lstrip()), len(text.rstrip())
        if stop <= first:
            return EMPTY
        height, width = shape[0], shape[1]
        scaled = scaled_width(width, height, self.height)
        edges = _char_edges(ctc.forced_align(frames, ids), scaled / STRIDE)
        scale = STRIDE * width / scaled
        spans = tuple(
            Span(char, min(1.0, exp(score)), float(left * scale), float(min(width, right * scale)))
            for char, score, (left, right) in zip(text, log_probs, edges, strict=False)
        )
        return Recognition(text[first:stop], min(1.0, prod(map(exp, log_probs))), spans[first:stop])


def _group_by_width(widths: Sequence[int]) -> Iterable[list[int]]:
    """Yield batches of indices of equal width, at most ``BATCH_SIZE`` and ``_MAX_BATCH_WIDTH`` columns."""
    order = sorted(range(len(widths)), key=widths.__getitem__)
    for width, group in groupby(order, key=widths.__getitem__):
        indices = list(group)
        size = max(1, min(BATCH_SIZE, _MAX_BATCH_WIDTH // width))
        yield from (indices[start : start + size] for start in range(0, len(indices), size))


def _apply_temperature(frames: NDArray[np.floating], temperature: float) -> NDArray[np.floating]:
    """Divide log-probabilities by the temperature and normalize them again."""
    if temperature == 1.0:
        return frames
    scaled = frames / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=-1, keepdims=True)


def _char_edges(spans: Sequence[tuple[int, int]], width: float) -> list[tuple[float, float]]:
    """Widen spans of frames until neighbors meet; the outer ones by half a letter, inside ``width``.

    CTC spans lie near the center of a letter and are narrower than it.
    """
    centers = [(left + right) / 2 for left, right in spans]
    pitch = float(np.median(np.diff(centers))) if len(centers) > 1 else width
    outer = max(0.0, centers[0] - pitch / 2), max(spans[-1][1], min(width, centers[-1] + pitch / 2))
    middles = [(a[1] + b[0]) / 2 for a, b in pairwise(spans)]
    return [(min(a, width), min(b, width)) for a, b in pairwise([outer[0], *middles, outer[1]])]
