"""Open the run of a language model: its network or n-grams, tokenizer and recipe."""

from dataclasses import dataclass
from pathlib import Path

import torch

from nhin.config import from_dict
from nhin.errors import CheckpointError, NhinError, UsageError
from nhin.lm.ngram import NGram
from nhin.lm.recipe import LMRecipe
from nhin.models.build import build_lm
from nhin.models.gpt import GPT
from nhin.models.memory import check_tables, measure_model
from nhin.ranges import check_int
from nhin.text.tokenizers import Tokenizer, tokenizer_from_dict
from nhin.training import checkpoint as checkpoints
from nhin.training.run_dir import find_checkpoint
from nhin.training.weights import check_weights


@dataclass(frozen=True, slots=True)
class LMRun:
    """A trained network with its tokenizer and recipe."""

    model: GPT
    tokenizer: Tokenizer
    recipe: LMRecipe
    step: int


@dataclass(frozen=True, slots=True)
class NGramRun:
    """Counted n-grams with their tokenizer and recipe."""

    model: NGram
    tokenizer: Tokenizer
    recipe: LMRecipe
    step: int


def open_run(path: Path) -> LMRun:
    """Load the network from the folder of a run or of a checkpoint.

    Raises:
        CheckpointError: There is none, or it is damaged, foreign or not finite.
        UsageError: It is a run of n-grams.
    """
    run = open_any_run(path)
    if isinstance(run, NGramRun):
        raise UsageError(f"{path} holds counted n-grams, and this needs a network; nhin train makes one")
    return run


def open_any_run(path: Path) -> LMRun | NGramRun:
    """Load a network or n-grams from the folder of a run or of a checkpoint.

    Raises:
        CheckpointError: There is none, or it is damaged, foreign or not finite.
    """
    folder = find_checkpoint(path)
    checkpoint = checkpoints.load(folder)
    try:
        recipe = from_dict(LMRecipe, checkpoint.values["recipe"], str(folder))
        tokenizer = tokenizer_from_dict(checkpoint.values["tokenizer"])
        step = check_int("its step", checkpoint.values["trainer"]["step"], 0, 10**15)
        weights = dict(checkpoint.tensors.get("ema") or checkpoint.tensors["model"])
    except (KeyError, TypeError, ValueError) as why:
        if isinstance(why, NhinError) and not isinstance(why, KeyError):
            raise
        raise CheckpointError(f"{folder} is not a language model: {why}") from why
    if recipe.ngram:
        tables = {name: tensor.numpy() for name, tensor in weights.items()}
        return NGramRun(NGram.from_tensors(tokenizer.vocab, tables, str(folder)), tokenizer, recipe, step)
    if recipe.model.depth > len(weights):
        raise CheckpointError(
            f"{folder} holds {len(weights)} tensors, too few for {recipe.model.depth} blocks of its recipe"
        )
    # Shapes first: a foreign recipe may need more memory than there is.
    with torch.device("meta"):
        shapes = build_lm(tokenizer.vocab, recipe.model)
    check_weights(shapes, weights, str(folder))
    check_tables(measure_model(lambda: shapes), str(folder))
    model = build_lm(tokenizer.vocab, recipe.model)
    model.load_state_dict(weights)
    return LMRun(model.eval(), tokenizer, recipe, step)


def load_init_weights(model: GPT, tokenizer: Tokenizer, path: Path) -> None:
    """Give a network the weights of a run, to train on from it.

    Args:
        model: Its settings may differ from the run's where no weight depends on them, such as dropout.
        tokenizer: That of the text to train on.
        path: The folder of the run.

    Raises:
        CheckpointError: There is no run, it is damaged, or its weights are of other shapes.
        UsageError: It has another tokenizer, or holds n-grams.
    """
    run = open_run(path)
    if run.tokenizer.fingerprint != tokenizer.fingerprint:
        raise UsageError(
            f"the text was prepared with {tokenizer.name}, which is not the tokenizer of {path}; "
            f"prepare it with --tokenizer run:{path}"
        )
    weights = run.model.state_dict()
    check_weights(model, weights, str(path))
    model.load_state_dict(weights)
