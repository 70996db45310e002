"""A folder in one of Hugging Face's layouts as a run: weights checked, tokens in our order."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nhin.errors import CheckpointError, UnknownName, UsageError
from nhin.lm.huggingface.config import Config, read_json
from nhin.lm.huggingface.exporting import LAYOUTS
from nhin.lm.huggingface.layout import Layout
from nhin.lm.huggingface.tokens import MOST_BYTES, of_library
from nhin.lm.huggingface.weights import Foreign
from nhin.lm.recipe import Data, Recipe
from nhin.lm.run import load_weights
from nhin.models.design import Design, settled
from nhin.models.gpt import GPT
from nhin.text.tokenizers import Tokenizer
from nhin.training.checkpoint import Checkpoint, save
from nhin.training.whole import write

_ROWS = ("embedding.weight", "head.weight")  # one for each token


@dataclass(frozen=True, slots=True)
class Imported:
    """What was read: the layout, the design it describes, the tokenizer, and how many weights."""

    layout: str
    design: Design
    tokenizer: Tokenizer
    weights: int


def import_folder(folder: Path, out: Path) -> Imported:
    """Make a run of a folder in one of Hugging Face's layouts; nothing is fetched, and no code is run.

    Args:
        folder: Holds config.json, safetensors and tokenizer.json.
        out: The run's folder; new or empty.

    Raises:
        UsageError: It is of a kind that nhin does not have, or the run's folder holds something else.
        CheckpointError: It is torn, foreign or not finite, or there is no room.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already; name a new folder for the run")
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}")
    layout, told = _config(folder)
    design = settled(layout.design(told))
    tokenizer, ids = of_library(
        read_json(folder / "tokenizer.json", MOST_BYTES), str(folder / "tokenizer.json")
    )
    vocab = told.whole("vocab_size", tokenizer.vocab)
    if vocab != tokenizer.vocab:
        raise UsageError(f"{folder}: vocab_size is {vocab}, but the tokenizer has {tokenizer.vocab} tokens")
    model = _read(folder, layout, design, ids)
    _save(out, model, tokenizer)
    return Imported(layout.name, model.design, tokenizer, sum(w.numel() for w in model.parameters()))


def _config(folder: Path) -> tuple[Layout, Config]:
    where = str(folder / "config.json")
    tree = read_json(folder / "config.json")
    kind = str(tree.get("model_type"))[:80]
    if kind not in LAYOUTS:
        raise UnknownName("model_type", kind, LAYOUTS)
    told = Config(tree, where)
    told.refuse({"quantization_config": []})
    return LAYOUTS[kind], told


def _read(folder: Path, layout: Layout, design: Design, ids: list[int]) -> GPT:
    """Build a model of the weights in a folder; nothing is allocated before every shape has been compared."""
    with torch.device("meta"):
        ours = GPT(len(ids), design).state_dict()
        wanted = {name: tuple(one.shape) for name, one in layout.outward(ours, design).items()}
    foreign = Foreign(folder, _prefix(wanted), layout.tables)
    foreign.check(wanted, spare=("lm_head.weight",) if design.tied else ())
    weights = layout.inward(foreign, design)
    order = torch.tensor(ids)
    for name in _ROWS:
        if name in weights:
            weights[name] = weights[name][order]
    model = GPT(len(ids), design).eval()
    load_weights(model, weights, str(folder))
    return model


def _prefix(wanted: dict[str, Any]) -> str:
    """Return what all names but the head's begin with: checkpoints of the bare model lack it."""
    return next(iter(wanted)).partition(".")[0] + "."


def _save(out: Path, model: GPT, tokenizer: Tokenizer) -> None:
    """Write a run of no steps."""
    recipe = asdict(Recipe(model=model.design, data=Data(tokenizer=tokenizer.name)))
    values = {"recipe": recipe, "tokenizer": tokenizer.as_tree(), "trainer": {"step": 0}}
    weights: dict[str, Tensor] = model.state_dict()
    save(out / "checkpoint", Checkpoint({"model": weights}, values))
    write(out / "recipe.json", json.dumps(recipe, ensure_ascii=False, indent=1).encode())
