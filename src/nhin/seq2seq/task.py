"""Train an encoder-decoder model from a recipe."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from nhin.data.pairs.batches import PairPosition, encode_rows
from nhin.data.pairs.marks import MarkPairs, to_pair
from nhin.data.pairs.pair import Pair, PairSource
from nhin.errors import UsageError
from nhin.models.memory import check_training_memory, measure_model
from nhin.models.seq2seq.network import Seq2Seq
from nhin.seq2seq.recipe import SEQ2SEQ_RULES, Seq2SeqRecipe, make_stream, make_tables, open_pairs
from nhin.seq2seq.scoring import score_pairs
from nhin.text.charset import PAD
from nhin.training.distributed import ProcessGroup
from nhin.training.ema import init_ema
from nhin.training.logger import Log
from nhin.training.optimizers import build_adamw
from nhin.training.precision import resolve_device
from nhin.training.train_state import TrainState
from nhin.training.trainer import Task, Trainer


@dataclass(frozen=True, slots=True)
class PairBatch:
    """A training batch: rows of this process; ``total`` target tokens and ``samples`` pairs of all processes.

    ``total`` is divided by the number of processes, whose gradients are averaged.
    """

    source: Int[Tensor, "B S"]
    target: Int[Tensor, "B T"]
    total: float
    after: PairPosition
    samples: int


class Seq2SeqTask(Task):
    """Trains an encoder-decoder model on pairs.

    Args:
        recipe: The settings.

    Raises:
        UsageError: Settings of the recipe contradict each other.
        DataError: A text cannot be read.
    """

    recipe: Seq2SeqRecipe
    unit = "pairs"
    rules = SEQ2SEQ_RULES

    def __init__(self, recipe: Seq2SeqRecipe) -> None:
        recipe.model.check()
        self.recipe, self.source = recipe, open_pairs(recipe.data)
        self.tables = make_tables(self.source)
        vocab = {"source": list(self.tables[0].tokens), "target": list(self.tables[1].tokens)}
        self.files: Mapping[str, Any] = {"vocab": vocab | {"separator": self.source.separator}}
        self.device = resolve_device(recipe.training.device)

    def hash_data(self) -> Mapping[str, str]:
        """Return the hash of the text; pairs made by rules follow from the recipe."""
        return {"text": self.source.fingerprint} if isinstance(self.source, MarkPairs) else {}

    def init_state(self, group: ProcessGroup) -> TrainState:
        """Build a network, its EMA if there is one, and its optimizer."""
        recipe = self.recipe
        if recipe.data.batch % group.world:
            raise UsageError(f"batch is {recipe.data.batch}, which {group.world} processes do not divide")
        rows = recipe.data.batch * recipe.data.max_length // group.world
        check_training_memory(measure_model(self.build_model), rows * len(self.tables[1]))
        model = self.build_model().to(self.device)
        ema = init_ema(model) if recipe.training.ema_decay else None
        optimizer = build_adamw(model, recipe.schedule.rate, recipe.training.weight_decay)
        return TrainState(model, ema, optimizer, PairPosition())

    def build_model(self) -> Seq2Seq:
        """Build the network with random weights."""
        return Seq2Seq(len(self.tables[0]), len(self.tables[1]), self.recipe.model)

    @contextmanager
    def open_batches(self, state: TrainState, group: ProcessGroup) -> Iterator[Iterator[PairBatch]]:
        """Yield an iterator over this process's rows of every batch, from the state's position on."""
        stream = make_stream(self.recipe, self.source)

        def read() -> Iterator[PairBatch]:
            for pairs, after in stream.iter_batches(state.position):
                yield self._to_batch(pairs, after, group)

        yield read()

    def loss(self, model: nn.Module, batch: PairBatch) -> Mapping[str, Tensor]:
        """Return the mean nats of a target token."""
        assert isinstance(model, Seq2Seq)
        return {"loss": model.loss(batch.source, batch.target, batch.total)}

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Score the model on pairs that are not trained on, and log the scores."""
        if log is None:
            return True
        model = state.model if state.ema is None else state.ema
        pairs = draw_held_out(self.source, self.recipe, self.recipe.training.validate_pairs)
        if not pairs:
            return True
        scores = score_pairs(model, self.tables, pairs)
        aligned = {"aligned": round(scores.alignment_accuracy, 5)} if scores.origins else {}
        figures = {"exact": round(scores.accuracy, 5), "tokens": round(scores.token_accuracy, 5)}
        log.event("validation", state.step, **figures, **aligned, pairs=scores.pairs)
        words = f"exact {scores.accuracy:.2%}  tokens {scores.token_accuracy:.2%}"
        words += f"  aligned {scores.alignment_accuracy:.2%}" if aligned else ""
        log.say(f"validation  {words}  of {scores.pairs} pairs")
        return True

    def _to_batch(self, pairs: Sequence[Pair], after: PairPosition, group: ProcessGroup) -> PairBatch:
        total = sum(len(pair.target) + 1 for pair in pairs) / group.world
        own = pairs[group.rank :: group.world]
        source = torch.from_numpy(encode_rows(self.tables[0], [pair.source for pair in own]))
        target = torch.from_numpy(encode_rows(self.tables[1], [pair.target for pair in own], ends=True))
        assert bool((source[:, 0] != PAD).all()), "a source without tokens"
        return PairBatch(source.to(self.device), target.to(self.device), total, after, len(pairs))


def draw_held_out(
    source: PairSource, recipe: Seq2SeqRecipe, count: int, length: int | None = None
) -> list[Pair]:
    """Draw pairs that are not trained on: the held-out sentences of a text, or others of the same rules.

    Args:
        source: Draws them.
        recipe: The recipe of the run.
        count: How many, at most.
        length: Of every source; as in training when None.
    """
    if isinstance(source, MarkPairs):
        step = max(1, -(-len(source.held_out) // count))
        return [to_pair(sentence) for sentence in source.held_out[::step]]
    draw = Random(f"{recipe.seed}/held out/{length}")
    low, high = (recipe.data.min_length, recipe.data.max_length) if length is None else (length, length)
    return [source.draw(draw, draw.randint(low, high)) for _ in range(count)]


def train_seq2seq(
    recipe: Seq2SeqRecipe, out: Path | str, resume: bool = False, other_data: bool = False
) -> Path:
    """Train an encoder-decoder model into a run folder; see ``Trainer.fit``."""
    return Trainer(Seq2SeqTask(recipe), out).fit(resume, other_data)
