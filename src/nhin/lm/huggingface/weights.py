"""Read the tensors of a folder of safetensors, in one file or several with an index.

Headers give names, shapes and dtypes before a tensor is loaded.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nhin.errors import CheckpointError, UsageError
from nhin.lm.huggingface.config_json import read_json

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
MAX_INDEX_BYTES, MAX_FILES = 2**26, 4096
_DTYPES = {"F32", "F16", "BF16", "F64"}


class SafetensorsFolder(Mapping[str, Tensor]):
    """Tensors by name, as float32; each is loaded when accessed.

    Args:
        folder: Holds ``model.safetensors``, or the files that ``model.safetensors.index.json`` names.
        prefix: Added to names that lack it.
        buffer_suffixes: Endings of the names of tensors that are not weights.

    Raises:
        CheckpointError: There are none, or they are damaged or foreign.
        UsageError: There are only pickled weights.
    """

    def __init__(self, folder: Path, prefix: str = "", buffer_suffixes: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self._tensors: dict[str, tuple[Any, str]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for file, named in _list_files(folder).items():
            opened = _open_file(folder / file)
            names = set(opened.keys())
            if missing := (named or names) - names:
                raise CheckpointError(
                    f"{folder / file} lacks the tensor {min(missing)}, which the index names"
                )
            for name in sorted(names if named is None else named):
                if name.endswith(buffer_suffixes):
                    continue
                header = opened.get_slice(name)
                if header.get_dtype() not in _DTYPES:
                    raise CheckpointError(
                        f"{folder / file}: {name} is {header.get_dtype()}; nhin reads floats"
                    )
                full = name if name.startswith((prefix, "lm_head.")) else prefix + name
                if full in self.shapes:
                    raise CheckpointError(f"{folder} has the tensor {full[:80]} twice")
                self._tensors[full], self.shapes[full] = (opened, name), tuple(header.get_shape())

    def __getitem__(self, name: str) -> Tensor:
        """Load a tensor.

        Raises:
            CheckpointError: It is damaged, or holds NaN or infinity.
        """
        file, stored_name = self._tensors[name]
        try:
            tensor = file.get_tensor(stored_name).to(torch.float32)
        except (SafetensorError, OSError) as why:
            raise CheckpointError(f"{self.folder} is torn: {why}") from why
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{self.folder}: {name} holds NaN or infinity")
        return tensor

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._tensors)

    def __len__(self) -> int:
        """Count the tensors."""
        return len(self._tensors)

    def check_shapes(self, expected: Mapping[str, tuple[int, ...]], optional: tuple[str, ...] = ()) -> None:
        """Refuse tensors that are missing, of another shape, or unexpected.

        Args:
            expected: Shapes by name.
            optional: Names that may be present and are ignored.

        Raises:
            CheckpointError: The message names the first.
        """
        for name, shape in expected.items():
            if name not in self.shapes:
                raise CheckpointError(f"{self.folder} lacks the tensor {name}")
            if self.shapes[name] != shape:
                raise CheckpointError(
                    f"{self.folder}: {name} has shape {self.shapes[name]}; its config.json means {shape}"
                )
        for name in self.shapes:
            if name not in expected and name not in optional:
                raise CheckpointError(
                    f"{self.folder} has a tensor {name}, of which its config.json knows nothing"
                )


def _list_files(folder: Path) -> dict[str, set[str] | None]:
    """Return the files of a folder and the tensors to read from each; None for all."""
    if (folder / SINGLE_FILE).is_file():
        return {SINGLE_FILE: None}
    if not (folder / INDEX_FILE).is_file():
        if any(folder.glob("*.bin")):
            raise UsageError(
                f"{folder} holds pickled weights (.bin), which can run code; convert them to safetensors"
            )
        raise CheckpointError(f"there is no {SINGLE_FILE} in {folder}")
    weight_map = read_json(folder / INDEX_FILE, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / INDEX_FILE} places no tensors")
    files: dict[str, set[str] | None] = {}
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise CheckpointError(
                f"{folder / INDEX_FILE}: {name} is in {str(file)[:80]!r}, which is no file of this folder"
            )
        names = files.setdefault(file, set())
        assert names is not None
        names.add(name)
    if len(files) > MAX_FILES:
        raise CheckpointError(f"{folder / INDEX_FILE} names {len(files)} files; at most {MAX_FILES} are read")
    return files


def _open_file(path: Path) -> Any:
    if path.exists() and not path.is_file():
        raise CheckpointError(f"cannot read {path}: it is not a file")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as why:
        raise CheckpointError(f"cannot read {path}: {why}") from why
