"""Everything that changes during training, and how a checkpoint stores it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch.optim import Optimizer

from nhin.config import from_dict, to_dict
from nhin.errors import CheckpointError
from nhin.training.checkpoint import (
    Checkpoint,
    pack_optimizer,
    pack_random,
    unpack_optimizer,
    unpack_random,
)
from nhin.training.fsdp import local_rows, shard_like

_MESSAGE_LENGTH = 160


@dataclass(slots=True)
class TrainState:
    """Saved and restored as one, so that a resumed run equals one that was never stopped.

    ``ema`` is the model with averaged weights, if there is one. ``position`` is a frozen dataclass of
    numbers: the next batch of the stream. ``notes`` are JSON values that the task keeps.
    """

    model: Any
    ema: Any | None
    optimizer: Optimizer
    position: Any
    step: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    def to_checkpoint(self, recipe: Any, files: Mapping[str, Any], rank: int = 0) -> Checkpoint:
        """Return everything that a resume needs; of sharded weights, the rows of process ``rank``."""
        moments, groups = pack_optimizer(self.optimizer)
        packed = {"model": self.model.state_dict(), "optimizer": moments}
        tensors = {name: local_rows(values, rank) for name, values in packed.items()}
        if self.ema is not None:
            tensors["ema"] = self.ema.state_dict()
        trainer = {
            "step": self.step,
            "position": asdict(self.position),
            "groups": groups,
            "random": pack_random(),
            "notes": self.notes,
            "versions": {"nhin": find_version("nhin"), "torch": torch.__version__},
        }
        return Checkpoint(tensors, {"recipe": to_dict(recipe), **files, "trainer": trainer})

    def restore(self, saved: Checkpoint, where: str, *, restart_data: bool = False) -> None:
        """Load a saved state; the optimizer keeps its settings, which are the recipe's.

        An average of the weights that the checkpoint does not have begins at its weights.

        Args:
            saved: The checkpoint.
            where: Its name, for errors.
            restart_data: Keep the position in the data, which belong to another run.

        Raises:
            CheckpointError: It belongs to another model.
        """
        try:
            trainer = saved.values["trainer"]
            like = self.model.state_dict()
            weights = saved.tensors["model"]
            self.model.load_state_dict({n: shard_like(x, like.get(n, x)) for n, x in weights.items()})
            if self.ema is not None:
                self.ema.load_state_dict(dict(saved.tensors.get("ema", weights)))
            settings = pack_optimizer(self.optimizer)[1]
            if [group["params"] for group in settings] != [group["params"] for group in trainer["groups"]]:
                raise ValueError("its optimizer has other groups of parameters")
            # All but the learning rate, which every step sets.
            groups = [
                {**new, "params": old["params"], "lr": old["lr"]}
                for new, old in zip(settings, trainer["groups"], strict=True)
            ]
            unpack_optimizer(self.optimizer, saved.tensors["optimizer"], groups)
            self.step = int(trainer["step"])
            if not restart_data:
                self.position = from_dict(type(self.position), trainer["position"], f"{where}: position")
            self.notes = dict(trainer.get("notes", {}))
            unpack_random(trainer["random"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as why:
            raise CheckpointError(f"{where} does not fit the recipe: {shorten_message(why)}") from why


def shorten_message(why: Exception) -> str:
    """Return an error's message in one short line; torch lists every weight that does not fit."""
    words = " ".join(str(why).split())
    return words if len(words) <= _MESSAGE_LENGTH else words[:_MESSAGE_LENGTH] + " ..."


def find_version(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "source"
