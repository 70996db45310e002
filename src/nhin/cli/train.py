"""The command that trains."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def train(
    recipe: str,
    *,
    out: Path,
    resume: bool = False,
    set: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    validate: Path | None = None,
) -> int:
    """Train a reader; Ctrl-C saves and ends, --resume continues bit for bit.

    Args:
        recipe: A shipped recipe (reader-tiny, reader-small, reader-resnet18) or a TOML file.
        out: Folder of the run: recipe.json, log.jsonl, checkpoint.
        resume: Continue the run in that folder.
        set: Change a setting of the recipe, such as --set schedule.steps=2000; repeatable.
        validate: Labelled crops (folder, TSV, zip or VinAI's layout) to measure on now and then.
    """
    from nhin.config import load
    from nhin.errors import MissingExtra

    try:
        import torch  # noqa: F401 - asked for before anything that needs it, to say how to get it
    except ImportError as why:
        raise MissingExtra("training needs PyTorch: pip install 'nhin[torch]'") from why
    from nhin.ocr.recipe import Recipe
    from nhin.ocr.train import train as run

    run(load(Recipe, recipe, set), out, resume, validate)
    return 0
