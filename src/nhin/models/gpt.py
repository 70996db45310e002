r"""A language model: token embeddings, causal blocks, a head that says what comes next.

::

    tokens -> embedding (+ positions) -> blocks -> norm -> head -> logits

Source:  Radford et al. 2018 and 2019 (GPT, GPT-2).
Differs: every part is chosen by a ``Design``; with one head, no feed-forward and no norm at the end it is the
         single attention layer that teaching texts begin with.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nhin.attention.base import Cache
from nhin.attention.positions import LearnedEmbedding, sinusoidal
from nhin.errors import ShapeError
from nhin.layers.block import Block
from nhin.layers.moe import MixtureOfExperts
from nhin.layers.multihead import Hidden
from nhin.layers.norm import build_norm
from nhin.models.config import ModelConfig, resolve, resolve_positions
from nhin.models.init import init_weights
from nhin.models.parts import build_block

Tokens = Int[Tensor, "B T"]
Logits = Float[Tensor, "B T V"]
IGNORE_INDEX = -100
_MAX_VOCAB = 2**22


class GPT(nn.Module):
    """Says what token comes next after every prefix.

    Args:
        vocab: Tokens there are.
        config: What it is made of.

    Attributes:
        config: The design with every size filled in.
        context: Tokens of one text: what training and evaluation read at once.
        unbounded: It reads texts of any length; else none longer than ``context``.
    """

    unbounded = False

    def __init__(self, vocab: int, config: ModelConfig) -> None:
        super().__init__()
        if not 1 <= vocab <= _MAX_VOCAB:
            raise ShapeError(f"vocab is {vocab}; give 1 to {_MAX_VOCAB}")
        self.config = config = resolve(config)
        self.vocab, self.dim, self.context = vocab, config.dim or 0, config.context
        where = resolve_positions(config)
        self.embedding = nn.Embedding(vocab, self.dim)
        self.positions = (
            LearnedEmbedding(config.max_positions, self.dim) if where.inputs == "learned" else None
        )
        waves = sinusoidal(config.max_positions, self.dim) if where.inputs == "sinusoidal" else None
        self.register_buffer("position_table", waves, persistent=False)
        self.position_table: Tensor | None
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(build_block(config, where, layer) for layer in range(config.depth))
        self.norm = build_norm(config.norm, self.dim, config.eps) if config.final_norm else nn.Identity()
        self.head = None if config.tied else nn.Linear(self.dim, vocab, bias=False)
        init_weights(self, config)

    def forward(
        self, tokens: Tokens, *, cache: Sequence[Cache] | None = None, lengths: Sequence[int] | None = None
    ) -> Logits:
        """Score every token after every prefix.

        Args:
            tokens: What was read, or what is read now where a cache holds what was before.
            cache: What earlier calls read, one state per block; see ``new_cache``.
            lengths: How many tokens of each row are real, the others being padding after them; with a cache.

        Raises:
            ShapeError: There are more tokens than ``context``.
        """
        return self.logits(self.hidden(tokens, cache=cache, lengths=lengths))

    def hidden(
        self, tokens: Tokens, *, cache: Sequence[Cache] | None = None, lengths: Sequence[int] | None = None
    ) -> Hidden:
        """Return what the last block makes of every token, before the norm."""
        return self.run_blocks(self.embed(tokens, cache, lengths), cache, lengths)

    def embed(
        self, tokens: Tokens, cache: Sequence[Cache] | None = None, lengths: Sequence[int] | None = None
    ) -> Hidden:
        """Return token vectors with the positions that are added to them."""
        starts, longest = (0,), tokens.shape[1]
        if cache:
            starts = cache[0].lengths
            new = lengths or (longest,) * len(starts)
            longest = max((start + more for start, more in zip(starts, new, strict=True)), default=0)
        if longest > self.context:
            raise ShapeError(
                f"{longest} tokens are more than the context of {self.context}; "
                "shorten the text or build with a larger context"
            )
        return self.add_positions(self.embedding(tokens), starts)

    def add_positions(self, x: Hidden, starts: Sequence[int] = (0,)) -> Hidden:
        """Add positions to vectors that stand from ``starts`` on, one place or one for each row."""
        table = self.position_table if self.positions is None else self.positions.table
        if table is None or not len(starts):
            return self.drop(x)
        stop = starts[0] + x.shape[1]
        if len(set(starts)) == 1 and stop <= table.shape[0]:
            return self.drop(x + table[starts[0] : stop].to(x.dtype))
        # Padding after the real tokens may stand beyond the last place.
        rows = torch.tensor(starts)[:, None] + torch.arange(x.shape[1])
        return self.drop(x + table[rows.clamp_max(table.shape[0] - 1).to(x.device)].to(x.dtype))

    def run_blocks(
        self, x: Hidden, cache: Sequence[Cache] | None = None, lengths: Sequence[int] | None = None
    ) -> Hidden:
        """Put vectors through every block."""
        for number in range(len(self.blocks)):
            x = self.run_block(number, x, cache, lengths)
        return x

    def run_block(
        self,
        index: int,
        x: Hidden,
        cache: Sequence[Cache] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Hidden:
        """Put vectors through block ``index``."""
        one = self.blocks[index]
        if cache is None and self.config.checkpointing and torch.is_grad_enabled():
            return checkpoint(one, x, causal=True, use_reentrant=False)  # pyright: ignore[reportReturnType]
        held = None if cache is None else cache[index]
        return one(x, causal=True, cache=held, lengths=lengths)

    def logits(self, x: Hidden) -> Logits:
        """Score every token from what the blocks made."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return F.linear(self.norm(x), weight)

    def loss(self, tokens: Tokens, targets: Tokens) -> dict[str, Tensor]:
        """Return the mean loss in nats per token, and its parts.

        Args:
            tokens: What is read.
            targets: What follows each; -100 where nothing is asked.

        Returns:
            ``loss``, what is trained on; ``nats``, the cross-entropy alone where something is added to it;
            ``balance`` where experts are to be kept busy.
        """
        return self.combine_losses(cross_entropy(self(tokens), targets), self.balance_loss())

    def balance_loss(self) -> Float[Tensor, ""] | None:
        """Return how unevenly the last call used experts, from 1 for all alike; None without experts."""
        shares = [
            m.balance for m in self.modules() if isinstance(m, MixtureOfExperts) and m.balance is not None
        ]
        return torch.stack(shares).mean() if shares else None

    def combine_losses(self, nats: Float[Tensor, ""], balance: Float[Tensor, ""] | None) -> dict[str, Tensor]:
        """Return the loss that a cross-entropy and a balance make, and both."""
        if balance is None:
            return {"loss": nats}
        loss = nats + self.config.balance * balance
        return {"loss": loss, "nats": nats.detach(), "balance": balance.detach()}

    def new_cache(self, batch: int, context: int | None = None) -> list[Cache]:
        """Build empty states for every block, to read a text piece by piece."""
        room = self.context if context is None else min(context, self.context)
        return [one.attention.new_cache(batch, room) for one in self.iter_blocks()]

    def iter_blocks(self) -> Iterator[Block]:
        """Yield the blocks in order."""
        for one in self.blocks:
            assert isinstance(one, Block)
            yield one

    @torch.no_grad()
    def explain(self, tokens: Tokens) -> list[dict[str, Tensor]]:
        """Return every intermediate of every block's attention, by the names its mechanism gives them."""
        return self.explain_layers(self.embed(tokens))

    def explain_layers(self, x: Hidden) -> list[dict[str, Tensor]]:
        """Explain every block's attention to vectors with their positions."""
        steps = []
        for one in self.iter_blocks():
            looked = one.attention.project_qkv(one.norm(x) if one.order == "pre" else x)
            steps.append(one.attention.mechanism.explain(*looked, causal=True))
            x = one(x, causal=True)
        return steps


def cross_entropy(logits: Logits, targets: Tokens) -> Float[Tensor, ""]:
    """Return the mean nats per asked token, in float32."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX)
