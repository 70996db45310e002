"""One run of a ladder: an ordinary run folder with a ``result.json``."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nhin.errors import CheckpointError, Diverged
from nhin.lm.evaluate import evaluate
from nhin.lm.loading import LMRun, NGramRun, open_any_run
from nhin.lm.recipe import LMRecipe
from nhin.lm.task import LanguageModelTask, LMBatch
from nhin.lm.train_ngram import max_countable_tokens, train_ngram
from nhin.studies.files import load_dataclass, save_dataclass
from nhin.studies.ladder.dataset import LadderData, Prefix
from nhin.studies.ladder.jobs import LadderJob
from nhin.training.distributed import ProcessGroup
from nhin.training.logger import Log
from nhin.training.train_state import TrainState
from nhin.training.trainer import Trainer

_NAME = "result.json"


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    Args:
        finished: Trained to the end and evaluated; False if it was stopped.
        parameters: Weights, or n-grams counted.
        nats: Per token; None where training diverged.
        tokens: Tokens it was evaluated on.
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
    """Language model training that counts CPU-seconds, also across stops, and never validates."""

    @contextmanager
    def open_batches(self, state: TrainState, group: ProcessGroup) -> Iterator[Iterator[LMBatch]]:
        """Give the batches; the CPU-seconds so far are noted before each, and so are saved with it."""
        before, begin = state.notes.get("cpu_seconds", 0.0), time.process_time()

        def note_cost(batches: Iterator[LMBatch]) -> Iterator[LMBatch]:
            for batch in batches:
                state.notes["cpu_seconds"] = before + time.process_time() - begin
                yield batch

        with super().open_batches(state, group) as batches:
            yield note_cost(batches)
            state.notes["cpu_seconds"] = before + time.process_time() - begin

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Go on without validating."""
        return True


def run_job(job: LadderJob, data: LadderData) -> RunResult:
    """Do a run, or the rest of it; one that is finished is not repeated.

    Raises:
        CheckpointError: The disk is full, or a file is torn or of another ladder.
    """
    folder = data.out / job.name
    path = folder / _NAME
    before = load_dataclass(RunResult, path)
    if before is not None and before.finished:
        if before.nats is not None and before.steps != job.steps:
            raise CheckpointError(f"{path} is of another ladder; delete {folder}")
        return before
    begin = time.process_time() - (before.spent if before is not None else 0.0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise CheckpointError(f"cannot write in {folder}: {why.strerror or why}") from why
    result = _run_ngram(job, data, folder) if job.order else _train(job, data, folder, begin)
    result = replace(result, spent=time.process_time() - begin)
    save_dataclass(path, result)
    return result


def _run_ngram(job: LadderJob, data: LadderData, folder: Path) -> RunResult:
    """Count n-grams and evaluate them."""
    begin, recipe = time.process_time(), LMRecipe(ngram=job.order)
    train = Prefix(data.corpus.split("train"), max_countable_tokens(job.order))
    train_ngram(recipe, train, data.corpus.tokenizer, folder, resume=True, screen=io.StringIO())
    seconds = time.process_time() - begin
    run = open_any_run(folder)
    assert isinstance(run, NGramRun)
    cost = evaluate(run, data.eval_split).cost
    grams = sum(len(table.keys) for table in run.model.tables)
    return RunResult(True, 0, grams, cost.nats, cost.bits_per_byte, cost.tokens, seconds)


def _train(job: LadderJob, data: LadderData, folder: Path, begin: float) -> RunResult:
    """Train a network to the end, or until it is stopped, and evaluate it."""
    assert job.model is not None
    recipe = job.model.recipe_for(job.rate, job.seed, job.steps)
    trainer = Trainer(LadderTask(recipe, data.corpus), folder, io.StringIO())
    try:
        trainer.fit(resume=True)
    except Diverged:
        return _result_so_far(trainer.state, finished=True)
    state = trainer.state
    result = _result_so_far(state, finished=False)
    if state.step < job.steps:
        return result
    # Evaluation may be stopped too; its CPU time must not be counted as training then.
    save_dataclass(folder / _NAME, replace(result, spent=time.process_time() - begin))
    model = (state.model if state.ema is None else state.ema).eval()
    run = LMRun(model, data.corpus.tokenizer, recipe, job.steps)
    try:
        cost = evaluate(run, data.search_split if job.search else data.eval_split).cost
    except Diverged:
        return replace(result, finished=True)
    return replace(
        result, finished=True, nats=cost.nats, bits_per_byte=cost.bits_per_byte, tokens=cost.tokens
    )


def _result_so_far(state: TrainState, finished: bool) -> RunResult:
    """Return the result before evaluation."""
    parameters = sum(weight.numel() for weight in state.model.parameters())
    seconds = float(state.notes.get("cpu_seconds", 0.0))
    return RunResult(finished, state.step, parameters, cpu_seconds=seconds)
