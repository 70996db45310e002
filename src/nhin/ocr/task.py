"""Train the recognizer from a recipe."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from nhin.data.images.bucket_sampler import PictureBatch, StreamPosition, iter_batches, prefetch
from nhin.data.images.chunk_cache import SampleSource
from nhin.data.images.workers import ChunkLoader
from nhin.models.memory import check_training_memory, measure_model
from nhin.models.recognizer import RecognizerNet
from nhin.ocr.augment import augment
from nhin.ocr.recipe import OCRRecipe, build_batch_config, build_model, build_source, load_model
from nhin.ocr.resume import OCR_RULES, hash_sources
from nhin.ocr.validation import ValidationSet, load_validation_set, score_validation_set
from nhin.text.charset import CHARSETS
from nhin.training.distributed import ProcessGroup
from nhin.training.ema import init_ema
from nhin.training.logger import Log
from nhin.training.optimizers import build_adamw
from nhin.training.precision import resolve_device
from nhin.training.train_state import TrainState
from nhin.training.trainer import Task, Trainer

_PREFETCH = 4
_FLOATS_PER_PIXEL = 8  # kept for the gradient, at least: those of the first convolution


@dataclass(frozen=True, slots=True)
class OCRBatch:
    """A training batch; ``samples`` counts the crops of all processes."""

    pictures: UInt8[Tensor, "B height width"]
    ids: list[list[int]]
    after: StreamPosition
    samples: int


class RecognizerTask(Task):
    """Trains the recognizer on synthetic or real crops.

    Args:
        recipe: The settings.
        data: Labeled crops for validation, in any format of ``open_crops``.
    """

    recipe: OCRRecipe
    unit = "crops"
    rules = OCR_RULES

    def __init__(self, recipe: OCRRecipe, data: Path | str | None = None) -> None:
        self.recipe, self.charset, self.data = recipe, CHARSETS[recipe.charset], data
        self.files: Mapping[str, Any] = {"charset": {"chars": self.charset.chars}}
        self.device = resolve_device(recipe.training.device)
        self._validation: ValidationSet | None = None

    def build_source(self) -> SampleSource:
        """Build the source of training samples."""
        return build_source(self.recipe)

    def hash_data(self) -> Mapping[str, str]:
        """Return a hash of the fonts, of the word lists and of each set of labeled crops."""
        return hash_sources(self.recipe.data)

    def init_state(self, group: ProcessGroup) -> TrainState:
        """Build a network, its EMA and its optimizer; load the validation set."""
        recipe, config = self.recipe, self.recipe.training
        check_training_memory(
            measure_model(lambda: build_model(recipe, self.charset)), config.batch_pixels * _FLOATS_PER_PIXEL
        )
        model = build_model(recipe, self.charset)
        if config.start:
            model.load_state_dict(load_model(Path(config.start))[0].state_dict())
        if self.device.type == "cuda":  # convolutions there are faster with the channels last
            model = model.to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if self.data is not None and self._validation is None:
            self._validation = load_validation_set(self.data, config.validate_crops, model.height)
        optimizer = build_adamw(model, recipe.schedule.rate, config.weight_decay)
        return TrainState(model, init_ema(model), optimizer, StreamPosition())

    @contextmanager
    def open_batches(self, state: TrainState, group: ProcessGroup) -> Iterator[Iterator[OCRBatch]]:
        """Yield an iterator over this process's batches, prepared in a background thread."""

        def prepare(dealt: tuple[PictureBatch, PictureBatch]) -> OCRBatch:
            own, last = dealt
            ids = [self.charset.encode(text) for text in own.texts]
            pictures = torch.from_numpy(own.pictures)
            if self.device.type == "cuda":
                pictures = pictures.pin_memory().to(self.device, non_blocking=True)
            return OCRBatch(pictures, ids, last.after, len(ids) * group.world)

        data = self.recipe.data
        with ChunkLoader(
            self.build_source(),
            size=data.chunk,
            height=state.model.height,
            cache=data.cache,
            workers=data.workers,
            prefetch=data.prefetch,
        ) as chunks:
            dealt = group.deal(iter_batches(chunks, build_batch_config(self.recipe), state.position))
            with closing(prefetch(map(prepare, dealt), _PREFETCH)) as stream:
                yield stream

    def loss(self, model: nn.Module, batch: OCRBatch) -> Mapping[str, Tensor]:
        """Return the loss of both heads."""
        assert isinstance(model, RecognizerNet)
        return model.loss(augment(batch.pictures, self.recipe.training.jitter), batch.ids)

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Score the EMA weights on the validation crops and log the scores."""
        if self._validation is None or state.ema is None or log is None:
            return True
        scores = score_validation_set(state.ema, self._validation, self.charset)
        log.event("validation", state.step, **asdict(scores))
        examples = "  ".join(f"{label}→{text}" for label, text in scores.examples)
        log.say(
            f"validation  ctc {scores.ctc:.2%}  decoder {scores.decoder:.2%}  "
            f"of {scores.crops} words    {examples}"
        )
        return True


def train_recognizer(
    recipe: OCRRecipe,
    out: Path | str,
    resume: bool = False,
    data: Path | str | None = None,
    *,
    other_data: bool = False,
) -> Path:
    """Train into a run folder; for the arguments see ``Trainer.fit`` and ``RecognizerTask``."""
    return Trainer(RecognizerTask(recipe, data), out).fit(resume, other_data)
