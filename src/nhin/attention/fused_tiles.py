"""Runs of tiles that lie alike, answered by PyTorch's fused kernel in one call.

The tiles of a window differ in where they are, and in nothing else. As chunks of a batch they have one mask,
and a view shows each chunk its keys, which overlap in memory, so that none is copied.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from nhin.attention.masked_softmax import upcast
from nhin.attention.tiled_softmax import LOG2E
from nhin.attention.tiles import Tile, TileBuilder

FUSED_TILES = 16  # in one call; what half precision is cast to for them stays in the cache

PairBias = Float[Tensor, "R L"]  # 0, or minus infinity where a row may not attend

fused_softmax = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # returns the logsumexp too


def group_alike(tiles: Iterable[Tile]) -> Iterator[list[Tile]]:
    """Yield tiles in runs: each has its rows and its keys as far after the last one's as that has rows."""
    run: list[Tile] = []
    for tile in tiles:
        if run and not _continues(run[-1], tile):
            yield run
            run = []
        run.append(tile)
    if run:
        yield run


def _continues(one: Tile, two: Tile) -> bool:
    def move(places: range) -> range:
        return range(places.start + len(one.rows), places.stop + len(one.rows))

    is_alike = one.whole and two.whole and one.rule == two.rule and len(one.keys) == 1
    return is_alike and move(one.rows) == two.rows and (move(one.keys[0]),) == two.keys


def make_pair_bias(tile: Tile, cut: TileBuilder, dtype: torch.dtype) -> PairBias | None:
    """Return what is added to the scores of each tile of a run; None where a row has fewer than two keys.

    The gradient of the only score of a row is exactly zero, which another kernel than that of the backward
    pass would miss by a rounding.
    """
    hidden = cut.hidden_pairs(tile, tile.keys, torch.device("cpu"))
    if int((~hidden).sum(1).min()) < 2:
        return None
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))


def attend_alike(
    inputs: tuple[Tensor, Tensor, Tensor], out: Tensor, log: Tensor, tiles: Sequence[Tile], bias: PairBias
) -> None:
    """Write the outputs of the rows of a run, and their logsumexp.

    Args:
        inputs: Queries ``N E T D``, keys and values ``N S D``.
        out: As the queries.
        log: ``N E T 1``, to base 2.
        tiles: The run, or a part of it.
        bias: From ``make_pair_bias``.
    """
    first, count, each = tiles[0], len(tiles), out.shape[1]
    rows = slice(first.rows.start, tiles[-1].rows.stop)
    span = slice(first.keys[0].start, tiles[-1].keys[0].stop)
    q = rearrange(upcast(inputs[0][:, :, rows]), "n e (c r) d -> c n (e r) d", c=count)
    k, v = (
        rearrange(upcast(x[:, span]).unfold(1, bias.shape[1], bias.shape[0]), "n c d l -> c n l d")
        for x in inputs[1:]
    )
    part, part_log = fused_softmax(q, k, v, attn_mask=bias.repeat(each, 1))
    out[:, :, rows] = rearrange(part, "c n (e r) d -> n e (c r) d", e=each)
    log[:, :, rows] = rearrange(part_log, "c n (e r) -> n e (c r) 1", e=each) * LOG2E
