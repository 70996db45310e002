"""Laws of the loop: one step a batch, nothing done where the loss is no number."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nhin.errors import Diverged
from nhin.training.ema import Average
from nhin.training.loop import Pace, train
from nhin.training.optimizers import adamw
from nhin.training.precision import autocast, chosen
from nhin.training.schedule import Schedule

SCHEDULE = Schedule(rate=0.05, steps=50, warmup=5)


def squares(model, batch):
    loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
    return {"loss": loss, "part": loss.detach() * 2}


def lessons(count):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(8, 4, generator=generator) for _ in range(count)]


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


def test_it_learns_and_says_what_it_did():
    model = small()
    steps = [step for step, _ in train(model, lessons(50), squares, adamw(model, 0.05), Pace(SCHEDULE))]
    assert [step.number for step in steps] == list(range(1, 51))
    assert steps[-1].loss < steps[0].loss / 4
    assert steps[3].losses["part"] == pytest.approx(2 * steps[3].loss)
    assert [step.rate for step in steps] == [SCHEDULE.at(n) for n in range(1, 51)]


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_it_with_the_model_as_it_was(poison):
    model = small()
    data = [*lessons(2), torch.full((8, 4), poison)]
    running = train(model, data, squares, adamw(model, 0.05), Pace(SCHEDULE))
    next(running), next(running)
    before = copy.deepcopy([p.detach() for p in model.parameters()])
    with pytest.raises(Diverged, match="step 3"):
        next(running)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_gradient_that_is_no_number_ends_it_too():
    model = nn.Linear(4, 1, bias=False)
    nn.init.zeros_(model.weight)
    running = train(
        model,
        lessons(1),
        lambda m, b: {"loss": m(b).square().sum().sqrt()},
        adamw(model, 0.1),
        Pace(SCHEDULE),
    )
    with pytest.raises(Diverged, match="gradient"):
        next(running)
    assert not model.weight.any()


def test_a_step_is_no_longer_than_the_clip_allows():
    model = nn.Linear(4, 1)
    before = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    pace = Pace(Schedule(rate=1.0, steps=1, warmup=0, shape="constant"), clip=0.01)
    step, _ = next(train(model, [torch.full((8, 4), 100.0)], squares, optimizer, pace))
    assert step.grad_norm > 1
    assert (model.weight - before).norm() <= 0.0101


@given(steps=st.integers(2, 500), warmup=st.integers(0, 100), decay=st.floats(0.01, 1), floor=st.floats(0, 1))
def test_every_schedule_rises_falls_and_ends_at_its_floor(steps, warmup, decay, floor):
    for shape in ("cosine", "sqrt"):
        schedule = Schedule(1.0, steps, min(warmup, steps - 1), shape, decay, floor)
        rates = [schedule.at(n) for n in range(1, steps + 1)]
        peak = schedule.warmup
        assert rates[:peak] == sorted(rates[:peak])
        assert rates[peak:] == sorted(rates[peak:], reverse=True)
        assert min(rates) >= 0
        assert max(rates) <= 1 + 1e-9
        assert rates[-1] == pytest.approx(floor, abs=1e-6)
        assert schedule.at(steps + 50) == pytest.approx(floor, abs=1e-6)


def test_a_late_decay_holds_the_peak_until_it_begins():
    schedule = Schedule(1.0, 100, 10, "sqrt", decay=0.2, floor=0.0)
    assert {schedule.at(n) for n in range(10, 81)} == {1.0}
    assert schedule.at(81) < 1.0


def test_the_average_of_still_weights_is_the_weights_and_lies_between_moving_ones():
    model = small()
    average = Average(model, 0.9)
    average.update(model, 1)
    assert all(torch.equal(a, b) for a, b in zip(average.model.parameters(), model.parameters(), strict=True))
    with torch.no_grad():
        model[0].weight.add_(1.0)
    before = average.model[0].weight.clone()
    average.update(model, 10**6)
    torch.testing.assert_close(average.model[0].weight, before + 0.1)
    assert not average.model.training
    assert not any(p.requires_grad for p in average.model.parameters())


def test_norms_biases_and_embeddings_are_not_pulled_to_zero():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.norm, self.line = nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 4)

    model = Mixed()
    pulled = [p for g in adamw(model, 1.0, 0.1).param_groups if g["weight_decay"] for p in g["params"]]
    assert [id(p) for p in pulled] == [id(model.line.weight)]


def test_precision_is_what_was_asked_for():
    assert chosen("float32") == torch.float32
    assert chosen("bfloat16") == torch.bfloat16
    assert chosen("auto") in (torch.float32, torch.bfloat16)
    for dtype in (torch.float32, torch.bfloat16):
        with autocast(dtype):
            assert nn.Linear(4, 4)(torch.ones(1, 4)).dtype == dtype
