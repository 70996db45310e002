"""Read lines wider than ``MAX_ASPECT`` heights in few wide windows that overlap.

The CTC head sees each window; where two overlap, one is followed up to where both agree (``line_windows``),
which gives one draft for the line. The decoder reads each window's part of the draft and proposes edits, and
both heads decide (``draft_repair``): over long texts, and texts cut off at a window's edge, a decoder's own
answer loses its place. No space is written that the network did not propose.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, prod

import numpy as np
from numpy.typing import NDArray

from nhin.decoding import ctc
from nhin.decoding.draft_repair import WindowDraft, repair_drafts
from nhin.decoding.protocol import EncoderDecoder, mask_specials
from nhin.image.preprocess import STRIDE, Pixels, to_batch
from nhin.reading.batching import group_by_width
from nhin.reading.char_spans import measure_spans
from nhin.reading.line_windows import LineWindows, cut_windows, find_cuts
from nhin.reading.result import Recognition, Span
from nhin.text.charset import Charset

MAX_ASPECT = 8.0
"""Width over height above which a crop is a long line; others are read as words are."""
_EDGE = 2
"""Frames at an edge inside a line in which a window may show a part of a letter."""


@dataclass(frozen=True, slots=True)
class _Window:
    """A window's memory and CTC frames, the frames of the line that it is followed in, and its draft."""

    memory: NDArray[np.float32]
    frames: NDArray[np.float32]
    start: int
    cut: tuple[int, int]
    draft: WindowDraft


def is_long(crop: Pixels) -> bool:
    """Return whether a crop is read in windows."""
    return crop.shape[1] > MAX_ASPECT * crop.shape[0]


class LongLineReader:
    """Reads long lines with one network; mode and temperature are those of ``Recognizer``."""

    def __init__(
        self, model: EncoderDecoder, charset: Charset, height: int, mode: str, temperature: float
    ) -> None:
        self.model, self.charset, self.height = model, charset, height
        self.mode, self.temperature = mode, temperature

    def read(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Read crops (height x width x 3, RGB, or height x width), not empty."""
        lines = [cut_windows(crop, self.height) for crop in crops]
        windows = self._encode(lines)
        answers = self._check(windows) if self.mode != "fast" else [self._trust(w) for w in windows]
        out, at = [], 0
        for crop, line in zip(crops, lines, strict=True):
            part = slice(at, at + len(line.starts))
            out.append(self._join(windows[part], answers[part], line.width, crop.shape[1]))
            at = part.stop
        return out

    def _encode(self, lines: Sequence[LineWindows]) -> list[_Window]:
        """Encode the windows of all lines, in batches of equal width, and make the drafts."""
        pictures = [picture for line in lines for picture in line.pictures]
        encoded: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        for batch in group_by_width([picture.shape[1] for picture in pictures]):
            memory, log_probs = self.model.encode(to_batch([pictures[i] for i in batch]))
            frames = mask_specials(log_probs, ctc.BLANK).astype(np.float32)
            for row, i in enumerate(batch):
                encoded[i] = memory[row], frames[row]
        out: list[_Window] = []
        for line in lines:
            rows = range(len(out), len(out) + len(line.starts))
            out += _make_drafts([encoded[i] for i in rows], line.starts)
        return out

    def _check(self, windows: Sequence[_Window]) -> list[tuple[list[int], list[float]]]:
        """Return ids and log-probabilities of each window's part, which the decoder has checked."""
        answers: list[tuple[list[int], list[float]]] = [([], [])] * len(windows)
        read = [i for i, window in enumerate(windows) if window.draft.stop > window.draft.first]
        for batch in group_by_width([len(windows[i].frames) * STRIDE for i in read]):
            part = [windows[read[i]] for i in batch]
            repaired = repair_drafts(
                self.model.decode,
                np.stack([window.memory for window in part]),
                np.stack([window.frames for window in part]),
                [window.draft for window in part],
                self.temperature,
                0.0 if self.mode == "exact" else 1.0,
            )
            for i, answer in zip(batch, repaired, strict=True):
                answers[read[i]] = answer
        return answers

    def _trust(self, window: _Window) -> tuple[list[int], list[float]]:
        """Return the draft of a window's part with the CTC head's log-probabilities."""
        ids = list(window.draft.ids[window.draft.first : window.draft.stop])
        if not ids:
            return [], []
        scaled = ctc.scale_log_probs(_followed(window), self.temperature)
        return ids, np.log(ctc.char_confidences(scaled, ids)).tolist()

    def _join(
        self,
        windows: Sequence[_Window],
        answers: Sequence[tuple[list[int], list[float]]],
        width: int,
        columns: int,
    ) -> Recognition:
        """Join the parts of a line that is ``width`` pixels wide for the network, ``columns`` in the crop."""
        spans: list[Span] = []
        scale = STRIDE * columns / width
        for window, (ids, log_probs) in zip(windows, answers, strict=True):
            start = window.cut[0]
            if ids:
                end = min(float(window.cut[1]), width / STRIDE) - start
                for span in measure_spans(self.charset, ids, log_probs, _followed(window), end):
                    left, right = (scale * (start + edge) for edge in (span.left, span.right))
                    spans.append(replace(span, left=float(left), right=float(min(columns, right))))
        text = "".join(span.text for span in spans)
        first, stop = len(text) - len(text.lstrip()), len(text.rstrip())
        if stop <= first:
            return Recognition("", 0.0)
        confidence = prod(exp(score) for _, log_probs in answers for score in log_probs)
        return Recognition(text[first:stop], min(1.0, confidence), tuple(spans[first:stop]))


def _followed(window: _Window) -> NDArray[np.float32]:
    """Return the frames in which a window is followed."""
    return window.frames[window.cut[0] - window.start : window.cut[1] - window.start]


def _make_drafts(
    encoded: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], starts: Sequence[int]
) -> list[_Window]:
    """Decode the frames of a line as one, and give each window the letters that it shows."""
    frames = [rows for _, rows in encoded]
    cuts = find_cuts(frames, starts)
    parts = zip(frames, starts, cuts[:-1], cuts[1:], strict=True)
    ids, spans = ctc.find_runs(np.concatenate([rows[a - start : b - start] for rows, start, a, b in parts]))
    out = []
    for k, (memory, rows) in enumerate(encoded):
        start, stop, is_end = starts[k], starts[k] + len(rows), k + 1 == len(encoded)
        low, high = start + _EDGE * (k > 0), stop - _EDGE * (not is_end)
        shown = [i for i, (left, right) in enumerate(spans) if low <= left and right <= high]
        own = [n for n, i in enumerate(shown) if cuts[k] <= spans[i][0] < cuts[k + 1]]
        draft = WindowDraft(
            tuple(ids[i] for i in shown),
            tuple((spans[i][0] - start, spans[i][1] - start) for i in shown),
            own[0] if own else 0,
            own[-1] + 1 if own else 0,
            is_end,
        )
        out.append(_Window(memory, rows, start, (cuts[k], cuts[k + 1]), draft))
    return out
