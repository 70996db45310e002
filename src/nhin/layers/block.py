"""One Transformer block, with the norm before each part.

::

    x + MultiHead(norm(x))                 looks within the sequence
    x + MultiHead(norm(x), context)        looks at the context (only with ``cross``)
    x + FeedForward(norm(x))

Source:  Vaswani et al. 2017, arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745 (norm first).
Differs: nothing.
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Bool
from torch import Tensor, nn

from nhin.attention.base import State
from nhin.errors import UsageError
from nhin.layers.feedforward import FeedForward
from nhin.layers.multihead import Context, KeepAny, MultiHead, Wide
from nhin.layers.norm import norm


class Block(nn.Module):
    """Self-attention, optional cross-attention and a feed-forward, each added to what came in.

    Args:
        dim: Width of inputs and outputs.
        heads: Query heads.
        kv_heads: Key/value heads; see ``MultiHead``.
        mechanism: What looks within the sequence; a context is always looked at with softmax.
        settings: The mechanism's own settings.
        rotary: Turn queries and keys of the self-attention by their place; see ``MultiHead``.
        cross: Also look at a context.
        expand: Inner width of the feed-forward over ``dim``.
        dropout: Chance of dropping an output channel of each part.
    """

    def __init__(  # noqa: PLR0913  # every part's one knob; a settings object would only hide them
        self,
        dim: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        mechanism: str = "softmax",
        settings: Mapping[str, object] | None = None,
        rotary: bool | str | Mapping[str, object] = False,
        cross: bool = False,
        expand: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = norm("layer", dim)
        self.attention = MultiHead(
            dim,
            heads,
            kv_heads=kv_heads,
            mechanism=mechanism,
            settings=settings,
            rotary=rotary,
            dropout=dropout,
        )
        self.cross_norm = norm("layer", dim) if cross else None
        self.cross = MultiHead(dim, heads, kv_heads=kv_heads, dropout=dropout) if cross else None
        self.feed_norm = norm("layer", dim)
        self.feed = FeedForward(dim, expand=expand, dropout=dropout)

    def forward(  # noqa: PLR0913  # what each part may be given
        self,
        x: Wide,
        *,
        context: Context | None = None,
        causal: bool = False,
        keep: KeepAny | None = None,
        context_keep: Bool[Tensor, "B S"] | None = None,
        cache: State | None = None,
        context_cache: State | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Wide:
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
        x = x + self.attention(self.norm(x), causal=causal, keep=keep, cache=cache, lengths=lengths)
        if self.cross is not None and self.cross_norm is not None:
            if context is None:
                raise UsageError("this block was built with cross=True; give it a context")
            x = x + self.cross(self.cross_norm(x), context=context, keep=context_keep, cache=context_cache)
        elif context is not None:
            raise UsageError(
                "a context was given to a block without cross-attention; build it with cross=True"
            )
        return x + self.feed(self.feed_norm(x))
