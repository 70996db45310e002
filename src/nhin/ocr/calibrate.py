"""Calibrate the confidences of exported weights on labeled crops, and on pictures without text.

Figures "after" are of maps that were fitted without the crops they are measured on: each set of crops is cut
into contiguous blocks, since neighbors often show the same sign, and each block is judged by the maps of the
others. The maps that are stored are fitted on all crops. Every set counts as much as the others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.datasets import Crop
from nhin.data.images.textless import KINDS, draw_textless
from nhin.metrics.calibration import CalibrationFigures, measure_calibration
from nhin.metrics.edit_distance import edit_distance
from nhin.ocr.confidence_fit import FloorCost, choose_floor, fit_confidence_map
from nhin.ocr.evaluate import find_right_chars, read_crops
from nhin.reading.confidence import ConfidenceMap, ReadingCalibration, mean_probability
from nhin.reading.recognizer import Recognizer
from nhin.text.letters import nfc

TEXTLESS_COUNT = 1000
"""Pictures without text on which the floor is chosen, and as many others on which it is measured."""
_CHOICE_SEED, _MEASURE_SEED = 1, 2
_BLOCKS = 5

Floats = NDArray[np.float64]
OnProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Confidences:
    """Probabilities under the network, lengths of their texts, which are right (0 or 1), and whose crop's."""

    p: Floats
    lengths: Floats
    right: Floats
    crops: NDArray[np.int64]

    def take(self, rows: NDArray[np.bool_]) -> "Confidences":
        """Return some of them."""
        return Confidences(self.p[rows], self.lengths[rows], self.right[rows], self.crops[rows])


@dataclass(frozen=True, slots=True)
class Answers:
    """The readings of one set of crops without calibration; ``lines`` has those with text only."""

    lines: Confidences
    chars: Confidences
    cost: FloorCost


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """The figures of the same answers without and with calibration."""

    before: CalibrationFigures
    after: CalibrationFigures


@dataclass(frozen=True, slots=True)
class SetReport:
    """The calibration on one set of crops, and its character error rate without and with the floor."""

    lines: BeforeAfter
    chars: BeforeAfter
    cer: tuple[float, float]


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """What was found for one mode of reading.

    Args:
        calibration: To be stored with the weights.
        sets: By name.
        textless: By kind, the pictures without text (other ones than the floor was chosen on), from how many
            of them a text is read without the floor, and from how many with it.
    """

    calibration: ReadingCalibration
    sets: dict[str, SetReport]
    textless: dict[str, tuple[int, int, int]]


def list_textless(seed: int) -> list[Crop]:
    """Return pictures without text as crops with an empty label, drawn when opened."""
    kinds = list(KINDS)

    def draw(index: int) -> NDArray[np.uint8]:
        return draw_textless(seed, index)[0]

    return [Crop("", kinds[i % len(kinds)], partial(draw, i)) for i in range(TEXTLESS_COUNT)]


def count_crops(sets: Mapping[str, Sequence[Crop]]) -> int:
    """Return how many crops ``calibrate`` reads."""
    return sum(map(len, sets.values())) + 2 * TEXTLESS_COUNT


def calibrate(
    reader: Recognizer,
    sets: Mapping[str, Sequence[Crop]],
    max_cost: float,
    on_progress: OnProgress | None = None,
) -> CalibrationResult:
    """Fit the calibration of a reader's mode; what it has already is not used.

    Args:
        reader: Its calibration is taken away.
        sets: Labeled crops that it was not trained on, by name.
        max_cost: How much the floor may raise the character error rate of each set.
        on_progress: Called with the number of crops read since the last call.
    """
    reader.calibration = None
    answers = {name: collect_answers(reader, crops, on_progress) for name, crops in sets.items()}
    choice, measured = (
        [
            (crop.name, mean_probability(reading) if reading.text else 0.0)
            for crop, reading, _ in read_crops(reader, list_textless(seed), on_progress)
        ]
        for seed in (_CHOICE_SEED, _MEASURE_SEED)
    )
    floor = choose_floor(
        np.array([p for _, p in choice]), [answer.cost for answer in answers.values()], max_cost
    )
    textless = {
        kind: (len(found), sum(p > 0 for p in found), sum(p > floor for p in found))
        for kind in KINDS
        if (found := [p for name, p in measured if name == kind])
    }
    chars, lines = (_fit([getattr(each, part) for each in answers.values()]) for part in ("chars", "lines"))
    return CalibrationResult(ReadingCalibration(chars, lines, floor), _report(answers, floor), textless)


def collect_answers(
    reader: Recognizer, crops: Sequence[Crop], on_progress: OnProgress | None = None
) -> Answers:
    """Read labeled crops and keep what calibration needs."""
    lines: list[tuple[float, ...]] = []
    chars: list[tuple[float, ...]] = []
    costs: list[tuple[float, ...]] = []
    for number, (crop, reading, _) in enumerate(read_crops(reader, crops, on_progress)):
        text, true = nfc(reading.text), nfc(crop.text)
        costs.append((mean_probability(reading) if text else 0.0, edit_distance(text, true), len(true)))
        if not text:
            continue
        lines.append((reading.confidence, len(text), text == true, number))
        right = find_right_chars(reading, true)
        pairs = zip(reading.chars, right, strict=False)
        chars += [(char.confidence, len(text), is_right, number) for char, is_right in pairs]
    return Answers(_as_confidences(lines), _as_confidences(chars), FloorCost(*_columns(costs, 3)))


def _columns(rows: Sequence[tuple[float, ...]], count: int) -> Iterator[Floats]:
    return iter(np.array(rows, np.float64).reshape(-1, count).T)


def _as_confidences(rows: Sequence[tuple[float, ...]]) -> Confidences:
    p, lengths, right, crops = _columns(rows, 4)
    return Confidences(p, lengths, right, crops.astype(np.int64))


def _fit(parts: Sequence[Confidences]) -> ConfidenceMap:
    """Fit one map to sets that count alike, however large each is."""
    filled = [part for part in parts if len(part.p)]
    if not filled:
        return ConfidenceMap()
    mean = sum(len(part.p) for part in filled) / len(filled)
    weights = np.concatenate([np.full(len(part.p), mean / len(part.p)) for part in filled])
    p, lengths, right = (
        np.concatenate([getattr(part, name) for part in filled]) for name in ("p", "lengths", "right")
    )
    return fit_confidence_map(p, lengths, right, weights)


def _report(answers: Mapping[str, Answers], floor: float) -> dict[str, SetReport]:
    """Measure each set before and after; a crop without text has confidence 0."""
    lines, chars = (
        {name: getattr(each, part) for name, each in answers.items()} for part in ("lines", "chars")
    )
    counts = {name: len(each.cost.lengths) for name, each in answers.items()}
    new_lines, new_chars = (_cross_fit(part, counts) for part in (lines, chars))
    reports = {}
    for name, each in answers.items():
        is_kept = each.cost.probabilities > floor
        reports[name] = SetReport(
            _compare(lines[name], new_lines[name], is_kept, counts[name]),
            _compare(chars[name], new_chars[name], is_kept, 0),
            (each.cost.cer(), each.cost.cer(floor)),
        )
    return reports


def _cross_fit(parts: Mapping[str, Confidences], counts: Mapping[str, int]) -> dict[str, Floats]:
    """Return the confidences of each set's answers by maps that were fitted without their blocks."""
    blocks = {name: part.crops * _BLOCKS // counts[name] for name, part in parts.items()}
    out = {name: np.zeros_like(part.p) for name, part in parts.items()}
    for block in range(_BLOCKS):
        fitted = _fit([part.take(blocks[name] != block) for name, part in parts.items()])
        for name, part in parts.items():
            rows = blocks[name] == block
            out[name][rows] = fitted(part.p[rows], part.lengths[rows])
    return out


def _compare(part: Confidences, after: Floats, is_kept: NDArray[np.bool_], count: int) -> BeforeAfter:
    rows = is_kept[part.crops]
    return BeforeAfter(_measure(part.p, part.right, count), _measure(after[rows], part.right[rows], count))


def _measure(p: Floats, right: Floats, count: int) -> CalibrationFigures:
    """Measure answers, and as many wrong ones of confidence 0 as there are fewer than ``count``."""
    missing = np.zeros(max(0, count - len(p)))
    return measure_calibration(np.concatenate([p, missing]), np.concatenate([right, missing]) > 0)
