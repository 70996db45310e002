"""Recognize crops of words and short lines: text, confidences and character spans, without torch.

Crops are batched with others of equal preprocessed width and never padded to them, so a result does not
depend on the batch.

The confidence of a character is the decoder's probability of it (in ``fast`` mode the CTC head's, in the
character's clearest frame); that of a text is the product over its characters and its end: the model's
probability that the whole text is right. Both use the temperature of the weights, if any. The calibration of
the weights, if any, turns them into the share of such answers that is right, see ``confidence``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import exp, prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nhin.decoding import ctc
from nhin.decoding.draft_verify import DecodeResult, score_texts, verify_drafts
from nhin.decoding.protocol import EncoderDecoder, mask_specials
from nhin.errors import UnknownName
from nhin.image.preprocess import HEIGHT, STRIDE, Pixels, preprocess_crop, scaled_width, to_batch
from nhin.reading import rotation
from nhin.reading.batching import BATCH_SIZE, group_by_width
from nhin.reading.candidate_ranker import CandidateRanker, Ranking
from nhin.reading.char_spans import measure_spans
from nhin.reading.confidence import ReadingCalibration
from nhin.reading.leaders import is_leader
from nhin.reading.long_lines import LongLineReader, is_long
from nhin.reading.result import Recognition
from nhin.reading.views import turn_word
from nhin.text.charset import Charset

Mode = Literal["beam", "both", "exact", "fast"]
MODES: tuple[Mode, ...] = ("beam", "both", "exact", "fast")
DEFAULT_MODE: Mode = "beam"

DOUBT = 0.8
"""Confidence below which mode ``beam`` reads a crop again."""
TURNS = (-35, -15, 15, 35)
"""Degrees by which it is turned then; a turned reading is taken if it is ``TURN_ODDS`` times as probable."""
TURN_ODDS = 3.0
MIN_TURNED = 0.4
"""Confidence that a turned reading needs where the crop as it is seems blank."""
_ALTERNATIVES = 5

EMPTY = Recognition("", 0.0)


class Recognizer:
    """Reads crops with one network.

    Args:
        model: The network, run by ONNX Runtime or torch.
        charset: The characters of its ids.
        height: Its input height in pixels.
        mode: ``fast`` takes the CTC draft; ``exact`` has the decoder verify it, which gives the decoder's
            greedy answer; ``both`` takes the likelier of the two under both heads together; ``beam`` does,
            and where that is not sure turns the crop and ranks candidates (``reading.candidate_ranker``).
        temperatures: Per mode, the divisor of the logits before confidences are computed; ``beam`` has that
            of ``both`` if it has none.
        calibrations: Per mode, what is done with the confidences of the final answers.
        ranker: Ranks candidates for ``beam``; without one, the network alone does.
    """

    def __init__(
        self,
        model: EncoderDecoder,
        charset: Charset,
        height: int = HEIGHT,
        mode: str = DEFAULT_MODE,
        temperatures: Mapping[str, float] | None = None,
        calibrations: Mapping[str, ReadingCalibration] | None = None,
        ranker: CandidateRanker | None = None,
    ) -> None:
        if mode not in MODES:
            raise UnknownName("reading mode", mode, MODES)
        self.model, self.charset, self.height, self.mode = model, charset, height, mode
        self.calibrations, self.temperatures = calibrations or {}, temperatures or {}
        self.calibration = self.calibrations.get(mode)
        known = self.temperatures
        self.temperature = known.get(mode, known.get("both", 1.0) if mode == "beam" else 1.0)
        self.long_lines = LongLineReader(model, charset, height, mode, self.temperature)
        is_beam = mode == "beam"
        self.ranker = (ranker or CandidateRanker(model, charset, height)) if is_beam else None

    def use_mode(self, mode: str) -> "Recognizer":
        """Return a recognizer with the same network and another mode, but ``beam``."""
        return Recognizer(self.model, self.charset, self.height, mode, self.temperatures, self.calibrations)

    def read(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Read crops (height x width x 3, RGB, or height x width).

        A blank crop, or one without pixels, gives no text and confidence 0.
        """
        recognitions = self._read_unrotated(crops)
        doubtful = [
            i
            for i, (crop, upright) in enumerate(zip(crops, recognitions, strict=True))
            if crop.size and rotation.may_be_rotated(crop, upright)
        ]
        rotated = [self._read_rotated([crops[i] for i in doubtful], d) for d in rotation.ROTATIONS]
        for i, *others in zip(doubtful, *rotated, strict=True):
            recognitions[i] = rotation.most_confident(recognitions[i], others)
        if self.ranker is not None:
            recognitions = self._reconsider(self.ranker, crops, recognitions)
        if self.calibration is None:
            return recognitions
        return [self.calibration.apply(recognition) for recognition in recognitions]

    def _reconsider(
        self, ranker: CandidateRanker, crops: Sequence[Pixels], recognitions: list[Recognition]
    ) -> list[Recognition]:
        """Read the crops again whose reading is doubtful: turned, then by ranking candidates."""
        doubtful = [
            i
            for i, (crop, first) in enumerate(zip(crops, recognitions, strict=True))
            if first.confidence < DOUBT and crop.size and not is_long(crop)
        ]
        upright = [rotation.rotate(crops[i], recognitions[i].rotation) for i in doubtful]
        best = list(upright)
        odds = [TURN_ODDS * recognitions[i].confidence or MIN_TURNED for i in doubtful]
        for degrees in TURNS:
            words = ((k, turn_word(crop, degrees)) for k, crop in enumerate(upright))
            turned = [(k, word) for k, word in words if word is not None]
            readings = self._read_unrotated([word for _, word in turned])
            for (k, word), reading in zip(turned, readings, strict=True):
                if len(reading.text) > 1 and reading.confidence > odds[k]:
                    best[k], odds[k] = word, reading.confidence
        # What seems blank from all sides stays blank.
        read = [k for k, i in enumerate(doubtful) if recognitions[i].text or best[k] is not upright[k]]
        out = list(recognitions)
        for begin in range(0, len(read), BATCH_SIZE):
            part = read[begin : begin + BATCH_SIZE]
            rankings = ranker.rank([best[k] for k in part], self.temperature)
            for k, ranking in zip(part, rankings, strict=True):
                first = recognitions[doubtful[k]]
                out[doubtful[k]] = self._take_best(ranking, best[k], upright[k].shape[1], first)
        return out

    def _take_best(self, ranking: Ranking, crop: Pixels, width: int, first: Recognition) -> Recognition:
        """Return the best candidate, its spans measured in a crop of ``width`` columns, and the others."""
        texts = [self.charset.decode(ids).strip() for ids in ranking.texts[:_ALTERNATIVES]]
        others = tuple(zip(texts, ranking.probabilities, strict=False))
        if not texts[0]:
            return EMPTY
        ids = ranking.texts[0]
        log_probs = score_texts(self.model.decode, ranking.memory[None], [ids], self.temperature)[0]
        best = self._to_recognition(ids, log_probs, ranking.frames, crop.shape)
        scale = width / crop.shape[1]
        chars = tuple(replace(char, left=char.left * scale, right=char.right * scale) for char in best.chars)
        return Recognition(best.text, ranking.probabilities[0], chars, first.rotation, others)

    def _read_rotated(self, crops: Sequence[Pixels], degrees: int) -> list[Recognition]:
        recognitions = self._read_unrotated([rotation.rotate(crop, degrees) for crop in crops])
        return [replace(recognition, rotation=degrees) for recognition in recognitions]

    def _read_unrotated(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Read crops as they are, long lines in windows."""
        out = [EMPTY] * len(crops)
        words = [i for i, crop in enumerate(crops) if crop.size and not is_long(crop)]
        lines = [i for i, crop in enumerate(crops) if crop.size and is_long(crop) and not is_leader(crop)]
        for which, read in ((words, self._read_words), (lines, self.long_lines.read)):
            for i, recognition in zip(which, read([crops[i] for i in which]), strict=True):
                out[i] = recognition
        return out

    def _read_words(self, pictures: Sequence[Pixels]) -> list[Recognition]:
        """Read pictures in batches of equal preprocessed width."""
        inputs = [preprocess_crop(picture, self.height) for picture in pictures]
        out = [EMPTY] * len(pictures)
        for batch in group_by_width([image.shape[1] for image in inputs]):
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
            scaled = ctc.scale_log_probs(frames, self.temperature)
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
        """Return the decoder's answers; but in mode ``exact``, the drafts that both heads together prefer.

        In a longer line a decoder may skip a word; the CTC head seldom does.
        """
        limit = frames.shape[1] + 2
        answers = verify_drafts(self.model.decode, memory, drafts, limit, self.temperature)
        if self.mode == "exact":
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
        scale = STRIDE * width / scaled
        spans = tuple(
            replace(span, left=float(span.left * scale), right=float(min(width, span.right * scale)))
            for span in measure_spans(self.charset, ids, log_probs, frames, scaled / STRIDE)
        )
        return Recognition(text[first:stop], min(1.0, prod(map(exp, log_probs))), spans[first:stop])
