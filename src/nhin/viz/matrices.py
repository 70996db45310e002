"""Matrices to draw: weights block by block, pooled to what a picture can show, or read from a file."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import Mechanism
from nhin.errors import DataError

MAX_CHUNK_WEIGHTS = 2**22  # weights computed together
MAX_PIXELS = 512  # most rows and columns of a picture
MAX_FILE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix per head, ready to be drawn.

    Args:
        values: ``H rows columns``; each the largest in size of the weights it stands for.
        shape: Queries and keys before pooling.
        queries: What the rows are called; empty when they have only numbers.
        keys: What the columns are called.
    """

    values: np.ndarray
    shape: tuple[int, int]
    queries: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def is_pooled(self) -> bool:
        """Whether a point stands for several weights."""
        return self.values.shape[1:] != self.shape


def compute_weights(
    mechanism: Mechanism,
    q: Float[Tensor, "1 T H D"],
    k: Float[Tensor, "1 S G D"],
    *,
    causal: bool,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Matrix:
    """Return what a mechanism's queries give its keys.

    Args:
        mechanism: Looks.
        q: Looks.
        k: Is looked at.
        causal: Hide later keys.
        progress: Goes through the blocks, to show how far they are.
    """
    queries, keys, heads = q.shape[1], k.shape[1], q.shape[2]
    step = -(-queries // MAX_PIXELS) or 1
    block = max(step, MAX_CHUNK_WEIGHTS // max(1, heads * keys) // step * step)
    with torch.no_grad():
        rows = [
            _pool_largest(mechanism.weights(q, k, causal=causal, rows=slice(i, i + block))[0].float(), step)
            for i in progress(range(0, queries, block))
        ]
    values = torch.cat(rows, 1) if rows else torch.zeros(heads, 0, min(keys, MAX_PIXELS))
    return Matrix(values.numpy(), (queries, keys))


def read_matrix(path: Path) -> Matrix:
    """Read weights that something else computed.

    Args:
        path: ``.npy``, an array ``T S``, ``H T S`` or ``1 H T S``; ``.tsv``, a first row that names the keys
            and a first column that names the queries; ``.json``, an object with ``weights`` and, if wanted,
            ``queries`` and ``keys``.

    Raises:
        DataError: The file is missing, too large, or holds no such matrix.
    """
    readers = {".npy": _from_npy, ".tsv": _from_tsv, ".json": _from_json}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: weights come as {', '.join(readers)}")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MB: pool it first")
        values, queries, keys = readers[path.suffix.lower()](path)
    except OSError as why:
        raise DataError(f"{path} cannot be read: {why.strerror or why}") from why
    except (ValueError, TypeError, KeyError, AttributeError, EOFError) as why:
        raise DataError(f"{path} holds no matrix of weights: {why}") from why
    return _check_matrix(path, values, queries, keys)


def _check_matrix(path: Path, values: np.ndarray, queries: Sequence[str], keys: Sequence[str]) -> Matrix:
    if values.dtype.kind not in "fiub":
        raise DataError(f"{path} holds {values.dtype}; weights are numbers")
    if values.ndim == 4 and values.shape[0] == 1:
        values = values[0]
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or 0 in values.shape:
        raise DataError(f"{path} has shape {values.shape}; weights are T S, or H T S with heads")
    if values.shape[0] > 64:
        raise DataError(f"{path} has {values.shape[0]} heads; a picture shows 64 at most")
    for name, said, count in (("queries", queries, values.shape[1]), ("keys", keys, values.shape[2])):
        if said and len(said) != count:
            raise DataError(f"{path} names {len(said)} {name} and has weights for {count}")
    whole = torch.from_numpy(values.astype(np.float32))
    step = -(-whole.shape[1] // MAX_PIXELS)
    return Matrix(
        _pool_largest(whole, step).numpy(), (whole.shape[1], whole.shape[2]), tuple(queries), tuple(keys)
    )


def _pool_largest(rows: Float[Tensor, "H rows S"], step: int) -> Float[Tensor, "H fewer P"]:
    """Let each point stand for a square of weights: the largest in size, so that thin lines stay."""
    for axis, every in ((1, step), (2, -(-rows.shape[2] // MAX_PIXELS) or 1)):
        if every > 1:
            rows = torch.cat([_take_largest(part, axis) for part in rows.split(every, axis)], axis)
    return rows


def _take_largest(part: Float[Tensor, "H a b"], axis: int) -> Float[Tensor, "H c d"]:
    return part.gather(axis, part.abs().argmax(axis, keepdim=True))


def _from_npy(path: Path) -> tuple[np.ndarray, Sequence[str], Sequence[str]]:
    # The header says the size before anything is taken; a pickle inside is refused.
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False)), (), ()


def _from_tsv(path: Path) -> tuple[np.ndarray, Sequence[str], Sequence[str]]:
    head, *rows = (line.split("\t") for line in path.read_text("utf-8").splitlines() if line.strip())
    return np.array([_to_floats(row[1:]) for row in rows]), [row[0] for row in rows], head[1:]


def _from_json(path: Path) -> tuple[np.ndarray, Sequence[str], Sequence[str]]:
    data = json.loads(path.read_text("utf-8"))
    queries, keys = ([str(x) for x in data.get(name, ())] for name in ("queries", "keys"))
    return np.array(data["weights"], dtype=np.float64), queries, keys


def _to_floats(cells: Iterable[str]) -> list[float]:
    return [float(cell) for cell in cells]
