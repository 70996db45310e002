"""The recipe of the line detector."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from nhin.config import check_arguments, from_dict
from nhin.data.pages.page_source import PageSource
from nhin.errors import CheckpointError
from nhin.files import read_folder, read_json
from nhin.models.detector import DetectorNet
from nhin.ranges import SEED, Length, Range
from nhin.training.checkpoint import load
from nhin.training.config import Recipe, TrainerConfig
from nhin.training.run_dir import find_checkpoint
from nhin.training.train_state import shorten_message


@dataclass(frozen=True, slots=True)
class PageDataConfig:
    """The training data: ``fonts``, ``words``, ``seed`` and ``textless`` are arguments of ``PageSource``.

    ``views`` pictures are taken of each page; ``pages`` pages are mixed at a time; ``workers`` processes draw
    at least ``prefetch`` pages in advance.
    """

    fonts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    seed: Annotated[int, SEED] = 0
    textless: Annotated[float, Range(0, 1)] = 0.06
    views: Annotated[int, Range(1, 64)] = 3
    pages: Annotated[int, Range(1, 4096)] = 32
    workers: Annotated[int, Range(0, 1024)] = 1
    prefetch: Annotated[int, Range(0, 4096)] = 32


@dataclass(frozen=True, slots=True)
class DetectorTrainConfig(TrainerConfig):
    """The settings of the trainer.

    A step takes ``batch`` pictures; ``start`` is a checkpoint with initial weights; a validation takes
    ``validate_pages`` pages of another seed.
    """

    ema_decay: Annotated[float, Range(0, below=1)] = 0.998
    batch: Annotated[int, Range(1, 4096)] = 8
    start: Annotated[str | None, Length(1)] = None
    validate_pages: Annotated[int, Range(1, 10**6)] = 32


@dataclass(frozen=True, slots=True)
class DetectorRecipe(Recipe):
    """The settings of one run; ``model`` holds keyword arguments of ``DetectorNet``."""

    workflow: Literal["detector"] = "detector"
    model: dict[str, Any] = field(default_factory=dict)
    data: PageDataConfig = PageDataConfig()
    training: DetectorTrainConfig = DetectorTrainConfig()


def build_detector(recipe: DetectorRecipe) -> DetectorNet:
    """Build the network of a recipe, with random weights."""
    return DetectorNet(**check_arguments(DetectorNet.__init__, recipe.model, "model"))


def build_page_source(recipe: DetectorRecipe, seed: int | None = None) -> PageSource:
    """Build the source of pages, with its own seed or with another."""
    data = recipe.data
    return PageSource(data.fonts, data.words, data.seed if seed is None else seed, data.textless)


def is_detector_run(path: Path) -> bool:
    """Return whether the folder of a run, or of a checkpoint, holds a line detector."""

    def read_workflow(folder: Path) -> object:
        tree = read_json(folder / "recipe.json")
        return tree.get("workflow") if isinstance(tree, dict) else None

    try:
        return read_folder(find_checkpoint(path), read_workflow) == "detector"
    except CheckpointError:
        return False


def load_detector(folder: Path, use_ema: bool = True) -> tuple[DetectorNet, DetectorRecipe]:
    """Load the network of a checkpoint, with its EMA weights or its last ones, in eval mode."""
    saved = load(folder)
    try:
        recipe = from_dict(DetectorRecipe, saved.values["recipe"], str(folder))
        model = build_detector(recipe)
        model.load_state_dict(dict(saved.tensors["ema" if use_ema else "model"]))
    except (KeyError, RuntimeError, TypeError) as why:
        raise CheckpointError(
            f"{folder} is not the checkpoint of a detector: {shorten_message(why)}"
        ) from why
    return model.eval(), recipe
