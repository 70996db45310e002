"""Measure a reader on labelled crops: figures, what goes wrong in a letter, how honest confidence is.

Only checkpoints need torch; shipped weights and exported pairs are measured without it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.datasets import Crop
from nhin.errors import CheckpointError, UnknownName
from nhin.metrics.calibration import Calibration
from nhin.metrics.char_errors import Breakdown
from nhin.metrics.error_rates import Score
from nhin.reading.onnx_model import DEFAULT_THREADS, bundled_models, is_onnx_model, load_recognizer
from nhin.reading.recognizer import BATCH_SIZE, Mode, Recognizer
from nhin.reading.result import Recognition
from nhin.text.letters import nfc

CROPS_AT_ONCE = 8 * BATCH_SIZE
"""Crops opened at a time: enough to fill batches of one width, little enough to hold."""


@runtime_checkable
class SupportsRead(Protocol):
    """Anything that reads crops."""

    def read(self, crops: Sequence[NDArray[np.uint8]]) -> list[Recognition]:
        """Return one answer per crop."""
        ...


@dataclass(frozen=True, slots=True)
class OCREvalResult:
    """What came of measuring.

    Args:
        count: Crops read.
        figures: Every figure in every form, by name: see ``nhin.metrics.error_rates``.
        breakdown: See ``nhin.metrics.char_errors``.
        ece: Expected calibration error of the crops' confidences, 0 to 1.
        confidence: Their mean.
        seconds_per_crop: Reading alone; opening pictures is not counted.
    """

    count: int
    figures: dict[str, float]
    breakdown: dict[str, Any]
    ece: float
    confidence: float
    seconds_per_crop: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as one flat table for JSON, the breakdown nested."""
        rest = {
            "ece": self.ece,
            "mean_confidence": self.confidence,
            "seconds_per_crop": self.seconds_per_crop,
        }
        return {"count": self.count, **self.figures, **rest, "breakdown": self.breakdown}


def open_reader(weights: str | Path, mode: Mode = "both", threads: int = DEFAULT_THREADS) -> Recognizer:
    """Load what ``nhin evaluate`` was given: a shipped name, an exported pair, a checkpoint or its run.

    Raises:
        UnknownName: None of these.
        CheckpointError: It is torn or foreign.
        ImportError: It is a checkpoint and torch is not installed.
    """
    path = Path(weights)
    if str(weights) in bundled_models() or is_onnx_model(path):
        return load_recognizer(weights, mode=mode, threads=threads)
    if not path.exists():
        raise UnknownName("weights", str(weights), bundled_models())
    checkpoint = next((p for p in (path, path / "checkpoint") if any(p.glob("*.safetensors"))), None)
    if checkpoint is None:
        raise CheckpointError(f"{path} holds neither an exported pair (model.json) nor a checkpoint")
    return _from_checkpoint(checkpoint, mode, threads)


def evaluate(
    reader: SupportsRead, crops: Sequence[Crop], on_progress: Callable[[int], None] | None = None
) -> OCREvalResult:
    """Read labelled crops and compare.

    Args:
        reader: Reads the crops.
        crops: Opened a few at a time; they need not fit in memory together.
        on_progress: Told how many more crops are done, every now and then.
    """
    score, parts, trust = Score(), Breakdown(), Calibration()
    confidence = seconds = 0.0
    count = 0
    for chunk in _iter_chunks(crops):
        pictures = [crop.picture for crop in chunk]
        start = time.perf_counter()
        readings = reader.read(pictures)
        seconds += time.perf_counter() - start
        for crop, reading in zip(chunk, readings, strict=True):
            _add_reading(crop.text, reading, (score, parts, trust))
            confidence += reading.confidence
        count += len(chunk)
        if on_progress is not None:
            on_progress(len(chunk))
    total = max(1, count)
    return OCREvalResult(
        count, score.figures(), parts.figures(), trust.ece(), confidence / total, seconds / total
    )


def _add_reading(true: str, reading: Recognition, sums: tuple[Score, Breakdown, Calibration]) -> None:
    score, parts, trust = sums
    score.add(reading.text, true)
    parts.add(reading.text, true)
    trust.add(reading.confidence, nfc(reading.text) == nfc(true))


def _iter_chunks(crops: Sequence[Crop]) -> Iterator[list[Crop]]:
    rest = iter(crops)
    while chunk := list(islice(rest, CROPS_AT_ONCE)):
        yield chunk


def _from_checkpoint(path: Path, mode: Mode, threads: int) -> Recognizer:
    import torch

    from nhin.ocr.recipe import load_model
    from nhin.ocr.torch_backend import TorchModel

    torch.set_num_threads(threads)
    model, charset, _ = load_model(path)
    return Recognizer(TorchModel(model), charset, model.height, mode)
