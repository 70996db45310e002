"""Laws of the trainer: one step a batch, nothing done where the loss is no number."""

import copy
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nhin.errors import CheckpointError, Diverged
from nhin.training.config import Recipe, TrainerConfig
from nhin.training.ema import init_ema, update_ema
from nhin.training.lr_schedule import LRSchedule, compute_lr
from nhin.training.optimizers import build_adamw
from nhin.training.precision import autocast, resolve_dtype
from nhin.training.train_state import TrainState
from nhin.training.trainer import Task, Trainer

SCHEDULE = LRSchedule(rate=0.05, steps=50, warmup=5)


@dataclass(frozen=True)
class Position:
    row: int = 0


@dataclass
class Batch:
    x: torch.Tensor
    after: int = 0
    samples: int = 8


class Squares(Task):
    """Least squares on batches that are handed to the trainer, one by one."""

    files, unit = {}, "rows"

    def __init__(self, model, optimizer, schedule=SCHEDULE, clip=1.0) -> None:
        self.model, self.optimizer = model, optimizer
        self.recipe = Recipe(schedule=schedule, training=TrainerConfig(grad_clip=clip, precision="float32"))

    def init_state(self, group):
        return TrainState(self.model, None, self.optimizer, 0)

    def loss(self, model, batch):
        loss = (model(batch.x) - batch.x.sum(1, keepdim=True)).square().mean()
        return {"loss": loss, "part": loss.detach() * 2}


class Root(Squares):
    def loss(self, model, batch):
        return {"loss": model(batch.x).square().sum().sqrt()}


def trainer_of(task):
    trainer = Trainer(task)
    trainer.start()
    return trainer


def lessons(count):
    generator = torch.Generator().manual_seed(0)
    return [Batch(torch.randn(8, 4, generator=generator)) for _ in range(count)]


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


def test_it_learns_and_says_what_it_did():
    model = small()
    trainer = trainer_of(Squares(model, build_adamw(model, 0.05)))
    steps = [trainer.step(batch) for batch in lessons(50)]
    assert trainer.state.step == 50
    assert steps[-1]["loss"] < steps[0]["loss"] / 4
    assert list(steps[3]) == ["loss", "part", "grad_norm", "rate"]
    assert steps[3]["part"] == pytest.approx(2 * steps[3]["loss"])
    assert [step["rate"] for step in steps] == [compute_lr(SCHEDULE, n) for n in range(1, 51)]


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_it_with_the_state_as_it_was(poison):
    model = small()
    trainer = trainer_of(Squares(model, build_adamw(model, 0.05)))
    for batch in lessons(2):
        trainer.step(batch)
    before = copy.deepcopy([p.detach() for p in model.parameters()])
    with pytest.raises(Diverged, match="step 3"):
        trainer.step(Batch(torch.full((8, 4), poison)))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert trainer.state.step == 2


def test_a_gradient_that_is_no_number_ends_it_too():
    model = nn.Linear(4, 1, bias=False)
    nn.init.zeros_(model.weight)
    with pytest.raises(Diverged, match="gradient"):
        trainer_of(Root(model, build_adamw(model, 0.1))).step(lessons(1)[0])
    assert not model.weight.any()


def test_a_step_is_no_longer_than_the_clip_allows():
    model = nn.Linear(4, 1)
    schedule = LRSchedule(rate=1.0, steps=1, warmup=0, shape="constant")
    task = Squares(model, torch.optim.SGD(model.parameters(), lr=1.0), schedule, clip=0.01)
    trainer = trainer_of(task)
    before = model.weight.detach().clone()
    metrics = trainer.step(Batch(torch.full((8, 4), 100.0)))
    assert metrics["grad_norm"] > 1
    assert (model.weight - before).norm() <= 0.0101


@given(steps=st.integers(2, 500), warmup=st.integers(0, 100), decay=st.floats(0.01, 1), floor=st.floats(0, 1))
def test_every_schedule_rises_falls_and_ends_at_its_floor(steps, warmup, decay, floor):
    for shape in ("cosine", "sqrt"):
        schedule = LRSchedule(1.0, steps, min(warmup, steps - 1), shape, decay, floor)
        rates = [compute_lr(schedule, n) for n in range(1, steps + 1)]
        peak = schedule.warmup
        assert rates[:peak] == sorted(rates[:peak])
        assert rates[peak:] == sorted(rates[peak:], reverse=True)
        assert min(rates) >= 0
        assert max(rates) <= 1 + 1e-9
        assert rates[-1] == pytest.approx(floor, abs=1e-6)
        assert compute_lr(schedule, steps + 50) == pytest.approx(floor, abs=1e-6)


def test_a_late_decay_holds_the_peak_until_it_begins():
    schedule = LRSchedule(1.0, 100, 10, "sqrt", decay=0.2, floor=0.0)
    assert {compute_lr(schedule, n) for n in range(10, 81)} == {1.0}
    assert compute_lr(schedule, 81) < 1.0


def test_the_average_of_still_weights_is_the_weights_and_lies_between_moving_ones():
    model = small()
    ema = init_ema(model)
    update_ema(ema, model, 0.9, 1)
    assert all(torch.equal(a, b) for a, b in zip(ema.parameters(), model.parameters(), strict=True))
    with torch.no_grad():
        model[0].weight.add_(1.0)
    before = ema[0].weight.clone()
    update_ema(ema, model, 0.9, 10**6)
    torch.testing.assert_close(ema[0].weight, before + 0.1)
    assert not ema.training
    assert not any(p.requires_grad for p in ema.parameters())


def test_norms_biases_and_embeddings_are_not_pulled_to_zero():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.norm, self.line = nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 4)

    model = Mixed()
    pulled = [p for g in build_adamw(model, 1.0, 0.1).param_groups if g["weight_decay"] for p in g["params"]]
    assert [id(p) for p in pulled] == [id(model.line.weight)]


def test_precision_is_what_was_asked_for():
    assert resolve_dtype("float32") == torch.float32
    assert resolve_dtype("bfloat16") == torch.bfloat16
    assert resolve_dtype("auto") in (torch.float32, torch.bfloat16)
    for dtype in (torch.float32, torch.bfloat16):
        with autocast(dtype):
            assert nn.Linear(4, 4)(torch.ones(1, 4)).dtype == dtype


def test_an_optimizers_state_is_not_given_to_other_parameters():
    def build():
        model = nn.Linear(3, 2)
        return TrainState(model, None, build_adamw(model, 1e-3), Position())

    state = build()
    state.model(torch.ones(1, 3)).sum().backward()
    state.optimizer.step()
    saved = state.to_checkpoint(Recipe(), {})
    build().restore(saved, "run")
    first, second = saved.values["trainer"]["groups"]
    first["params"], second["params"] = second["params"], first["params"]
    with pytest.raises(CheckpointError, match="other groups of parameters"):
        build().restore(saved, "run")
