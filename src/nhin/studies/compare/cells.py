"""Train one mechanism on one task with one seed."""

import time
from collections.abc import Mapping
from datetime import date
from functools import cache
from itertools import repeat
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

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
from nhin.training.config import Recipe
from nhin.training.lr_schedule import LRSchedule
from nhin.training.optimizers import build_muon
from nhin.training.small_models import SMALL_TRAINING, train_small_model

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
    rng = np.random.default_rng(seed)
    start = time.process_time()
    try:
        model, _ = train_small_model(
            _make_recipe(task, seed, steps),
            lambda: task.build(mechanism),
            lambda model: _build_optimizer(model, task.rate),
            task.loss,
            (task.draw_batch(rng) for _ in repeat(None)),
        )
    except Diverged as why:
        return QualityRow(name, mechanism, seed, skipped=str(why), date=today)
    seconds = time.process_time() - start
    accuracy = task.measure_accuracy(model)
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


def _make_recipe(task: ComparedTask, seed: int, steps: int) -> Recipe:
    schedule = LRSchedule(rate=task.rate, steps=steps, warmup=min(_WARMUP, steps), floor=0.0)
    return Recipe(seed, schedule, SMALL_TRAINING)


def _build_optimizer(model: nn.Module, rate: float) -> Optimizer:
    """Build the optimizer of ``lm-fast``."""
    matrices, betas = find_matrices(model), (0.9, 0.95)
    return build_muon(model, matrices, rate, betas=betas, weight_decay=0.0, dtype=torch.float32)
