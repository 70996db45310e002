"""Where the decoder looked while it read a picture, with weights of any kind.

Of a checkpoint torch gives the weights of the cross-attention, of exported weights ``decoder_attention``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nhin.image.preprocess import Pixels
from nhin.image.source import PictureSource
from nhin.ocr.evaluate import open_reader
from nhin.reading.decoder_attention import Decoder, TextAttention, load_attention, trace_line
from nhin.reading.onnx_model import is_onnx_model, locate_model
from nhin.reading.reader import Reader
from nhin.reading.recognizer import Recognizer
from nhin.reading.result import Line, Recognition


def trace_reading(
    weights: str | Path, source: PictureSource, crop: bool = False
) -> list[tuple[TextAttention, ...]]:
    """Read a picture; return for each line where the decoder looked, in windows if the line is very long.

    The lines are in reading order, also those of a low confidence.

    Args:
        weights: A bundled name, exported weights, a checkpoint or its run.
        source: The picture, see ``Reader.read``.
        crop: It is a single word or line.

    Raises:
        PictureError: The picture cannot be opened.
        CheckpointError: The weights cannot be loaded, or their decoder has no attention that can be shown.
    """
    recognizer = open_reader(weights)
    recorder = _Recorder(recognizer)
    lines = Reader(recognizer=recorder, min_confidence=0).read(source, crop).lines
    if not lines:
        return []
    decoder = open_decoder(weights, recognizer)
    return [trace_line(recognizer, decoder, *recorder.take(line)) for line in lines]


class _Recorder:
    """A recognizer that notes each crop and its reading."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self._notes: dict[tuple[str, float], list[tuple[Pixels, Recognition]]] = {}

    def read(self, crops: Sequence[Pixels]) -> list[Recognition]:
        results = self.recognizer.read(crops)
        for crop, result in zip(crops, results, strict=True):
            self._notes.setdefault((result.text, result.confidence), []).append((crop, result))
        return results

    def take(self, line: Line) -> tuple[Pixels, Recognition]:
        """Return the crop and the reading of a line, whose place in reading order the reader chose."""
        return self._notes[line.text, line.confidence].pop(0)


def open_decoder(weights: str | Path, recognizer: Recognizer) -> Decoder:
    """Return the decoder of a recognizer, as a function to its cross-attention.

    Raises:
        CheckpointError: It has none that can be shown.
    """
    with locate_model(weights) as path:
        is_exported = is_onnx_model(path)
    return load_attention(weights) if is_exported else _trace_torch(recognizer)


def _trace_torch(recognizer: Recognizer) -> Decoder:
    import torch

    from nhin.ocr.torch_backend import TorchModel

    assert isinstance(recognizer.model, TorchModel)
    model = recognizer.model.model

    @torch.inference_mode()
    def trace(memory: NDArray[np.float32], tokens: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        layers = model.cross_attention(torch.from_numpy(memory), torch.from_numpy(tokens))
        return [layer.numpy() for layer in layers]

    return trace
