"""The command that hands a model on: a reader as the pair that reads, a language model to other libraries."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nhin.errors import UsageError

if TYPE_CHECKING:
    from nhin.data.images.datasets import Crop
    from nhin.reading.recognizer import Recognizer


def export(  # noqa: PLR0913  # every option is one word of the command line
    checkpoint: Path,
    out: Path,
    /,
    *,
    name: str | None = None,
    data: Path | None = None,
    crops: int | None = None,
    last: bool = False,
    whole: bool = False,
    format: Literal["auto", "gpt2", "llama"] | None = None,
) -> int:
    """Turn a reader's checkpoint into the ONNX pair that reading uses, or a language model into a folder.

    The pair is kept only when it reads the same as torch: the same texts, confidences within 0.0001. A
    language model's folder is laid out as Hugging Face's libraries read it.

    Args:
        checkpoint: The checkpoint's folder, or that of its run.
        out: The folder to write; new, or an earlier export, which is replaced.
        name: Readers: what the weights are called; the folder's name when not given.
        data: Readers: labelled crops to compare on; all of them are then read once more, for the figures in
            the card. Rendered crops when not given.
        crops: Readers: how many crops to compare on; 64 when not given.
        last: Readers: export the last weights instead of their running mean.
        whole: Readers: store weights in single precision, twice as large.
        format: Language models: gpt2 holds layer norms and learned positions, llama RMS norms, rotary
            positions and SwiGLU; auto, the default, takes the one that fits.
    """
    from nhin.lm.run_dir import is_run

    if is_run(checkpoint):
        options = {"name": name, "data": data, "crops": crops, "last": last or None, "whole": whole or None}
        for option, value in options.items():
            if value is not None:
                raise UsageError(
                    f"--{option} is for a reader, and {checkpoint} is a language model; leave it out"
                )
        return _export_language_model(checkpoint, out, format or "auto")
    if format is not None:
        raise UsageError(f"--format is for a language model, and there is none in {checkpoint}")
    crops = 64 if crops is None else crops
    if crops < 1:
        raise UsageError(f"--crops must be at least 1, not {crops}")
    return _export_reader(checkpoint, out, name, data, crops, not last, not whole)


def _export_language_model(checkpoint: Path, out: Path, form: str) -> int:
    from nhin.lm.huggingface.export import export_folder as export_folder
    from nhin.lm.loading import open_run

    done = export_folder(open_run(checkpoint), out, form)
    sys.stdout.write(f"{out}: {done.format}, {done.tensors} tensors, {done.size / 2**20:.1f} MiB\n")
    return 0


def _export_reader(
    checkpoint: Path, out: Path, name: str | None, data: Path | None, crops: int, use_ema: bool, half: bool
) -> int:
    from nhin.config import to_dict
    from nhin.data.images.datasets import open_crops
    from nhin.ocr.export import export as write
    from nhin.ocr.export import sample_crops
    from nhin.ocr.recipe import load_model

    place = checkpoint / "checkpoint" if (checkpoint / "checkpoint").is_dir() else checkpoint
    model, charset, recipe = load_model(place, use_ema=use_ema)
    labelled = open_crops(data) if data else ()
    count = min(crops, len(labelled))
    pictures = [labelled[i * len(labelled) // count].picture for i in range(count)] or sample_crops(crops)
    done = write(
        model,
        charset,
        out,
        pictures,
        half=half,
        notes={"name": name or out.name, "recipe": to_dict(recipe)},
        measure=(lambda reader: _measure(reader, labelled, data)) if data else None,
    )
    sys.stdout.write(
        f"{out}: {done.size / 2**20:.1f} MiB; {done.crops} crops read as torch reads them, "
        f"confidence apart by {done.max_difference:.1e} at most\n"
    )
    return 0


def _measure(reader: "Recognizer", crops: "Sequence[Crop]", data: Path) -> dict[str, Any]:
    """Return the figures for the card; nothing in them says where the data lies."""
    from nhin.ocr.evaluate import evaluate

    measured = evaluate(reader, crops)
    return {"data": data.name, "count": measured.count, **measured.figures, "ece": measured.ece}
