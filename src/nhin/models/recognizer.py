"""The text recognizer: a CNN, a few attention blocks, and two heads trained together.

::

    crop -> backbone -> frames + positions -> self-attention blocks -> memory -+-> CTC head
                                                                               +-> Transformer decoder

The CTC head classifies all frames at once: it drafts the text, locates each letter, and detects blank crops.
The decoder (causal self-attention, cross-attention to the memory, MLP) generates letters from ``<SOS>`` to
``<EOS>``; it can verify a whole draft in one pass.

Source:  Vaswani et al. 2017, arXiv:1706.03762 (decoder); Graves et al. 2006 (CTC).
Differs: pre-norm blocks, rotary self-attention over frames, output weights shared between letters with the
         same base, mark or tone.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from nhin.attention.positions import SinusoidalEmbedding
from nhin.errors import ShapeError
from nhin.image.preprocess import HEIGHT
from nhin.layers.backbones import HEIGHT_STRIDE, Pictures, build_backbone
from nhin.layers.block import Block
from nhin.layers.factored_char import FactoredCharEmbedding, FactoredCharLinear
from nhin.layers.mlp import MLP
from nhin.layers.multihead import MultiHead
from nhin.ranges import Range
from nhin.text.charset import EOS, PAD, SOS, VIETNAMESE, Charset

MAX_FRAMES = 320
MAX_TOKENS = 336

Memory = Float[Tensor, "B M C"]


class RecognizerNet(nn.Module):
    """Recognizes one line of text per crop.

    Args:
        charset: Characters it can write.
        backbone: A name in ``layers.backbones.BACKBONES``.
        height: Height of the crops in pixels, a multiple of 8.
        dim: Width of the hidden states.
        depth: Self-attention blocks over the frames.
        decoder_depth: Blocks of the decoder.
        heads: Attention heads in every block.
        dropout: Probability of dropping a channel inside blocks.
        ctc: Weight of the CTC loss; the decoder's is 1.
        token_noise: Fraction of the decoder's input letters replaced in training, so that it relies on the
            picture.
        memory: What the decoder attends to: frames, each a whole column of the feature map, or its grid of
            cells, column by column; frames alone can be exported.
        letters: Whether letters with the same base, mark or tone share weights, or each has its own.
    """

    def __init__(  # noqa: PLR0913 - each is one setting of a recipe's [model]
        self,
        charset: Charset = VIETNAMESE,
        *,
        backbone: str = "lean",
        height: Annotated[int, Range(HEIGHT_STRIDE, 1024)] = HEIGHT,
        dim: Annotated[int, Range(1, 2**14)] = 256,
        depth: Annotated[int, Range(0, 256)] = 3,
        decoder_depth: Annotated[int, Range(0, 256)] = 2,
        heads: Annotated[int, Range(1, 1024)] = 4,
        dropout: Annotated[float, Range(0, below=1)] = 0.0,
        ctc: Annotated[float, Range(0, 1e6)] = 0.5,
        token_noise: Annotated[float, Range(0, 1)] = 0.05,
        memory: Literal["frames", "grid"] = "frames",
        letters: Literal["factored", "plain"] = "factored",
    ) -> None:
        super().__init__()
        if height % HEIGHT_STRIDE:
            raise ShapeError(f"height is {height}; the backbone needs a multiple of {HEIGHT_STRIDE}")
        self.height, self.ctc_weight, self.token_noise, self.vocab = height, ctc, token_noise, len(charset)
        self.backbone = build_backbone(backbone)
        rows = height // HEIGHT_STRIDE
        self.memory_rows = rows if memory == "grid" else 1
        self.flatten = nn.Linear(self.backbone.channels * (rows // self.memory_rows), dim)
        self.settle = nn.LayerNorm(dim)

        def attention(rotary: bool = False) -> MultiHead:
            return MultiHead(dim, heads, rotary=rotary, dropout=dropout)

        self.encoder = nn.ModuleList(
            Block(dim, attention(rotary=True), MLP(dim, dropout=dropout)) for _ in range(depth)
        )
        self.encoder_norm = nn.LayerNorm(dim)
        self.dim, is_factored = dim, letters == "factored"
        self.ctc_head = FactoredCharLinear(charset, dim) if is_factored else nn.Linear(dim, self.vocab)
        self.embedding = FactoredCharEmbedding(charset, dim) if is_factored else nn.Embedding(self.vocab, dim)
        if isinstance(self.embedding, nn.Embedding):
            nn.init.normal_(self.embedding.weight, std=dim**-0.5)
        self.decoder = nn.ModuleList(
            Block(dim, attention(), MLP(dim, dropout=dropout), cross=attention())
            for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(dim)
        self.head = FactoredCharLinear(charset, dim) if is_factored else nn.Linear(dim, self.vocab)
        self.positions = SinusoidalEmbedding(max(MAX_FRAMES * self.memory_rows, MAX_TOKENS), dim)

    def encode(self, pictures: Pictures) -> tuple[Memory, Float[Tensor, "B F V"]]:
        """Encode crops (values in [-1, 1]); return the memory for the decoder and the CTC logits."""
        cells = "b c (rows part) frames -> b (frames rows) (c part)"
        features = rearrange(self.backbone(pictures), cells, rows=self.memory_rows)
        frames = self.settle(self.flatten(features))
        frames = frames + self.positions.table[: frames.shape[1]].to(frames.dtype)
        for block in self.encoder:
            frames = block(frames)
        memory = self.encoder_norm(frames)
        if self.memory_rows > 1:
            frames = reduce(memory, "b (frames rows) c -> b frames c", "mean", rows=self.memory_rows)
            return memory, self.ctc_head(frames)
        return memory, self.ctc_head(memory)

    def decode(self, memory: Memory, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Return the logits of the letter after each token; ``tokens`` start with ``<SOS>``."""
        x = self.embedding(tokens) * self.dim**0.5
        x = x + self.positions.table[: tokens.shape[1]].to(x.dtype)
        for block in self.decoder:
            x = block(x, context=memory, causal=True)
        return self.head(self.decoder_norm(x))

    def cross_attention(self, memory: Memory, tokens: Int[Tensor, "B T"]) -> list[Float[Tensor, "B H T M"]]:
        """Return the weights of each decoder block over the memory, as ``decode`` uses them."""
        layers: list[Tensor] = []

        def note(cross: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Tensor]) -> None:
            assert isinstance(cross, MultiHead)
            layers.append(cross.context_weights(inputs[0], options["context"]))

        hooks = [
            block.cross.register_forward_pre_hook(note, with_kwargs=True)
            for block in self.decoder
            if isinstance(block, Block) and block.cross is not None
        ]
        try:
            self.decode(memory, tokens)
        finally:
            for hook in hooks:
                hook.remove()
        return layers

    def forward(
        self, pictures: Pictures, tokens: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B F V"], Float[Tensor, "B T V"]]:
        """Return the logits of both heads."""
        memory, ctc_logits = self.encode(pictures)
        return ctc_logits, self.decode(memory, tokens)

    def loss(self, pictures: Pictures, texts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Return the loss of both heads on labeled crops.

        Args:
            pictures: Crops of one width, in [-1, 1].
            texts: Ids of the text of each crop, without SOS and EOS; empty for a blank crop.

        Returns:
            ``loss`` (the weighted sum), ``ctc`` and ``decoder``, scalars in float32.
        """
        longest = max(map(len, texts), default=0)
        rows = [[SOS, *ids, EOS] + [PAD] * (longest - len(ids)) for ids in texts]
        tokens = torch.tensor(rows, dtype=torch.long)
        noisy = self._add_token_noise(tokens[:, :-1]).to(pictures.device)
        tokens = tokens.to(pictures.device)
        ctc_logits, logits = self(pictures, noisy)
        lengths = torch.tensor([len(ids) for ids in texts])
        frames = torch.full((len(texts),), ctc_logits.shape[1], dtype=torch.long)
        log_probs = ctc_logits.float().log_softmax(-1).transpose(0, 1)
        ctc = F.ctc_loss(log_probs, tokens[:, 1:], frames, lengths, blank=PAD, zero_infinity=True)
        decoder = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)
        return {"loss": self.ctc_weight * ctc + decoder, "ctc": ctc.detach(), "decoder": decoder.detach()}

    def _add_token_noise(self, tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """Replace some letters by random ones in training; SOS and padding stay."""
        if not self.training or self.token_noise == 0:
            return tokens
        swap = (torch.rand(tokens.shape) < self.token_noise) & (tokens > EOS)
        return torch.where(swap, torch.randint(EOS + 1, self.vocab, tokens.shape), tokens)
