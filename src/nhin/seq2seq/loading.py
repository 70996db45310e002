"""Open the run of an encoder-decoder model."""

from dataclasses import dataclass
from pathlib import Path

import torch

from nhin.config import from_dict
from nhin.data.pairs.batches import TokenTable
from nhin.data.pairs.marks import split_words
from nhin.data.pairs.rules import RULES
from nhin.errors import CheckpointError, NhinError
from nhin.models.memory import check_tables, measure_model
from nhin.models.seq2seq.network import Seq2Seq
from nhin.ranges import check_int
from nhin.seq2seq.recipe import MARKS, Seq2SeqRecipe
from nhin.seq2seq.torch_steps import TorchSteps
from nhin.training import checkpoint as checkpoints
from nhin.training.run_dir import find_checkpoint
from nhin.training.weights import check_weights


@dataclass(frozen=True, slots=True)
class Seq2SeqRun:
    """A trained network with its tables of tokens and its recipe."""

    model: Seq2Seq
    tables: tuple[TokenTable, TokenTable]
    separator: str
    recipe: Seq2SeqRecipe
    step: int

    @property
    def task(self) -> str:
        """The task of its recipe."""
        return self.recipe.data.task

    @property
    def steps(self) -> TorchSteps:
        """The network, a token a step."""
        return TorchSteps(self.model)

    def split(self, text: str) -> tuple[str, ...]:
        """Split a source text into tokens."""
        return split_words(text) if self.task == MARKS else RULES[self.task]().split(text)


def open_seq2seq_run(path: Path) -> Seq2SeqRun:
    """Load the network from the folder of a run or of a checkpoint.

    Raises:
        CheckpointError: There is none, or it is damaged, foreign or not finite.
    """
    folder = find_checkpoint(path)
    saved = checkpoints.load(folder)
    try:
        recipe = from_dict(Seq2SeqRecipe, saved.values["recipe"], str(folder))
        vocab = saved.values["vocab"]
        tables = TokenTable(tuple(vocab["source"])), TokenTable(tuple(vocab["target"]))
        separator = " " if vocab["separator"] else ""
        step = check_int("its step", saved.values["trainer"]["step"], 0, 10**15)
        weights = dict(saved.tensors.get("ema") or saved.tensors["model"])
    except (KeyError, TypeError, ValueError) as why:
        if isinstance(why, NhinError) and not isinstance(why, KeyError):
            raise
        raise CheckpointError(f"{folder} is not an encoder-decoder model: {why}") from why
    if recipe.model.depth > len(weights):
        raise CheckpointError(f"{folder} holds too few tensors for a model of depth {recipe.model.depth}")
    # Shapes first: a foreign recipe may need more memory than there is.
    with torch.device("meta"):
        shapes = Seq2Seq(len(tables[0]), len(tables[1]), recipe.model)
    check_weights(shapes, weights, str(folder))
    check_tables(measure_model(lambda: shapes), str(folder))
    model = Seq2Seq(len(tables[0]), len(tables[1]), recipe.model)
    model.load_state_dict(weights)
    return Seq2SeqRun(model.eval(), tables, separator, recipe, step)
