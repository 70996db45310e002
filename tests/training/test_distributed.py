"""Several processes train one model: rounds of batches, averaged gradients, chance named by step."""

import os
import socket
from dataclasses import dataclass

import pytest
import torch
from torch import multiprocessing

from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.training.config import Recipe, TrainerConfig
from nhin.training.distributed import ProcessGroup, all_reduce_mean, join_process_group, seed_step
from nhin.training.train_state import TrainState
from nhin.training.trainer import Task, Trainer


def test_rounds_deal_every_item_once_and_name_the_last_of_the_round():
    hands = [list(ProcessGroup(rank, 3).deal(iter(range(11)))) for rank in range(3)]
    assert [[mine for mine, _ in hand] for hand in hands] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert all([last for _, last in hand] == [2, 5, 8] for hand in hands)


def test_alone_nothing_is_dealt_away_and_a_wish_to_stop_is_granted():
    assert [mine for mine, last in ProcessGroup().deal(iter("abc")) if mine == last] == list("abc")
    assert all_reduce_mean(1, [torch.ones(1)], [True], {"loss": 2.0}) == ([True], {"loss": 2.0})
    assert all_reduce_mean(1, [], [False], {}) == ([False], {})


def test_chance_depends_on_seed_step_and_process_and_on_nothing_before():
    def drawn(rank: int, seed: int, step: int) -> float:
        torch.rand(7)
        seed_step(seed, step, rank, world=2)
        return float(torch.rand(1))

    assert drawn(0, 1, 5) == drawn(0, 1, 5)
    assert len({drawn(rank, seed, step) for rank in (0, 1) for seed in (1, 2) for step in (5, 6)}) == 8


def start_two(work, *args):
    """Run a function in two processes, as torchrun starts them; return what both answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    workers = [context.Process(target=_join, args=(rank, port, work, answers, *args)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    found = dict(answers.get() for _ in workers)  # first: a full pipe would keep them from ending
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    return [found[0], found[1]]


def _join(rank: int, port: int, work, answers, *args) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    answer = None
    try:
        with join_process_group() as group:
            answer = work(group, *args)
    finally:
        answers.put((rank, answer))


def _average(group: ProcessGroup):
    grads = [torch.full((2, 3), float(group.rank)), torch.full((2,), float(group.rank))]
    granted, losses = all_reduce_mean(
        group.world, grads, [group.rank == 1, False], {"loss": 2.0 + group.rank}
    )
    assert all_reduce_mean(group.world, [], [False], {"loss": float(group.rank)}) == ([False], {"loss": 0.5})
    return group.world, granted, losses, [grad.unique().tolist() for grad in grads]


def test_two_processes_average_their_gradients_and_stop_together():
    assert start_two(_average) == [(2, [True, False], {"loss": 2.5}, [[0.5], [0.5]])] * 2


@dataclass
class Batch:
    tokens: torch.Tensor
    after: int = 0
    samples: int = 1


class Texts(Task):
    """Random texts; each batch is accumulated in two parts."""

    files, unit = {}, "tokens"

    def __init__(self, design: ModelConfig) -> None:
        self.design = design
        self.recipe = Recipe(training=TrainerConfig(precision="float32"))

    def init_state(self, group):
        model = build_lm(13, self.design)
        return TrainState(model, None, torch.optim.SGD(model.parameters(), lr=1.0), 0)

    def split_batch(self, batch):
        return [Batch(part) for part in batch.tokens.chunk(2)]

    def loss(self, model, batch):
        return model.loss(batch.tokens[:, :-1], batch.tokens[:, 1:])


DESIGNS = [{}, {"memory": 2}, {"exits": True}, {"experts": 4, "mlp": "swiglu"}]


def _step_both_ways(group: ProcessGroup):
    return [[_steps(group, changes, ddp) for ddp in (False, True)] for changes in DESIGNS]


def _steps(group: ProcessGroup, changes: dict, ddp: bool):
    design = ModelConfig(depth=2, dim=16, heads=2, context=8, dropout=0.1, **changes)
    generator = torch.Generator().manual_seed(group.rank)
    length = 8 * (design.segments if design.memory else 1) + 1
    batches = torch.randint(13, (3, 4, length), generator=generator)
    trainer = Trainer(Texts(design), ddp=ddp)
    trainer.start(group)
    losses = [trainer.step(Batch(batch))["loss"] for batch in batches]
    assert (trainer._ddp is not None) == ddp
    return losses, {name: weight.tolist() for name, weight in trainer.state.model.state_dict().items()}


def test_ddp_takes_the_steps_of_the_flat_all_reduce():
    first, second = start_two(_step_both_ways)
    assert second == first, "every process has the same losses and weights"
    for (flat_losses, flat), (losses, weights) in first:
        assert losses == pytest.approx(flat_losses, abs=1e-6)
        for name, weight in flat.items():
            torch.testing.assert_close(
                torch.tensor(weights[name]), torch.tensor(weight), rtol=1e-5, atol=1e-6
            )
