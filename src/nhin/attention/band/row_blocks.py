"""The fast path of bands for long sequences on a CPU: tiles of queries, and the keys that they reach.

Every query is in one tile, so no softmax is merged.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from nhin.attention.band import chunked
from nhin.attention.band.chunked import Band
from nhin.attention.masks import KeyPositions, PairMask, QueryPositions
from nhin.attention.tiles import Tile, TileBuilder

VECTOR = 16  # float32 numbers


@dataclass(frozen=True)
class BandTiles:
    """Cuts a band into tiles; see ``tiles.TiledPattern``."""

    band: Band

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return self.band.pattern.mask(p, s, size)

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """Yield every query that reaches a key once, with the keys it reaches."""
        band, shift = self.band, builder.keys - builder.queries
        led = slice(0, 0) if builder.causal else band.global_rows(builder.queries, builder.keys)
        for rows in _split_rows(range(led.start, led.stop)):
            yield Tile(rows, (range(builder.keys),), whole=True)
        for span in (range(led.start), range(led.stop, builder.queries)):
            for residue in range(min(band.dilation, len(span))):
                for rows in _split_rows(span[residue :: band.dilation]):
                    if keys := _visible_range(band, rows[0] + shift, rows[-1] + shift, builder):
                        yield Tile(rows, keys, band.pattern, whole=True)


def _split_rows(rows: range) -> Iterator[range]:
    return (rows[start : start + chunked.CHUNK] for start in range(0, len(rows), chunked.CHUNK))


def _visible_range(band: Band, begin: int, end: int, builder: TileBuilder) -> tuple[range, ...]:
    """Return the keys that positions ``begin`` to ``end`` attend to, and few others."""
    d = band.dilation
    reach = (band.width - 1) * d
    start = begin - reach
    start = start if start >= 0 else start % d
    stop = max(start, min(builder.keys, end + 1 + (0 if builder.causal else reach)))
    # The maximum of a row is found three times as quickly where rows are as long as vectors are wide.
    spare = -len(range(start, stop, d)) % VECTOR * d
    start -= spare if spare <= start else 0
    first = max(0, min(band.global_keys, builder.keys, end + 1 if builder.causal else builder.keys))
    apart = (range(first), range(start, stop, d))
    return tuple(filter(None, apart if start > first or not first else (range(max(first, stop)),)))
