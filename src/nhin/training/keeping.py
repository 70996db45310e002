"""What a checkpoint of a run holds, and how a run takes it up again."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.tensor import DTensor

from nhin.config import to_dict
from nhin.errors import CheckpointError
from nhin.training.checkpoint import (
    Checkpoint,
    pack_optimizer,
    pack_random,
    unpack_optimizer,
    unpack_random,
)
from nhin.training.sharding import placed, rows

if TYPE_CHECKING:
    from nhin.training.course import Progress

_LINE = 160


def sharded(progress: "Progress") -> bool:
    """Say whether processes hold parts of the weights."""
    return any(isinstance(p, DTensor) for p in progress.model.parameters())


def pack(recipe: Any, progress: "Progress", files: Mapping[str, Any], rank: int = 0) -> Checkpoint:
    """Put everything a resume needs into a checkpoint; of sharded weights, what ``rank`` holds."""
    moments, groups = pack_optimizer(progress.optimizer)
    tensors = {"model": rows(progress.model.state_dict(), rank), "optimizer": rows(moments, rank)}
    if progress.average is not None:
        tensors["ema"] = progress.average.model.state_dict()
    trainer = {
        "step": progress.step,
        "position": asdict(progress.position),
        "groups": groups,
        "random": pack_random(),
        "notes": progress.notes,
        "versions": {"nhin": _version("nhin"), "torch": torch.__version__},
    }
    return Checkpoint(tensors, {"recipe": to_dict(recipe), **files, "trainer": trainer})


def unpack(progress: "Progress", held: Checkpoint, files: Mapping[str, Any], where: str) -> None:
    """Put a saved state back.

    Raises:
        CheckpointError: It is of another model, charset or tokenizer.
    """
    try:
        trainer = held.values["trainer"]
        for name, wanted in files.items():
            if held.values[name] != wanted:
                raise CheckpointError(f"{where} was trained with another {name}")
        wanted = progress.model.state_dict()
        whole = held.tensors["model"]
        progress.model.load_state_dict({n: placed(x, wanted.get(n, x)) for n, x in whole.items()})
        if progress.average is not None:
            progress.average.model.load_state_dict(dict(held.tensors["ema"]))
        unpack_optimizer(progress.optimizer, held.tensors["optimizer"], trainer["groups"])
        progress.step = int(trainer["step"])
        progress.position = type(progress.position)(**trainer["position"])
        progress.notes = dict(trainer.get("notes", {}))
        unpack_random(trainer["random"])
    except (KeyError, RuntimeError, TypeError) as why:
        raise CheckpointError(f"{where} does not fit the recipe: {brief(why)}") from why


def brief(why: Exception) -> str:
    """Return what an error says in one line; torch lists every weight that does not fit."""
    words = " ".join(str(why).split())
    return words if len(words) <= _LINE else words[:_LINE] + " ..."


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "source"
