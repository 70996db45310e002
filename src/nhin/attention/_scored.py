"""What mechanisms that weigh keys by a softmax of scores do alike.

Such a mechanism gives its own ``scores``, its own ``pattern``, or both; all the rest follows from them:
the slow answer, its weights by rows, the explanation. A fast ``forward`` may replace the slow one.
"""

import torch
from einops import repeat
from jaxtyping import Bool
from torch import Tensor

from nhin.attention._patterns import Pattern, Place, Places
from nhin.attention._scores import Seen, hide, mix, shield, soften
from nhin.attention.base import Keep, Keys, Mechanism, Queries, Room, Shown, State, check_call
from nhin.attention.states import KeyValues


class Scored(Mechanism):
    """A softmax over the scores of the keys that may be seen."""

    pattern: Pattern | None = None

    def scores(self, q: Queries, k: Keys, p: Place, s: Places, size: Place) -> Shown:
        """Return what the softmax is taken of: scaled dot products, unless a mechanism says otherwise.

        Args:
            q: Some of the queries.
            k: All keys; the hidden ones are zeros.
            p: Where each of these queries stands among the keys.
            s: Where each key stands.
            size: How many keys each query has, hidden ones included; p + 1 when causal.
        """
        k = repeat(k, "b s g d -> b s (g each) d", each=q.shape[2] // k.shape[2])
        return torch.einsum("bthd,bshd->bhts", q, k) * q.shape[-1] ** -0.5

    def sees(self, q: Queries, k: Keys, p: Place, s: Places, size: Place) -> Seen | None:
        """Return which keys the mechanism itself lets each query see; None for all."""
        return None if self.pattern is None else self.pattern.sees(p, s, size)[None, None]

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with softmax weights; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        return self.slowly(q, k, v, causal=causal, keep=keep)

    def check(self, q: Queries, k: Keys, v: Keys, *, causal: bool, keep: Keep | None) -> None:
        """Refuse what does not fit; a mechanism built for sizes adds its own."""
        check_call(self.facts, q, k, v, causal=causal, keep=keep)

    def slowly(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values the obvious way, with all weights at once: the twin every fast path must equal."""
        k, v, broken = shield(hide(k, keep), hide(v, keep))
        weights, seen = self._weighed(q, k, causal, keep, slice(None))
        out = mix(weights, v)
        seen = weights.new_ones(1, 1, *weights.shape[2:], dtype=torch.bool) if seen is None else seen
        # What a query sees must show when it is no number, though it was mixed as zero.
        bad = repeat(broken, "b s g -> b (g each) 1 s", each=q.shape[2] // k.shape[2])
        reached = (seen & bad).any(-1)
        return out.masked_fill(reached.transpose(1, 2)[..., None], float("nan"))

    def weights(
        self,
        q: Queries,
        k: Keys,
        *,
        causal: bool = False,
        keep: Keep | None = None,
        rows: slice | None = None,
    ) -> Shown:
        """Return what each query (of ``rows``, all when None) gives each key."""
        self.check(q, k, k, causal=causal, keep=keep)
        return self._weighed(q, hide(k, keep), causal, keep, rows or slice(None))[0]

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return scores, who sees whom, weights and output, in the formula's order."""
        self.check(q, k, v, causal=causal, keep=keep)
        k = hide(k, keep)
        scores, seen = self._looked(q, k, causal, keep, slice(None))
        told = {"scores": scores}
        if seen is not None:
            told["visible"] = seen
        told["weights"] = self._weighed(q, k, causal, keep, slice(None))[0]
        return told | {"output": self(q, k, v, causal=causal, keep=keep)}

    def new_state(self, room: Room) -> State:
        """Build an empty state: all keys and values."""
        if "decode" not in self.facts.abilities:
            return super().new_state(room)
        return KeyValues(room, self)

    def _weighed(
        self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice
    ) -> tuple[Shown, Bool[Tensor, "#B #H #rows S"] | None]:
        """Return the weights of some rows and who may be seen from them."""
        scores, seen = self._looked(q, k, causal, keep, rows)
        return soften(scores, seen), seen

    def _looked(
        self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice
    ) -> tuple[Shown, Bool[Tensor, "#B #H #rows S"] | None]:
        """Return the scores of some rows and who may be seen from them."""
        t, s = q.shape[1], k.shape[1]
        keys = torch.arange(s, device=q.device)
        p = (torch.arange(t, device=q.device) + (s - t))[rows, None]
        size = p + 1 if causal else torch.full_like(p, s)
        q = q[:, rows]
        seen = self.sees(q, k, p, keys, size)
        for limit in ((keys <= p)[None, None] if causal else None, _kept(keep)):
            if limit is not None:
                seen = limit if seen is None else seen & limit
        return self.scores(q, k, p, keys, size), seen


def _kept(keep: Keep | None) -> Seen | None:
    return None if keep is None else keep[:, None, None, :]
