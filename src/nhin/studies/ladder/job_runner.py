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
from nhin.lm.train import Ready, Writing
from nhin.lm.train_ngram import max_countable_tokens, train_ngram
from nhin.studies.files import load_dataclass, save_dataclass
from nhin.studies.ladder.dataset import LadderData, Prefix
from nhin.studies.ladder.jobs import LadderJob
from nhin.training.course import Progress, follow
from nhin.training.log import Log
from nhin.training.together import Together

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


class LadderTask(Writing):
    """Language model training that counts CPU-seconds, also across stops, and never validates."""

    progress: Progress

    def begin(self, team: Together) -> Progress:
        """Build the model, and keep it for the evaluation after training."""
        self.progress = super().begin(team)
        return self.progress

    @contextmanager
    def batches(self, progress: Progress, team: Together) -> Iterator[Iterator[Ready]]:
        """Give the batches; the CPU-seconds so far are noted before each, and so are saved with it."""
        before, begin = progress.notes.get("cpu_seconds", 0.0), time.process_time()

        def timed(batches: Iterator[Ready]) -> Iterator[Ready]:
            for batch in batches:
                progress.notes["cpu_seconds"] = before + time.process_time() - begin
                yield batch

        with super().batches(progress, team) as stream:
            yield timed(stream)
            progress.notes["cpu_seconds"] = before + time.process_time() - begin

    def validate(self, progress: Progress, log: Log | None, last: bool) -> bool:
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
    task = LadderTask(recipe, data.corpus)
    try:
        follow(task, folder, resume=True, screen=io.StringIO())
    except Diverged:
        return _result_so_far(task, finished=True)
    result = _result_so_far(task, finished=False)
    if task.progress.step < job.steps:
        return result
    # Evaluation may be stopped too; its CPU time must not be counted as training then.
    save_dataclass(folder / _NAME, replace(result, spent=time.process_time() - begin))
    average = task.progress.average
    model = (task.progress.model if average is None else average.model).eval()
    run = LMRun(model, data.corpus.tokenizer, recipe, job.steps)
    try:
        cost = evaluate(run, data.search_split if job.search else data.eval_split).cost
    except Diverged:
        return replace(result, finished=True)
    return replace(
        result, finished=True, nats=cost.nats, bits_per_byte=cost.bits_per_byte, tokens=cost.tokens
    )


def _result_so_far(task: LadderTask, finished: bool) -> RunResult:
    """Return the result before evaluation."""
    progress = task.progress
    parameters = sum(weight.numel() for weight in progress.model.parameters())
    seconds = float(progress.notes.get("cpu_seconds", 0.0))
    return RunResult(finished, progress.step, parameters, cpu_seconds=seconds)
