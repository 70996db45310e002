"""Budgets: how many steps a run may take, said in steps, in tokens or in CPU-seconds; the schedule is fitted.

A budget of CPU-seconds is for the steps themselves, on all threads of a process: some steps are timed first,
on a model that is thrown away, and what that cost is counted in. The number of steps is then fixed and stands
in the run's recipe, so a resumed run ends where one never stopped does.
"""

import statistics
import time
from dataclasses import dataclass, replace

import torch

from nhin.data.text.token_dataset import Corpus
from nhin.errors import UsageError
from nhin.lm.recipe import LMRecipe
from nhin.lm.task import LanguageModelTask
from nhin.training.distributed import broadcast_tensors, join_process_group
from nhin.training.lr_schedule import LRSchedule
from nhin.training.precision import configure_cpu
from nhin.training.trainer import Trainer

_TIMED_STEPS, _WARMUP_STEPS, _SCHEDULE_STEPS = 10, 3, 20
_MAX_BUDGET = 10**12


@dataclass(frozen=True, slots=True)
class TrainBudget:
    """At most one of them is given."""

    steps: int | None = None
    tokens: int | None = None
    cpu_seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse several, and what is not positive."""
        given = {name: getattr(self, name) for name in ("steps", "tokens", "cpu_seconds")}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) > 1:
            raise UsageError(f"give one budget, not {len(given)}: {', '.join(given)}")
        for name, value in given.items():
            if not 0 < value <= _MAX_BUDGET:
                raise UsageError(f"the budget of {name.replace('_', '-')} is {value}; give more than 0")

    @property
    def is_given(self) -> bool:
        """Whether there is one."""
        return any(value is not None for value in (self.steps, self.tokens, self.cpu_seconds))


def fit_to_budget(recipe: LMRecipe, corpus: Corpus, budget: TrainBudget) -> LMRecipe:
    """Return a recipe whose schedule fits a budget.

    Raises:
        UsageError: The budget is less than one step.
    """
    if budget.steps is not None:
        return scale_schedule(recipe, budget.steps)
    if budget.tokens is not None:
        a_step = recipe.data.batch * LanguageModelTask(recipe, corpus).windows.length
        if budget.tokens < a_step:
            raise UsageError(f"a budget of {budget.tokens} tokens is less than one step, which is {a_step}")
        return scale_schedule(recipe, budget.tokens // a_step)
    if budget.cpu_seconds is not None:
        spent = time.process_time()
        cost = measure_step_seconds(recipe, corpus)
        left = budget.cpu_seconds - (time.process_time() - spent)
        steps = torch.tensor(max(1, int(left / cost)))
        with join_process_group() as group:
            broadcast_tensors([steps], group.world)
        return scale_schedule(recipe, int(steps))
    return recipe


def scale_schedule(recipe: LMRecipe, steps: int) -> LMRecipe:
    """Return a recipe of so many steps, its warm-up the same share of them."""
    schedule = recipe.schedule
    warmup = min(steps // 2, round(schedule.warmup * steps / schedule.steps))
    fitting: LRSchedule = replace(schedule, steps=steps, warmup=warmup)
    return replace(recipe, schedule=fitting, fitted=True)


def measure_step_seconds(recipe: LMRecipe, corpus: Corpus) -> float:
    """Return the CPU-seconds of a step, timed on a model that is thrown away."""
    schedule = LRSchedule(recipe.schedule.rate, _SCHEDULE_STEPS, 0)
    task = LanguageModelTask(replace(recipe, schedule=schedule), corpus)
    with join_process_group() as group, configure_cpu(group.share_threads(recipe.training.threads)):
        trainer = Trainer(task)
        with task.open_batches(trainer.start(group), group) as batches:
            costs = []
            for _ in range(_TIMED_STEPS + _WARMUP_STEPS):
                begin = time.process_time()
                trainer.step(next(batches))
                costs.append(time.process_time() - begin)
        return statistics.median(costs[_WARMUP_STEPS:])
