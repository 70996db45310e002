"""The recipe of the recognizer; build its data source and network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from nhin.config import check_arguments, from_dict
from nhin.data.images.bucket_sampler import BATCH_PIXELS, BatchConfig
from nhin.data.images.chunk_cache import CHUNK_SIZE, SampleSource
from nhin.data.images.datasets import MixedSource, ShuffledSource, open_crops
from nhin.data.images.synthetic import SyntheticSource
from nhin.errors import CheckpointError
from nhin.models.recognizer import RecognizerNet
from nhin.ranges import SEED, Length, Range
from nhin.text.charset import VIETNAMESE, Charset
from nhin.training.checkpoint import Checkpoint, load
from nhin.training.config import Recipe, TrainerConfig
from nhin.training.train_state import shorten_message


@dataclass(frozen=True, slots=True)
class OCRDataConfig:
    """The training data.

    ``fonts``, ``words``, ``seed`` and ``synth`` are arguments of ``SyntheticSource``. ``real`` names sets of
    labeled crops; ``real_share`` (0 to 1) of the samples come from them, each use varied by ``vary``
    (``image.augment.vary_crop``). ``workers`` processes draw chunks of ``chunk`` samples, ``prefetch`` chunks
    in advance, and store them in ``cache``; after ``cycle`` chunks the stream starts again (0: never).
    Without a cycle each chunk is used ``repeats`` times, ``spacing`` chunks apart; without a cache it is
    drawn anew each time.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {
        "ahead": "prefetch",
    }

    fonts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    seed: Annotated[int, SEED] = 0
    synth: dict[str, Any] = field(default_factory=dict)
    real: tuple[str, ...] = ()
    real_share: Annotated[float, Range(0, 1)] = 0.0
    vary: Annotated[float, Range(0, 10)] = 0.0
    chunk: Annotated[int, Range(1, 2**16)] = CHUNK_SIZE
    cycle: Annotated[int, Range(0, 10**9)] = 0
    repeats: Annotated[int, Range(1, 1000)] = 1
    spacing: Annotated[int, Range(1, 10**6)] = 8
    cache: Annotated[str | None, Length(1)] = None
    workers: Annotated[int, Range(0, 1024)] = 1
    prefetch: Annotated[int, Range(0, 1024)] = 2


@dataclass(frozen=True, slots=True)
class OCRTrainConfig(TrainerConfig):
    """The settings of the trainer.

    A batch has up to ``batch_pixels``, or ``batch_crops`` crops if that is not 0; ``jitter`` is the strength
    of its augmentation; ``fixed_shapes`` is for a GPU (``BatchConfig``). ``start`` is a checkpoint with
    initial weights. A validation takes ``validate_crops``.
    """

    ema_decay: Annotated[float, Range(0, below=1)] = 0.999
    batch_pixels: Annotated[int, Range(1, 2**26)] = BATCH_PIXELS
    batch_crops: Annotated[int, Range(0, 2**16)] = 0
    fixed_shapes: bool = False
    jitter: Annotated[float, Range(0, 1e3)] = 1.0
    start: Annotated[str | None, Length(1)] = None
    validate_crops: Annotated[int, Range(1, 10**7)] = 1000


@dataclass(frozen=True, slots=True)
class OCRRecipe(Recipe):
    """The settings of one run.

    ``charset`` names the characters it learns (``text.charset.CHARSETS``); ``model`` holds keyword arguments
    of ``RecognizerNet``.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {
        "model.misread": "token_noise",
    }

    workflow: Literal["reader"] = "reader"
    charset: Literal["vietnamese", "european"] = "vietnamese"
    model: dict[str, Any] = field(default_factory=dict)
    data: OCRDataConfig = OCRDataConfig()
    training: OCRTrainConfig = OCRTrainConfig()


def build_model(recipe: OCRRecipe, charset: Charset = VIETNAMESE) -> RecognizerNet:
    """Build the network of a recipe, with random weights."""
    return RecognizerNet(charset, **check_arguments(RecognizerNet.__init__, recipe.model, "model"))


def build_source(recipe: OCRRecipe) -> SampleSource:
    """Build the source of samples: synthetic crops, real ones, or a mixture."""
    data = recipe.data
    real = (
        ShuffledSource([crop for path in data.real for crop in open_crops(path)], data.seed, data.vary)
        if data.real
        else None
    )
    if real is not None and data.real_share >= 1.0:
        return real
    settings = check_arguments(SyntheticSource.__init__, data.synth, "data.synth")
    given = {"fonts": data.fonts, "words": data.words, "seed": data.seed, "charset": recipe.charset}
    synth = SyntheticSource(**given | settings)
    return synth if real is None else MixedSource(synth, real, data.real_share, data.seed)


def build_batch_config(recipe: OCRRecipe) -> BatchConfig:
    """Return the settings of batching."""
    data, training = recipe.data, recipe.training
    return BatchConfig(
        seed=recipe.seed,
        pixels=training.batch_pixels,
        cycle=data.cycle,
        repeats=data.repeats,
        spacing=data.spacing,
        fixed_shapes=training.fixed_shapes,
        crops=training.batch_crops,
    )


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
