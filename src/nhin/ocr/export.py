"""Export a recognizer to ONNX, accepted only if it reads what torch reads.

Batch norms are folded into their convolutions, factored character embeddings into one table, and large
weights are rounded to half precision. The resulting torch model is exported, and ONNX Runtime must read the
same text from sample crops with the same confidence. Weights are stored in half precision; arithmetic stays
in single precision.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nhin.errors import CheckpointError, UsageError
from nhin.files import explain_os_error, hash_file, write_folder
from nhin.image.preprocess import MAX_WIDTH, WIDTH_BUCKET
from nhin.layers.factored_char import FactoredCharLinear
from nhin.models.recognizer import MAX_FRAMES, MAX_TOKENS, RecognizerNet
from nhin.ocr.model_card import CARD, write_card
from nhin.ocr.torch_backend import TorchModel
from nhin.reading.onnx_model import DECODER, ENCODER, MANIFEST, ModelManifest, OnnxModel, check_out_folder
from nhin.reading.recognizer import MODES, Recognizer
from nhin.text.charset import Charset

TOLERANCE = 1e-4
"""Maximum difference of the two confidences of one crop."""
_MIN_HALF_SIZE = 1024
_SAMPLE_CROPS = 64


@dataclass(frozen=True, slots=True)
class OnnxExport:
    """The number of crops compared, the largest difference in confidence, and the bytes written."""

    crops: int
    max_difference: float
    size: int


def export(
    model: RecognizerNet,
    charset: Charset,
    out: Path,
    crops: Sequence[NDArray[np.uint8]],
    *,
    half: bool = True,
    notes: Mapping[str, Any] | None = None,
    measure: Callable[[Recognizer], Mapping[str, Any]] | None = None,
) -> OnnxExport:
    """Write a recognizer as ONNX files into a folder, if they read the crops as torch does.

    Args:
        model: Its weights are changed: folded, and rounded if ``half`` is set.
        charset: The characters of its ids.
        out: A new folder, or one with an earlier export, which is replaced.
        crops: RGB pictures for the comparison.
        half: Store large weights in half precision.
        notes: ``name``, ``recipe`` and ``temperatures`` for the manifest and the card.
        measure: Returns metrics of the exported recognizer for the card.

    Raises:
        UsageError: The folder holds something else, or the network is one that cannot be exported.
        CheckpointError: The two read differently, or the disk is full; nothing is written.
    """
    notes = dict(notes or {})
    check_out_folder(out)
    if model.memory_rows > 1 or not model.ctc_weight:
        raise UsageError("only readers with memory='frames' and a CTC head (ctc above 0) can be exported")
    prepare_for_export(model, half)
    with explain_os_error(f"write {out}"), write_folder(out) as folder:
        _write_networks(model, folder)
        max_difference = compare(model, folder, charset, crops)
        temperatures = notes.get("temperatures", {})
        reader = Recognizer(OnnxModel(folder), charset, model.height, temperatures=temperatures)
        _write_manifest(model, charset, folder, {**notes, "metrics": measure(reader) if measure else {}})
        size = sum(path.stat().st_size for path in folder.iterdir())
    return OnnxExport(len(crops), max_difference, size)


@torch.no_grad()
def prepare_for_export(model: RecognizerNet, half: bool = True) -> RecognizerNet:
    """Fold and round a model's weights in place; it computes the same but for rounding."""
    model.eval().float()
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            _fold_batch_norms(module)
        if isinstance(module, FactoredCharLinear):
            module.own.copy_(module.weight())
            module.shared.zero_()
    if half:
        for weight in (*model.parameters(), *model.buffers()):
            # Vectors (biases, norms) are small and scale everything: they stay in single precision.
            if (
                weight.ndim > 1
                and weight.is_floating_point()
                and weight.abs().max() < torch.finfo(torch.half).max
            ):
                weight.copy_(weight.half().float())
    return model


def compare(
    model: RecognizerNet, folder: Path, charset: Charset, crops: Sequence[NDArray[np.uint8]]
) -> float:
    """Read crops with torch and with ONNX Runtime; return the largest difference in confidence.

    Raises:
        CheckpointError: A text differs, or a confidence by more than ``TOLERANCE``.
    """
    max_difference = 0.0
    backends = TorchModel(model), OnnxModel(folder)
    for mode in MODES[1:]:  # beam chooses among candidates that may be almost alike
        expected, actual = (Recognizer(each, charset, model.height, mode).read(crops) for each in backends)
        for number, (want, got) in enumerate(zip(expected, actual, strict=True)):
            difference = abs(want.confidence - got.confidence)
            if want.text != got.text or difference > TOLERANCE:
                raise CheckpointError(
                    f"the export does not read like torch, so nothing was written: crop {number}, {mode}, "
                    f"gives {got.text!r} ({got.confidence:.5f}), but {want.text!r} ({want.confidence:.5f})"
                )
            max_difference = max(max_difference, difference)
    return max_difference


class _Network(nn.Module):
    """One of the two networks that are exported."""

    def __init__(self, model: RecognizerNet) -> None:
        super().__init__()
        self.model = model


class _Encoder(_Network):
    """Pictures to memory and CTC log-probabilities."""

    def forward(
        self, pictures: Float[Tensor, "B ink height width"]
    ) -> tuple[Float[Tensor, "B F C"], Float[Tensor, "B F V"]]:
        """Encode pictures."""
        memory, logits = self.model.encode(pictures)
        return memory, logits.log_softmax(-1)


class _Decoder(_Network):
    """Memory and tokens to logits."""

    def forward(self, memory: Float[Tensor, "B F C"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Predict the token after each token."""
        return self.model.decode(memory, tokens)


def _fold_batch_norms(layers: nn.Sequential) -> None:
    """Fold each batch norm into the convolution before it."""
    for i in range(len(layers) - 1):
        first, second = layers[i], layers[i + 1]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            layers[i], layers[i + 1] = fuse_conv_bn_eval(first, second), nn.Identity()


def _write_networks(model: RecognizerNet, folder: Path) -> None:
    """Write both networks with dynamic batch, width and length, in half precision where possible."""
    batch = Dim("batch", min=1, max=4096)
    width = WIDTH_BUCKET * Dim("buckets", min=2, max=MAX_WIDTH // WIDTH_BUCKET)
    frames, length = Dim("frames", min=2, max=MAX_FRAMES), Dim("length", min=1, max=MAX_TOKENS)
    pictures = torch.zeros(2, 1, model.height, 6 * WIDTH_BUCKET)
    with _silence_exporter(), torch.no_grad():
        memory, _ = model.encode(pictures)
        tokens = torch.ones(2, 7, dtype=torch.long)
        shapes = {"pictures": {0: batch, 3: width}}
        _export_network(_Encoder(model), (pictures,), folder / ENCODER, ["memory", "ctc"], shapes)
        shapes = {"memory": {0: batch, 1: frames}, "tokens": {0: batch, 1: length}}
        _export_network(_Decoder(model), (memory, tokens), folder / DECODER, ["logits"], shapes)


def _export_network(
    network: nn.Module, inputs: tuple[Tensor, ...], path: Path, outputs: list[str], shapes: dict[str, Any]
) -> None:
    import onnx

    program = torch.onnx.export(
        network.eval(),
        inputs,
        input_names=list(shapes),
        output_names=outputs,
        dynamic_shapes=shapes,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise CheckpointError(f"torch could not export {path.stem}")
    program.save(path, external_data=False)
    stored = store_as_half(onnx.load(path))
    onnx.checker.check_model(stored, full_check=True)
    onnx.save(stored, path)


def store_as_half(network: Any) -> Any:
    """Store, in place, each large weight of an ONNX model in half precision if that loses nothing.

    Weights that are equal, such as the tables of positions of several blocks, are stored once.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts, stored, kept = [], dict[bytes, str](), []
    for weight in network.graph.initializer:
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore", invalid="ignore"):
            halves = values.astype(np.float16)
        is_float = weight.data_type == TensorProto.FLOAT and values.size >= _MIN_HALF_SIZE
        if not is_float or not np.array_equal(halves.astype(np.float32), values):
            kept.append(weight)
            continue
        name, key = weight.name, repr(halves.shape).encode() + halves.tobytes()
        if key not in stored:
            stored[key] = f"{name}.half"
            kept.append(numpy_helper.from_array(halves, stored[key]))
        casts.append(helper.make_node("Cast", [stored[key]], [name], to=TensorProto.FLOAT))
    del network.graph.initializer[:]
    network.graph.initializer.extend(kept)
    nodes = [*casts, *network.graph.node]
    del network.graph.node[:]
    network.graph.node.extend(nodes)
    return network


def _write_manifest(model: RecognizerNet, charset: Charset, folder: Path, notes: Mapping[str, Any]) -> None:
    """Write the manifest and the card."""
    manifest = ModelManifest(
        charset=charset.chars,
        files={name: hash_file(folder / name) for name in (ENCODER, DECODER)},
        name=str(notes.get("name", "")),
        height=model.height,
        temperatures=dict(notes.get("temperatures", {})),
        metrics=dict(notes.get("metrics", {})),
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    size = sum((folder / name).stat().st_size for name in manifest.files)
    weights = sum(weight.numel() for weight in model.parameters())
    card = write_card(manifest, notes.get("recipe", {}), weights, size)
    (folder / CARD).write_text(card, encoding="utf-8")


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """Suppress the exporter's warnings and log messages."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def sample_crops(count: int = _SAMPLE_CROPS, seed: int = 20) -> list[NDArray[np.uint8]]:
    """Return rendered words and lines to compare on, or plain numbers if no font is found."""
    from nhin.data.images.synthetic import SyntheticSource
    from nhin.errors import NhinError

    try:
        synth = SyntheticSource(seed=seed)
        return [synth.sample(i).picture for i in range(count)]
    except NhinError:
        return [_render_number(i) for i in range(count)]


def _render_number(number: int) -> NDArray[np.uint8]:
    """Render a number with the font in Pillow."""
    from PIL import Image, ImageDraw, ImageFont

    rng = np.random.default_rng(number)
    text, size = str(rng.integers(10 ** int(rng.integers(1, 12)))), int(rng.integers(12, 48))
    picture = Image.new("RGB", (len(text) * size, size + 12), "white")
    ImageDraw.Draw(picture).text((4, 4), text, "black", ImageFont.load_default(size))
    return np.asarray(picture)
