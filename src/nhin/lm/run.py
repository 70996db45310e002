"""What a run left: a model, its tokenizer and its recipe, ready to be used."""

from dataclasses import dataclass
from pathlib import Path

import torch

from nhin.config import build
from nhin.errors import CheckpointError, NhinError
from nhin.lm.recipe import Recipe
from nhin.models.build import build_lm
from nhin.models.gpt import GPT
from nhin.text.tokenizers import Tokenizer, tokenizer_of
from nhin.training import checkpoint as checkpoints


@dataclass(frozen=True, slots=True)
class Run:
    """A trained language model with all that belongs to it."""

    model: GPT
    tokenizer: Tokenizer
    recipe: Recipe
    step: int


def is_run(path: Path) -> bool:
    """Say whether there is a language model in a run's folder, or in a checkpoint's."""
    return any((place / "tokenizer.json").is_file() for place in (path / "checkpoint", path))


def open_run(path: Path) -> Run:
    """Load the model of a run's folder, or of a checkpoint's.

    Raises:
        CheckpointError: There is none, or it is torn, foreign or not finite.
    """
    place = path / "checkpoint" if checkpoints.exists(path / "checkpoint") else path
    held = checkpoints.load(place)
    try:
        recipe = build(Recipe, held.values["recipe"], str(place))
        tokenizer = tokenizer_of(held.values["tokenizer"])
        step = int(held.values["trainer"]["step"])
        weights = dict(held.tensors.get("ema") or held.tensors["model"])
    except (KeyError, TypeError, ValueError) as why:
        if isinstance(why, NhinError) and not isinstance(why, KeyError):
            raise
        raise CheckpointError(f"{place} is not a language model: {why}") from why
    model = build_lm(tokenizer.vocab, recipe.model)
    load_weights(model, weights, str(place))
    return Run(model.eval(), tokenizer, recipe, step)


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    """Put weights into a model, or say which is missing, foreign, of another shape or not finite.

    Raises:
        CheckpointError: They do not fit; the model is as it was.
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
    model.load_state_dict(weights)
