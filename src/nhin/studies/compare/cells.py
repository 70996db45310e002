"""Train one mechanism on one task with one seed."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from io import StringIO
from itertools import islice, repeat
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nhin.bench.recorder import OpRecorder
from nhin.errors import Diverged, NhinError
from nhin.lm.task import find_matrices
from nhin.recommend.quality import REFERENCE, QualityRow, TaskName
from nhin.studies.compare.sequences import (
    BODY,
    COPY_LENGTH,
    KEYS,
    LETTERS,
    MARKED,
    PAIRS,
    SequenceTask,
    draw_copy,
    draw_recall,
    draw_selective,
    make_text_task,
    read_library,
)
from nhin.studies.compare.words import WordsTask
from nhin.training.config import Recipe, TrainerConfig
from nhin.training.distributed import ProcessGroup
from nhin.training.logger import Log
from nhin.training.lr_schedule import LRSchedule
from nhin.training.optimizers import build_muon
from nhin.training.train_state import TrainState
from nhin.training.trainer import Task, Trainer

_WARMUP = 10


class ComparedTask(Protocol):
    """A task that every mechanism learns; ``steps`` are those of softmax, ``chance`` needs no input."""

    @property
    def chance(self) -> float: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def rate(self) -> float: ...  # noqa: D102

    def build(self, mechanism: str) -> nn.Module: ...  # noqa: D102
    def draw_batch(self, rng: np.random.Generator) -> Any: ...  # noqa: D102
    def loss(self, model: nn.Module, batch: Any) -> Mapping[str, Tensor]: ...  # noqa: D102
    def measure_accuracy(self, model: nn.Module) -> float: ...  # noqa: D102


@cache
def make_task(name: TaskName) -> ComparedTask:
    """Make a task by its name in ``recommend.quality.TASK_TITLES``."""
    if name == "words":
        return WordsTask()
    if name == "chars":
        return make_text_task(read_library())
    return {
        "recall": SequenceTask(draw_recall, draw_recall, 2 * KEYS, 4 * PAIRS, 1 / KEYS, steps=200),
        "copy": SequenceTask(draw_copy, draw_copy, LETTERS, COPY_LENGTH, 1 / LETTERS, steps=200),
        "selective": SequenceTask(
            draw_selective, draw_selective, LETTERS + 2, BODY + MARKED, 1 / LETTERS, steps=200
        ),
    }[name]


def train_cell(name: TaskName, mechanism: str, seed: int, effort: float) -> QualityRow:
    """Train and test; what cannot be trained is a row with the reason.

    All mechanisms get the operations that softmax takes in the steps of the task, times ``effort``, at the
    same learning rate; counted are matrix products and fused attention, forward and backward.
    """
    task, today = make_task(name), date.today().isoformat()
    try:
        flops = count_step_flops(name, mechanism)
    except NhinError as why:
        reason = str(why).partition("; ")[0]  # without the names of those that can
        return QualityRow(name, mechanism, seed, skipped=reason, date=today)
    steps = max(1, round(effort * task.steps * count_step_flops(name, REFERENCE) / flops))
    trained = _CellTask(task, mechanism, seed, steps)
    trainer = Trainer(trained, screen=StringIO())
    state, start = trainer.start(), time.process_time()
    try:
        with trained.open_batches(state, trainer.group) as batches:
            for batch in islice(batches, steps):
                trainer.step(batch)
    except Diverged as why:
        return QualityRow(name, mechanism, seed, skipped=str(why), date=today)
    seconds = time.process_time() - start
    accuracy = task.measure_accuracy(state.model.eval())
    return QualityRow(
        name,
        mechanism,
        seed,
        round(accuracy, 5),
        round(task.chance, 5),
        steps,
        flops,
        round(seconds, 3),
        date=today,
    )


@cache
def count_step_flops(name: TaskName, mechanism: str) -> float:
    """Count the operations of a forward and a backward pass of one batch.

    Raises:
        UsageError: The mechanism cannot do the task.
    """
    task = make_task(name)
    with torch.random.fork_rng(devices=[]):
        model = task.build(mechanism)
    batch = task.draw_batch(np.random.default_rng(0))
    with OpRecorder() as ops:
        task.loss(model, batch)["loss"].backward()
    return ops.flops


@dataclass(frozen=True, slots=True)
class CompareBatch:
    """A batch; its stream is drawn anew for every training, so that it has no position."""

    contents: Any
    after: None = None
    samples: int = 0


class _CellTask(Task):
    """Lets ``Trainer`` take steps of a compared task."""

    files: Mapping[str, Any] = {}
    unit = "samples"

    def __init__(self, task: ComparedTask, mechanism: str, seed: int, steps: int) -> None:
        self.task, self.mechanism = task, mechanism
        schedule = LRSchedule(rate=task.rate, steps=steps, warmup=min(_WARMUP, steps), floor=0.0)
        training = TrainerConfig(threads=1, device="cpu", precision="float32", weight_decay=0.0)
        self.recipe = Recipe(seed, schedule, training)

    def init_state(self, group: ProcessGroup) -> TrainState:
        """Build the network, and its optimizer as in ``lm-fast``."""
        model = self.task.build(self.mechanism)
        optimizer = build_muon(
            model,
            find_matrices(model),
            self.task.rate,
            betas=(0.9, 0.95),
            weight_decay=0.0,
            dtype=torch.float32,
        )
        return TrainState(model, None, optimizer, None)

    def loss(self, model: nn.Module, batch: CompareBatch) -> Mapping[str, Tensor]:
        """Return the loss of a batch."""
        return self.task.loss(model, batch.contents)

    @contextmanager
    def open_batches(self, state: TrainState, group: ProcessGroup) -> Iterator[Iterator[CompareBatch]]:
        """Yield batches drawn by the seed."""
        rng = np.random.default_rng(self.recipe.seed)
        yield (CompareBatch(self.task.draw_batch(rng)) for _ in repeat(None))

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Go on: the test comes at the end."""
        return True
