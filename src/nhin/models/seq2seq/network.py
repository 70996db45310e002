"""The encoder-decoder network: embeddings, an encoder, a decoder, and a head over the target's tokens."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nhin.models.seq2seq.config import Seq2SeqConfig
from nhin.models.seq2seq.decoders import BahdanauDecoder, FixedDecoder, InputFeedingDecoder, LuongDecoder
from nhin.models.seq2seq.encoder import RecurrentEncoder
from nhin.models.seq2seq.memory import DecoderState, Memory
from nhin.models.seq2seq.transformer import TransformerDecoder, TransformerEncoder
from nhin.text.charset import EOS, PAD, SOS

DECODERS = {"fixed": FixedDecoder, "bahdanau": BahdanauDecoder, "luong": LuongDecoder}
SourceIds = Int[Tensor, "B S"]
TargetIds = Int[Tensor, "B T"]
Logits = Float[Tensor, "B T V"]


class Seq2Seq(nn.Module):
    """Writes a target sequence for a source sequence.

    Args:
        source_vocab: Ids of the source, special ones included.
        target_vocab: Ids of the target, special ones included.
        config: The settings.

    Raises:
        UsageError: Settings contradict each other.
    """

    def __init__(self, source_vocab: int, target_vocab: int, config: Seq2SeqConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        self.source_embedding = nn.Embedding(source_vocab, config.dim)
        self.target_embedding = nn.Embedding(target_vocab, config.dim)
        if config.decoder == "transformer":
            self.encoder, self.decoder = TransformerEncoder(config), TransformerDecoder(config)
        else:
            kind = InputFeedingDecoder if config.input_feeding else DECODERS[config.decoder]
            self.encoder, self.decoder = RecurrentEncoder(config), kind(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.dim, target_vocab)

    @property
    def has_alignment(self) -> bool:
        """Whether the decoder attends to the source."""
        return self.config.decoder != "fixed"

    def encode(self, source: SourceIds) -> Memory:
        """Encode sources that are padded with PAD at their ends; each has a token at least."""
        return self.encoder(self.dropout(self.source_embedding(source)), source != PAD)

    def start(self, memory: Memory) -> DecoderState:
        """Return the state of the decoder before the first token."""
        return self.decoder.start(memory)

    def decode(
        self, tokens: TargetIds, memory: Memory, state: DecoderState
    ) -> tuple[Logits, Float[Tensor, "B T C"], DecoderState]:
        """Return the logits of the token after each token, the queries of ``align``, and the next state."""
        x = self.dropout(self.target_embedding(tokens))
        hidden, queries, after = self.decoder(x, memory, state)
        return self.head(self.dropout(hidden)), queries, after

    def align(self, queries: Float[Tensor, "B T C"], memory: Memory, step: int = 0) -> Float[Tensor, "B T S"]:
        """Return the alignment weights of queries, the first of them at ``step``; zeros without attention."""
        return self.decoder.weights(queries, memory, step)

    def forward(self, source: SourceIds, target: TargetIds) -> Logits:
        """Return the logits of the token after each token of the targets, which begin with SOS."""
        memory = self.encode(source)
        return self.decode(target, memory, self.start(memory))[0]

    def loss(self, source: SourceIds, target: TargetIds, total: float | None = None) -> Tensor:
        """Return the nats of targets from SOS to EOS, over their number of tokens or over ``total``."""
        logits = self(source, target[:, :-1]).flatten(0, 1).float()
        nats = F.cross_entropy(logits, target[:, 1:].flatten(), ignore_index=PAD, reduction="sum")
        return nats / ((target[:, 1:] != PAD).sum() if total is None else total)


@torch.inference_mode()
def decode_greedily(model: Seq2Seq, source: SourceIds, max_tokens: int) -> list[list[int]]:
    """Return a target for each source, of the likeliest next token at every step, without its EOS."""
    memory = model.encode(source)
    state = model.start(memory)
    tokens = source.new_full((len(source), 1), SOS)
    rows, ended = [], source.new_zeros(len(source), dtype=torch.bool)
    for _ in range(max_tokens):
        logits, _, state = model.decode(tokens, memory, state)
        tokens = logits[:, -1:].argmax(-1)
        rows.append(tokens)
        ended |= tokens[:, 0] == EOS
        if bool(ended.all()):
            break
    ids = torch.cat(rows, 1).tolist() if rows else [[] for _ in range(len(source))]
    return [row[: row.index(EOS)] if EOS in row else row for row in ids]
