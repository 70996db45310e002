"""The recipe of a reader, and what is built from it: source and network."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

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
    """What is trained on.

    ``fonts``, ``words`` and ``seed`` go to the synthesiser, ``synth`` holds its further settings.
    ``real`` names sets of labelled crops; ``real_share`` (0 to 1) is how many samples come from them.
    ``chunk`` samples are drawn at a time, ``ahead`` chunks ahead, by ``workers`` processes, and kept in
    ``cache``; after ``cycle`` chunks the stream starts again (0: never).
    """

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
    ahead: int = 2


@dataclass(frozen=True, slots=True)
class OCRTrainConfig(TrainerConfig):
    """How a run goes.

    ``batch_pixels`` is the budget of a batch, ``jitter`` the strength of the light distortion of every
    batch. ``start`` names a checkpoint to begin from. Validation reads ``validate_crops``.
    """

    average: float = 0.999
    batch_pixels: int = BATCH_PIXELS
    jitter: float = 1.0
    start: str | None = None
    validate_crops: int = 1000


@dataclass(frozen=True, slots=True)
class OCRRecipe(Recipe):
    """The settings of one training run; ``model`` holds the keyword arguments of ``Reader``."""

    workflow: Literal["reader"] = "reader"
    model: dict[str, Any] = field(default_factory=dict)
    data: OCRDataConfig = OCRDataConfig()
    training: OCRTrainConfig = OCRTrainConfig()


def build_model(recipe: OCRRecipe, charset: Charset = VIETNAMESE) -> RecognizerNet:
    """Build the network of a recipe, its weights drawn from torch's random state."""
    try:
        return RecognizerNet(charset, **recipe.model)
    except TypeError as why:
        raise RecipeError(f"model: {str(why).replace('RecognizerNet.__init__() ', '')}") from why


def build_source(data: OCRDataConfig) -> SampleSource:
    """Build what samples are drawn from: synthetic pictures, real crops, or both mixed."""
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
    """Return how chunks become batches."""
    training = recipe.training
    return BatchConfig(recipe.seed, training.batch_pixels, recipe.data.cycle, training.jitter)


def load_model(
    checkpoint: Path | Checkpoint, use_ema: bool = True
) -> tuple[RecognizerNet, Charset, OCRRecipe]:
    """Build the network a checkpoint holds, ready to read, with its EMA weights or its last ones."""
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
