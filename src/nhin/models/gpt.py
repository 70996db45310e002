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

from nhin.attention.base import State
from nhin.attention.positions import Learned, sinusoidal
from nhin.errors import ShapeError
from nhin.layers.block import Block
from nhin.layers.experts import Experts
from nhin.layers.multihead import Wide
from nhin.layers.norm import norm
from nhin.models.design import Design, places, settled
from nhin.models.parts import block
from nhin.models.start import begin

Tokens = Int[Tensor, "B T"]
Logits = Float[Tensor, "B T V"]
IGNORED = -100
_MOST = 2**22


class GPT(nn.Module):
    """Says what token comes next after every prefix.

    Args:
        vocab: Tokens there are.
        design: What it is made of.

    Attributes:
        design: The design with every size filled in.
        context: Tokens of one text: what training and evaluation read at once.
        unbounded: It reads texts of any length; else none longer than ``context``.
    """

    unbounded = False

    def __init__(self, vocab: int, design: Design) -> None:
        super().__init__()
        if not 1 <= vocab <= _MOST:
            raise ShapeError(f"vocab is {vocab}; give 1 to {_MOST}")
        self.design = design = settled(design)
        self.vocab, self.dim, self.context = vocab, design.dim or 0, design.context
        where = places(design)
        self.embedding = nn.Embedding(vocab, self.dim)
        self.positions = Learned(design.room, self.dim) if where.inputs == "learned" else None
        waves = sinusoidal(design.room, self.dim) if where.inputs == "sinusoidal" else None
        self.register_buffer("waves", waves, persistent=False)
        self.waves: Tensor | None
        self.drop = nn.Dropout(design.dropout)
        self.blocks = nn.ModuleList(block(design, where, layer) for layer in range(design.depth))
        self.norm = norm(design.norm, self.dim, design.eps) if design.final_norm else nn.Identity()
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
        return self.through(self.embed(tokens, cache, lengths), cache, lengths)

    def embed(
        self, tokens: Tokens, cache: Sequence[State] | None = None, lengths: Sequence[int] | None = None
    ) -> Wide:
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
        return self.placed(self.embedding(tokens), starts)

    def placed(self, x: Wide, starts: Sequence[int] = (0,)) -> Wide:
        """Add positions to vectors that stand from ``starts`` on, one place or one for each row."""
        table = self.waves if self.positions is None else self.positions.table
        if table is None or not len(starts):
            return self.drop(x)
        stop = starts[0] + x.shape[1]
        if len(set(starts)) == 1 and stop <= table.shape[0]:
            return self.drop(x + table[starts[0] : stop].to(x.dtype))
        # Padding after the real tokens may stand beyond the last place.
        rows = torch.tensor(starts)[:, None] + torch.arange(x.shape[1])
        return self.drop(x + table[rows.clamp_max(table.shape[0] - 1).to(x.device)].to(x.dtype))

    def through(
        self, x: Wide, cache: Sequence[State] | None = None, lengths: Sequence[int] | None = None
    ) -> Wide:
        """Put vectors through every block."""
        for number in range(len(self.blocks)):
            x = self.layer(number, x, cache, lengths)
        return x

    def layer(
        self,
        number: int,
        x: Wide,
        cache: Sequence[State] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Wide:
        """Put vectors through block ``number``."""
        one = self.blocks[number]
        if cache is None and self.design.checkpointing and torch.is_grad_enabled():
            return checkpoint(one, x, causal=True, use_reentrant=False)  # pyright: ignore[reportReturnType]
        held = None if cache is None else cache[number]
        return one(x, causal=True, cache=held, lengths=lengths)

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
            ``loss``, what is trained on; ``nats``, the cross-entropy alone where something is added to it;
            ``balance`` where experts are to be kept busy.
        """
        return self.parts(cross_entropy(self(tokens), targets), self.balance())

    def balance(self) -> Float[Tensor, ""] | None:
        """Return how unevenly the last call used experts, from 1 for all alike; None without experts."""
        shares = [m.balance for m in self.modules() if isinstance(m, Experts) and m.balance is not None]
        return torch.stack(shares).mean() if shares else None

    def parts(self, nats: Float[Tensor, ""], balance: Float[Tensor, ""] | None) -> dict[str, Tensor]:
        """Return the loss that a cross-entropy and a balance make, and both."""
        if balance is None:
            return {"loss": nats}
        loss = nats + self.design.balance * balance
        return {"loss": loss, "nats": nats.detach(), "balance": balance.detach()}

    def new_cache(self, batch: int, context: int | None = None) -> list[State]:
        """Build empty states for every block, to read a text piece by piece."""
        room = self.context if context is None else min(context, self.context)
        return [one.attention.new_cache(batch, room) for one in self.each_block()]

    def each_block(self) -> Iterator[Block]:
        """Yield the blocks in order."""
        for one in self.blocks:
            assert isinstance(one, Block)
            yield one

    @torch.no_grad()
    def explain(self, tokens: Tokens) -> list[dict[str, Tensor]]:
        """Return every intermediate of every block's attention, by the names its mechanism gives them."""
        return self.explained(self.embed(tokens))

    def explained(self, x: Wide) -> list[dict[str, Tensor]]:
        """Explain every block's attention to vectors with their positions."""
        steps = []
        for one in self.each_block():
            looked = one.attention.looked(one.norm(x) if one.order == "pre" else x)
            steps.append(one.attention.mechanism.explain(*looked, causal=True))
            x = one(x, causal=True)
        return steps


def cross_entropy(logits: Logits, targets: Tokens) -> Float[Tensor, ""]:
    """Return the mean nats per asked token, in float32."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
