"""Sparse patterns on FlexAttention: block masks from the tiles of a pattern, never from a T x S table."""

from functools import cache
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from nhin.attention.base import Keys, Queries
from nhin.attention.tiles import TileBuilder, TiledPattern

BLOCK = 128  # FlexAttention's own


def find_visible_blocks(
    pattern: TiledPattern, queries: int, keys: int, causal: bool, block: int = BLOCK
) -> Bool[Tensor, "rows columns"]:
    """Return which blocks of keys each block of queries sees something of, from the indices of the tiles."""
    table = torch.zeros(-(-queries // block), -(-keys // block), dtype=torch.bool)
    for tile in pattern.tiles(TileBuilder(queries, keys, causal)):
        rows = torch.tensor(tile.rows).div(block, rounding_mode="floor").unique()
        for run in tile.keys:
            columns = torch.arange(run.start, run.stop, run.step).div(block, rounding_mode="floor").unique()
            table[rows[:, None], columns] = True
    return table


def build_block_mask(
    pattern: TiledPattern, queries: int, keys: int, *, causal: bool, device: torch.device, block: int = BLOCK
) -> BlockMask:
    """Return FlexAttention's mask of a pattern, with queries aligned to the end of the keys."""
    blocks = find_visible_blocks(pattern, queries, keys, causal, block).to(device)
    counts = blocks.sum(-1, dtype=torch.int32)
    indices = blocks.int().argsort(dim=-1, descending=True, stable=True).int()

    def is_visible(_b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        p, s = (query + (keys - queries))[None, None], key[None]
        visible = pattern.mask(p, s, p + 1 if causal else torch.full_like(p, keys))
        return (visible & (s <= p) if causal else visible)[0, 0]

    return BlockMask.from_kv_blocks(
        counts[None, None], indices[None, None], BLOCK_SIZE=block, mask_mod=is_visible,
        seq_lengths=(queries, keys),
    )  # fmt: skip


def attend_flex(q: Queries, k: Keys, v: Keys, mask: BlockMask) -> Queries:
    """Mix values over a block mask; compiled on a GPU, as PyTorch asks, and for checks alone on a CPU."""
    attend = _compile_flex() if q.device.type == "cuda" else flex_attention
    q, k, v = (rearrange(x, "b t h d -> b h t d") for x in (q, k, v))
    return rearrange(
        attend(q, k, v, block_mask=mask, enable_gqa=q.shape[1] != k.shape[1]), "b h t d -> b t h d"
    )


@cache
def _compile_flex() -> Any:
    return torch.compile(flex_attention, dynamic=False)
