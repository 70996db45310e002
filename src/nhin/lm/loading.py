"""What a run left: a model or counts, the tokenizer and the recipe, ready to be used."""

from dataclasses import dataclass
from pathlib import Path

import torch

from nhin.config import from_dict
from nhin.errors import CheckpointError, NhinError, UsageError
from nhin.lm.ngram import NGram
from nhin.lm.recipe import LMRecipe
from nhin.models.build import build_lm
from nhin.models.gpt import GPT
from nhin.text.tokenizers import Tokenizer, tokenizer_from_dict
from nhin.training import checkpoint as checkpoints

__all__ = ["LMRun", "NGramRun", "load_weights", "open_any_run", "open_run"]


@dataclass(frozen=True, slots=True)
class LMRun:
    """A trained language model with all that belongs to it."""

    model: GPT
    tokenizer: Tokenizer
    recipe: LMRecipe
    step: int


@dataclass(frozen=True, slots=True)
class NGramRun:
    """Counted n-grams with all that belongs to them."""

    model: NGram
    tokenizer: Tokenizer
    recipe: LMRecipe
    step: int


def open_run(path: Path) -> LMRun:
    """Load the network of a run's folder, or of a checkpoint's.

    Raises:
        CheckpointError: There is none, or it is torn, foreign or not finite.
        UsageError: It is a run that counted n-grams.
    """
    run = open_any_run(path)
    if isinstance(run, NGramRun):
        raise UsageError(f"{path} holds counted n-grams, and this needs a network; nhin train makes one")
    return run


def open_any_run(path: Path) -> LMRun | NGramRun:
    """Load what a run's folder or a checkpoint's holds, be it a network or n-grams.

    Raises:
        CheckpointError: There is nothing, or it is torn, foreign or not finite.
    """
    place = path / "checkpoint" if checkpoints.exists(path / "checkpoint") else path
    held = checkpoints.load(place)
    try:
        recipe = from_dict(LMRecipe, held.values["recipe"], str(place))
        tokenizer = tokenizer_from_dict(held.values["tokenizer"])
        step = int(held.values["trainer"]["step"])
        weights = dict(held.tensors.get("ema") or held.tensors["model"])
    except (KeyError, TypeError, ValueError) as why:
        if isinstance(why, NhinError) and not isinstance(why, KeyError):
            raise
        raise CheckpointError(f"{place} is not a language model: {why}") from why
    if recipe.ngram:
        tables = {name: tensor.numpy() for name, tensor in weights.items()}
        return NGramRun(NGram.from_tensors(tokenizer.vocab, tables, str(place)), tokenizer, recipe, step)
    # Its shapes first: a recipe from a stranger may ask for more memory than there is.
    with torch.device("meta"):
        check_weights(build_lm(tokenizer.vocab, recipe.model), weights, str(place))
    model = build_lm(tokenizer.vocab, recipe.model)
    model.load_state_dict(weights)
    return LMRun(model.eval(), tokenizer, recipe, step)


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    """Put weights into a model, or say what is wrong with them; see ``check_weights``."""
    check_weights(model, weights, where)
    model.load_state_dict(weights)


def check_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    """Say which weight is missing, foreign, of another shape than a model's, or not finite.

    Raises:
        CheckpointError: They do not fit.
    """
    wanted = model.state_dict()
    for name, tensor in wanted.items():
        if name not in weights:
            raise CheckpointError(f"{where} lacks the tensor {name}")
        if weights[name].shape != tensor.shape:
            raise CheckpointError(
                f"{where}: {name} has shape {tuple(weights[name].shape)}; "
                f"the recipe wants {tuple(tensor.shape)}"
            )
    for name, tensor in weights.items():
        if name not in wanted:
            raise CheckpointError(f"{where} has a tensor {name}, which the recipe does not")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{where}: {name} holds NaN or infinity; resume from an earlier checkpoint")
