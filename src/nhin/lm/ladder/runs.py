"""One run of a climb: an ordinary run folder, and beside its checkpoint what came of it."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nhin.errors import CheckpointError, Diverged
from nhin.lm.evaluate import evaluate
from nhin.lm.ladder.files import keep, kept
from nhin.lm.ladder.ground import Beginning, Ground
from nhin.lm.ladder.jobs import Job
from nhin.lm.loading import LMRun, NGramRun, open_any_run
from nhin.lm.recipe import LMRecipe
from nhin.lm.task import LanguageModelTask, LMBatch
from nhin.lm.train_ngram import max_countable_tokens, train_ngram
from nhin.training.distributed import ProcessGroup
from nhin.training.logger import Log
from nhin.training.train_state import TrainState
from nhin.training.trainer import Trainer

RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run.

    Args:
        finished: It is over, and measured; else it was stopped.
        steps: Taken.
        parameters: Weights, or grams that were counted.
        nats: Per token; None where training diverged.
        bits_per_byte: The same in other words.
        tokens: That it was measured on.
        cpu_seconds: Of training alone.
        spent: CPU-seconds of everything, as the budget counts them.
    """

    finished: bool
    steps: int = 0
    parameters: int = 0
    nats: float | None = None
    bits_per_byte: float | None = None
    tokens: int = 0
    cpu_seconds: float = 0.0
    spent: float = 0.0


class LadderTask(LanguageModelTask):
    """Training that counts its CPU-seconds, across stops too, and leaves validation to the ladder."""

    @contextmanager
    def open_batches(self, state: TrainState, group: ProcessGroup) -> Iterator[Iterator[LMBatch]]:
        """Yield the batches; what was spent so far is noted before each, and so is saved with it."""
        before, begin = state.notes.get("cpu_seconds", 0.0), time.process_time()

        def note_cost(stream: Iterator[LMBatch]) -> Iterator[LMBatch]:
            for batch in stream:
                state.notes["cpu_seconds"] = before + time.process_time() - begin
                yield batch

        with super().open_batches(state, group) as stream:
            yield note_cost(stream)
            state.notes["cpu_seconds"] = before + time.process_time() - begin

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Measure nothing, and go on."""
        return True


def run(job: Job, ground: Ground) -> Result:
    """Do a run, or what is left of it; one that is finished is not repeated.

    Raises:
        CheckpointError: There is no room, or what is there is torn or of another climb.
    """
    place = ground.out / job.name
    before = kept(Result, place / RESULT)
    if before is not None and before.finished:
        if before.nats is not None and before.steps != job.steps:
            raise CheckpointError(f"{place / RESULT} is of another climb; delete {place}")
        return before
    begin = time.process_time() - (before.spent if before is not None else 0.0)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise CheckpointError(f"cannot write in {place}: {why.strerror or why}") from why
    result = _counted(job, ground, place) if job.order else _trained(job, ground, place, begin)
    result = replace(result, spent=time.process_time() - begin)
    keep(place / RESULT, result)
    return result


def _counted(job: Job, ground: Ground, place: Path) -> Result:
    """Count n-grams and measure them."""
    begin, recipe = time.process_time(), LMRecipe(ngram=job.order)
    train = Beginning(ground.corpus.split("train"), max_countable_tokens(job.order))
    train_ngram(recipe, train, ground.corpus.tokenizer, place, resume=True, screen=io.StringIO())
    seconds = time.process_time() - begin
    model = open_any_run(place)
    assert isinstance(model, NGramRun)
    cost = evaluate(model, ground.held).cost
    grams = sum(len(table.keys) for table in model.model.tables)
    return Result(True, 0, grams, cost.nats, cost.bits_per_byte, cost.tokens, seconds)


def _trained(job: Job, ground: Ground, place: Path, begin: float) -> Result:
    """Train a network to its end, or to where a person stops it, and measure it."""
    assert job.rung is not None
    recipe = job.rung.at(job.rate, job.seed, job.steps)
    trainer = Trainer(LadderTask(recipe, ground.corpus), place, io.StringIO())
    try:
        trainer.fit(resume=True)
    except Diverged:
        return _so_far(trainer.state, finished=True)
    state = trainer.state
    result = _so_far(state, finished=False)
    if state.step < job.steps:
        return result
    # Measuring may be stopped too, and must not be taken for training then.
    keep(place / RESULT, replace(result, spent=time.process_time() - begin))
    model = (state.model if state.ema is None else state.ema.model).eval()
    measured = LMRun(model, ground.corpus.tokenizer, recipe, job.steps)
    try:
        cost = evaluate(measured, ground.tuned if job.search else ground.held).cost
    except Diverged:
        return replace(result, finished=True)
    return replace(
        result, finished=True, nats=cost.nats, bits_per_byte=cost.bits_per_byte, tokens=cost.tokens
    )


def _so_far(state: TrainState, finished: bool) -> Result:
    """Return what is known before anything is measured."""
    weights = sum(weight.numel() for weight in state.model.parameters())
    spent = float(state.notes.get("cpu_seconds", 0.0))
    return Result(finished, state.step, weights, cpu_seconds=spent)
