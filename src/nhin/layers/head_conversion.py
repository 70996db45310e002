r"""Fewer key and value heads for a checkpoint that has many: each group of heads becomes their mean.

.. math::
    W^K_g = \frac{1}{|g|} \sum_{h \in g} W^K_h, \qquad W^V_g = \frac{1}{|g|} \sum_{h \in g} W^V_h

What comes back is a place to train on from: the paper needs a twentieth of the first training for it to be as
good. Heads that are equal within their group lose nothing.

Source:  Ainslie et al. 2023, arXiv:2305.13245, sec. 2.1.
Differs: nothing; biases are pooled like weights.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from nhin.errors import ShapeError, UnknownName, UsageError


@dataclass(frozen=True, slots=True)
class ProjectionLayout:
    """How a checkpoint holds the projections of heads.

    Args:
        name: Its name.
        pattern: Finds the names of its tensors; a regular expression, searched.
        parts: What lies in one tensor, in order: "q", "k", "v".
        by_head: Every head's parts lie together, where else all heads of a part do.
        inputs_first: Weights are inputs x outputs, as GPT-2's, where else outputs x inputs.
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


class HeadConversion(NamedTuple):
    """Query heads there are, key/value heads wanted, and the width of one head where it is known."""

    query_heads: int
    kv_heads: int
    head_dim: int | None


def convert_heads(
    state: Mapping[str, Tensor],
    kv_heads: int,
    *,
    heads: int,
    head_dim: int | None = None,
    layout: str | ProjectionLayout | None = None,
) -> dict[str, Tensor]:
    """Return a state dict whose keys and values have ``kv_heads`` heads; other tensors are the same ones.

    A fused projection stays fused, with fewer rows: all queries, then keys, then values; where it lay head by
    head ("neox"), every group's queries, its key and its value lie together.

    Args:
        state: A checkpoint with as many key/value heads as query heads.
        kv_heads: Key/value heads wanted; divides ``heads``.
        heads: Query heads of the checkpoint.
        head_dim: Width of one head; None where the heads together are as wide as the model, or wider.
        layout: A name in ``LAYOUTS`` or one of your own; None to find it by the names of the tensors.

    Raises:
        ShapeError: ``kv_heads`` does not divide ``heads``, or the tensors have not so many heads.
        UsageError: No tensor looks like a projection of heads; the message names those there are.
    """
    if kv_heads < 1 or heads < 1 or heads % kv_heads:
        raise ShapeError(f"kv_heads is {kv_heads}, which does not divide heads {heads}; choose a divisor")
    if isinstance(layout, str) and layout not in LAYOUTS:
        raise UnknownName("layout", layout, LAYOUTS)
    tried = [LAYOUTS[layout]] if isinstance(layout, str) else [layout] if layout else list(LAYOUTS.values())
    found = {name: how for how in tried for name in state if re.search(how.pattern, name)}
    if not found:
        raise UsageError(
            f"no key or value projection was found among {_list_names(state)}; give a Layout whose pattern "
            "finds it"
        )
    sizes = HeadConversion(heads, kv_heads, head_dim)
    return {
        name: _merge_heads(name, x, found[name], sizes) if name in found else x for name, x in state.items()
    }


def _merge_heads(name: str, x: Tensor, layout: ProjectionLayout, heads: HeadConversion) -> Tensor:
    """Pool the key and value heads of one tensor."""
    axis = 1 if layout.inputs_first and x.ndim == 2 else 0
    _check_heads(name, x, axis, len(layout.parts), heads)
    parts, each = len(layout.parts), heads.query_heads // heads.kv_heads
    lie = "(group each part d) ... -> part group each d ..."
    lie = lie if layout.by_head else "(part group each d) ... -> part group each d ..."
    split = rearrange(x.movedim(axis, 0), lie, part=parts, group=heads.kv_heads, each=each)
    pieces = [
        piece if part == "q" else _mean_heads(piece) for part, piece in zip(layout.parts, split, strict=True)
    ]
    if layout.by_head:
        joined = rearrange(torch.cat(pieces, 1), "group row d ... -> (group row d) ...")
    else:
        joined = torch.cat([rearrange(piece, "group each d ... -> (group each d) ...") for piece in pieces])
    return joined.movedim(0, axis).contiguous()


def _check_heads(name: str, x: Tensor, axis: int, parts: int, heads: HeadConversion) -> None:
    """Refuse a tensor that has not all its heads."""
    rows = x.shape[axis]
    width, rest = divmod(rows, parts * heads.query_heads)
    wanted = heads.head_dim
    if wanted is None and x.ndim == 2 and x.shape[1 - axis] % heads.query_heads == 0:
        # A model is seldom wider than its heads together: fewer rows mean that heads were pooled before.
        wanted = max(width, x.shape[1 - axis] // heads.query_heads)
    if rest or not width or (wanted is not None and width != wanted):
        raise ShapeError(
            f"{name} has {rows} rows, which is not {parts} x {heads.query_heads} heads of width "
            f"{wanted or 'at least 1'}: give the checkpoint's own heads (and head_dim), and a "
            "checkpoint whose keys and values have not fewer heads already"
        )


def _mean_heads(heads: Tensor) -> Tensor:
    """Return the mean of each group's heads, one head for each; rounded once."""
    wide = heads if heads.dtype == torch.float64 else heads.float()
    return wide.mean(1, keepdim=True).to(heads.dtype)


def _list_names(state: Mapping[str, Tensor], max_names: int = 12) -> str:
    names = list(state)
    return ", ".join(names[:max_names]) + (
        f" and {len(names) - max_names} more" if len(names) > max_names else ""
    )
