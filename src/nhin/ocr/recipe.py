"""The recipe of a reader, and what is built from it: source, network, optimiser."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nhin.config import from_dict
from nhin.data.images.bucket_sampler import BATCH_PIXELS, BatchConfig
from nhin.data.images.chunk_cache import CHUNK_SIZE, SampleSource
from nhin.data.images.datasets import MixedSource, ShuffledSource, open_crops
from nhin.data.images.synthetic import SyntheticSource
from nhin.errors import RecipeError
from nhin.models.recognizer import RecognizerNet
from nhin.text.charset import VIETNAMESE, Charset
from nhin.training.checkpoint import Checkpoint, load
from nhin.training.keeping import brief
from nhin.training.precision import Precision
from nhin.training.schedule import Schedule


@dataclass(frozen=True, slots=True)
class OCRDataConfig:
    """What is trained on.

    ``fonts``, ``words`` and ``seed`` go to the synthesiser, ``synth`` holds its further settings.
    ``real`` names sets of labelled crops; ``real_share`` (0 to 1) is how many samples come from them.
    ``chunk`` samples are drawn at a time, ``ahead`` chunks ahead, by ``workers`` processes, and kept in
    ``cache``; after ``cycle`` chunks the stream begins anew (0: never).
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
class OCRTrainConfig:
    """How a run goes.

    ``batch_pixels`` is the budget of a batch, ``jitter`` the strength of the light distortion of every
    batch, ``average`` the decay of the mean weights. ``start`` names a checkpoint to begin from.
    Times are in seconds; ``validate_steps`` 0 validates at the end only.
    """

    threads: int = 2
    precision: Precision = "auto"
    batch_pixels: int = BATCH_PIXELS
    jitter: float = 1.0
    clip: float = 1.0
    average: float = 0.999
    weight_decay: float = 0.05
    start: str | None = None
    save_seconds: float = 180.0
    log_seconds: float = 10.0
    validate_steps: int = 1000
    validate_crops: int = 1000


@dataclass(frozen=True, slots=True)
class OCRRecipe:
    """The frozen settings of one training run; ``model`` holds the keyword arguments of ``Reader``."""

    workflow: Literal["reader"] = "reader"
    seed: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    data: OCRDataConfig = OCRDataConfig()
    schedule: Schedule = Schedule()
    training: OCRTrainConfig = OCRTrainConfig()


def build_model(recipe: OCRRecipe, charset: Charset = VIETNAMESE) -> RecognizerNet:
    """Build the network of a recipe, its weights drawn from torch's random state."""
    try:
        return RecognizerNet(charset, **recipe.model)
    except TypeError as why:
        raise RecipeError(f"model: {str(why).replace('Reader.__init__() ', '')}") from why


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
        raise RecipeError(f"data.synth: {str(why).replace('Synth.__init__() ', '')}") from why
    return synth if real is None else MixedSource(synth, real, data.real_share, data.seed)


def build_batch_config(recipe: OCRRecipe) -> BatchConfig:
    """Return how chunks become batches."""
    training = recipe.training
    return BatchConfig(recipe.seed, training.batch_pixels, recipe.data.cycle, training.jitter)


def load_model(
    checkpoint: Path | Checkpoint, use_ema: bool = True
) -> tuple[RecognizerNet, Charset, OCRRecipe]:
    """Build the network a checkpoint holds, ready to read; its mean weights unless told otherwise."""
    from nhin.errors import CheckpointError

    where = str(checkpoint) if isinstance(checkpoint, Path) else "the checkpoint"
    held = load(checkpoint) if isinstance(checkpoint, Path) else checkpoint
    try:
        recipe = from_dict(OCRRecipe, held.values["recipe"], where)
        charset = Charset(held.values["charset"]["chars"])
        model = build_model(recipe, charset)
        model.load_state_dict(dict(held.tensors["ema" if use_ema else "model"]))
    except (KeyError, RuntimeError, TypeError) as why:
        raise CheckpointError(f"{where} is not the checkpoint of a reader: {brief(why)}") from why
    return model.eval(), charset, recipe
