"""The command that turns a checkpoint into weights for reading."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nhin.errors import UsageError

if TYPE_CHECKING:
    from nhin.data.crops import Crop
    from nhin.reading.recognise import Recogniser


def export(
    checkpoint: Path,
    out: Path,
    /,
    *,
    name: str | None = None,
    data: Path | None = None,
    crops: int = 64,
    last: bool = False,
    whole: bool = False,
) -> int:
    """Turn a checkpoint into the ONNX pair that reading uses, without torch.

    The pair is kept only when it reads the same as torch: the same texts, confidences within 0.0001.

    Args:
        checkpoint: The checkpoint's folder, or that of its run.
        out: Folder for the pair; new, or an earlier export, which is replaced.
        name: What the weights are called; the folder's name when not given.
        data: Labelled crops to compare on; all of them are then read once more, for the figures in the
            card. Rendered crops when not given.
        crops: How many crops to compare on.
        last: Export the last weights instead of their running mean.
        whole: Store weights in single precision, twice as large.
    """
    if crops < 1:
        raise UsageError(f"--crops must be at least 1, not {crops}")
    from nhin.config import as_tree
    from nhin.data.crops import open_crops
    from nhin.ocr.export import export as write
    from nhin.ocr.export import sample_crops
    from nhin.ocr.recipe import load_model

    place = checkpoint / "checkpoint" if (checkpoint / "checkpoint").is_dir() else checkpoint
    model, charset, recipe = load_model(place, average=not last)
    labelled = open_crops(data) if data else ()
    count = min(crops, len(labelled))
    pictures = [labelled[i * len(labelled) // count].picture for i in range(count)] or sample_crops(crops)
    done = write(
        model,
        charset,
        out,
        pictures,
        half=not whole,
        notes={"name": name or out.name, "recipe": as_tree(recipe)},
        measure=(lambda reader: _measured(reader, labelled, data)) if data else None,
    )
    sys.stdout.write(
        f"{out}: {done.size / 2**20:.1f} MiB; {done.crops} crops read as torch reads them, "
        f"confidence apart by {done.furthest:.1e} at most\n"
    )
    return 0


def _measured(reader: "Recogniser", crops: "Sequence[Crop]", data: Path) -> dict[str, Any]:
    """Return the figures for the card; nothing in them says where the data lies."""
    from nhin.ocr.evaluate import evaluate

    measured = evaluate(reader, crops)
    return {"data": data.name, "count": measured.count, **measured.figures, "ece": measured.ece}
