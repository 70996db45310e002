"""Evaluate a recognizer on labeled crops: error rates, errors by part of a character, calibration, speed.

Only checkpoints need torch; bundled and exported weights do not.
"""

import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.datasets import Crop
from nhin.decoding.text_prior import TextPrior
from nhin.errors import CheckpointError, UnknownName, UsageError
from nhin.files import read_folder
from nhin.metrics.calibration import CalibrationFigures, measure_calibration
from nhin.metrics.char_errors import Breakdown
from nhin.metrics.edit_distance import align_texts
from nhin.metrics.error_rates import Score, measure_interval
from nhin.reading.batching import BATCH_SIZE
from nhin.reading.decoder_recognizer import DecoderRecognizer
from nhin.reading.onnx_model import (
    DEFAULT_THREADS,
    bundled_models,
    is_onnx_model,
    load_recognizer,
    make_ranker,
)
from nhin.reading.reader import RecognizerProtocol
from nhin.reading.recognizer import DEFAULT_MODE, Mode, Recognizer
from nhin.reading.result import Recognition
from nhin.text.letters import nfc
from nhin.training.run_dir import find_checkpoint

CROPS_AT_ONCE, BYTES_AT_ONCE = 8 * BATCH_SIZE, 2**26
"""Crops opened at a time, and bytes of their pictures: enough for batches of equal width."""


@dataclass(frozen=True, slots=True)
class OCREvalResult:
    """The result of an evaluation.

    Args:
        count: Crops read.
        figures: By name, see ``nhin.metrics.error_rates``.
        interval: Of the strict word accuracy, 95%, see ``measure_interval``.
        breakdown: See ``nhin.metrics.char_errors``.
        lines: The calibration of the crops' confidences.
        chars: The calibration of the read characters' confidences.
        seconds_per_crop: Without the time to open pictures.
    """

    count: int
    figures: dict[str, float]
    interval: tuple[float, float]
    breakdown: dict[str, Any]
    lines: CalibrationFigures
    chars: CalibrationFigures
    seconds_per_crop: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON, flat but for calibration and breakdown."""
        return {
            "count": self.count,
            **self.figures,
            "word_accuracy_interval": list(self.interval),
            "ece": self.lines.ece,
            "mean_confidence": self.lines.confidence,
            "seconds_per_crop": self.seconds_per_crop,
            "calibration": {"lines": self.lines.to_dict(), "chars": self.chars.to_dict()},
            "breakdown": self.breakdown,
        }


def open_reader(
    weights: str | Path,
    mode: Mode = DEFAULT_MODE,
    threads: int = DEFAULT_THREADS,
    digest: str | None = None,
    prior: TextPrior | None = None,
) -> Recognizer:
    """Load a recognizer from a bundled name, exported weights, a checkpoint or the run that holds it.

    Args:
        weights: The name or the folder.
        mode: See ``Recognizer``.
        threads: CPU threads.
        digest: What exported weights must have, see ``load_recognizer``.
        prior: For mode ``beam``; the bundled one when None.

    Raises:
        UsageError: A digest was given for a checkpoint, which has none.
        UnknownName: It is none of these.
        CheckpointError: It is damaged or foreign.
        ImportError: It is a checkpoint and torch is not installed.
    """
    path = Path(weights)
    if str(weights) in bundled_models() or is_onnx_model(path):
        return load_recognizer(weights, mode=mode, threads=threads, digest=digest, prior=prior)
    if not path.exists():
        raise UnknownName("weights", str(weights), bundled_models())
    checkpoint = find_checkpoint(path)
    if not read_folder(checkpoint, lambda folder: any(folder.glob("*.safetensors"))):
        raise CheckpointError(f"{path} holds neither exported weights (model.json) nor a checkpoint")
    if digest is not None:
        raise UsageError(f"--digest is for exported weights, and {path} is a checkpoint; leave it out")
    return _from_checkpoint(checkpoint, mode, threads, prior)


def evaluate(
    reader: RecognizerProtocol, crops: Sequence[Crop], on_progress: Callable[[int], None] | None = None
) -> OCREvalResult:
    """Read labeled crops and compare the texts with the labels.

    Args:
        reader: Reads the crops.
        crops: Opened a few at a time, so they need not fit in memory.
        on_progress: Called with the number of crops done since the last call.
    """
    score, breakdown = Score(), Breakdown()
    lines, chars = ConfidenceRecord(), ConfidenceRecord()
    seconds = 0.0
    for crop, recognition, time_taken in read_crops(reader, crops, on_progress):
        seconds += time_taken
        score.add(recognition.text, crop.text)
        breakdown.add(recognition.text, crop.text)
        lines.add(recognition.confidence, nfc(recognition.text) == nfc(crop.text))
        for char, is_right in zip(recognition.chars, find_right_chars(recognition, crop.text), strict=False):
            chars.add(char.confidence, is_right)
    count = len(crops)
    return OCREvalResult(
        count,
        score.figures(),
        measure_interval([bool(right) for right in lines.right]),
        breakdown.figures(),
        lines.measure(),
        chars.measure(),
        seconds / max(1, count),
    )


class ConfidenceRecord:
    """Confidences and whether each was of a right answer, in nine bytes each."""

    def __init__(self) -> None:
        self.confidences, self.right = array("d"), bytearray()

    def add(self, confidence: float, is_right: bool) -> None:
        """Add one."""
        self.confidences.append(confidence)
        self.right.append(is_right)

    def measure(self) -> CalibrationFigures:
        """Compare them."""
        return measure_calibration(np.array(self.confidences), np.frombuffer(self.right, np.bool_))


def find_right_chars(recognition: Recognition, true: str) -> list[bool]:
    """Return which read characters stand in the true text too, in the alignment of fewest edits."""
    pairs = align_texts(nfc(recognition.text), nfc(true))
    return [read == char for read, char in pairs if read is not None]


def read_crops(
    reader: RecognizerProtocol, crops: Sequence[Crop], on_progress: Callable[[int], None] | None = None
) -> Iterator[tuple[Crop, Recognition, float]]:
    """Yield each crop, its reading, and its share of the seconds that reading took; opens a few at a time."""
    for chunk, pictures in _iter_chunks(crops):
        start = time.perf_counter()
        recognitions = reader.read(pictures)
        seconds = (time.perf_counter() - start) / len(chunk)
        for crop, recognition in zip(chunk, recognitions, strict=True):
            yield crop, recognition, seconds
        if on_progress is not None:
            on_progress(len(chunk))


def _iter_chunks(crops: Sequence[Crop]) -> Iterator[tuple[list[Crop], list[NDArray[np.uint8]]]]:
    """Yield some crops and their pictures at a time, few of large pictures."""
    chunk: list[Crop] = []
    pictures: list[NDArray[np.uint8]] = []
    for crop in crops:
        chunk.append(crop)
        pictures.append(crop.picture)
        if len(chunk) == CROPS_AT_ONCE or sum(picture.nbytes for picture in pictures) > BYTES_AT_ONCE:
            yield chunk, pictures
            chunk, pictures = [], []
    if chunk:
        yield chunk, pictures


def _from_checkpoint(path: Path, mode: Mode, threads: int, prior: TextPrior | None) -> Recognizer:
    import torch

    from nhin.ocr.recipe import load_model
    from nhin.ocr.torch_backend import TorchModel

    torch.set_num_threads(threads)
    model, charset, _ = load_model(path)
    if not model.ctc_weight:
        return DecoderRecognizer(TorchModel(model), charset, model.height)
    backend = TorchModel(model)
    ranker = make_ranker(backend, charset, model.height, prior, threads) if mode == "beam" else None
    return Recognizer(backend, charset, model.height, mode, ranker=ranker)
