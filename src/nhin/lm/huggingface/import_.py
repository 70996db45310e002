"""Import a folder in one of Hugging Face's formats as a run: weights checked, token ids in nhin's order."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from nhin.errors import CheckpointError, UnknownName, UsageError
from nhin.files import explain_os_error, write_atomic, write_folder
from nhin.lm.huggingface.config_json import ConfigReader, read_json
from nhin.lm.huggingface.export import FORMATS
from nhin.lm.huggingface.formats import COMMON_KEYS, HEAD, CheckpointFormat
from nhin.lm.huggingface.token_files import read_tokenizer
from nhin.lm.huggingface.weights import SafetensorsFolder
from nhin.lm.recipe import LMDataConfig, LMRecipe
from nhin.models.config import ModelConfig, resolve
from nhin.models.gpt import GPT
from nhin.text.tokenizers import Tokenizer
from nhin.training.checkpoint import Checkpoint, save
from nhin.training.lr_schedule import LRSchedule
from nhin.training.weights import check_weights

FINE_TUNING_RATE = 1e-4  # of a recipe that trains on; that of a new network would undo what was learned
_TOKEN_ROWS = ("embedding.weight", "head.weight")  # one row for each token


@dataclass(frozen=True, slots=True)
class HFImport:
    """What an import read.

    Args:
        format: Its name.
        config: The model's.
        tokenizer: Its tokenizer.
        weights: How many there are.
        unused_rows: Rows of the embedding beyond the tokenizer, which are left out.
    """

    format: str
    config: ModelConfig
    tokenizer: Tokenizer
    weights: int
    unused_rows: int = 0


def import_folder(folder: Path, out: Path) -> HFImport:
    """Make a run from a folder in one of Hugging Face's formats; nothing is downloaded, no code is run.

    Args:
        folder: Holds config.json, safetensors and tokenizer.json.
        out: The run's folder; new or empty.

    Raises:
        UsageError: nhin does not support the model, or the run's folder holds something else.
        CheckpointError: The folder is damaged, foreign or not finite, or the run cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already; name a new folder for the run")
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}")
    format, reader = _read_config(folder)
    config = resolve(format.from_hf_config(reader))
    tokenizer, ids = read_tokenizer(folder, reader)
    rows = reader.get_int("vocab_size", tokenizer.vocab)
    if rows < tokenizer.vocab:
        raise UsageError(f"{folder}: vocab_size is {rows}, but the tokenizer has {tokenizer.vocab} tokens")
    model = _load_model(folder, format, config, rows, ids)
    _save_run(out, model, tokenizer)
    weights = sum(w.numel() for w in model.parameters())
    return HFImport(format.name, model.config, tokenizer, weights, rows - tokenizer.vocab)


def _read_config(folder: Path) -> tuple[CheckpointFormat, ConfigReader]:
    where = str(folder / "config.json")
    tree = read_json(folder / "config.json")
    kind = str(tree.get("model_type"))[:80]
    if kind not in FORMATS:
        raise UnknownName("model_type", kind, FORMATS)
    reader = ConfigReader(tree, where)
    reader.check_keys(COMMON_KEYS | FORMATS[kind].keys)
    return FORMATS[kind], reader


def _load_model(
    folder: Path, format: CheckpointFormat, config: ModelConfig, rows: int, ids: Sequence[int]
) -> GPT:
    """Build a model from the weights in a folder; every shape is compared before anything is allocated.

    Args:
        folder: Holds the weights.
        format: Its format.
        config: The model's settings.
        rows: Rows of its embedding.
        ids: The rows to take, in the order of the tokenizer.
    """
    foreign = SafetensorsFolder(folder, _find_prefix(format), format.buffer_suffixes)
    if config.depth * len(format.block_weights(config)) > len(foreign):  # soon known, while building is slow
        raise CheckpointError(f"{folder} has {len(foreign)} tensors, too few for {config.depth} blocks")
    with torch.device("meta"):
        ours = GPT(rows, config).state_dict()
        shapes = {name: tuple(tensor.shape) for name, tensor in format.to_hf_weights(ours, config).items()}
    foreign.check_shapes(shapes, optional=(HEAD,) if config.tie_embeddings else ())
    weights = format.from_hf_weights(foreign, config)
    order = torch.tensor(ids)
    for name in _TOKEN_ROWS:
        if name in weights:
            weights[name] = weights[name][order]
    model = GPT(len(ids), config).eval()
    check_weights(model, weights, str(folder))
    model.load_state_dict(weights)
    return model


def _find_prefix(format: CheckpointFormat) -> str:
    """Return the prefix of all names but the head's, which checkpoints of the bare model lack."""
    return next(iter(format.weights.values())).partition(".")[0] + "."


def _save_run(out: Path, model: GPT, tokenizer: Tokenizer) -> None:
    """Write a run of 0 steps; the folder appears whole or not at all."""
    recipe = asdict(
        LMRecipe(
            model=model.config,
            data=LMDataConfig(tokenizer=tokenizer.name),
            schedule=LRSchedule(rate=FINE_TUNING_RATE),
        )
    )
    values = {"recipe": recipe, "tokenizer": tokenizer.to_dict(), "trainer": {"step": 0}}
    weights: dict[str, Tensor] = model.state_dict()
    with explain_os_error(f"write {out}"), write_folder(out) as new:
        save(new / "checkpoint", Checkpoint({"model": weights}, values))
        write_atomic(new / "recipe.json", json.dumps(recipe, ensure_ascii=False, indent=1))
