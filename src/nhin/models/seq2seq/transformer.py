"""A Transformer encoder and decoder with the interface of the recurrent ones, for comparison at equal size.

Source:  Vaswani et al. 2017, arXiv:1706.03762.
Differs: pre-norm blocks, rotary positions in self-attention; a step of decoding computes the tokens before it
         again, since sequences here are short.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nhin.layers.block import Block
from nhin.layers.mlp import MLP
from nhin.layers.multihead import MultiHead
from nhin.models.seq2seq.config import Seq2SeqConfig
from nhin.models.seq2seq.memory import DecoderState, Hidden, Memory


class TransformerEncoder(nn.Module):
    """Encodes the embedded source."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.blocks = _build_blocks(config, has_cross=False)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, x: Float[Tensor, "B S C"], keep: Bool[Tensor, "B S"]) -> Memory:
        """Encode; padding is attended to by nothing."""
        for block in self.blocks:
            x = block(x, keep=keep)
        return Memory(self.norm(x), keep, ())


class TransformerDecoder(nn.Module):
    """Writes the target."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.blocks = _build_blocks(config, has_cross=True)
        self.norm = nn.LayerNorm(config.dim)

    def start(self, memory: Memory) -> DecoderState:
        """Return the state before the first token."""
        return DecoderState(past=memory.states[:, :0])

    def forward(self, x: Hidden, memory: Memory, state: DecoderState) -> tuple[Hidden, Hidden, DecoderState]:
        """Take steps on embedded tokens; see ``decoders.RecurrentDecoder``.

        The queries are the inputs of the last block's cross-attention.
        """
        assert state.past is not None
        count, x = x.shape[1], torch.cat([state.past, x], 1)
        after, queries = replace(state, past=x, step=x.shape[1]), []
        hook = self._last_cross.register_forward_pre_hook(lambda _, inputs: queries.append(inputs[0]))
        try:
            for block in self.blocks:
                x = block(x, context=memory.states, causal=True, context_keep=memory.keep)
        finally:
            hook.remove()
        return self.norm(x)[:, -count:], queries[0][:, -count:], after

    def weights(self, queries: Hidden, memory: Memory, step: int) -> Float[Tensor, "B T S"]:
        """Return the alignment of queries: the weights of the last block, averaged over its heads."""
        cross = self._last_cross
        q = cross.query(queries).unflatten(-1, (-1, cross.head_dim))
        k = cross.key_value(memory.states).unflatten(-1, (2, -1, cross.head_dim))[:, :, 0]
        return cross.mechanism.weights(q, k, keep=memory.keep).mean(1)

    @property
    def _last_cross(self) -> MultiHead:
        cross = self.blocks[-1].cross
        assert isinstance(cross, MultiHead)
        return cross


def _build_blocks(config: Seq2SeqConfig, *, has_cross: bool) -> nn.ModuleList:
    dim, dropout = config.dim, config.dropout

    def attend(rotary: bool) -> MultiHead:
        return MultiHead(dim, config.heads, rotary=rotary, dropout=dropout)

    return nn.ModuleList(
        Block(
            dim,
            attend(rotary=True),
            MLP(dim, mlp_ratio=config.mlp_ratio, dropout=dropout),
            cross=attend(rotary=False) if has_cross else None,
        )
        for _ in range(config.depth)
    )
