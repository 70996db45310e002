"""What all processes of a training must have in common, compared before the first step."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import distributed

from nhin.config import to_dict
from nhin.errors import CheckpointError, NhinError, UsageError
from nhin.training.checkpoint import Checkpoint
from nhin.training.distributed import ProcessGroup
from nhin.training.train_state import find_version

_DIGITS = 12


def check_same_settings(
    group: ProcessGroup, recipe: Any, files: Mapping[str, Any], dtype: torch.dtype
) -> None:
    """Compare the versions, the dtype to compute in, the recipe, and the files of a task by digest.

    Raises:
        UsageError: A process has others than the first; the message names them.
    """
    if group.world == 1:
        return
    facts: dict[str, object] = {"nhin": find_version("nhin"), "torch": torch.__version__}
    facts["the dtype of training.precision"] = str(dtype).removeprefix("torch.")
    facts |= {f"the digest of the {name}": compute_digest(value) for name, value in files.items()}
    check_same(group, UsageError, facts | list_settings(to_dict(recipe)))


def check_same_checkpoint(group: ProcessGroup, saved: Checkpoint | None) -> None:
    """Compare the checkpoints that the processes have loaded; None: there is none.

    Raises:
        CheckpointError: A process has another than the first; the message names what differs.
    """
    if group.world == 1:
        return
    facts: dict[str, object] = {"the checkpoint": "missing" if saved is None else "present"}
    if saved is not None:
        digest = hashlib.sha256()
        for file, tensors in sorted(saved.tensors.items()):
            for name, tensor in sorted(tensors.items()):
                digest.update(f"{file} {name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        trainer = saved.values.get("trainer")
        facts["the step of the checkpoint"] = trainer.get("step") if isinstance(trainer, Mapping) else None
        facts["the digest of the checkpoint"] = digest.hexdigest()[:_DIGITS]
    check_same(group, CheckpointError, facts)


def check_same(group: ProcessGroup, error: type[NhinError], facts: Mapping[str, object]) -> None:
    """Compare values, which JSON can hold, with those of the first process.

    Raises:
        NhinError: They differ; of the given type, in the process that differs, naming the first such value.
    """
    if group.world == 1:
        return
    text = bytearray(json.dumps(facts, default=str), "utf-8")
    size = torch.tensor(len(text))
    distributed.broadcast(size, 0)
    data = torch.frombuffer(text, dtype=torch.uint8)
    data = data if group.is_first else torch.zeros(int(size), dtype=torch.uint8)
    distributed.broadcast(data, 0)
    first, own = json.loads(bytes(data.tolist())), json.loads(text)
    for name in first | own:
        there, here = (json.dumps(values.get(name), ensure_ascii=False) for values in (first, own))
        if here != there:
            place = f"process {group.rank + 1} of {group.world}"
            raise error(f"{place} differs from the first: {name} is {here} here and {there} there")


def compute_digest(value: object) -> str:
    """Return a digest of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def list_settings(recipe: Mapping[str, Any]) -> dict[str, object]:
    """Return all settings of a recipe but the path of the data: each machine may have its own copy."""
    return {name: value for name, value in flatten(recipe).items() if name != "data.path"}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
