r"""Where the decoder looked: the weights of its cross-attention for each character of a reading.

The decoder is given the text that was read, one character after the other, over the crop as it was read, and
its own weights :math:`\operatorname{softmax}(q k^\top / \sqrt{d})` are taken out: of a checkpoint by torch,
of exported weights by making each such softmax of ``decoder.onnx`` an output.

Source:  Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3 (encoder-decoder attention).
Differs: nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.errors import CheckpointError
from nhin.files import read_folder
from nhin.image.load import PictureSource
from nhin.image.preprocess import STRIDE, Pixels, preprocess_crop, scaled_width, to_batch
from nhin.ocr.evaluate import open_reader
from nhin.reading.isolated_model import MEMORY, OPEN_SECONDS, RUN_SECONDS
from nhin.reading.line_windows import cut_windows
from nhin.reading.long_lines import is_long
from nhin.reading.onnx_model import is_onnx_model, locate_model, read_model
from nhin.reading.reader import Reader
from nhin.reading.recognizer import Recognizer
from nhin.reading.result import Line, Recognition
from nhin.reading.rotation import rotate
from nhin.sandbox import Sandbox, SandboxError
from nhin.text.charset import SOS

MAX_LAYERS = 64
_ROUNDING = 1e-3
_ONLY_SHAPES = ("Shape", "Size")

Decoder = Callable[[NDArray[np.float32], NDArray[np.int64]], list[NDArray[np.float32]]]
"""Memory (1 M C) and tokens (1 T) to the weights of each layer's cross-attention, 1 H T M."""


@dataclass(frozen=True, slots=True)
class TextAttention:
    """Where the decoder looked while it wrote a text.

    Args:
        text: The text.
        picture: The crop as it was read: upright, height x width x 3.
        weights: layers x heads x (characters + 1) x rows x frames; there is one row unless the memory is a
            grid; the last character is the end.
        frame_width: Pixels of the picture in one frame.
    """

    text: str
    picture: Pixels
    weights: NDArray[np.float32]
    frame_width: float


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
    return [_trace_line(recognizer, decoder, *recorder.take(line)) for line in lines]


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


def _trace_line(
    recognizer: Recognizer, decoder: Decoder, crop: Pixels, reading: Recognition
) -> tuple[TextAttention, ...]:
    crop = rotate(crop, reading.rotation)
    if not is_long(crop):
        return (trace_text(recognizer, decoder, crop, reading.text),)
    line = cut_windows(crop, recognizer.height)
    scale = crop.shape[1] / line.width
    out = []
    for start, picture in zip(line.starts, line.pictures, strict=True):
        left, right = start * STRIDE * scale, (start * STRIDE + picture.shape[1]) * scale
        shown = [char.text for char in reading.chars if left <= char.left and char.right <= right]
        if text := "".join(shown).strip():
            part = np.ascontiguousarray(crop[:, round(left) : round(right)])
            out.append(trace_text(recognizer, decoder, part, text))
    return tuple(out)


def trace_text(recognizer: Recognizer, decoder: Decoder, picture: Pixels, text: str) -> TextAttention:
    """Return where the decoder looks in a crop when it writes a text."""
    batch = to_batch([preprocess_crop(picture, recognizer.height)])
    memory, _ = recognizer.model.encode(batch)
    tokens = np.array([[SOS, *recognizer.charset.encode(text)]], np.int64)
    layers = decoder(memory, tokens)
    shape = (1, tokens.shape[1], memory.shape[1])
    for found in layers:
        if found.ndim != 4 or (found.shape[0], *found.shape[2:]) != shape or found.shape != layers[0].shape:
            raise CheckpointError(f"the decoder's attention has shape {found.shape}, not {shape} with heads")
        # Written so that NaN is refused too.
        if not (found.min() >= 0 and abs(found.sum(-1) - 1).max() < _ROUNDING):
            raise CheckpointError("the decoder's attention holds weights whose sum is not one")
    height, width = picture.shape[:2]
    frame_width = STRIDE * width / scaled_width(width, height, recognizer.height)
    stacked = np.stack([found[0] for found in layers])
    # A grid has its cells column by column.
    by_column = stacked.reshape(*stacked.shape[:3], batch.shape[3] // STRIDE, -1)
    return TextAttention(text, picture, by_column.swapaxes(-1, -2), frame_width)


def open_decoder(weights: str | Path, recognizer: Recognizer) -> Decoder:
    """Return the decoder of a recognizer, as a function to its cross-attention.

    Raises:
        CheckpointError: It has none that can be shown.
    """
    with locate_model(weights) as path:
        if not is_onnx_model(path):
            return _trace_torch(recognizer)
        found = read_folder(path, read_model)
    if found is None:
        raise CheckpointError(f"{weights} holds no weights")
    return OnnxAttention(str(weights), found[1][1])


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


class OnnxAttention:
    """A decoder.onnx that gives the weights of its cross-attention; it runs in a child process.

    Args:
        name: The folder's, for errors.
        decoder: The bytes of the network.
    """

    def __init__(self, name: str, decoder: bytes) -> None:
        network, self._outputs = expose_attention(decoder, name)
        self.name, self._seconds, self._sandbox = name, OPEN_SECONDS, None
        self._call({"open": 1}, [np.frombuffer(network, np.uint8)])

    def __call__(self, memory: NDArray[np.float32], tokens: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Return the weights of each layer."""
        self._seconds += RUN_SECONDS
        request = {"run": 0, "inputs": ["memory", "tokens"], "outputs": self._outputs}
        return self._call(request, [memory, tokens])

    def _call(self, request: dict[str, Any], arrays: list[NDArray]) -> list[NDArray]:
        try:
            self._sandbox = self._sandbox or Sandbox("nhin.reading.onnx_worker", MEMORY)
            return self._sandbox.call(request, arrays, self._seconds)[1]
        except SandboxError as why:
            raise CheckpointError(f"the attention of {self.name} cannot be shown: {why.reason}") from why


def expose_attention(decoder: bytes, name: str) -> tuple[bytes, list[str]]:
    """Make each softmax over the memory an output of a decoder.

    Such a softmax is one of scores whose keys do not depend on the tokens.

    Args:
        decoder: The bytes of a decoder.onnx.
        name: Its name in errors.

    Returns:
        The bytes of the network, and the names of these outputs, a layer each.

    Raises:
        CheckpointError: It has none, or too many.
    """
    import onnx

    try:
        network = onnx.load_model_from_string(decoder)
    except Exception as why:  # protobuf's own errors share no public base class
        raise CheckpointError(f"the decoder of {name} is damaged: {str(why)[:120]}") from why
    from_tokens, makers, outputs = {"tokens"}, {}, []
    for node in network.graph.node:
        makers.update(dict.fromkeys(node.output, node))
        if node.op_type not in _ONLY_SHAPES and from_tokens.intersection(node.input):
            from_tokens.update(node.output)
        scores = makers.get(node.input[0]) if node.op_type == "Softmax" else None
        if scores is not None and scores.op_type == "MatMul" and scores.input[1] not in from_tokens:
            outputs.append(node.output[0])
    if not 0 < len(outputs) <= MAX_LAYERS:
        raise CheckpointError(f"the decoder of {name} has {len(outputs)} layers of attention to show")
    network.graph.output.extend(onnx.ValueInfoProto(name=output) for output in outputs)
    return network.SerializeToString(), outputs
