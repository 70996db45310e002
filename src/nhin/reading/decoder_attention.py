r"""Where an exported decoder looked: the weights of its cross-attention for each character of a text.

The decoder is given the text that was read, one character after the other, over the crop as it was read, and
its own weights :math:`\operatorname{softmax}(q k^\top / \sqrt{d})` are taken out, by making each such softmax
of ``decoder.onnx`` an output.

Source:  Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3 (encoder-decoder attention).
Differs: nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.errors import CheckpointError
from nhin.files import read_folder
from nhin.image.preprocess import STRIDE, Pixels, preprocess_crop, scaled_width, to_batch
from nhin.reading.isolated_model import MEMORY, OPEN_SECONDS, RUN_SECONDS
from nhin.reading.line_windows import cut_windows
from nhin.reading.long_lines import is_long
from nhin.reading.onnx_model import locate_model, read_model
from nhin.reading.recognizer import Recognizer
from nhin.reading.result import Recognition
from nhin.reading.rotation import rotate
from nhin.sandbox import Sandbox, SandboxError
from nhin.text.charset import SOS

MAX_LAYERS = 64
_ROUNDING = 1e-3
_ONLY_SHAPES = ("Shape", "Size")
# Field numbers of onnx.proto: of a model, a graph, a node and a value.
_GRAPH, _NODE, _OUTPUT, _VALUE_NAME = 7, 1, 12, 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_KIND = 1, 2, 4

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
        left: Where the picture begins in the crop of the whole line, in pixels.
    """

    text: str
    picture: Pixels
    weights: NDArray[np.float32]
    frame_width: float
    left: float = 0.0


def trace_line(
    recognizer: Recognizer, decoder: Decoder, crop: Pixels, reading: Recognition
) -> tuple[TextAttention, ...]:
    """Return where the decoder looks in a crop when it writes what was read, in the windows of a long one."""
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
            out.append(replace(trace_text(recognizer, decoder, part, text), left=float(round(left))))
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


def load_attention(weights: str | Path, digest: str | None = None) -> OnnxAttention:
    """Return the attention of bundled or exported weights, which must have a digest if one is given.

    Raises:
        CheckpointError: They cannot be loaded, or have none that can be shown.
    """
    with locate_model(weights) as path:
        found = read_folder(path, lambda folder: read_model(folder, digest))
    if found is None:
        raise CheckpointError(f"{weights} holds no weights")
    return OnnxAttention(str(weights), found[1][1])


def expose_attention(decoder: bytes, name: str) -> tuple[bytes, list[str]]:
    """Make each softmax over the memory an output of a decoder; no ONNX library is needed.

    Such a softmax is one of scores whose keys do not depend on the tokens.

    Args:
        decoder: The bytes of a decoder.onnx.
        name: Its name in errors.

    Returns:
        The bytes of the network, and the names of these outputs, a layer each.

    Raises:
        CheckpointError: It has none, or too many, or is damaged.
    """
    from_tokens, outputs = {"tokens"}, []
    makers: dict[str, tuple[str, list[str]]] = {}
    try:
        for kind, inputs, made in _list_nodes(decoder):
            makers.update(dict.fromkeys(made, (kind, inputs)))
            if kind not in _ONLY_SHAPES and from_tokens.intersection(inputs):
                from_tokens.update(made)
            scores, keys = makers.get(inputs[0] if kind == "Softmax" else "", ("", []))
            if scores == "MatMul" and keys[1] not in from_tokens:
                outputs.append(made[0])
    except (IndexError, ValueError) as why:
        raise CheckpointError(f"the decoder of {name} is damaged") from why
    if not 0 < len(outputs) <= MAX_LAYERS:
        raise CheckpointError(f"the decoder of {name} has {len(outputs)} layers of attention to show")
    values = (_format_field(_OUTPUT, _format_field(_VALUE_NAME, output.encode())) for output in outputs)
    # A message that stands twice is one message, with the entries of both.
    return decoder + _format_field(_GRAPH, b"".join(values)), outputs


def _list_nodes(network: bytes) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield the kind, the inputs and the outputs of each node of an ONNX network, in their order."""
    for number, graph in _parse_fields(memoryview(network)):
        for part, node in _parse_fields(graph) if number == _GRAPH else ():
            if part == _NODE:
                ends = list(_parse_fields(node))
                kinds, inputs, outputs = (
                    [str(value, "utf-8") for field, value in ends if field == wanted]
                    for wanted in (_NODE_KIND, _NODE_INPUT, _NODE_OUTPUT)
                )
                yield "".join(kinds), inputs, outputs


def _parse_fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the bytes of each field of a protobuf message that has bytes; skip numbers."""
    at = 0
    while at < len(message):
        key, at = _parse_integer(message, at)
        kind = key & 7
        if kind == 0:
            _, at = _parse_integer(message, at)
            continue
        size, at = _parse_integer(message, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, len(message)), at)
        if at + size > len(message):
            raise ValueError(f"a field of {size} bytes")
        if kind == 2:
            yield key >> 3, message[at : at + size]
        at += size


def _parse_integer(message: memoryview, at: int) -> tuple[int, int]:
    """Return an integer in groups of seven bits, the lowest first, and where the next field begins."""
    for group in range(10):
        if message[at + group] < 128:
            groups = enumerate(message[at : at + group + 1])
            return sum((byte & 127) << 7 * i for i, byte in groups), at + group + 1
    raise ValueError("an integer without end")


def _format_field(number: int, data: bytes) -> bytes:
    """Return a field of a protobuf message that holds bytes."""
    size, groups = len(data), [number << 3 | 2]
    while size > 127:
        groups.append(size & 127 | 128)
        size >>= 7
    return bytes([*groups, size]) + data
