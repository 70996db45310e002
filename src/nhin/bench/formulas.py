"""Bytes that a mechanism's declared formulas predict, from its ``Facts`` and its settings."""

import ast
import operator
import re
from collections.abc import Callable, Mapping

import torch

from nhin.attention.base import CacheSpec, Mechanism
from nhin.bench.cells import BenchCell

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip
_WRITTEN = {"·": "*", "²": "**2", "³": "**3"}
# Letters of the formulas, and the settings of mechanisms that they stand for.
_LETTERS = {
    "L": ("global_tokens", "global_keys"), "R": ("rank",), "m": ("features", "landmarks"), "n": ("rounds",),
    "b": ("block", "buckets"), "l": ("stride",), "W": ("window",),
}  # fmt: skip


def evaluate_formula(formula: str, sizes: Mapping[str, float]) -> float:
    """Return the value of a formula such as ``O((T + S)·D)``; a letter without a size counts as 1."""
    text = re.sub(r"^O\((.*)\)$", r"\1", formula)
    for written, python in _WRITTEN.items():
        text = text.replace(written, python)

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.BinOp):
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Name):
            return sizes.get(node.id, 1)
        assert isinstance(node, ast.Constant) and isinstance(node.value, int), formula
        return node.value

    return value(ast.parse(text, mode="eval").body)


def predict_bytes(mechanism: Mechanism, cell: BenchCell) -> int:
    """Return the bytes that a cell needs besides its queries, keys and values, by the declared formulas.

    They are the output, the gradients in training, the cache, and for every head the working memory, whose
    constant is taken as 1; training keeps it for the backward pass and fills as much again.
    """
    width = torch.finfo(getattr(torch, cell.dtype)).bits // 8
    heads, positions = cell.batch * cell.heads, 1 if cell.phase in ("decode", "generate") else cell.length
    sizes: dict[str, float] = {"T": positions, "S": cell.length, "D": cell.head_dim}
    for letter, names in _LETTERS.items():
        found = (getattr(mechanism, name, None) for name in names)
        sizes[letter] = next((size for size in found if isinstance(size, int)), 1)
    row = heads * positions * cell.head_dim * width
    work = heads * evaluate_formula(mechanism.facts.memory, sizes) * width
    if cell.phase == "train":
        shared = 2 * cell.batch * cell.kv_heads * cell.length * cell.head_dim * width
        return int(2 * row + shared + 2 * work)
    cache = 0
    if cell.phase in ("prefill", "decode", "generate") and "decode" in mechanism.facts.abilities:
        spec = CacheSpec(
            cell.batch, cell.length, cell.kv_heads, cell.head_dim, getattr(torch, cell.dtype), "meta"
        )
        cache = mechanism.init_cache(spec).size
    return int(row + work + cache)
