r"""Convert a checkpoint to fewer key and value heads: each group of heads becomes its mean.

.. math::
    W^K_g = \frac{1}{|g|} \sum_{h \in g} W^K_h, \qquad W^V_g = \frac{1}{|g|} \sum_{h \in g} W^V_h

The result needs further training: the paper spends a twentieth of the first training on it. Heads that are
equal within their group lose nothing.

Source:  Ainslie et al. 2023, arXiv:2305.13245, sec. 2.1.
Differs: nothing; biases are pooled like weights.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from nhin.errors import ShapeError, UnknownName, UsageError


@dataclass(frozen=True, slots=True)
class ProjectionLayout:
    """How a checkpoint stores the projections of heads.

    Args:
        name: Its name.
        pattern: Regular expression, searched in tensor names.
        parts: Projections in one tensor, in order: "q", "k", "v".
        by_head: Projections are grouped by head, else all heads of one projection come together.
        inputs_first: Weights are inputs x outputs, as GPT-2's, else outputs x inputs.
    """

    name: str
    pattern: str
    parts: str
    by_head: bool = False
    inputs_first: bool = False


LAYOUTS: dict[str, ProjectionLayout] = {
    layout.name: layout
    for layout in (
        ProjectionLayout("nhin", r"(^|\.)key_value\.(weight|bias)$", "kv"),
        ProjectionLayout("gpt2", r"(^|\.)c_attn\.(weight|bias)$", "qkv", inputs_first=True),
        ProjectionLayout("neox", r"(^|\.)query_key_value\.(weight|bias)$", "qkv", by_head=True),
        ProjectionLayout("mpt", r"(^|\.)Wqkv\.(weight|bias)$", "qkv"),
        ProjectionLayout("torch", r"(^|\.)in_proj_(weight|bias)$", "qkv"),
        ProjectionLayout("separate", r"(^|\.)(k_proj|v_proj|k_lin|v_lin)\.(weight|bias)$", "k"),
        ProjectionLayout("bert", r"(^|\.)self\.(key|value)\.(weight|bias)$", "k"),
        ProjectionLayout("t5", r"(^|\.)SelfAttention\.(k|v)\.(weight|bias)$", "k"),
    )
}


def convert_heads(
    state: Mapping[str, Tensor],
    kv_heads: int,
    *,
    heads: int,
    head_dim: int | None = None,
    layout: str | ProjectionLayout | None = None,
) -> dict[str, Tensor]:
    """Return a state dict whose keys and values have ``kv_heads`` heads; other tensors are not copied.

    A fused projection stays fused, with fewer rows: all queries, then keys, then values; where it is grouped
    by head ("neox"), each group's queries, key and value stay together.

    Args:
        state: A checkpoint with as many key/value heads as query heads.
        kv_heads: Key/value heads of the result; divides ``heads``.
        heads: Query heads of the checkpoint.
        head_dim: Width of one head; None where all heads together are at least as wide as the model.
        layout: A name in ``LAYOUTS`` or a layout of your own; None to infer it from the names of the tensors.

    Raises:
        ShapeError: ``kv_heads`` does not divide ``heads``, or the tensors do not have ``heads`` heads.
        UsageError: No tensor name matches; the message names those there are.
    """
    if kv_heads < 1 or heads < 1 or heads % kv_heads:
        raise ShapeError(f"kv_heads is {kv_heads}, which does not divide heads {heads}; choose a divisor")
    if isinstance(layout, str):
        if layout not in LAYOUTS:
            raise UnknownName("layout", layout, LAYOUTS)
        layout = LAYOUTS[layout]
    candidates = [layout] if layout else list(LAYOUTS.values())
    layouts = {name: one for one in candidates for name in state if re.search(one.pattern, name)}
    if not layouts:
        raise UsageError(
            f"no key or value projection among {_list_names(state)}; "
            "give a ProjectionLayout whose pattern matches it"
        )
    out = dict(state)
    for name, one in layouts.items():
        axis = 1 if one.inputs_first and state[name].ndim == 2 else 0
        _check_heads(name, state[name], axis, len(one.parts), heads, head_dim)
        out[name] = _merge_heads(state[name], axis, one, kv_heads, heads // kv_heads)
    return out


def _merge_heads(x: Tensor, axis: int, layout: ProjectionLayout, groups: int, size: int) -> Tensor:
    """Average the key and value heads of one tensor in groups of ``size``."""
    rows = "(group size part d)" if layout.by_head else "(part group size d)"
    lengths = {"part": len(layout.parts), "group": groups, "size": size}
    split = rearrange(x.movedim(axis, 0), f"{rows} ... -> part group size d ...", **lengths)
    pieces = [
        piece if part == "q" else _mean_heads(piece) for part, piece in zip(layout.parts, split, strict=True)
    ]
    if layout.by_head:
        joined = torch.cat(pieces, 1).flatten(0, 2)
    else:
        joined = torch.cat([piece.flatten(0, 2) for piece in pieces])
    return joined.movedim(0, axis).contiguous()


def _check_heads(name: str, x: Tensor, axis: int, parts: int, heads: int, expected: int | None) -> None:
    """Refuse a tensor that does not have all its heads, of width ``expected`` if it is known."""
    rows = x.shape[axis]
    width, rest = divmod(rows, parts * heads)
    if expected is None and x.ndim == 2 and x.shape[1 - axis] % heads == 0:
        # A model is seldom wider than all its heads: fewer rows mean that heads were merged before.
        expected = max(width, x.shape[1 - axis] // heads)
    if rest or not width or (expected is not None and width != expected):
        raise ShapeError(
            f"{name} has {rows} rows, which is not {parts} x {heads} heads of width "
            f"{expected or 'at least 1'}: give the number of heads (and head_dim) of the checkpoint, whose "
            "keys and values must not have fewer heads already"
        )


def _mean_heads(heads: Tensor) -> Tensor:
    """Return the mean over each group's heads, rounded once."""
    wide = heads if heads.dtype == torch.float64 else heads.float()
    return wide.mean(1, keepdim=True).to(heads.dtype)


def _list_names(state: Mapping[str, Tensor], max_names: int = 12) -> str:
    more = f" and {len(state) - max_names} more" if len(state) > max_names else ""
    return ", ".join(list(state)[:max_names]) + more
