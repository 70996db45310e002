"""Tiles whose rows and keys are slices: how patterns of sliced tiles run on ``tiled_softmax``.

The query heads of a group meet their shared keys in one product, so keys are never repeated.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nhin.attention.base import Keep, Keys, Queries
from nhin.attention.fused_tiles import FUSED_TILES, attend_alike, group_alike, make_pair_bias
from nhin.attention.masked_softmax import autocast_inputs
from nhin.attention.tiled_softmax import LOG2E, Bias, Columns, Rows, Scores, TiledSoftmax
from nhin.attention.tiles import Tile, TileBuilder, TiledPattern

CACHED = 2**18  # scores computed at a time: more would leave the cache between product and softmax

Packed = Float[Tensor, "N E T D"]  # N batch x key heads, E query heads that share a key head
PackedKeys = Float[Tensor, "N S D"]
PackedLog = Float[Tensor, "N E T 1"]
Hidden = Bool[Tensor, "N S"]
MaskParts = tuple[tuple[slice, Bool[Tensor, "_ _"]], ...]  # columns, and the pairs hidden among them
KeyRuns = tuple[slice, ...] | Int[Tensor, " L"]


def attend(
    q: Queries,
    k: Keys,
    v: Keys,
    pattern: TiledPattern,
    *,
    causal: bool,
    keep: Keep | None,
    bias: Bias | None = None,
) -> Queries:
    """Mix values over the tiles of a pattern.

    Args:
        q: Queries.
        k: Keys; all are finite, the hidden ones zeros.
        v: Values, likewise.
        pattern: Cuts the pairs of query and key that it lets attend into tiles.
        causal: Hide later keys.
        keep: True where a key may be attended to.
        bias: Added to the scores, by head and distance.
    """
    groups = k.shape[2]
    packed = pack(*autocast_inputs(q, k, v))
    cut = TileBuilder(q.shape[1], k.shape[1], causal)
    source = SlicedTiles(pattern, cut, packed[0].shape[:2], q.device, groups, pack_keep(keep, groups))
    return unpack(TiledSoftmax.apply(*packed, bias, source), groups)  # pyright: ignore[reportArgumentType] # a tensor


def pack(q: Queries, k: Keys, v: Keys) -> tuple[Packed, PackedKeys, PackedKeys]:
    """Order by key head; copied only where a view will not do."""
    q = rearrange(q, "b t (g e) d -> (b g) e t d", g=k.shape[2])
    k, v = (rearrange(x, "b s g d -> (b g) s d") for x in (k, v))
    return q, k, v


def pack_keep(keep: Keep | None, groups: int) -> Hidden | None:
    """Return the hidden keys of each key head."""
    return None if keep is None else repeat(~keep, "b s -> (b g) s", g=groups)


def unpack(out: Packed, groups: int) -> Queries:
    """Undo ``pack``."""
    return rearrange(out, "(b g) e t d -> b t (g e) d", g=groups)


@dataclass(frozen=True)
class SlicedTiles:
    """The tiles of a pattern, bound to queries ``N E T D`` and keys ``N S D``.

    Args:
        pattern: Cuts into tiles.
        cut: Sizes of the call.
        heads: N and E.
        device: Where masks live.
        groups: Key heads of one batch row.
        hidden: Keys that no query may attend to.
    """

    pattern: TiledPattern
    cut: TileBuilder
    heads: Sequence[int]
    device: torch.device
    groups: int = 1
    hidden: Hidden | None = None

    def tiles(self, *, backward: bool = False) -> Iterator["SlicedTile"]:
        """Yield each tile, as many heads at a time as the cache holds."""
        yield from self._bind(self.pattern.tiles(replace(self.cut, backward=backward)))

    def fuse(
        self, q: Packed, k: PackedKeys, v: PackedKeys, out: Packed, log: PackedLog
    ) -> Iterator["SlicedTile"]:
        """Answer runs of tiles that lie alike by PyTorch's fused kernel, and return the others."""
        can_fuse = self.hidden is None and self.device.type == "cpu"
        left: list[Tile] = []
        for run in group_alike(self.pattern.tiles(self.cut)):
            bias = make_pair_bias(run[0], self.cut, log.dtype) if can_fuse and len(run) > 1 else None
            if bias is None:
                left += run
                continue
            for start in range(0, len(run), FUSED_TILES):
                attend_alike((q, k, v), out, log, run[start : start + FUSED_TILES], bias)
        return self._bind(left)

    def _bind(self, pieces: Iterable[Tile]) -> Iterator["SlicedTile"]:
        n, each = self.heads
        known: dict[tuple, MaskParts] = {}
        for piece in pieces:
            keys = index_keys(piece.keys, self.device)
            mask = mask_parts(piece, self.cut, self.device, known)
            scores = each * len(piece.rows) * sum(map(len, piece.keys))
            for heads in _head_slices(n, self.groups, CACHED // max(1, scores)):
                yield SlicedTile(self, piece, heads, keys, mask)


def _head_slices(n: int, groups: int, size: int) -> Iterator[slice]:
    """Yield slices of about ``size`` heads, each of whole batch rows or within one."""
    step = size // groups * groups if size >= groups else max(1, size)
    for first in range(0, n, max(step, groups)):
        stop = min(n, first + max(step, groups))
        for start in range(first, stop, step):
            yield slice(start, min(start + step, stop))


@dataclass(frozen=True)
class SlicedTile:
    """A piece of a pattern for some of the heads; see ``tiled_softmax.BoundTile``."""

    source: SlicedTiles
    piece: Tile
    heads: slice
    runs: KeyRuns
    mask: MaskParts

    @property
    def joins(self) -> bool:
        """An earlier tile had some of these rows."""
        return self.piece.is_continuation

    @property
    def whole(self) -> bool:
        """No other tile has any of these rows."""
        return self.piece.whole

    def rows(self, x: Tensor) -> Rows:
        """Return the rows, one query head of a group after the other."""
        return x[self._at].flatten(1, 2)

    def keys(self, x: Tensor) -> Columns:
        """Return the keys, run after run."""
        return take_keys(x[self.heads], self.runs)

    def set_rows(self, x: Tensor, values: Rows) -> None:
        """Write the rows."""
        x[self._at] = values.unflatten(1, (x.shape[1], -1))

    def add_rows(self, x: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
        """Add a scaled product to the rows."""
        rows = x[self._at]
        if x.shape[1] == 1:
            rows[:, 0].baddbmm_(left, right, alpha=scale)
        else:
            rows.add_(torch.bmm(left, right).unflatten(1, (x.shape[1], -1)), alpha=scale)

    def add_keys(self, x: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
        """Add a scaled product to the keys."""
        x, runs = x[self.heads], self.runs
        if isinstance(runs, Tensor):
            x.index_add_(1, runs, torch.bmm(left, right), alpha=scale)
        elif len(runs) == 1:
            x[:, runs[0]].baddbmm_(left, right, alpha=scale)
        else:
            parts = torch.bmm(left, right).split([len(run) for run in self.piece.keys], 1)
            for run, part in zip(runs, parts, strict=True):
                x[:, run].add_(part, alpha=scale)

    def adjust(self, scores: Scores, bias: Bias | None) -> None:
        """Add the bias, and put minus infinity where a row may not attend."""
        if bias is not None:
            table = self._bias_line(bias).unfold(1, scores.shape[2], 1).flip(1)
            self._by_head(scores).add_(table.unflatten(0, (-1, self.source.heads[1])), alpha=LOG2E)
        by_row = scores.unflatten(1, (-1, len(self.piece.rows)))
        for columns, hidden in self.mask:
            by_row[..., columns].masked_fill_(hidden, float("-inf"))
        if self.source.hidden is not None:
            hidden = take_keys(self.source.hidden[self.heads], self.runs)
            scores.masked_fill_(hidden[:, None], float("-inf"))

    def add_bias(self, x: Bias, grad: Scores) -> None:
        """Add the gradient of the scores, summed along diagonals, to that of the bias."""
        self._bias_line(x).add_(sum_diagonals(self._by_head(grad).sum(0).flatten(0, 1)))

    @property
    def _at(self) -> tuple[slice, slice, slice]:
        return self.heads, slice(None), as_slice(self.piece.rows)

    def _by_head(self, scores: Scores) -> Float[Tensor, "B g e r L"]:
        """Split axis 0 into batch rows and the heads of one."""
        groups = min(len(scores), self.source.groups)
        return rearrange(scores, "(b g) (e r) l -> b g e r l", g=groups, r=len(self.piece.rows))

    def _bias_line(self, bias: Bias) -> Float[Tensor, "h _"]:
        """Return what concerns these heads and distances: of a tile whose keys are one run without gaps."""
        each, start = self.source.heads[1], self.heads.start % self.source.groups
        stop = start + min(self.heads.stop - self.heads.start, self.source.groups)
        (keys,), first = self.piece.keys, self.source.cut.queries - self.piece.rows.stop
        return bias[
            start * each : stop * each, first + keys.start : first + len(self.piece.rows) + keys.stop - 1
        ]


def sum_diagonals(table: Float[Tensor, "H r s"]) -> Float[Tensor, "H gaps"]:
    """Return the sums along the diagonals, in the order of a bias."""
    rows, keys = table.shape[1:]
    # Rows of r + s entries, read as rows of one fewer, stand one further to the right each time.
    slanted = F.pad(table.flip(1), (0, rows)).flatten(1)[:, : rows * (rows + keys - 1)]
    return slanted.unflatten(1, (rows, rows + keys - 1)).sum(1)


def mask_parts(
    piece: Tile, cut: TileBuilder, device: torch.device, known: dict[tuple, MaskParts]
) -> MaskParts:
    """Return the columns of a tile in which a row may not attend, around those that hide nothing.

    Tiles that lie alike, as far from their keys, have one mask, kept in ``known``.
    """
    first, runs, skipped = cut.keys - cut.queries + piece.rows.start, piece.keys, 0
    # The rule concerns the last run; what stands before all rows needs no causal mask.
    while runs and not (cut.causal and runs[0][-1] > first) and (piece.rule is None or len(runs) > 1):
        skipped, runs = skipped + len(runs[0]), runs[1:]
    if not runs:
        return ()
    alike = tuple((run.start - first, len(run), run.step) for run in runs)
    key = piece.rule, len(piece.rows), piece.rows.step, skipped, alike
    if key not in known:
        known[key] = _around_clear(cut.hidden_pairs(piece, runs, device), skipped)
    return known[key]


def _around_clear(hidden: Bool[Tensor, "R L"], skipped: int) -> MaskParts:
    """Return what stands left and right of the longest run of columns that hide nothing."""
    edges = [-1, *torch.nonzero(hidden.any(0))[:, 0].tolist(), hidden.shape[1]]
    _, left, right = max((b - a, a + 1, b) for a, b in pairwise(edges))
    ends = (0, left), (right, hidden.shape[1])
    return tuple((slice(skipped + a, skipped + b), hidden[:, a:b]) for a, b in ends if a < b)


def index_keys(runs: Sequence[range], device: torch.device) -> KeyRuns:
    """Return the slices of runs, or each key where that is quicker: slices win from some 8 keys each."""
    if len(runs) > 16 and sum(map(len, runs)) < 8 * len(runs):
        return torch.tensor([key for run in runs for key in run], device=device)
    return tuple(as_slice(run) for run in runs)


def take_keys(x: Tensor, runs: KeyRuns) -> Tensor:
    """Return keys of axis 1, run after run."""
    if isinstance(runs, Tensor):
        return x.index_select(1, runs)
    first, *more = runs
    if more:
        return torch.cat([x[:, run] for run in runs], 1)
    # Products read keys in steps a third slower than the copy of them.
    return x[:, first] if first.step == 1 else x[:, first].contiguous()


def as_slice(run: range) -> slice:
    """Return the slice of a run of indices that are not negative."""
    return slice(run.start, run.stop, run.step)
