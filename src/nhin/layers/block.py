"""One Transformer block: attention and an MLP, each with a norm and a residual connection.

::

    x + MultiHead(norm(x))                 self-attention
    x + MultiHead(norm(x), context)        cross-attention (only with ``cross``)
    x + MLP(norm(x))

With ``order="post"`` the norm follows the sum, ``norm(x + sublayer(x))``; ``order="deep"`` scales the
residual as well, ``norm(alpha x + sublayer(x))``, which makes hundreds of layers trainable.

Source:  Vaswani et al. 2017, arXiv:1706.03762 (post-norm); Xiong et al. 2020, arXiv:2002.04745 (pre-norm);
         Wang et al. 2022, arXiv:2203.00555 (DeepNorm).
Differs: nothing.
"""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Bool
from torch import Tensor, nn

from nhin.attention.base import Cache
from nhin.errors import UsageError
from nhin.layers.multihead import AnyKeep, Context, Hidden, MultiHead
from nhin.layers.norm import build_norm

NormOrder = Literal["pre", "post", "deep"]


class Block(nn.Module):
    """Self-attention, optional cross-attention and an optional MLP.

    Args:
        dim: Width of inputs and outputs.
        attention: The self-attention.
        mlp: The MLP; None for a block of attention alone.
        cross: The cross-attention.
        norm: A name in ``layers.norm.NORMS``.
        norm_order: Position of the norms.
        alpha: Scale of the residual with ``order="deep"``; see ``deepnorm``.
        eps: Added inside the norms against division by zero; their own default when None.
    """

    def __init__(  # noqa: PLR0913  # the sublayers, and how they are connected
        self,
        dim: int,
        attention: MultiHead,
        mlp: nn.Module | None = None,
        *,
        cross: MultiHead | None = None,
        norm: str = "layer",
        norm_order: NormOrder = "pre",
        alpha: float = 1.0,
        eps: float | None = None,
    ) -> None:
        super().__init__()
        self.norm_order, self.alpha = norm_order, alpha if norm_order == "deep" else 1.0
        self.norm = build_norm(norm, dim, eps)
        self.attention = attention
        self.cross_norm = build_norm(norm, dim, eps) if cross else None
        self.cross = cross
        self.mlp_norm = build_norm(norm, dim, eps) if mlp else None
        self.mlp = mlp

    def forward(  # noqa: PLR0913  # the arguments of each sublayer
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
            context: Input of the cross-attention; required with ``cross``, refused without.
            causal: Mask later positions of ``x``.
            keep: True where a position of ``x`` may be attended to; not with a cache.
            context_keep: True where a position of the context may be attended to.
            cache: The self-attention's cache of earlier positions.
            context_cache: The context's keys and values, projected at the first call only.
            lengths: Valid positions of each row of ``x``; with a cache.
        """
        y = self._norm_before(x, self.norm)
        y = self.attention(y, causal=causal, keep=keep, cache=cache, lengths=lengths)
        x = self._add_residual(x, y, self.norm)
        cross = self.cross
        if cross is not None and self.cross_norm is not None:
            if context is None:
                raise UsageError("this block was built with cross-attention; give it a context")
            y = self._norm_before(x, self.cross_norm)
            y = cross(y, context=context, keep=context_keep, cache=context_cache)
            x = self._add_residual(x, y, self.cross_norm)
        elif context is not None:
            raise UsageError(
                "a context was given to a block without cross-attention; build it with cross=MultiHead(...)"
            )
        if self.mlp is None or self.mlp_norm is None:
            return x
        return self._add_residual(x, self.mlp(self._norm_before(x, self.mlp_norm)), self.mlp_norm)

    def fill_cache(self, x: Hidden, cache: Cache, lengths: Sequence[int] | None = None) -> None:
        """Append the keys and values of ``x`` to a cache, without computing the block's output."""
        self.attention(self._norm_before(x, self.norm), causal=True, cache=cache, lengths=lengths)

    def _norm_before(self, x: Hidden, norm: nn.Module) -> Hidden:
        return norm(x) if self.norm_order == "pre" else x

    def _add_residual(self, x: Hidden, y: Hidden, norm: nn.Module) -> Hidden:
        """Add the output of a sublayer to its input, with the norm before or after."""
        return x + y if self.norm_order == "pre" else norm(self.alpha * x + y)


def deepnorm(depth: int) -> tuple[float, float]:
    """Return DeepNorm's residual scale and initialization gain for a decoder of ``depth`` blocks.

    The gain applies to the weights of values, outputs and MLPs; queries and keys have none.
    """
    return (2 * depth) ** 0.25, (8 * depth) ** -0.25
