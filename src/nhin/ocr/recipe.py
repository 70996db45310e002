"""The recipe of the recognizer; build its data source and network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from nhin.config import from_dict
from nhin.data.images.bucket_sampler import BATCH_PIXELS, BatchConfig
from nhin.data.images.chunk_cache import CHUNK_SIZE, SampleSource
from nhin.data.images.datasets import MixedSource, ShuffledSource, open_crops
from nhin.data.images.synthetic import SyntheticSource
from nhin.errors import CheckpointError, RecipeError
from nhin.models.recognizer import RecognizerNet
from nhin.text.charset import VIETNAMESE, Charset
from nhin.training.checkpoint import Checkpoint, load
from nhin.training.config import Recipe, TrainerConfig
from nhin.training.train_state import shorten_message


@dataclass(frozen=True, slots=True)
class OCRDataConfig:
    """The training data.

    ``fonts``, ``words``, ``seed`` and ``synth`` are arguments of ``SyntheticSource``. ``real`` names sets of
    labeled crops; ``real_share`` (0 to 1) of the samples come from them. ``workers`` processes draw chunks of
    ``chunk`` samples, ``prefetch`` chunks in advance, and store them in ``cache``; after ``cycle`` chunks the
    stream starts again (0: never).
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {
        "ahead": "prefetch",
    }

    fonts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    seed: int = 0
    synth: dict[str, Any] = field(default_factory=dict)
    real: tuple[str, ...] = ()
    real_share: float = 0.0
    chunk: int = CHUNK_SIZE
    cycle: int = 0
    cache: str | None = None
    workers: int = 1
    prefetch: int = 2


@dataclass(frozen=True, slots=True)
class OCRTrainConfig(TrainerConfig):
    """The settings of the trainer.

    A batch has up to ``batch_pixels``; ``jitter`` is the strength of its augmentation. ``start`` is a
    checkpoint with initial weights. A validation takes ``validate_crops``.
    """

    ema_decay: float = 0.999
    batch_pixels: int = BATCH_PIXELS
    jitter: float = 1.0
    start: str | None = None
    validate_crops: int = 1000


@dataclass(frozen=True, slots=True)
class OCRRecipe(Recipe):
    """The settings of one run; ``model`` holds keyword arguments of ``RecognizerNet``."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {
        "model.misread": "token_noise",
    }

    workflow: Literal["reader"] = "reader"
    model: dict[str, Any] = field(default_factory=dict)
    data: OCRDataConfig = OCRDataConfig()
    training: OCRTrainConfig = OCRTrainConfig()


def build_model(recipe: OCRRecipe, charset: Charset = VIETNAMESE) -> RecognizerNet:
    """Build the network of a recipe, with random weights."""
    try:
        return RecognizerNet(charset, **recipe.model)
    except TypeError as why:
        raise RecipeError(f"model: {str(why).replace('RecognizerNet.__init__() ', '')}") from why


def build_source(data: OCRDataConfig) -> SampleSource:
    """Build the source of samples: synthetic crops, real ones, or a mixture."""
    real = (
        ShuffledSource([crop for path in data.real for crop in open_crops(path)], data.seed)
        if data.real
        else None
    )
    if real is not None and data.real_share >= 1.0:
        return real
    try:
        synth = SyntheticSource(fonts=data.fonts, words=data.words, seed=data.seed, **data.synth)
    except TypeError as why:
        raise RecipeError(f"data.synth: {str(why).replace('SyntheticSource.__init__() ', '')}") from why
    return synth if real is None else MixedSource(synth, real, data.real_share, data.seed)


def build_batch_config(recipe: OCRRecipe) -> BatchConfig:
    """Return the settings of batching."""
    training = recipe.training
    return BatchConfig(recipe.seed, training.batch_pixels, recipe.data.cycle, training.jitter)


def load_model(
    checkpoint: Path | Checkpoint, use_ema: bool = True
) -> tuple[RecognizerNet, Charset, OCRRecipe]:
    """Load the network of a checkpoint, with its EMA weights or its last ones, in eval mode."""
    where = str(checkpoint) if isinstance(checkpoint, Path) else "the checkpoint"
    saved = load(checkpoint) if isinstance(checkpoint, Path) else checkpoint
    try:
        recipe = from_dict(OCRRecipe, saved.values["recipe"], where)
        charset = Charset(saved.values["charset"]["chars"])
        model = build_model(recipe, charset)
        model.load_state_dict(dict(saved.tensors["ema" if use_ema else "model"]))
    except (KeyError, RuntimeError, TypeError) as why:
        raise CheckpointError(f"{where} is not the checkpoint of a reader: {shorten_message(why)}") from why
    return model.eval(), charset, recipe
