"""CPU time per step of every model, measured in rounds of one step each: a slow minute slows all alike."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from nhin.lm.evaluate import evaluate
from nhin.lm.loading import LMRun
from nhin.lm.ngram import count_ngrams
from nhin.lm.task import LanguageModelTask
from nhin.studies.ladder.dataset import LadderData, Prefix
from nhin.studies.ladder.models import LadderModel
from nhin.training.distributed import ProcessGroup
from nhin.training.lr_schedule import LRSchedule
from nhin.training.trainer import Trainer

_WARMUP, _MIN_ROUNDS, _MAX_ROUNDS = 2, 5, 100
_EVAL_TOKENS, _NGRAM_TOKENS = 2**12, 2**16
_SORT_GROWTH = 1.5  # sorting more takes longer than in proportion


@dataclass(frozen=True, slots=True)
class TimedModel:
    """The CPU-seconds of a model's steps, one per round."""

    rung: str
    seconds: tuple[float, ...]

    @property
    def step(self) -> float:
        """CPU-seconds of a step: the median."""
        return statistics.median(self.seconds)


def time_steps(models: Sequence[LadderModel], data: LadderData, max_seconds: float) -> list[TimedModel]:
    """Time steps of all models in turn, on networks that are thrown away; end after about ``max_seconds``."""
    begin = time.process_time()
    with ExitStack() as stack:
        runs = [stack.enter_context(_start_steps(model, data)) for model in models]
        rounds: list[list[float]] = []
        while len(rounds) < _WARMUP + _MAX_ROUNDS:
            if len(rounds) >= _WARMUP + _MIN_ROUNDS and time.process_time() - begin > max_seconds:
                break
            # Forward and backward in turn, so that no model always follows the same other one.
            order = range(len(runs)) if len(rounds) % 2 else reversed(range(len(runs)))
            seconds = [0.0] * len(runs)
            for number in order:
                start = time.process_time()
                next(runs[number])
                seconds[number] = time.process_time() - start
            rounds.append(seconds)
    columns = zip(*rounds[_WARMUP:], strict=True)
    return [TimedModel(model.name, tuple(column)) for model, column in zip(models, columns, strict=True)]


@contextmanager
def _start_steps(model: LadderModel, data: LadderData) -> Iterator[Iterator[object]]:
    """Give the steps of a new network."""
    recipe = replace(model.recipe, seed=0, schedule=LRSchedule(model.rate, _MAX_ROUNDS, 0))
    trainer = Trainer(LanguageModelTask(recipe, data.corpus))
    with trainer.task.open_batches(trainer.start(), ProcessGroup()) as batches:
        yield map(trainer.step, batches)


def time_model(model: LadderModel, data: LadderData) -> float:
    """Estimate the CPU-seconds per token of evaluating a model."""
    network = LanguageModelTask(model.recipe, data.corpus).init_state(ProcessGroup()).model.eval()
    run = LMRun(network, data.corpus.tokenizer, model.recipe, 0)
    tokens = Prefix(data.eval_split, _EVAL_TOKENS)
    evaluate(run, tokens)  # the first time costs more than any other
    begin = time.process_time()
    evaluate(run, tokens)
    return (time.process_time() - begin) / len(tokens)


def time_ngram(orders: Sequence[int], data: LadderData) -> float:
    """Estimate the CPU-seconds of the n-grams of some orders from a part of the text."""
    train = data.corpus.split("train")
    tokens = min(len(train), _NGRAM_TOKENS)
    begin = time.process_time()
    count_ngrams(train.read(0, tokens), data.corpus.tokenizer.vocab, max(orders))
    per_token = (time.process_time() - begin) / max(orders) / tokens
    return _SORT_GROWTH * per_token * sum(orders) * (len(train) + len(data.eval_split))
