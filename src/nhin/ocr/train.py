"""Train a reader: recipe -> stream -> network -> course, until the budget of steps is spent."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nhin.data.images.bucket_sampler import PictureBatch, StreamPosition, iter_batches, prefetch
from nhin.data.images.workers import ChunkLoader
from nhin.errors import UsageError
from nhin.image.preprocess import HEIGHT, to_batch
from nhin.models.recognizer import RecognizerNet
from nhin.ocr.recipe import OCRRecipe, build_batch_config, build_model, build_source, load_model
from nhin.ocr.validation import Held, held_out, validate
from nhin.text.charset import VIETNAMESE
from nhin.training.course import Pacing, Progress, follow
from nhin.training.ema import Average
from nhin.training.log import Log
from nhin.training.optimizers import adamw
from nhin.training.together import Together

_PREFETCH = 4


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch as the network takes it; ``samples`` counts the whole round's, of all processes."""

    pictures: Tensor
    ids: list[list[int]]
    after: StreamPosition
    samples: int


class Reading:
    """The task of a course: a reader, on synthetic pictures or real crops.

    Args:
        recipe: What to do.
        data: Labelled crops to validate on, in any layout of ``open_crops``.
    """

    def __init__(self, recipe: OCRRecipe, data: Path | str | None = None) -> None:
        training = recipe.training
        self.recipe, self.charset, self.data = recipe, VIETNAMESE, data
        self.files: Mapping[str, Any] = {"charset": {"chars": self.charset.chars}}
        self.pacing = Pacing(
            recipe.schedule,
            recipe.seed,
            training.clip,
            training.precision,
            training.threads,
            training.save_seconds,
            training.log_seconds,
            training.validate_steps,
        )
        self._held: Held | None = None

    def begin(self, team: Together) -> Progress:
        """Build a fresh network, its mean and its optimiser."""
        recipe = self.recipe
        model = build_model(recipe, self.charset)
        if recipe.training.start:
            model.load_state_dict(load_model(Path(recipe.training.start))[0].state_dict())
        average = Average(model, recipe.training.average)
        if self.data is not None and self._held is None:
            self._held = held_out(self.data, recipe.training.validate_crops, model.height)
        optimizer = adamw(model, recipe.schedule.rate, recipe.training.weight_decay)
        return Progress(model, average, optimizer, StreamPosition())

    @contextmanager
    def batches(self, progress: Progress, team: Together) -> Iterator[Iterator[Ready]]:
        """Yield this process's batches from the position on, made ready in a background thread."""

        def prepare(dealt: tuple[PictureBatch, PictureBatch]) -> Ready:
            mine, last = dealt
            ids = [self.charset.encode(text) for text in mine.texts]
            pictures = torch.from_numpy(to_batch(list(mine.pictures)))
            return Ready(pictures, ids, last.after, len(ids) * team.world)

        with _chunks(self.recipe, progress.model.height) as chunks:
            dealt = team.deal(iter_batches(chunks, build_batch_config(self.recipe), progress.position))
            with closing(prefetch(map(prepare, dealt), _PREFETCH)) as stream:
                yield stream

    def loss(self, model: nn.Module, batch: Ready) -> Mapping[str, Tensor]:
        """Return the loss of both heads."""
        assert isinstance(model, RecognizerNet)
        return model.loss(batch.pictures, batch.ids)

    def pieces(self, batch: Ready) -> list[Ready]:
        """Leave a batch whole."""
        return [batch]

    def validate(self, progress: Progress, log: Log | None, last: bool) -> bool:
        """Read the held-out crops with the mean weights and say how it went."""
        if self._held is None or progress.average is None or log is None:
            return True
        scores = validate(progress.average.model, self._held, self.charset)
        log.event("validation", progress.step, **asdict(scores))
        shown = "  ".join(f"{want}→{got}" for want, got in scores.examples)
        log.say(
            f"validation  ctc {scores.ctc:.2%}  decoder {scores.decoder:.2%}  "
            f"of {scores.crops} words    {shown}"
        )
        return True


def train(recipe: OCRRecipe, out: Path | str, resume: bool = False, data: Path | str | None = None) -> Path:
    """Train a reader into a run folder; see ``training.course.follow``.

    Args:
        recipe: What to do.
        out: The run's folder; made when missing.
        resume: Continue the run in it; it begins anew where none was saved yet.
        data: Labelled crops to validate on, in any layout of ``open_crops``.

    Returns:
        The folder of the last checkpoint.
    """
    return follow(Reading(recipe, data), out, resume)


def _chunks(recipe: OCRRecipe, height: int = HEIGHT) -> ChunkLoader:
    data = recipe.data
    return ChunkLoader(
        build_source(data),
        size=data.chunk,
        height=height,
        cache=data.cache,
        workers=data.workers,
        prefetch=data.ahead,
    )


def prerender_for(recipe: OCRRecipe, chunks: int, workers: int = 1) -> int:
    """Fill a recipe's cache with its first chunks before it is trained; see ``data.images.workers.fill_cache``."""
    from nhin.data.images.workers import fill_cache

    data = recipe.data
    if data.cache is None:
        raise UsageError("the recipe has no data.cache to fill")
    height = int(recipe.model.get("height", HEIGHT))
    return fill_cache(build_source(data), data.cache, chunks, workers, size=data.chunk, height=height)
