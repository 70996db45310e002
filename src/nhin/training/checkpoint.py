"""A checkpoint: a folder of safetensors and JSON, which ``files.write_folder`` replaces as a whole.

Loading one runs no code of it. Where weights are sharded each process writes its rows,
``model-00001-of-00002.safetensors``; ``load`` joins them for any number of processes.
"""

import json
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from nhin.errors import CheckpointError
from nhin.files import beside, find_folder, write_folder
from nhin.training.distributed import ProcessGroup
from nhin.training.fsdp import shard_like

Tensors = Mapping[str, Tensor]

FORMAT = 2
# Parts of the names of weights in format 1, and what they are called since.
_NEW_NAMES = {
    "feed": "mlp",
    "feed_norm": "mlp_norm",
    "widen": "up_proj",
    "narrow": "down_proj",
    "key_mixing": "key_projection",
    "value_mixing": "value_projection",
}
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
_MAX_PARTS = 4096


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The contents: tensors by file and name, JSON values by file; file names without suffix."""

    tensors: Mapping[str, Tensors]
    values: Mapping[str, Any]


def save(folder: Path, checkpoint: Checkpoint, group: ProcessGroup | None = None) -> None:
    """Write a checkpoint, in place of the one in ``folder``.

    Args:
        folder: Where to write it.
        checkpoint: What to write.
        group: The processes that hold shards of the tensors; all of them must call. None: no shards.

    Raises:
        CheckpointError: No room or no permission; the one in ``folder`` is intact.
    """
    group = group or ProcessGroup()
    suffix = f"-{group.rank + 1:05}-of-{group.world:05}" if group.world > 1 else ""
    try:
        with write_folder(folder) if group.is_first else nullcontext(beside(folder)[0]) as new:
            group.barrier()
            for name, tensors in checkpoint.tensors.items():
                # safetensors refuses tensors that share memory, as tied weights do; hence clone.
                clones = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
                save_file(clones, new / f"{name}{suffix}.safetensors")
            group.barrier()
            if group.is_first:
                for name, value in ({"format": FORMAT} | dict(checkpoint.values)).items():
                    text = json.dumps(value, ensure_ascii=False, indent=1)
                    (new / f"{name}.json").write_text(text, encoding="utf-8")
        group.barrier()
    except (OSError, SafetensorError) as why:
        reason = getattr(why, "strerror", None) or why
        kept = "; the one before it is intact" if exists(folder) else ""
        raise CheckpointError(f"cannot save a checkpoint in {folder.parent}: {reason}{kept}") from why


def exists(folder: Path) -> bool:
    """Return whether there is a checkpoint to load."""
    return find_folder(folder) is not None


def load(folder: Path) -> Checkpoint:
    """Read the checkpoint in ``folder``.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    path = find_folder(folder)
    if path is None:
        raise CheckpointError(f"there is no checkpoint in {folder}")
    try:
        tensors = _load_tensors(path)
        values = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in path.glob("*.json")}
    except (OSError, SafetensorError, ValueError, RuntimeError) as why:
        raise CheckpointError(f"the checkpoint {path} is torn: {why}") from why
    if not tensors:
        raise CheckpointError(f"{path} is not a checkpoint: it holds no safetensors")
    version = values.pop("format", 1)
    if version not in range(1, FORMAT + 1):
        raise CheckpointError(f"{path} has format {version!r}; this nhin reads format 1 to {FORMAT}")
    return Checkpoint(_rename_weights(tensors) if version == 1 else tensors, values)


def _rename_weights(tensors: Mapping[str, Tensors]) -> dict[str, Tensors]:
    """Give the weights of format 1 their present names."""
    return {
        file: {
            ".".join(_NEW_NAMES.get(part, part) for part in name.split(".")): x for name, x in entries.items()
        }
        for file, entries in tensors.items()
    }


def _load_tensors(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Read all tensors, and join the rows that several processes wrote."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        part = _PART.fullmatch(path.stem)
        files.setdefault(part[1] if part else path.stem, []).append(path)
        if part and not 1 <= int(part[2]) <= int(part[3]) <= _MAX_PARTS:
            raise ValueError(f"{path.name} is no part of a whole")
    for name, paths in files.items():
        part = _PART.fullmatch(paths[0].stem)
        if len(paths) != (int(part[3]) if part else 1):
            raise ValueError(f"of {name} there are {len(paths)} parts")
    return {name: _join_rows([load_file(path) for path in paths]) for name, paths in files.items()}


def _join_rows(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate the rows of each tensor; one that only one part has is not sharded."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part)
    rows = {name: [part[name] for part in parts if name in part] for name in names}
    return {name: torch.cat(xs) if len(xs) > 1 else xs[0] for name, xs in rows.items()}


def pack_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Split an optimizer's state into tensors for safetensors and settings for JSON."""
    packed = optimizer.state_dict()
    tensors = {f"{i}.{name}": value for i, entry in packed["state"].items() for name, value in entry.items()}
    return tensors, packed["param_groups"]


def unpack_optimizer(optimizer: Optimizer, tensors: Tensors, groups: list[dict[str, Any]]) -> None:
    """Load what ``pack_optimizer`` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        like = trained[int(number)] if int(number) < len(trained) else value
        state.setdefault(int(number), {})[name] = shard_like(value, like)
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, KeyError) as why:
        raise CheckpointError(f"the optimizer's state does not fit this model: {why}") from why


def pack_random() -> str:
    """Return torch's random state as hexadecimal text."""
    return bytes(torch.get_rng_state().numpy()).hex()


def unpack_random(text: str) -> None:
    """Set torch's random state to what ``pack_random`` returned."""
    torch.set_rng_state(torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8))
