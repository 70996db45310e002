"""What steps cost: all rungs take one step each, round after round, so that a slow minute slows all alike."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from nhin.lm.evaluate import evaluate
from nhin.lm.ladder.ground import Beginning, Ground
from nhin.lm.ladder.rungs import Rung
from nhin.lm.loading import LMRun
from nhin.lm.ngram import count_ngrams
from nhin.lm.task import LanguageModelTask
from nhin.training.distributed import ProcessGroup
from nhin.training.lr_schedule import LRSchedule
from nhin.training.trainer import Trainer

_WARM, _LEAST, _MOST = 2, 5, 100
_READ, _COUNTED = 2**12, 2**16
_GROWTH = 1.5  # sorting more takes longer than in proportion


@dataclass(frozen=True, slots=True)
class Timed:
    """The CPU-seconds of a rung's steps, one of each round."""

    rung: str
    seconds: tuple[float, ...]

    @property
    def step(self) -> float:
        """What a step costs: the median."""
        return statistics.median(self.seconds)


def timed(rungs: Sequence[Rung], ground: Ground, most: float) -> list[Timed]:
    """Time steps of all rungs in turn, on models that are thrown away.

    Args:
        rungs: All are in memory together.
        ground: What is read.
        most: CPU-seconds after which no round is begun, if there were a few.
    """
    begin = time.process_time()
    with ExitStack() as stack:
        walks = [stack.enter_context(_walking(rung, ground)) for rung in rungs]
        rounds: list[list[float]] = []
        while len(rounds) < _WARM + _MOST:
            if len(rounds) >= _WARM + _LEAST and time.process_time() - begin > most:
                break
            # Forth and back, so that no rung always follows the same other one.
            order = range(len(walks)) if len(rounds) % 2 else reversed(range(len(walks)))
            costs = {number: _cost(walks[number]) for number in order}
            rounds.append([costs[number] for number in range(len(walks))])
    columns = zip(*rounds[_WARM:], strict=True)
    return [Timed(rung.name, tuple(column)) for rung, column in zip(rungs, columns, strict=True)]


@contextmanager
def _walking(rung: Rung, ground: Ground) -> Iterator[Iterator[object]]:
    """Yield the steps of a fresh model."""
    recipe = replace(rung.recipe, seed=0, schedule=LRSchedule(rung.rate, _MOST, 0))
    trainer = Trainer(LanguageModelTask(recipe, ground.corpus))
    with trainer.task.open_batches(trainer.start(), ProcessGroup()) as batches:
        yield map(trainer.step, batches)


def _cost(walk: Iterator[object]) -> float:
    begin = time.process_time()
    next(walk)
    return time.process_time() - begin


def reading(rung: Rung, ground: Ground) -> float:
    """Return about how many CPU-seconds a rung takes to read a token it is measured on."""
    model = LanguageModelTask(rung.recipe, ground.corpus).init_state(ProcessGroup()).model.eval()
    run, some = LMRun(model, ground.corpus.tokenizer, rung.recipe, 0), Beginning(ground.held, _READ)
    evaluate(run, some)  # the first time costs more than any other
    begin = time.process_time()
    evaluate(run, some)
    return (time.process_time() - begin) / len(some)


def counting(orders: Sequence[int], ground: Ground) -> float:
    """Return about how many CPU-seconds the n-grams of some orders take, measured on a part of the text."""
    train = ground.corpus.split("train")
    taken = min(len(train), _COUNTED)
    begin = time.process_time()
    count_ngrams(train.read(0, taken), ground.corpus.tokenizer.vocab, max(orders))
    cost = (time.process_time() - begin) / max(orders) / taken
    return _GROWTH * cost * sum(orders) * (len(train) + len(ground.held))
