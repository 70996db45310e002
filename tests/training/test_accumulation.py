"""Laws of a batch in parts: chance is drawn anew for each, and without chance the parts are the batch."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from nhin.training import trainer as trainer_module
from nhin.training.config import Recipe, TrainerConfig
from nhin.training.distributed import ProcessGroup, seed_step
from nhin.training.train_state import TrainState
from nhin.training.trainer import Task, Trainer

PARTS = 4


@dataclass
class Batch:
    x: torch.Tensor
    after: int = 0
    samples: int = 8


class Masks(Task):
    """Regression on a dropped-out batch in equal parts; ``seen`` holds the masks, part after part."""

    files, unit = {}, "rows"

    def __init__(self, dropout: float = 0.5, seed: int = 0, parts: int = PARTS) -> None:
        self.recipe = Recipe(seed=seed, training=TrainerConfig(precision="float32", grad_clip=1e9))
        self.dropout, self.parts, self.seen = nn.Dropout(dropout), parts, []

    def init_state(self, group):
        model = nn.Linear(8, 1)
        return TrainState(model, None, torch.optim.SGD(model.parameters(), lr=0.1), 0)

    def split_batch(self, batch):
        return [replace(batch, x=rows) for rows in batch.x.chunk(self.parts)]

    def loss(self, model, batch):
        mask = self.dropout(torch.ones(2, 8))
        self.seen.append(mask.flatten().tolist())
        return {"loss": (model(batch.x * mask.repeat(len(batch.x) // 2, 1)) - 1).square().mean()}


def take_steps(task, rank=0, world=1, before=0, steps=2):
    """Take steps on one batch; return the masks of every part of every step."""
    trainer = Trainer(task)
    trainer.start(ProcessGroup(rank, 1))
    trainer.group = ProcessGroup(rank, world)
    trainer._average = lambda losses: losses  # other processes are not needed for what this one draws
    trainer.state.step = before
    for _ in range(steps):
        torch.rand(3)  # what others draw in between has no effect
        trainer.step(Batch(torch.arange(64.0).reshape(8, 8) / 64))
    return task.seen


def every_part_has_a_mask_of_its_own():
    masks = [mask for rank in (0, 1) for seed in (0, 1) for mask in take_steps(Masks(seed=seed), rank, 2)]
    assert len(masks) == 2 * 2 * 2 * PARTS
    assert len(set(map(tuple, masks))) == len(masks)


def masks_depend_on_seed_step_process_and_part_alone():
    whole = take_steps(Masks(), steps=3)
    assert take_steps(Masks(), steps=3) == whole
    assert take_steps(Masks(), before=1, steps=2) == whole[PARTS:]


def the_first_part_draws_as_a_batch_in_one_part_always_did():
    task, expected = Masks(), []
    for step in (1, 2):
        seed_step(0, step)
        expected.append(task.dropout(torch.ones(2, 8)).flatten().tolist())
    assert take_steps(task)[::PARTS] == take_steps(Masks(parts=1)) == expected


LAWS = [
    every_part_has_a_mask_of_its_own,
    masks_depend_on_seed_step_process_and_part_alone,
    the_first_part_draws_as_a_batch_in_one_part_always_did,
]


@pytest.mark.parametrize("law", LAWS)
def test_the_trainer_keeps_the_law(law):
    law()


def reuse_the_mask(seed, step, rank, world, part):
    seed_step(seed, step, rank, world)


def seed_the_first_part_only(seed, step, rank, world, part):
    if not part and step == 1:
        seed_step(seed, step, rank, world)


def count_parts_as_steps(seed, step, rank, world, part):
    seed_step(seed, step + part, rank, world)


def forget_the_process(seed, step, rank, world, part):
    seed_step(seed, step, 0, world, part)


def seed_by_all_parts(seed, step, rank, world, part):
    seed_step(seed, step, rank, world, part + 1)


@pytest.mark.parametrize(
    ("law", "fault"),
    [
        (every_part_has_a_mask_of_its_own, reuse_the_mask),
        (every_part_has_a_mask_of_its_own, count_parts_as_steps),
        (every_part_has_a_mask_of_its_own, forget_the_process),
        (masks_depend_on_seed_step_process_and_part_alone, seed_the_first_part_only),
        (the_first_part_draws_as_a_batch_in_one_part_always_did, seed_by_all_parts),
    ],
)
def test_the_planted_fault_is_caught(law, fault, monkeypatch):
    monkeypatch.setattr(trainer_module, "seed_step", fault)
    with pytest.raises(AssertionError):
        law()


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_without_dropout_a_batch_in_parts_is_the_batch_whole(parts):
    ends = []
    for count in (1, parts):
        trainer = Trainer(Masks(0.0, parts=count))
        trainer.start()
        losses = [trainer.step(Batch(torch.arange(64.0).reshape(8, 8) / 64))["loss"] for _ in range(3)]
        ends.append((torch.tensor(losses), trainer.state.model.weight.detach()))
    for whole, split in zip(*ends, strict=True):
        torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-5)
