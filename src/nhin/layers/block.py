"""One Transformer block: parts that look, a part that thinks, each added to what came in.

::

    x + MultiHead(norm(x))                 looks within the sequence
    x + MultiHead(norm(x), context)        looks at the context (only with ``cross``)
    x + FeedForward(norm(x))

With ``order="post"`` the norm follows the sum, ``norm(x + part(x))``; ``order="deep"`` is that with the
shortcut weighed, ``norm(alpha x + part(x))``, which lets hundreds of layers train.

Source:  Vaswani et al. 2017, arXiv:1706.03762 (norm last); Xiong et al. 2020, arXiv:2002.04745 (norm first);
         Wang et al. 2022, arXiv:2203.00555 (DeepNorm).
Differs: nothing.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from jaxtyping import Bool
from torch import Tensor, nn

from nhin.attention.base import Cache
from nhin.errors import UsageError
from nhin.layers.multihead import AnyKeep, Context, Hidden, MultiHead
from nhin.layers.norm import build_norm as build_norm

NormOrder = Literal["pre", "post", "deep"]


class Block(nn.Module):
    """Self-attention, optional cross-attention and an optional feed-forward.

    Args:
        dim: Width of inputs and outputs.
        attention: Looks within the sequence.
        feed: Transforms every place by itself; None for a block that only looks.
        cross: Looks at a context.
        norm: A name in ``layers.norm.NORMS``.
        order: Where norms stand.
        alpha: Weight of the shortcut with ``order="deep"``; see ``deepnorm``.
        eps: What keeps norms from dividing by zero; their own when None.
    """

    def __init__(  # noqa: PLR0913  # the parts, and how they are put together
        self,
        dim: int,
        attention: MultiHead,
        feed: nn.Module | None = None,
        *,
        cross: MultiHead | None = None,
        norm: str = "layer",
        order: NormOrder = "pre",
        alpha: float = 1.0,
        eps: float | None = None,
    ) -> None:
        super().__init__()
        self.order, self.alpha = order, alpha if order == "deep" else 1.0
        self.norm = build_norm(norm, dim, eps)
        self.attention = attention
        self.cross_norm = build_norm(norm, dim, eps) if cross else None
        self.cross = cross
        self.feed_norm = build_norm(norm, dim, eps) if feed else None
        self.feed = feed

    def forward(  # noqa: PLR0913  # what each part may be given
        self,
        x: Hidden,
        *,
        context: Context | None = None,
        causal: bool = False,
        keep: AnyKeep | None = None,
        context_keep: Bool[Tensor, "B S"] | None = None,
        cache: Cache | None = None,
        context_cache: Cache | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Hidden:
        """Transform ``x``.

        Args:
            x: The sequence.
            context: What the cross-attention looks at; needed with ``cross``, refused without.
            causal: Hide later places of ``x`` from earlier ones.
            keep: True where a place of ``x`` may be seen; not with a cache.
            context_keep: True where a place of the context may be seen.
            cache: What earlier steps saw of ``x``.
            context_cache: The context's keys and values, projected at the first call only.
            lengths: How many places of ``x`` are real in each row; with a cache.
        """
        x = self._residual(
            x,
            self.norm,
            lambda y: self.attention(y, causal=causal, keep=keep, cache=cache, lengths=lengths),
        )
        cross = self.cross
        if cross is not None and self.cross_norm is not None:
            if context is None:
                raise UsageError("this block was built with cross-attention; give it a context")
            x = self._residual(
                x,
                self.cross_norm,
                lambda y: cross(y, context=context, keep=context_keep, cache=context_cache),
            )
        elif context is not None:
            raise UsageError(
                "a context was given to a block without cross-attention; build it with cross=MultiHead(...)"
            )
        if self.feed is None or self.feed_norm is None:
            return x
        return self._residual(x, self.feed_norm, self.feed)

    def fill_cache(self, x: Hidden, cache: Cache, lengths: Sequence[int] | None = None) -> None:
        """Let a cache read ``x``, which this block leaves as it is."""
        x = self.norm(x) if self.order == "pre" else x
        self.attention(x, causal=True, cache=cache, lengths=lengths)

    def _residual(self, x: Hidden, norm: nn.Module, sublayer: Callable[[Hidden], Hidden]) -> Hidden:
        """Add what a part makes of x to x, with the norm where it stands."""
        if self.order == "pre":
            return x + sublayer(norm(x))
        return norm(self.alpha * x + sublayer(x))


def deepnorm(depth: int) -> tuple[float, float]:
    """Return DeepNorm's weight of the shortcut and gain of the first weights, for a decoder so deep.

    The gain is that of values, outputs and feed-forwards; queries and keys keep theirs.
    """
    return (2 * depth) ** 0.25, (8 * depth) ** -0.25
