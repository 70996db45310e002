"""The settings of the study, and the models that it compares."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from nhin.errors import UnknownName, UsageError
from nhin.models.seq2seq.config import Seq2SeqConfig
from nhin.ranges import SEED, Length, Range
from nhin.seq2seq.recipe import PairDataConfig, Seq2SeqRecipe, Seq2SeqTrainConfig
from nhin.training.lr_schedule import LRSchedule

MODELS: dict[str, dict[str, Any]] = {
    "fixed": {"decoder": "fixed"},
    "bahdanau": {"decoder": "bahdanau"},
    "dot": {"decoder": "luong", "score": "dot"},
    "general": {"decoder": "luong"},
    "concat": {"decoder": "luong", "score": "concat"},
    "location": {"decoder": "luong", "score": "location"},
    "feeding": {"decoder": "luong", "input_feeding": True},
    "local-m": {"decoder": "luong", "alignment": "local-m", "reach": 3},
    "local-p": {"decoder": "luong", "alignment": "local-p", "reach": 3},
    "transformer": {"decoder": "transformer"},
}
_LONGEST = 36


@dataclass(frozen=True, slots=True)
class Seq2SeqStudy:
    """The settings of the study.

    Every one of ``models`` is trained ``seeds`` times for ``steps`` steps of ``batch`` pairs of a ``task``
    whose sources have 1 to ``length`` digits or letters, then scored on ``pairs`` pairs of each length up to
    twice that.
    """

    task: Literal["numbers", "number-words", "reverse", "copy"] = "reverse"
    models: Annotated[tuple[str, ...], Length(1, 32)] = tuple(MODELS)
    seeds: Annotated[int, Range(1, 100)] = 3
    seed: Annotated[int, SEED] = 0
    steps: Annotated[int, Range(1, 10**7)] = 2000
    batch: Annotated[int, Range(1, 2**16)] = 64
    dim: Annotated[int, Range(4, 2**13)] = 64
    length: Annotated[int, Range(1, _LONGEST // 2)] = 9
    rate: Annotated[float, Range(above=0, maximum=1)] = 3e-3
    pairs: Annotated[int, Range(1, 10**6)] = 200

    def check(self) -> None:
        """Refuse unknown models.

        Raises:
            UnknownName: A model is unknown.
            UsageError: One is named twice.
        """
        for name in self.models:
            if name not in MODELS:
                raise UnknownName("model of the study", name, MODELS)
        if len(set(self.models)) < len(self.models):
            raise UsageError("a model is named twice; name each once")

    def recipe(self, model: str, seed: int) -> Seq2SeqRecipe:
        """Return the recipe of one run."""
        return Seq2SeqRecipe(
            seed=seed,
            schedule=LRSchedule(rate=self.rate, steps=self.steps, warmup=min(100, self.steps // 10)),
            model=Seq2SeqConfig(dim=self.dim, **MODELS[model]),
            data=PairDataConfig(task=self.task, max_length=self.length, batch=self.batch),
            training=Seq2SeqTrainConfig(validate_steps=0, validate_pairs=1, log_seconds=60.0),
        )
