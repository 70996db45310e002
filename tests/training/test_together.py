"""Several processes train one model: rounds of batches, averaged gradients, chance named by step."""

import socket

import torch
from torch import multiprocessing, nn

from nhin.training.together import Together, together


def test_rounds_deal_every_item_once_and_name_the_last_of_the_round():
    hands = [list(Together(rank, 3).deal(iter(range(11)))) for rank in range(3)]
    assert [[mine for mine, _ in hand] for hand in hands] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert all([last for _, last in hand] == [2, 5, 8] for hand in hands)


def test_alone_nothing_is_dealt_away_and_a_wish_to_stop_is_granted():
    assert [mine for mine, last in Together().deal(iter("abc")) if mine == last] == list("abc")
    assert Together().mean(nn.Linear(1, 1), [True], {"loss": 2.0}) == ([True], {"loss": 2.0})
    assert Together().mean(nn.Linear(1, 1), [False], {}) == ([False], {})


def test_chance_depends_on_seed_step_and_process_and_on_nothing_before():
    def drawn(rank: int, seed: int, step: int) -> float:
        torch.rand(7)
        Together(rank, 2).seed(seed, step)
        return float(torch.rand(1))

    assert drawn(0, 1, 5) == drawn(0, 1, 5)
    assert len({drawn(rank, seed, step) for rank in (0, 1) for seed in (1, 2) for step in (5, 6)}) == 8


def _work(rank: int, port: int, answers) -> None:
    import os

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with together() as team:
        model = nn.Linear(3, 2)
        for p in model.parameters():
            p.grad = torch.full_like(p, float(rank))
        granted, losses = team.mean(model, [rank == 1, False], {"loss": 2.0 + rank})
        grads = [p.grad.unique().tolist() for p in model.parameters()]
        answers.put((team.rank, team.world, granted, losses, grads))


def test_two_processes_average_their_gradients_and_stop_together():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    workers = [context.Process(target=_work, args=(rank, port, answers)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(answers.get() for _ in workers) == [
        (0, 2, [True, False], {"loss": 2.5}, [[0.5], [0.5]]),
        (1, 2, [True, False], {"loss": 2.5}, [[0.5], [0.5]]),
    ]
