"""A checkpoint: a folder of safetensors and JSON, which ``files.write_folder`` replaces as a whole.

Loading one runs no code of it. Where weights are sharded each process writes its rows,
``model-00001-of-00002.safetensors``; ``load`` joins them for any number of processes. The metadata of every
safetensors file say to which checkpoint it belongs, as which file and which part; ``id.json`` holds the same
id, made from the contents.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from nhin.errors import CheckpointError
from nhin.files import (
    beside,
    find_folder,
    parse_json,
    read_bytes,
    read_folder,
    read_json,
    write_folder,
)
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
_MAX_JSON_BYTES = 64 * 2**20
_MAX_HEADER_BYTES = 16 * 2**20  # of a safetensors file: a hundred thousand tensors
_MAX_TENSORS = 2**17
_ID, _MARK = "id", "nhin"


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
    part = f"{group.rank + 1:05}-of-{group.world:05}" if group.world > 1 else ""
    try:
        with write_folder(folder) if group.is_first else nullcontext(beside(folder)[0]) as new:
            if group.is_first:
                _write_values(new, checkpoint)
            group.barrier()
            owner = {"checkpoint": read_json(new / f"{_ID}.json"), "step": _find_step(checkpoint)}
            for name, tensors in checkpoint.tensors.items():
                path = new / f"{name}{'-' if part else ''}{part}.safetensors"
                # One entry of metadata only: safetensors writes several in any order.
                mark = json.dumps(owner | {"file": name, "part": part})
                write_tensors(path, tensors, {_MARK: mark})
            group.barrier()
        group.barrier()
    except (OSError, SafetensorError) as why:
        reason = getattr(why, "strerror", None) or why
        kept = "; the one before it is intact" if exists(folder) else ""
        raise CheckpointError(f"cannot save a checkpoint in {folder.parent}: {reason}{kept}") from why


def _write_values(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the JSON files, and an id computed from them and from the tensors."""
    values = {"format": FORMAT} | dict(checkpoint.values)
    texts = {name: json.dumps(value, ensure_ascii=False, indent=1) for name, value in values.items()}
    sums = {
        (file, name): _checksum(x)
        for file, tensors in checkpoint.tensors.items()
        for name, x in tensors.items()
    }
    digest = hashlib.sha256(repr((sorted(texts.items()), sorted(sums.items()))).encode()).hexdigest()[:32]
    for name, text in (texts | {_ID: json.dumps(digest)}).items():
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def _checksum(x: Tensor) -> int:
    values: Any = x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return zlib.crc32(values)


def _find_step(checkpoint: Checkpoint) -> object:
    trainer = checkpoint.values.get("trainer")
    return trainer.get("step") if isinstance(trainer, Mapping) else None


def write_tensors(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file with the permissions of any other new file.

    Raises:
        OSError: No room or no permission (or SafetensorError).
    """
    path.touch()
    mode = S_IMODE(path.stat().st_mode)
    # safetensors refuses tensors that share memory, as tied weights do; hence clone.
    clones = {name: x.detach().clone(memory_format=torch.contiguous_format) for name, x in tensors.items()}
    save_file(clones, path, dict(metadata))
    if S_IMODE(path.stat().st_mode) != mode:  # safetensors lets only the owner read it
        path.chmod(mode)


def exists(folder: Path) -> bool:
    """Return whether there is a checkpoint to load."""
    return find_folder(folder) is not None


def load(folder: Path) -> Checkpoint:
    """Read the checkpoint in ``folder``.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    try:
        read = read_folder(folder, _read_files)
    except (SafetensorError, RuntimeError, TypeError, LookupError, OverflowError, AttributeError) as why:
        raise CheckpointError(f"the checkpoint {folder} is torn: {str(why)[:200]}") from why
    if read is None:
        raise CheckpointError(f"there is no checkpoint in {folder}")
    try:
        values = {name: parse_json(text, f"{name}.json") for name, text in read[1].items()}
        tensors = _join_parts(read[0], values.pop(_ID, None))
    except (ValueError, RuntimeError) as why:
        raise CheckpointError(f"the checkpoint {folder} is torn: {why}") from why
    if not tensors:
        raise CheckpointError(f"{folder} is not a checkpoint: it holds no safetensors")
    version = values.pop("format", 1)
    if version not in range(1, FORMAT + 1):
        raise CheckpointError(f"{folder} has format {version!r}; this nhin reads format 1 to {FORMAT}")
    return Checkpoint(_rename_weights(tensors) if version == 1 else tensors, values)


def _rename_weights(tensors: Mapping[str, Tensors]) -> dict[str, Tensors]:
    """Give the weights of format 1 their present names."""
    return {
        file: {
            ".".join(_NEW_NAMES.get(part, part) for part in name.split(".")): x for name, x in entries.items()
        }
        for file, entries in tensors.items()
    }


_File = tuple[dict[str, Tensor], dict[str, str]]  # tensors and metadata


def _read_files(folder: Path) -> tuple[dict[str, _File], dict[str, bytes]]:
    """Read every file of a checkpoint, by name; the tensors are mapped into memory, not read."""
    names = sorted(path.name for path in folder.iterdir())
    texts, files, room, count = {}, {}, _MAX_JSON_BYTES, 0
    for name in names:
        if name.endswith(".json"):
            texts[name.removesuffix(".json")] = text = read_bytes(folder / name, room)
            room -= len(text)
        if name.endswith(".safetensors"):
            _check_header(folder / name)
            with safe_open(folder / name, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
                files[name.removesuffix(".safetensors")] = tensors, file.metadata() or {}
            if (count := count + len(tensors)) > _MAX_TENSORS:
                raise CheckpointError(f"{folder} holds over {_MAX_TENSORS:,} tensors, the most that are read")
    return files, texts


def _check_header(path: Path) -> None:
    """Refuse a safetensors file whose header would take too much memory, or that is not a file."""
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > _MAX_HEADER_BYTES:
        raise CheckpointError(f"the header of {path} claims {size:,} bytes; {_MAX_HEADER_BYTES:,} are read")


def _join_parts(files: Mapping[str, _File], owner: Any) -> dict[str, dict[str, Tensor]]:
    """Join the rows that several processes wrote; refuse files of another checkpoint than ``owner``."""
    parts: dict[str, list[str]] = {}
    for stem, (_, metadata) in files.items():
        match = _PART.fullmatch(stem)
        if match and not 1 <= int(match[2]) <= int(match[3]) <= _MAX_PARTS:
            raise ValueError(f"{stem}.safetensors is no part of a whole")
        name, part = (match[1], stem.removeprefix(f"{match[1]}-")) if match else (stem, "")
        parts.setdefault(name, []).append(stem)
        expected = {"checkpoint": owner, "file": name, "part": part}
        # Old checkpoints have no marks, nor have weights that other programs wrote.
        mark = parse_json(metadata.get(_MARK, "null"), f"the mark of {stem}.safetensors")
        fits = isinstance(mark, dict) and expected.items() <= mark.items()
        if not fits and (mark is not None or (owner and match)):
            raise ValueError(f"{stem}.safetensors is another file, or of another checkpoint")
    for name, stems in parts.items():
        match = _PART.fullmatch(stems[0])
        if len(stems) != (int(match[3]) if match else 1):
            raise ValueError(f"of {name} there are {len(stems)} parts")
    return {name: _join_rows([files[stem][0] for stem in stems]) for name, stems in parts.items()}


def _join_rows(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate the rows of each tensor; one that only one part has is not sharded."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part)
    rows = {name: [part[name] for part in parts if name in part] for name in names}
    return {name: torch.cat(xs) if len(xs) > 1 else xs[0] for name, xs in rows.items()}


MOMENTS, MATRIX_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"}
"""What AdamW keeps for a parameter, and Muon for a matrix."""


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
    expected = [
        MATRIX_MOMENTS if group.get("matrices") else MOMENTS
        for group in optimizer.param_groups
        for _ in group["params"]
    ]
    for number, entry in state.items():
        if number >= len(expected) or set(entry) != expected[number]:
            names = ", ".join(sorted(entry))[:200]
            raise CheckpointError(
                f"the optimizer's state does not fit this model: parameter {number} has {names!r}"
            )
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
