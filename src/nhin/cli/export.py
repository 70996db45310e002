"""``nhin export``: a language model to a Hugging Face folder, other models to ONNX."""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

from nhin.cli.output import refuse_options
from nhin.errors import UsageError
from nhin.ranges import Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nhin.data.images.datasets import Crop
    from nhin.reading.recognizer import Recognizer


def export(  # noqa: PLR0913  # every option is one word of the command line
    checkpoint: Path,
    out: Path,
    /,
    *,
    name: str | None = None,
    data: Path | None = None,
    crops: Annotated[int | None, Range(1, 10**6)] = None,
    last: bool = False,
    whole: bool = False,
    int8: bool = False,
    format: Literal["auto", "gpt2", "llama", "qwen2", "qwen3"] | None = None,
) -> int:
    """Export a reader's checkpoint to the ONNX pair that reading uses, or a language model to a folder.

    The pair is kept only when it reads the same as torch: the same texts, confidences within 0.0001. The
    folder of a language model can be read by Hugging Face's libraries. A line detector becomes one ONNX file,
    an encoder-decoder model a pair for nhin restore, which then needs no torch.

    Args:
        checkpoint: The folder of a checkpoint or of its run.
        out: The folder to write; new, or an earlier export, which is replaced. Of a detector, the file.
        name: Readers and encoder-decoder models: name of the weights; the folder's name when not given.
        data: Readers: labeled crops to compare on; all are then read once more, for the figures in the card.
            Rendered crops when not given.
        crops: Readers: number of crops to compare on; 64 when not given.
        last: Readers and detectors: export the last weights instead of their moving average.
        whole: Readers: store weights in single precision, twice as large.
        int8: Readers: let the encoder compute with integers of eight bits, which is faster and half as large.
            The checkpoint may also be the name of weights that come with nhin. What the integers stand for is
            measured on the crops; 256 are rendered when neither --data nor --crops is given.
        format: Language models: gpt2 has layer norms and learned positions, llama RMS norms, rotary positions
            and SwiGLU, qwen2 also biases of queries, keys and values, qwen3 norms of queries and keys; auto,
            the default, takes the one that fits.
    """
    from nhin.detection.recipe import is_detector_run
    from nhin.lm.run_dir import is_run
    from nhin.reading.onnx_model import bundled_models, check_out_folder
    from nhin.seq2seq.run_dir import is_seq2seq_run

    readers = {"data": data, "crops": crops, "whole": whole or None, "int8": int8 or None}
    if is_run(checkpoint):
        options = {"name": name, "last": last or None, **readers}
        refuse_options(str(checkpoint), "a language model", "a reader", **options)
        return _export_language_model(checkpoint, out, format or "auto")
    if is_detector_run(checkpoint):
        options = {"name": name, "format": format, **readers}
        refuse_options(str(checkpoint), "a line detector", "another model", **options)
        return _export_detector(checkpoint, out, not last)
    if is_seq2seq_run(checkpoint):
        options = {"last": last or None, "format": format, **readers}
        refuse_options(str(checkpoint), "an encoder-decoder model", "another model", **options)
        return _export_seq2seq(checkpoint, out, name)
    if format is not None:
        raise UsageError(f"--format is for a language model, and there is none in {checkpoint}")
    if str(checkpoint) in bundled_models():
        options = {"name": name, "last": last or None, "whole": whole or None}
        refuse_options(str(checkpoint), "exported already", "a checkpoint", **options)
        if not int8:
            raise UsageError(f"{checkpoint} is exported already; --int8 would change its arithmetic")
        return _quantize(checkpoint, out, data, crops)
    name, count = name or out.name, 64 if crops is None else crops
    if not int8:
        sentence = _export_reader(checkpoint, out, name, data, count, not last, not whole)
        sys.stdout.write(f"{out}: {sentence}\n")
        return 0
    check_out_folder(out)
    with TemporaryDirectory() as scratch:
        whole_reader = Path(scratch, "whole")
        sentence = _export_reader(checkpoint, whole_reader, name, data, count, not last, not whole)
        sys.stdout.write(f"in single precision: {sentence}\n")
        return _quantize(whole_reader, out, data, crops)


def _export_language_model(checkpoint: Path, out: Path, format: str) -> int:
    from nhin.lm.huggingface.export import export_folder
    from nhin.lm.loading import open_run

    result = export_folder(open_run(checkpoint), out, format)
    sys.stdout.write(f"{out}: {result.format}, {result.tensors} tensors, {result.size / 2**20:.1f} MiB\n")
    return 0


def _export_detector(checkpoint: Path, out: Path, use_ema: bool) -> int:
    from nhin.detection.export import export_detector
    from nhin.detection.recipe import load_detector
    from nhin.training.run_dir import find_checkpoint

    size = export_detector(load_detector(find_checkpoint(checkpoint), use_ema)[0], out)
    sys.stdout.write(f"{out}: {size / 1e6:.2f} MB; ONNX Runtime finds what torch finds\n")
    return 0


def _export_seq2seq(checkpoint: Path, out: Path, name: str | None) -> int:
    from nhin.reading.onnx_model import hash_model
    from nhin.seq2seq.export import export_seq2seq
    from nhin.seq2seq.loading import open_seq2seq_run

    result = export_seq2seq(open_seq2seq_run(checkpoint), out, name or "")
    sys.stdout.write(
        f"{out}: {result.size / 1e6:.2f} MB; scores as torch does, apart by {result.max_difference:.1e} at "
        f"most\ndigest: {hash_model(out)}\n"
    )
    return 0


def _export_reader(
    checkpoint: Path, out: Path, name: str, data: Path | None, crops: int, use_ema: bool, half: bool
) -> str:
    """Export a reader; return what was written and how it compares."""
    from nhin.config import to_dict
    from nhin.data.images.datasets import open_crops
    from nhin.ocr.export import export as write
    from nhin.ocr.recipe import load_model
    from nhin.training.run_dir import find_checkpoint

    model, charset, recipe = load_model(find_checkpoint(checkpoint), use_ema=use_ema)
    labeled = open_crops(data) if data else ()
    result = write(
        model,
        charset,
        out,
        _choose_pictures(labeled, crops),
        half=half,
        notes={"name": name, "recipe": to_dict(recipe)},
        measure=(lambda reader: _measure(reader, labeled, data)) if data else None,
    )
    return (
        f"{result.size / 2**20:.1f} MiB; {result.crops} crops read as torch reads them, "
        f"confidence apart by {result.max_difference:.1e} at most"
    )


def _quantize(source: Path, out: Path, data: Path | None, crops: int | None) -> int:
    from nhin.data.images.datasets import open_crops
    from nhin.ocr.quantize import SURE, quantize
    from nhin.reading.onnx_model import locate_model

    pictures = _choose_pictures(open_crops(data) if data else (), 256 if crops is None else crops)
    with locate_model(source) as folder:
        result = quantize(folder, out, pictures)
    sys.stdout.write(
        f"{out}: {result.size / 2**20:.1f} MiB with integers of eight bits; {result.same} of {result.crops} "
        f"crops are read as before, of those that were read with a confidence of at least {SURE:g}\n"
    )
    return 0


def _choose_pictures(labeled: "Sequence[Crop]", count: int) -> "list[NDArray[np.uint8]]":
    """Return so many crops, taken evenly, or rendered ones where there are none."""
    from nhin.ocr.export import sample_crops

    if not labeled:
        return sample_crops(count)
    count = min(count, len(labeled))
    return [labeled[i * len(labeled) // count].picture for i in range(count)]


def _measure(reader: "Recognizer", crops: "Sequence[Crop]", data: Path) -> dict[str, Any]:
    """Return the figures for the card, without the path of the data."""
    from nhin.ocr.evaluate import evaluate

    result = evaluate(reader, crops)
    return {"data": data.name, "count": result.count, **result.figures, "ece": result.lines.ece}
