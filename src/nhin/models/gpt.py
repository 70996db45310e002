r"""A language model: token embeddings, causal blocks, a head that says what comes next.

::

    tokens -> embedding (+ positions) -> blocks -> norm -> head -> logits

Source:  Radford et al. 2018 and 2019 (GPT, GPT-2).
Differs: every part is chosen by a ``Design``; with one head, no feed-forward and no norm at the end it is the
         single attention layer that teaching texts begin with.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nhin.attention.base import State
from nhin.attention.positions import Learned, sinusoidal
from nhin.errors import ShapeError
from nhin.layers.block import Block, deepnorm
from nhin.layers.experts import Experts
from nhin.layers.feedforward import FeedForward
from nhin.layers.multihead import MultiHead, Wide
from nhin.layers.norm import norm
from nhin.models.design import Design, Places, places, settled
from nhin.models.start import begin

Tokens = Int[Tensor, "B T"]
Logits = Float[Tensor, "B T V"]
IGNORED = -100


class GPT(nn.Module):
    """Says what token comes next after every prefix.

    Args:
        vocab: Tokens there are.
        design: What it is made of.
    """

    def __init__(self, vocab: int, design: Design) -> None:
        super().__init__()
        if not 1 <= vocab <= 2**22:
            raise ShapeError(f"vocab is {vocab}; give 1 to {2**22}")
        self.design = design = settled(design)
        self.vocab, self.dim, self.context = vocab, design.dim or 0, design.context
        where = places(design)
        self.embedding = nn.Embedding(vocab, self.dim)
        self.positions = Learned(design.context, self.dim) if where.inputs == "learned" else None
        if where.inputs == "sinusoidal":
            self.register_buffer("waves", sinusoidal(design.context, self.dim), persistent=False)
        self.drop = nn.Dropout(design.dropout)
        self.blocks = nn.ModuleList(block(design, where, layer) for layer in range(design.depth))
        self.norm = norm(design.norm, self.dim) if design.final_norm else nn.Identity()
        self.head = None if design.tied else nn.Linear(self.dim, vocab, bias=False)
        begin(self, design)

    def forward(
        self, tokens: Tokens, *, cache: Sequence[State] | None = None, lengths: Sequence[int] | None = None
    ) -> Logits:
        """Score every token after every prefix.

        Args:
            tokens: What was read, or what is read now where a cache holds what was before.
            cache: What earlier calls read, one state per block; see ``new_cache``.
            lengths: How many tokens of each row are real, the others being padding after them; with a cache.

        Raises:
            ShapeError: There are more tokens than ``context``.
        """
        return self.scores(self.hidden(tokens, cache=cache, lengths=lengths))

    def hidden(
        self, tokens: Tokens, *, cache: Sequence[State] | None = None, lengths: Sequence[int] | None = None
    ) -> Wide:
        """Return what the last block makes of every token, before the norm."""
        x = self.embed(tokens, cache)
        for layer, one in enumerate(self.blocks):
            x = self.layer(layer, one, x, cache, lengths)
        return x

    def layer(
        self,
        number: int,
        one: nn.Module,
        x: Wide,
        cache: Sequence[State] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Wide:
        """Put ``x`` through block ``number``."""
        if cache is None and self.design.checkpointing and torch.is_grad_enabled():
            return checkpoint(one, x, causal=True, use_reentrant=False)  # pyright: ignore[reportReturnType]
        held = None if cache is None else cache[number]
        return one(x, causal=True, cache=held, lengths=lengths)

    def embed(self, tokens: Tokens, cache: Sequence[State] | None = None) -> Wide:
        """Return token vectors with the positions that are added to them."""
        starts = cache[0].lengths if cache else (0,)
        length = tokens.shape[1]
        if max(starts, default=0) + length > self.context:
            raise ShapeError(
                f"{max(starts, default=0) + length} tokens are more than the context of {self.context}; "
                "shorten the text or build with a larger context"
            )
        x = self.embedding(tokens)
        table = self.positions.table if self.positions is not None else getattr(self, "waves", None)
        if table is not None:
            if len(set(starts)) <= 1:
                x = x + table[starts[0] : starts[0] + length].to(x.dtype) if starts else x
            else:
                rows = torch.tensor(starts)[:, None] + torch.arange(length)
                x = x + table[rows.to(x.device)].to(x.dtype)
        return self.drop(x)

    def scores(self, x: Wide) -> Logits:
        """Score every token from what the blocks made."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return F.linear(self.norm(x), weight)

    def loss(self, tokens: Tokens, targets: Tokens) -> dict[str, Tensor]:
        """Return the mean loss in nats per token, and its parts.

        Args:
            tokens: What is read.
            targets: What follows each; -100 where nothing is asked.

        Returns:
            ``loss``, what is trained on; where something is added to the cross-entropy, that alone as ``nats``;
            ``balance`` where experts are to be kept busy.
        """
        return self.with_balance(cross_entropy(self(tokens), targets))

    def with_balance(self, nats: Float[Tensor, ""]) -> dict[str, Tensor]:
        """Add the balance loss of the experts of the last call."""
        shares = [m.balance for m in self.modules() if isinstance(m, Experts) and m.balance is not None]
        if not shares:
            return {"loss": nats}
        balance = torch.stack(shares).mean()
        return {
            "loss": nats + self.design.balance * balance,
            "nats": nats.detach(),
            "balance": balance.detach(),
        }

    def new_cache(self, batch: int, context: int | None = None) -> list[State]:
        """Build empty states for every block, to read a text piece by piece."""
        room = self.context if context is None else min(context, self.context)
        return [one.attention.new_cache(batch, room) for one in self.blocks]  # pyright: ignore

    @torch.no_grad()
    def explain(self, tokens: Tokens) -> list[dict[str, Tensor]]:
        """Return every intermediate of every block's attention, by the names its mechanism gives them."""
        steps, x = [], self.embed(tokens)
        for one in self.blocks:
            assert isinstance(one, Block)
            looked = one.attention.looked(one.norm(x) if one.order == "pre" else x)
            steps.append(one.attention.mechanism.explain(*looked, causal=True))
            x = one(x, causal=True)
        return steps


def cross_entropy(logits: Logits, targets: Tokens) -> Float[Tensor, ""]:
    """Return the mean nats per asked token, in float32."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def block(design: Design, where: Places, layer: int) -> Block:
    """Build one block of a settled design."""
    dim, heads = design.dim or 0, design.heads or 1
    settings = dict(design.settings)
    if design.mechanism == "interleaved" and "layer" not in settings:
        settings["layer"] = layer
    attention = MultiHead(
        dim,
        heads,
        kv_heads=design.kv_heads,
        mechanism=design.mechanism,
        settings=settings,
        rotary=where.rotary,
        qk_norm=design.qk_norm,
        bias=design.bias,
        dropout=design.dropout,
    )
    alpha = deepnorm(design.depth)[0]
    return Block(dim, attention, feed(design), norm=design.norm, order=design.order, alpha=alpha)


def feed(design: Design) -> nn.Module | None:
    """Build what follows attention in a block of a settled design."""
    dim = design.dim or 0
    if design.feed == "none":
        return None
    if design.experts:
        return Experts(
            dim,
            design.experts,
            active=design.active,
            expand=design.expand,
            bend=design.feed,
            dropout=design.dropout,
        )
    return FeedForward(dim, expand=design.expand, bend=design.feed, bias=design.bias, dropout=design.dropout)
