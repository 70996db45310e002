"""Train a small model for a study: the steps of ``Trainer`` in memory, without a folder, log or resume."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from nhin.training.config import Recipe, TrainerConfig
from nhin.training.distributed import ProcessGroup
from nhin.training.logger import Log
from nhin.training.train_state import TrainState
from nhin.training.trainer import Task, Trainer

Losses = Mapping[str, Tensor]

SMALL_TRAINING = TrainerConfig(threads=1, device="cpu", precision="float32")
"""One thread and full precision, so that many may run side by side."""


def train_small_model(
    recipe: Recipe,
    build: Callable[[], nn.Module],
    make_optimizer: Callable[[nn.Module], Optimizer],
    loss: Callable[[nn.Module, Any], Losses],
    batches: Iterable[Any],
) -> tuple[nn.Module, list[float]]:
    """Train for the steps of the recipe, from weights that its seed draws.

    Args:
        recipe: Seed, schedule and settings.
        build: Builds the model.
        make_optimizer: Makes its optimizer; the schedule sets the learning rate.
        loss: Returns the mean ``loss`` of a batch, and further terms by name.
        batches: As many batches as steps, or more.

    Returns:
        The model, ready to be evaluated, and the loss of every step.

    Raises:
        Diverged: The loss or its gradient is not finite.
    """
    task = _SmallTask(recipe, build, make_optimizer, loss, batches)
    trainer = Trainer(task, screen=StringIO())
    state = trainer.start()
    with task.open_batches(state, trainer.group) as wrapped:
        losses = [trainer.step(batch)["loss"] for batch in islice(wrapped, recipe.schedule.steps)]
    return state.model.eval(), losses


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch of a stream that is never resumed, so that it has no position."""

    contents: Any
    after: None = None
    samples: int = 0


class _SmallTask(Task):
    """Lets ``Trainer`` take steps of a model in memory."""

    files: Mapping[str, Any] = {}
    unit = "samples"

    def __init__(
        self,
        recipe: Recipe,
        build: Callable[[], nn.Module],
        make_optimizer: Callable[[nn.Module], Optimizer],
        loss: Callable[[nn.Module, Any], Losses],
        batches: Iterable[Any],
    ) -> None:
        self.recipe, self.batches = recipe, batches
        self._build, self._make_optimizer, self._loss = build, make_optimizer, loss

    def init_state(self, group: ProcessGroup) -> TrainState:
        """Build the model and its optimizer."""
        model = self._build()
        return TrainState(model, None, self._make_optimizer(model), None)

    def loss(self, model: nn.Module, batch: _Batch) -> Losses:
        """Return the loss of a batch."""
        return self._loss(model, batch.contents)

    @contextmanager
    def open_batches(self, state: TrainState, group: ProcessGroup) -> Iterator[Iterator[_Batch]]:
        """Yield the batches."""
        yield (_Batch(batch) for batch in self.batches)

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Go on: studies test at the end."""
        return True
