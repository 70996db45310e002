"""A checkpoint: a folder of safetensors and JSON, whole or not there at all.

It is written beside its place, flushed to the disk and renamed; the previous one goes only when the new
one stands. Nothing in it can run code. ``load`` finds the right one after a kill at any moment.

Where weights are sharded over processes each writes its rows, ``model-00001-of-00002.safetensors``; ``load``
puts rows together, so that a checkpoint can be read by any number of processes.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from nhin.errors import CheckpointError
from nhin.training.sharding import placed

Tensors = Mapping[str, Tensor]

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
_MOST_PARTS = 4096


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a folder holds: tensors by file and name, values by file (both without the ending)."""

    tensors: Mapping[str, Tensors]
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Writer:
    """Which of several processes writes its rows of a checkpoint; ``meet`` waits for the others."""

    rank: int = 0
    world: int = 1
    meet: Callable[[], None] = lambda: None


def save(folder: Path, checkpoint: Checkpoint, writer: Writer | None = None) -> None:
    """Put a checkpoint in ``folder``, in place of the one there.

    Args:
        folder: Its place.
        checkpoint: What to keep.
        writer: Where tensors are rows of larger ones: who writes. Every process must call.

    Raises:
        CheckpointError: It could not be written (no room, no permission); the one there is intact.
    """
    writer = writer or Writer()
    new, old = _beside(folder)
    ending = f"-{writer.rank + 1:05}-of-{writer.world:05}" if writer.world > 1 else ""
    try:
        if writer.rank == 0:
            _forget(new)
            new.mkdir(parents=True)
        writer.meet()
        for name, tensors in checkpoint.tensors.items():
            # Weights that share memory are stored once each; clone makes them apart.
            apart = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
            save_file(apart, new / f"{name}{ending}.safetensors")
        writer.meet()
        if writer.rank == 0:
            _finish(new, checkpoint.values)
            _swap(folder, new, old)
        writer.meet()
    except (OSError, SafetensorError) as why:
        shutil.rmtree(new, ignore_errors=True)
        reason = getattr(why, "strerror", None) or why
        kept = "; the one before it is intact" if exists(folder) else ""
        raise CheckpointError(f"cannot save a checkpoint in {folder.parent}: {reason}{kept}") from why


def _finish(new: Path, values: Mapping[str, Any]) -> None:
    """Write the values beside the tensors, and have all of it on the disk."""
    for name, value in values.items():
        words = json.dumps(value, ensure_ascii=False, indent=1)
        (new / f"{name}.json").write_text(words, encoding="utf-8")
    for path in [*new.iterdir(), new]:
        _flush(path)


def exists(folder: Path) -> bool:
    """Say whether there is a checkpoint to load."""
    return any(path.is_dir() for path in (folder, _beside(folder)[1]))


def load(folder: Path) -> Checkpoint:
    """Read the checkpoint in ``folder``.

    Raises:
        CheckpointError: There is none, or it is torn or foreign.
    """
    # Killed between two renames: the previous one is whole and still under its other name.
    found = next((path for path in (folder, _beside(folder)[1]) if path.is_dir()), None)
    if found is None:
        raise CheckpointError(f"there is no checkpoint in {folder}")
    try:
        tensors = _tensors(found)
        values = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in found.glob("*.json")}
    except (OSError, SafetensorError, ValueError, RuntimeError) as why:
        raise CheckpointError(f"the checkpoint {found} is torn: {why}") from why
    if not tensors:
        raise CheckpointError(f"{found} is not a checkpoint: it holds no safetensors")
    return Checkpoint(tensors, values)


def _tensors(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Read all tensors, and put rows together that several processes wrote."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        part = _PART.fullmatch(path.stem)
        files.setdefault(part[1] if part else path.stem, []).append(path)
        if part and not 1 <= int(part[2]) <= int(part[3]) <= _MOST_PARTS:
            raise ValueError(f"{path.name} is no part of a whole")
    for name, paths in files.items():
        part = _PART.fullmatch(paths[0].stem)
        if len(paths) != (int(part[3]) if part else 1):
            raise ValueError(f"of {name} there are {len(paths)} parts")
    return {name: _joined([load_file(path) for path in paths]) for name, paths in files.items()}


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Put rows of the same name below each other; what only one part has is whole."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part)
    rows = {name: [part[name] for part in parts if name in part] for name in names}
    return {name: torch.cat(these) if len(these) > 1 else these[0] for name, these in rows.items()}


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")


def _forget(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _flush(path: Path) -> None:
    """Have a file or a folder on the disk, not in a buffer."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(folder: Path, new: Path, old: Path) -> None:
    """Put the new folder in its place; at every moment one whole checkpoint is to be found."""
    if folder.exists():
        _forget(old)
        folder.rename(old)
    new.rename(folder)
    _flush(folder.parent)
    _forget(old)


def pack_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Take an optimiser's state apart: tensors for safetensors, settings for JSON."""
    packed = optimizer.state_dict()
    tensors = {f"{i}.{name}": value for i, entry in packed["state"].items() for name, value in entry.items()}
    return tensors, packed["param_groups"]


def unpack_optimizer(optimizer: Optimizer, tensors: Tensors, groups: list[dict[str, Any]]) -> None:
    """Put back what ``pack_optimizer`` took apart."""
    state: dict[int, dict[str, Tensor]] = {}
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        like = trained[int(number)] if int(number) < len(trained) else value
        state.setdefault(int(number), {})[name] = placed(value, like)
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, KeyError) as why:
        raise CheckpointError(f"the optimiser's state does not fit this model: {why}") from why


def pack_random() -> str:
    """Return torch's random state as text."""
    return bytes(torch.get_rng_state().numpy()).hex()


def unpack_random(words: str) -> None:
    """Put torch's random state back."""
    torch.set_rng_state(torch.frombuffer(bytearray.fromhex(words), dtype=torch.uint8))
