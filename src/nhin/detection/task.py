"""Train the line detector from a recipe."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from nhin.data.images.bucket_sampler import prefetch
from nhin.data.pages.page_loader import PageBatch, PageLoader, PagePosition
from nhin.data.pages.page_source import PAGE_EDITION
from nhin.detection.recipe import DetectorRecipe, build_detector, build_page_source, load_detector
from nhin.files import hash_files
from nhin.image.fonts import find_faces
from nhin.models.detector import DetectorNet, compute_detector_loss
from nhin.training.distributed import ProcessGroup
from nhin.training.ema import init_ema
from nhin.training.logger import Log
from nhin.training.optimizers import build_adamw
from nhin.training.precision import resolve_device
from nhin.training.resume import TRAINER_RULES, ResumeRules
from nhin.training.train_state import TrainState
from nhin.training.trainer import Task, Trainer

DETECTOR_RULES = ResumeRules(
    changeable=TRAINER_RULES.changeable
    | {"data.fonts", "data.words", "data.workers", "data.prefetch", "training.validate_pages"},
    fixed=TRAINER_RULES.fixed
    | {"workflow", "model", "data.seed", "data.textless", "data.views", "data.pages"}
    | {"training.batch", "training.start"},
)
_VALIDATION_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class DetectorBatch:
    """A training batch on the device; ``samples`` counts the pictures of all processes."""

    pictures: Float[Tensor, "B 3 height width"]
    cores: Tensor
    fields: Tensor
    weights: Tensor
    after: PagePosition
    samples: int


class DetectorTask(Task):
    """Trains the detector on drawn pages."""

    recipe: DetectorRecipe
    unit = "pictures"
    rules = DETECTOR_RULES
    files: Mapping[str, Any] = {}

    def __init__(self, recipe: DetectorRecipe) -> None:
        self.recipe, self.device = recipe, resolve_device(recipe.training.device)
        self._validation: list[DetectorBatch] = []

    def hash_data(self) -> Mapping[str, str]:
        """Return a hash of the fonts, of the word lists and of the way pages are drawn."""
        data = self.recipe.data
        fonts = hash_files(dict.fromkeys(Path(face.path) for face in find_faces(data.fonts)))
        return {"fonts": fonts, "word lists": hash_files(map(Path, data.words)), "drawing": str(PAGE_EDITION)}

    def init_state(self, group: ProcessGroup) -> TrainState:
        """Build a network, its EMA and its optimizer."""
        config = self.recipe.training
        model = build_detector(self.recipe)
        if config.start:
            model.load_state_dict(load_detector(Path(config.start))[0].state_dict())
        model = model.to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        optimizer = build_adamw(model, self.recipe.schedule.rate, config.weight_decay)
        return TrainState(model, init_ema(model), optimizer, PagePosition())

    @contextmanager
    def open_batches(self, state: TrainState, group: ProcessGroup) -> Iterator[Iterator[DetectorBatch]]:
        """Yield an iterator over this process's batches, prepared in a background thread."""
        data = self.recipe.data
        source = build_page_source(self.recipe)
        loader = PageLoader(
            source, self.recipe.training.batch, data.pages, data.views, data.workers, data.prefetch
        )

        def prepare(dealt: tuple[PageBatch, PageBatch]) -> DetectorBatch:
            own, last = dealt
            return self._to_device(own, last.after, len(own.pictures) * group.world)

        with (
            closing(loader.iter_batches(state.position)) as batches,
            closing(prefetch(map(prepare, group.deal(batches)), 2, patience=None)) as stream,
        ):
            yield stream

    def _to_device(self, batch: PageBatch, after: PagePosition, samples: int) -> DetectorBatch:
        pictures = torch.from_numpy(batch.pictures).to(self.device).permute(0, 3, 1, 2)
        cores, weights = (torch.from_numpy(x).to(self.device)[:, None] for x in (batch.cores, batch.weights))
        fields = torch.from_numpy(batch.fields).to(self.device)
        return DetectorBatch(
            pictures.float() / 127.5 - 1, cores.float(), fields.float(), weights.float(), after, samples
        )

    def loss(self, model: nn.Module, batch: DetectorBatch) -> Mapping[str, Tensor]:
        """Return the loss of all maps."""
        logits, fields = model(batch.pictures)
        return compute_detector_loss(logits, fields, batch.cores, batch.fields, batch.weights)

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Log the losses of the EMA weights on pages of another seed."""
        if state.ema is None or log is None:
            return True
        assert isinstance(state.ema, DetectorNet)
        if not self._validation:
            source = build_page_source(self.recipe, _VALIDATION_SEED)
            pages = self.recipe.training.validate_pages
            loader = PageLoader(source, min(8, pages), pages, 1, 0, 0)
            with closing(loader.iter_batches(PagePosition())) as batches:
                for _ in range(pages // min(8, pages)):
                    batch = next(batches)
                    self._validation.append(self._to_device(batch, batch.after, len(batch.pictures)))
        with torch.no_grad():
            losses = [self.loss(state.ema, batch) for batch in self._validation]
        means = {name: float(np.mean([float(loss[name]) for loss in losses])) for name in losses[0]}
        log.event("validation", state.step, **means)
        log.say("validation  " + "  ".join(f"{name} {value:.4f}" for name, value in means.items()))
        return True


def train_detector(
    recipe: DetectorRecipe, out: Path | str, resume: bool = False, *, other_data: bool = False
) -> Path:
    """Train into a run folder; for the arguments see ``Trainer.fit``."""
    return Trainer(DetectorTask(recipe), out).fit(resume, other_data)
