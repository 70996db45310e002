"""Several processes train one model: rounds of batches, averaged gradients, chance named by step."""

import os
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from forks import FORKS, find_port
from torch.distributed import DistNetworkError, HashStore

from nhin.errors import CheckpointError, NhinError, ProcessError, UsageError
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.training.agreement import check_same_checkpoint, check_same_settings
from nhin.training.checkpoint import Checkpoint
from nhin.training.config import Recipe, TrainerConfig
from nhin.training.distributed import (
    ProcessGroup,
    all_reduce_mean,
    average_tensor,
    broadcast_tensors,
    join_process_group,
    seed_step,
)
from nhin.training.fsdp import shard_model
from nhin.training.train_state import TrainState
from nhin.training.trainer import Task, Trainer


def test_rounds_deal_every_item_once_and_name_the_last_of_the_round():
    hands = [list(ProcessGroup(rank, 3).deal(iter(range(11)))) for rank in range(3)]
    assert [[mine for mine, _ in hand] for hand in hands] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert all([last for _, last in hand] == [2, 5, 8] for hand in hands)


def test_alone_nothing_is_dealt_away_and_a_wish_to_stop_is_granted():
    assert [mine for mine, last in ProcessGroup().deal(iter("abc")) if mine == last] == list("abc")
    loss = torch.tensor(2.0)
    assert all_reduce_mean(1, [torch.ones(1)], [True], {"loss": loss}) == ([True], {"loss": loss})
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
    port = find_port()
    answers = FORKS.SimpleQueue()
    workers = [FORKS.Process(target=_join, args=(rank, port, work, answers, *args)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    found = dict(answers.get() for _ in workers)  # first: a full pipe would keep them from ending
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    return [found[0], found[1]]


def _join(rank: int, port: str, work, answers, *args) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.set_num_threads(1)
    answer = None
    try:
        answer = work(*args)
    finally:
        answers.put((rank, answer))


FAILURES = [(1, CheckpointError("torn")), (0, UsageError("taken")), (1, KeyboardInterrupt())]


def _agree_and_fail(ports):
    first, *ports = ports
    os.environ["MASTER_PORT"] = first
    with join_process_group() as group:
        answers = [_average(group), _broadcast(group), [_compare(group, *values) for values in COMPARED]]
    for port, (rank, error) in zip(ports, FAILURES, strict=True):
        os.environ["MASTER_PORT"] = port
        try:
            with join_process_group() as group:
                if group.rank == rank:
                    raise error
                group.barrier()
        except (NhinError, KeyboardInterrupt) as why:
            answers.append((str(why), getattr(why, "exit_code", None), getattr(why, "is_reported", None)))
    return answers


def _broadcast(group: ProcessGroup):
    tensors = [torch.full((2, 2), float(group.rank)).T, torch.tensor(group.rank == 0)]
    broadcast_tensors(tensors, group.world)
    shares = torch.tensor([float(group.rank), 1.0], requires_grad=True)
    return *(x.tolist() for x in tensors), average_tensor(shares).tolist()


def _checkpoint(step: int, weight: float) -> Checkpoint:
    return Checkpoint({"model": {"weight": torch.tensor([weight])}}, {"trainer": {"step": step}})


COMPARED = [
    (check_same_checkpoint, (_checkpoint(3, 1.0),), (_checkpoint(3, 1.0),)),
    (check_same_checkpoint, (_checkpoint(3, 1.0),), (None,)),
    (check_same_checkpoint, (None,), (_checkpoint(3, 1.0),)),
    (check_same_checkpoint, (_checkpoint(3, 1.0),), (_checkpoint(4, 1.0),)),
    (check_same_checkpoint, (_checkpoint(3, 1.0),), (_checkpoint(3, 2.0),)),
    (check_same_settings, (Recipe(), {}, torch.float32), (Recipe(seed=1), {}, torch.float32)),
    (check_same_settings, (Recipe(), {}, torch.float32), (Recipe(), {}, torch.bfloat16)),
    (check_same_settings, (Recipe(), {"text": 1}, torch.float32), (Recipe(), {"text": 2}, torch.float32)),
]
DIFFERENT = [
    "",
    'the checkpoint is "missing" here and "present" there',
    'the checkpoint is "present" here and "missing" there',
    "the step of the checkpoint is 4 here and 3 there",
    "the digest of the checkpoint is ",
    "seed is 1 here and 0 there",
    'the dtype of training.precision is "bfloat16" here and "float32" there',
    "the digest of the text is ",
]


def _compare(group: ProcessGroup, check, first, second) -> str:
    try:
        check(group, *(first, second)[group.rank])
    except NhinError as why:
        return str(why)
    return ""


def _average(group: ProcessGroup):
    grads = [torch.full((2, 3), float(group.rank)), torch.full((2,), float(group.rank))]
    granted, losses = all_reduce_mean(
        group.world, grads, [group.rank == 1, False], {"loss": torch.tensor(2.0 + group.rank)}
    )
    alone = {"loss": torch.tensor(float(group.rank))}
    assert all_reduce_mean(group.world, [], [False], alone) == ([False], {"loss": 0.5})
    return (
        group.world,
        granted,
        {name: float(loss) for name, loss in losses.items()},
        [grad.unique().tolist() for grad in grads],
    )


def _work(ports):
    """All that needs two processes, in the same two: to start them costs more than what they do."""
    return _step_both_ways(), _agree_and_fail(ports)


@pytest.fixture(scope="module")
def both():
    return start_two(_work, [find_port() for _ in range(len(FAILURES) + 1)])


@pytest.fixture
def answers(both):
    return [found for _, found in both]


def test_two_processes_average_their_gradients_and_stop_together(answers):
    for answer in answers:
        assert answer[0] == (2, [True, False], {"loss": 2.5}, [[0.5], [0.5]])


def test_what_is_broadcast_is_the_first_processs_whatever_its_strides_and_dtype(answers):
    assert answers[0][1] == answers[1][1] == ([[0.0, 0.0], [0.0, 0.0]], True, [0.5, 1.0])


def test_a_process_that_differs_from_the_first_says_in_what(answers):
    assert answers[0][2] == [""] * len(DIFFERENT)
    for told, words in zip(answers[1][2], DIFFERENT, strict=True):
        assert words in told
        assert told.startswith("process 2 of 2 differs from the first: " if words else "")


def test_an_error_in_one_process_ends_all_with_its_exit_code_and_one_says_it(answers):
    for number, (rank, error) in enumerate(FAILURES):
        code = getattr(error, "exit_code", 130)
        failed, other = (answers[i][3 + number] for i in (rank, 1 - rank))
        assert failed == (str(error), getattr(error, "exit_code", None), None)
        assert other == ("another process of this training failed", code, True)


@pytest.mark.parametrize("lost_store", [False, True])
def test_a_process_that_is_killed_ends_the_others_with_one_line(monkeypatch, lost_store):
    """As one of those left sees it; the store lives in the first process, or in torchrun."""
    store, closed = HashStore(), RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")
    if lost_store:
        store = LostStore()
    said = []
    for rank in (1, 2):
        joined = partial(lambda rank: (store, ProcessGroup(rank, 4)), rank)
        monkeypatch.setattr("nhin.training.distributed._connect", joined)
        monkeypatch.setenv("WORLD_SIZE", "4")
        with pytest.raises(ProcessError) as raised, join_process_group():
            raise closed
        said.append((raised.value.is_reported, raised.value.exit_code))
    assert said == [(False, 5), (True, 5)]


class LostStore:
    """The store of a process that is gone."""

    def set_timeout(self, seconds):
        raise DistNetworkError("Connection reset by peer")

    def add(self, key, number):
        raise DistNetworkError("Connection reset by peer")


def test_a_number_of_processes_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match="WORLD_SIZE is 'two'"), join_process_group():
        pass


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
        torch.manual_seed(group.rank)  # as if the kernels of the processes drew other numbers
        model = build_lm(13, self.design)
        return TrainState(model, None, torch.optim.SGD(model.parameters(), lr=1.0), 0)

    def split_batch(self, batch):
        return [Batch(part) for part in batch.tokens.chunk(2)]

    def loss(self, model, batch):
        return model.loss(batch.tokens[:, :-1], batch.tokens[:, 1:])


DESIGNS = [{}, {"memory": 2}, {"exits": True}, {"experts": 4, "mlp": "swiglu"}]


def _step_both_ways():
    with join_process_group() as group:
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


def test_a_weight_of_one_number_is_not_sharded_and_the_refusal_names_it():
    model = build_lm(13, ModelConfig(depth=1, dim=16, heads=2, context=8, norm="scale"))
    with pytest.raises(UsageError, match=r"fsdp cannot shard \S+\.weight, a single number"):
        shard_model(model, model.blocks, 2)


def test_ddp_takes_the_steps_of_the_flat_all_reduce(both):
    first, second = (found for found, _ in both)
    assert second == first, "every process has the same losses and weights"
    for (flat_losses, flat), (losses, weights) in first:
        assert losses == pytest.approx(flat_losses, abs=1e-6)
        for name, weight in flat.items():
            torch.testing.assert_close(
                torch.tensor(weights[name]), torch.tensor(weight), rtol=1e-5, atol=1e-6
            )
