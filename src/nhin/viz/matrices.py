"""Matrices to draw: weights computed by blocks and pooled to the size of a figure, or read from a file."""

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
MAX_PIXELS = 512  # rows or columns of a figure
MAX_FILE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix per head, ready to be drawn.

    Args:
        values: ``H rows columns``; each is the weight of the largest magnitude in its square.
        shape: Queries and keys before pooling.
        queries: Names of the rows; empty when they are numbered.
        keys: Names of the columns.
    """

    values: np.ndarray
    shape: tuple[int, int]
    queries: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def is_pooled(self) -> bool:
        """Whether a point represents several weights."""
        return self.values.shape[1:] != self.shape


def compute_weights(
    mechanism: Mechanism,
    q: Float[Tensor, "1 T H D"],
    k: Float[Tensor, "1 S G D"],
    *,
    causal: bool,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Matrix:
    """Compute the weights of a mechanism, pooled; ``progress`` wraps the iteration over blocks of rows."""
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
    """Read weights computed elsewhere.

    Args:
        path: ``.npy``, an array ``T S``, ``H T S`` or ``1 H T S``; ``.tsv``, with names of keys in the first
            row and of queries in the first column; ``.json``, an object with ``weights`` and, optionally,
            ``queries`` and ``keys``.

    Raises:
        DataError: The file is missing, too large, or holds no matrix.
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
    rows, columns = values.shape[1:]
    for kind, names, count in (("queries", queries, rows), ("keys", keys, columns)):
        if names and len(names) != count:
            raise DataError(f"{path} names {len(names)} {kind} and has weights for {count}")
    pooled = _pool_largest(torch.from_numpy(values.astype(np.float32)), -(-rows // MAX_PIXELS))
    return Matrix(pooled.numpy(), (rows, columns), tuple(queries), tuple(keys))


def _pool_largest(rows: Float[Tensor, "H rows S"], step: int) -> Float[Tensor, "H fewer P"]:
    """Reduce each square of weights to the one of the largest magnitude, so that thin lines stay visible."""
    for axis, size in ((1, step), (2, -(-rows.shape[2] // MAX_PIXELS) or 1)):
        if size > 1:
            parts = rows.split(size, axis)
            largest = [part.gather(axis, part.abs().argmax(axis, keepdim=True)) for part in parts]
            rows = torch.cat(largest, axis)
    return rows


def _from_npy(path: Path) -> tuple[np.ndarray, Sequence[str], Sequence[str]]:
    # mmap: the header is checked before memory is allocated. A pickle inside is refused.
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False)), (), ()


def _from_tsv(path: Path) -> tuple[np.ndarray, Sequence[str], Sequence[str]]:
    head, *rows = (line.split("\t") for line in path.read_text("utf-8").splitlines() if line.strip())
    return np.array([[*map(float, row[1:])] for row in rows]), [row[0] for row in rows], head[1:]


def _from_json(path: Path) -> tuple[np.ndarray, Sequence[str], Sequence[str]]:
    data = json.loads(path.read_text("utf-8"))
    queries, keys = ([str(x) for x in data.get(name, ())] for name in ("queries", "keys"))
    return np.array(data["weights"], dtype=np.float64), queries, keys
