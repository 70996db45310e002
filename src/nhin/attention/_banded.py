"""What mechanisms that look through a band do alike: choose how to look, and remember only the band."""

from dataclasses import fields

import torch
from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor

from nhin.attention import _folded, _strips
from nhin.attention._folded import Band, Call, folded
from nhin.attention._patterns import Pattern
from nhin.attention._scored import Scored
from nhin.attention._scores import hide, known_finite, mix, shield, weigh
from nhin.attention.base import Keep, Keys, Queries, Room, State
from nhin.attention.states import Rolling


class Banded(Scored):
    """A softmax over the keys of a band: near ones, and perhaps the first few.

    Args:
        band: Who sees whom.
    """

    def __init__(self, band: Band) -> None:
        super().__init__()
        self.band = band
        self.pattern: Pattern | None = band.pattern

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with the weights of a band; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        t, s = q.shape[1], k.shape[1]
        if 0 in (q.shape[0], t, s):
            return q.masked_fill(torch.ones_like(q, dtype=torch.bool), 0.0)
        k, v = hide(k, keep), hide(v, keep)
        if t == 1:
            return self._alone(q, k, v, keep)
        # The table of strips is made on the CPU and pays once there are several.
        if known_finite(k, v):
            if t > _folded.CHUNK and q.device.type == "cpu":
                return _strips.look(q, k, v, keep, self.band, causal)
            return folded(Call(q, k, v, causal, keep), self.band)
        k, v, broken = shield(k, v)
        return folded(Call(q, k, v, causal, keep, broken), self.band)

    def extra_repr(self) -> str:
        """Tell the sizes of the band."""
        sizes = {field.name: getattr(self.band, field.name) for field in fields(self.band)}
        plain = {"dilation": 1, "first": 0, "leaders": 0}
        return ", ".join(f"{name}={size}" for name, size in sizes.items() if size != plain.get(name))

    def new_state(self, room: Room) -> State:
        """Build an empty state: the keys and values a later place may still see."""
        band = self.band
        return Rolling(room, self, band.width, dilation=band.dilation, first=band.first)

    def _alone(self, q: Queries, k: Keys, v: Keys, keep: Keep | None) -> Queries:
        """Answer one query: it stands at the last key, so it sees all of a few keys, causally or not."""
        s, band = k.shape[1], self.band
        if s > max(band.first, band.leaders):
            k, v, keep = (self._near(k), self._near(v), None if keep is None else self._near(keep))
        return mix(weigh(q, k, None if keep is None else rearrange(keep, "b s -> b 1 1 s")), v)

    def _near(self, x: Shaped[Tensor, "B S *rest"]) -> Shaped[Tensor, "B L *rest"]:
        """Return what the last place sees."""
        s, band = x.shape[1], self.band
        start = s - 1 - (band.width - 1) * band.dilation
        start = start if start >= 0 else (s - 1) % band.dilation
        if start <= band.first and band.first:
            return x
        near = x[:, start :: band.dilation]
        return torch.cat([x[:, : band.first], near], 1) if band.first else near
