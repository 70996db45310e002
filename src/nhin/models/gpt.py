r"""A language model: token embeddings, causal blocks, a head that predicts the next token.

::

    tokens -> embedding (+ positions) -> blocks -> norm -> head -> logits

Source:  Radford et al. 2018 and 2019 (GPT, GPT-2).
Differs: every part is set by a ``ModelConfig``; with one head, no MLP and no final norm it is a single
         attention layer.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nhin.attention.base import Cache
from nhin.attention.masked_softmax import is_transformed
from nhin.attention.positions import LearnedEmbedding, SinusoidalEmbedding
from nhin.errors import ShapeError
from nhin.layers.block import Block, deepnorm
from nhin.layers.mlp import MLP
from nhin.layers.moe import MixtureOfExperts
from nhin.layers.multihead import Hidden, MultiHead
from nhin.layers.norm import build_norm
from nhin.models.config import ModelConfig, PositionConfig, resolve, resolve_positions
from nhin.models.init import init_weights
from nhin.ranges import check_size

Tokens = Int[Tensor, "B T"]
Logits = Float[Tensor, "B T V"]
Caches = Sequence[Cache] | None  # one per block
Lengths = Sequence[int] | None  # valid tokens of each row
IGNORE_INDEX = -100


class GPT(nn.Module):
    """Predicts the next token after every prefix.

    Args:
        vocab: Number of tokens.
        config: Its settings.

    Attributes:
        config: The config with every size filled in.
        context: Sequence length of training and evaluation, in tokens.
        unbounded: It accepts sequences of any length; else none longer than ``context``.
    """

    unbounded = False

    def __init__(self, vocab: int, config: ModelConfig) -> None:
        super().__init__()
        self.vocab = check_size("vocab", vocab, 1, 2**22)
        self.config = config = resolve(config)
        self.dim, self.context = config.dim or 0, config.context
        positions = resolve_positions(config)
        self.embedding = nn.Embedding(vocab, self.dim)
        embed = {"learned": LearnedEmbedding, "sinusoidal": SinusoidalEmbedding}.get(positions.inputs or "")
        self.positions = None if embed is None else embed(config.max_positions, self.dim)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(build_block(config, positions, layer) for layer in range(config.depth))
        self.norm = build_norm(config.norm, self.dim, config.eps) if config.final_norm else nn.Identity()
        self.head = None if config.tie_embeddings else nn.Linear(self.dim, vocab, bias=False)
        init_weights(self, config)

    def forward(self, tokens: Tokens, *, cache: Caches = None, lengths: Lengths = None) -> Logits:
        """Return the logits of the next token after every prefix.

        Args:
            tokens: The sequence, or its continuation with a cache.
            cache: Holds earlier positions, one cache per block; see ``new_cache``.
            lengths: Valid tokens of each row, with padding after them; with a cache.

        Raises:
            ShapeError: The sequence is longer than ``context``.
        """
        return self.logits(self.hidden(tokens, cache=cache, lengths=lengths))

    def hidden(self, tokens: Tokens, *, cache: Caches = None, lengths: Lengths = None) -> Hidden:
        """Return the output of the last block, before the norm."""
        return self.run_blocks(self.embed(tokens, cache, lengths), cache, lengths)

    def embed(self, tokens: Tokens, cache: Caches = None, lengths: Lengths = None) -> Hidden:
        """Return token embeddings with the positions that are added to them."""
        starts, length = (0,), tokens.shape[1]
        if cache:
            starts = cache[0].lengths
            new = lengths or (length,) * len(starts)
            length = max((start + more for start, more in zip(starts, new, strict=True)), default=0)
        if length > self.context:
            raise ShapeError(
                f"{length} tokens are more than the context of {self.context}; "
                "shorten the text or build with a larger context"
            )
        return self.add_positions(self.embedding(tokens), starts)

    def add_positions(self, x: Hidden, starts: Sequence[int] = (0,)) -> Hidden:
        """Add position embeddings; ``starts`` is the first position, one for all rows or one for each."""
        if self.positions is None or not len(starts):
            return self.drop(x)
        table = self.positions.table
        stop = starts[0] + x.shape[1]
        if len(set(starts)) == 1 and stop <= table.shape[0]:
            return self.drop(x + table[starts[0] : stop].to(x.dtype))
        # Padding may extend beyond the last position of the table.
        rows = torch.tensor(starts)[:, None] + torch.arange(x.shape[1])
        return self.drop(x + table[rows.clamp_max(table.shape[0] - 1).to(x.device)].to(x.dtype))

    def run_blocks(self, x: Hidden, cache: Caches = None, lengths: Lengths = None) -> Hidden:
        """Apply every block."""
        for index in range(len(self.blocks)):
            x = self.bind_block(index, cache, lengths)(x)
        return x

    def bind_block(
        self, index: int, cache: Caches = None, lengths: Lengths = None
    ) -> Callable[[Hidden], Any]:
        """Return block ``index`` as a function of its input, without a further Python call around it."""
        block = self.blocks[index]
        stores_nothing = self.config.checkpointing and torch.is_grad_enabled() and not is_transformed()
        if cache is None and stores_nothing:
            return partial(checkpoint, block, causal=True, use_reentrant=False)
        return partial(block, causal=True, cache=None if cache is None else cache[index], lengths=lengths)

    def logits(self, x: Hidden) -> Logits:
        """Return the logits of every token from the output of the blocks."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return F.linear(self.norm(x), weight)

    def loss(self, tokens: Tokens, targets: Tokens) -> dict[str, Tensor]:
        """Return the mean loss in nats per token, and its parts.

        Args:
            tokens: The inputs.
            targets: The next token of each; -100 where there is none.

        Returns:
            ``loss``, to train on; with experts also ``nats``, the cross-entropy alone, and ``balance``.
        """
        return self.combine_losses(cross_entropy(self(tokens), targets), self.balance_loss())

    def balance_loss(self) -> Float[Tensor, ""] | None:
        """Return how unevenly the last call used experts, from 1 for evenly; None without experts."""
        losses = [
            module.balance_loss
            for module in self.modules()
            if isinstance(module, MixtureOfExperts) and module.balance_loss is not None
        ]
        return torch.stack(losses).mean() if losses else None

    def combine_losses(self, nats: Float[Tensor, ""], balance: Float[Tensor, ""] | None) -> dict[str, Tensor]:
        """Return the weighted sum of a cross-entropy and a balance loss, and both."""
        if balance is None:
            return {"loss": nats}
        loss = nats + self.config.balance_loss * balance
        return {"loss": loss, "nats": nats.detach(), "balance": balance.detach()}

    def new_cache(self, batch: int, context: int | None = None) -> list[Cache]:
        """Build an empty cache for every block, to read a sequence piece by piece."""
        max_length = self.context if context is None else min(context, self.context)
        return [block.attention.new_cache(batch, max_length) for block in self.iter_blocks()]

    def iter_blocks(self) -> Iterator[Block]:
        """Yield the blocks in order."""
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    @torch.no_grad()
    def explain(self, tokens: Tokens) -> list[dict[str, Tensor]]:
        """Return every intermediate of every block's attention, by the names of its mechanism."""
        return self.explain_layers(self.embed(tokens))

    def explain_layers(self, x: Hidden) -> list[dict[str, Tensor]]:
        """Explain every block's attention to embeddings with positions."""
        layers = []
        for block in self.iter_blocks():
            qkv = block.attention.project_qkv(block.norm(x) if block.norm_order == "pre" else x)
            layers.append(block.attention.mechanism.explain(*qkv, causal=True))
            x = block(x, causal=True)
        return layers


def build_block(config: ModelConfig, positions: PositionConfig, layer: int) -> Block:
    """Build block number ``layer`` of a resolved config."""
    dim, settings = config.dim or 0, dict(config.settings)
    if config.mechanism == "interleaved":
        settings.setdefault("layer", layer)
    attention = MultiHead(
        dim,
        config.heads or 1,
        kv_heads=config.kv_heads,
        mechanism=config.mechanism,
        settings=settings,
        rotary=positions.rotary,
        head_dim=config.head_dim,
        qk_norm=config.qk_norm,
        qk_gain=config.qk_gain,
        eps=config.eps,
        bias=config.has_biases[0],
        out_bias=config.has_biases[1],
        dropout=config.dropout,
    )
    return Block(
        dim,
        attention,
        build_mlp(config),
        norm=config.norm,
        norm_order=config.norm_order,
        alpha=deepnorm(config.depth)[0],
        eps=config.eps,
    )


def build_mlp(config: ModelConfig) -> nn.Module | None:
    """Build the MLP of a block, or its experts; None for neither."""
    if config.mlp == "none":
        return None
    dim = config.dim or 0
    shared: dict[str, Any] = {
        "mlp_ratio": config.mlp_ratio,
        "hidden_dim": config.hidden_dim,
        "activation": config.mlp,
        "dropout": config.dropout,
    }
    if config.experts:
        return MixtureOfExperts(dim, config.experts, top_k=config.top_k, **shared)
    return MLP(dim, bias=config.has_biases[2], **shared)


def cross_entropy(logits: Logits, targets: Tokens) -> Float[Tensor, ""]:
    """Return the mean nats per target, in float32."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX)
