"""Laws of a ladder's plan: steps that fit a budget, and rates that are tried until the best lies inside."""

import re
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.errors import Diverged, UsageError
from nhin.format import parse_duration
from nhin.studies.ladder.jobs import best_rate, iter_jobs
from nhin.studies.ladder.plan import MIN_STEPS, LadderPlan, ModelCost, affordable_steps
from nhin.studies.ladder.settings import LadderSettings, make_models

COSTS = [ModelCost(0.01, 2.0, 0.5), ModelCost(0.03, 3.0, 0.7)]


@dataclass
class Scored:
    nats: float | None


def plan_of(**settings):
    return LadderPlan(LadderSettings(**settings), "", "", 90, 0.0, ())


def run_with(plan, nats_of):
    """Run the jobs with made-up results; return the models, the jobs and the results."""
    models, done = make_models(plan.settings), {}
    all_jobs = []
    for job in iter_jobs(plan, models, done):
        all_jobs.append(job)
        done[job.name] = Scored(None if job.order else nats_of(job))
    return models, all_jobs, done


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 0}, "seeds is 0; give 1 to 100"),
        ({"depths": ()}, "depths has 0 items; give 1 to 16"),
        ({"depths": (4, 2)}, "rising"),
        ({"depths": (0, 2)}, "depths[0] is 0; give 1 to 256"),
        ({"orders": (9,)}, "orders[0] is 9; give 1 to 8"),
        ({"rates": (0.0,)}, "give more than 0"),
        ({"rates": (float("nan"),)}, "rates[0] is nan"),
        ({"rates": (0.1, 0.1)}, "give each once"),
        ({"dim": 10}, "heads is 4, which does not divide dim 10"),
        ({"budget": 0.0}, "give more than 0"),
        ({"budget": float("nan")}, "give more than 0"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_settings_that_are_no_ladder_are_refused(changes, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        LadderSettings(**changes)


@given(
    budget=st.floats(100, 1e5),
    seeds=st.integers(1, 5),
    rates=st.sampled_from([(), (0.1,), (0.1, 0.2)]),
    besides=st.floats(0, 20),
)
def test_the_steps_fit_the_budget_and_use_most_of_it(budget, seeds, rates, besides):
    settings = LadderSettings(budget=budget, seeds=seeds, rates=rates)
    steps = affordable_steps(settings, COSTS, besides)

    def total(steps):
        tries = {0: 4, 1: 0, 2: 3}[len(rates)]
        full = sum(seeds * (cost.step * steps + cost.evaluation) for cost in COSTS)
        return (
            besides + full + sum(tries * (cost.step * steps / 3 + cost.search_evaluation) for cost in COSTS)
        )

    assert total(steps) <= budget
    assert total(steps) >= 0.85 * budget - 7


def test_a_budget_too_small_is_refused_and_the_one_it_asks_for_is_enough():
    """And hardly more than enough, even rounded as the message writes it."""

    def asked(budget, costs):
        with pytest.raises(UsageError, match="is too small for 14 runs") as refused:
            affordable_steps(LadderSettings(budget=budget), costs, 1.0)
        return parse_duration("budget", re.search(r"they need about (\w+);", str(refused.value))[1])

    for costs, one in ((COSTS, 1), ([ModelCost(3.0, 200.0, 1.0)] * 2, 60)):
        enough = asked(10, costs)
        assert affordable_steps(LadderSettings(budget=enough), costs, 1.0) in range(MIN_STEPS, MIN_STEPS + 5)
        assert asked(enough - one, costs) == enough


def test_all_rungs_have_one_size_and_runs_one_length():
    plan = plan_of(depths=(2, 5), dim=64, heads=8, context=16, batch=3)
    models, all_jobs, _ = run_with(plan, lambda job: 1.0)
    assert [model.name for model in models] == [
        *("lm-bigram", "lm-one-head", "lm-one-block"),
        *("lm-blocks-2", "lm-blocks-5", "lm-modern-2", "lm-modern-5"),
    ]
    assert [model.depth for model in models] == [0, 1, 1, 2, 5, 2, 5]
    for model in models:
        config, data = model.recipe.model, model.recipe.data
        assert (config.dim, config.context, data.batch, data.accumulate) == (64, 16, 3, 1)
        assert config.heads == (1 if model.name == "lm-one-head" else 8)
    assert {job.steps for job in all_jobs if job.model and not job.search} == {90}
    assert {job.steps for job in all_jobs if job.search} == {30}
    recipe = models[-1].recipe_for(0.5, 7, 40)
    assert (recipe.seed, recipe.schedule.rate, recipe.schedule.steps) == (7, 0.5, 40)
    # The warm-up keeps its share: 30 of 1000 steps.
    assert recipe.schedule.warmup == 1


@pytest.mark.parametrize("best", [0.01, 0.09, 0.81, 0.00012, 1e-5, 50.0])
def test_rates_are_tried_until_the_best_lies_inside(best):
    """Of a valley of nats: the rates are a factor of three apart, wherever the minimum is."""
    plan = plan_of(seeds=2, depths=(1, 2))

    def nats(job):
        return abs(job.rate / best - best / job.rate)

    models, all_jobs, done = run_with(plan, nats)
    bigram = [job for job in all_jobs if job.model is models[0]]
    tried, runs = [job for job in bigram if job.search], [job for job in bigram if not job.search]
    assert {job.seed for job in tried} == {0}
    assert [job.seed for job in runs] == [0, 1]
    rate, edge = best_rate(plan, models[0], done)
    assert rate == min(tried, key=nats).rate == runs[0].rate == runs[1].rate
    assert len(tried) <= 7
    assert [job.extra for job in tried] == [False] * 3 + [True] * (len(tried) - 3)
    # A search that may not go on says so; every other has a worse rate on either side.
    assert edge == (rate in (min(job.rate for job in tried), max(job.rate for job in tried)))
    assert not edge or len(tried) == 7
    assert edge == (best in (1e-5, 50.0))


def test_a_deeper_one_is_tried_around_the_best_rate_of_the_one_below():
    plan = plan_of(depths=(2, 4, 8))
    models, all_jobs, done = run_with(plan, lambda job: abs(job.rate - 0.0271))
    stack = {model.name: model for model in models}
    assert best_rate(plan, stack["lm-blocks-2"], done)[0] == 0.027
    for name in ("lm-blocks-4", "lm-blocks-8"):
        tried = [job.rate for job in all_jobs if job.search and job.model is stack[name]]
        assert tried == [0.009, 0.027, 0.081]


def test_rates_that_are_given_are_those_and_one_is_taken_untried():
    one = plan_of(rates=(0.02,), depths=(1,), seeds=1)
    models, all_jobs, done = run_with(one, lambda job: 1.0)
    assert not any(job.search for job in all_jobs)
    assert {job.rate for job in all_jobs if job.model} == {0.02}
    assert best_rate(one, models[0], done) == (0.02, False)
    two = plan_of(rates=(0.01, 0.02), depths=(1,), seeds=1)
    models, all_jobs, done = run_with(two, lambda job: job.rate)
    tried = [job.rate for job in all_jobs if job.search and job.model is models[0]]
    assert tried == [0.01, 0.02, 0.005, 0.0025, 0.00125, 0.000625]


def test_a_rate_that_diverges_is_worse_than_any_other_and_none_is_an_error():
    plan = plan_of(depths=(1,), seeds=1)
    models, _, done = run_with(plan, lambda job: None if job.rate > 0.002 else 5.0)
    assert best_rate(plan, models[0], done)[0] < 0.002
    with pytest.raises(Diverged, match=r"lm-bigram diverged at every rate from 4\.09e-05 to 0\.03"):
        run_with(plan, lambda job: None)


def test_with_all_results_known_the_jobs_are_the_same():
    plan = plan_of(depths=(1, 2))
    models, all_jobs, done = run_with(plan, lambda job: job.rate + job.seed)
    assert list(iter_jobs(plan, models, done)) == all_jobs
    assert len({job.name for job in all_jobs}) == len(all_jobs)
    assert list(iter_jobs(replace(plan, steps=60), models, done)) != all_jobs
