"""Give a reader's encoder arithmetic of eight bits, accepted only if it reads what it read before.

Filters and matrices become integers of seven bits with a scale for each output channel, and what they are
multiplied by integers of eight bits, whose range is measured on crops. With eight bits for both, sums of
two products would overflow the 16 bits that processors without VNNI have for them; with seven all
processors compute the same. What two activations make together, as the scores of attention, stays in single
precision, and so does the decoder.
"""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.errors import CheckpointError, UsageError
from nhin.files import explain_os_error, hash_file, write_folder
from nhin.ocr.export import store_as_half
from nhin.ocr.model_card import CARD, replace_section
from nhin.reading.onnx_model import DECODER, ENCODER, MANIFEST, OnnxModel, check_out_folder, read_model
from nhin.reading.recognizer import Recognizer
from nhin.text.charset import Charset

MIN_SAME, SURE = 0.95, 0.5
"""Share of the crops that must be read as before, of those that were read with at least that confidence."""
_OPERATORS = ["Conv", "MatMul", "Gemm"]
_BATCH = 8
Pictures = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class QuantizedExport:
    """The number of crops that were read surely, those read as before, and the bytes of both networks."""

    crops: int
    same: int
    size: int


class _InputRecorder(OnnxModel):
    """Keeps what its encoder is given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1)
        self.batches: list[Pictures] = []

    def encode(self, pictures: Pictures) -> tuple[Pictures, Pictures]:
        self.batches.append(pictures)
        return super().encode(pictures)


def quantize(source: Path, out: Path, crops: Sequence[NDArray[np.uint8]]) -> QuantizedExport:
    """Write weights whose encoder computes with integers of eight bits.

    Args:
        source: The folder of weights of our own: their networks run in this process.
        out: A new folder, or one with an earlier export, which is replaced.
        crops: RGB pictures of the kinds that will be read, to measure ranges and to compare.

    Raises:
        UsageError: ``out`` holds something else, or ``source`` computes so already.
        CheckpointError: Fewer than ``MIN_SAME`` of the sure crops are read as before, or the disk is full;
            nothing is written.
    """
    check_out_folder(out)
    manifest, _ = read_model(source)
    model = _InputRecorder(source)
    before = _read(model, manifest.charset, manifest.height, crops)
    with explain_os_error(f"write {out}"), write_folder(out) as folder:
        for path in source.iterdir():
            shutil.copyfile(path, folder / path.name)
        _quantize_network(source / ENCODER, folder / ENCODER, model.batches)
        after = _read(OnnxModel(folder, 1), manifest.charset, manifest.height, crops)
        pairs = [
            (one.text, two.text) for one, two in zip(before, after, strict=True) if one.confidence >= SURE
        ]
        same = sum(one == two for one, two in pairs)
        if not pairs or same < MIN_SAME * len(pairs):
            raise CheckpointError(
                f"with integers of eight bits only {same} of {len(pairs)} crops are read as before (of those "
                f"that were read with a confidence of at least {SURE:g}), so nothing was written"
            )
        files = {name: hash_file(folder / name) for name in (ENCODER, DECODER)}
        (folder / MANIFEST).write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
        size = sum((folder / name).stat().st_size for name in files)
        _note_on_card(folder / CARD, same, len(pairs), size)
    return QuantizedExport(len(pairs), same, size)


def _read(model: OnnxModel, charset: str, height: int, crops: Sequence[NDArray[np.uint8]]) -> list[Any]:
    reader = Recognizer(model, Charset(charset), height, "both")
    return [one for i in range(0, len(crops), _BATCH) for one in reader.read(crops[i : i + _BATCH])]


def _quantize_network(source: Path, out: Path, batches: Sequence[Pictures]) -> None:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    network = onnx.load(source)
    if any(node.op_type == "QuantizeLinear" for node in network.graph.node):
        raise UsageError(f"{source.parent} computes with integers of eight bits already")
    with tempfile.TemporaryDirectory() as scratch, _silence_quantizer():
        ready, quantized = Path(scratch, "ready.onnx"), Path(scratch, "quantized.onnx")
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(quantized),
            _make_batch_reader(network.graph.input[0].name, batches),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=_OPERATORS,
            nodes_to_quantize=_list_weighted(onnx.load(ready)),
        )
        stored = store_as_half(onnx.load(quantized))
    # The quantizer names operator sets that it does not use, and others than ONNX Runtime may not have.
    used = [each for each in stored.opset_import if not each.domain]
    del stored.opset_import[:]
    stored.opset_import.extend(used)
    onnx.checker.check_model(stored, full_check=True)
    onnx.save(stored, out)


def _list_weighted(network: Any) -> list[str]:
    """Return the names of the nodes that multiply by weights, not activations by activations."""
    weights = {weight.name for weight in network.graph.initializer}
    nodes = (node for node in network.graph.node if node.op_type in _OPERATORS)
    return [node.name for node in nodes if not weights.isdisjoint(node.input)]


def _make_batch_reader(name: str, batches: Sequence[Pictures]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class BatchReader(CalibrationDataReader):
        left = iter(batches)

        def get_next(self) -> dict[str, Pictures] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            batch = next(self.left, None)
            return None if batch is None else {name: batch}

    return BatchReader()


def _note_on_card(card: Path, same: int, count: int, size: int) -> None:
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    lines = [
        f"The encoder computes with integers of eight bits (`nhin export --int8`); both networks take "
        f"{size / 2**20:.1f} MiB.",
        f"It reads {same} of {count} crops as before, of those that had a confidence of at least {SURE:g}.",
    ]
    card.write_text(replace_section(text, "Arithmetic", lines), encoding="utf-8")


@contextmanager
def _silence_quantizer() -> Iterator[None]:
    """Suppress its advice, which is for other networks."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
