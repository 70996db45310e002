"""A checkpoint: a folder of safetensors and JSON, whole or not there at all.

It is written beside its place, flushed to the disk and renamed; the previous one goes only when the new
one stands. Nothing in it can run code. ``load`` finds the right one after a kill at any moment.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from nhin.errors import CheckpointError

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a folder holds: tensors by file and name, values by file (both without the ending)."""

    tensors: Mapping[str, Tensors]
    values: Mapping[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Put a checkpoint in ``folder``, in place of the one there.

    Raises:
        CheckpointError: It could not be written (no room, no permission); the one there is intact.
    """
    new, old = _beside(folder)
    try:
        _forget(new)
        new.mkdir(parents=True)
        for name, tensors in checkpoint.tensors.items():
            # Weights that share memory are stored once each; clone makes them apart.
            apart = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
            save_file(apart, new / f"{name}.safetensors")
        for name, values in checkpoint.values.items():
            words = json.dumps(values, ensure_ascii=False, indent=1)
            (new / f"{name}.json").write_text(words, encoding="utf-8")
        for path in [*new.iterdir(), new]:
            _flush(path)
        _swap(folder, new, old)
    except (OSError, SafetensorError) as why:
        shutil.rmtree(new, ignore_errors=True)
        reason = getattr(why, "strerror", None) or why
        kept = "; the one before it is intact" if exists(folder) else ""
        raise CheckpointError(f"cannot save a checkpoint in {folder.parent}: {reason}{kept}") from why


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
        tensors = {path.stem: load_file(path) for path in sorted(found.glob("*.safetensors"))}
        values = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in found.glob("*.json")}
    except (OSError, SafetensorError, ValueError) as why:
        raise CheckpointError(f"the checkpoint {found} is torn: {why}") from why
    if not tensors:
        raise CheckpointError(f"{found} is not a checkpoint: it holds no safetensors")
    return Checkpoint(tensors, values)


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
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
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
