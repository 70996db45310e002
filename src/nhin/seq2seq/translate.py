"""Write targets for the sources of users: greedily or with beams, and with the alignment."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from nhin.data.pairs.batches import encode_rows
from nhin.decoding.beam_search import BeamSearchConfig, Hypothesis, search_beams
from nhin.decoding.sampling import TokenLogits
from nhin.errors import UsageError
from nhin.models.seq2seq.network import Seq2Seq, SourceIds
from nhin.seq2seq.loading import Seq2SeqRun
from nhin.text.charset import EOS, PAD, SOS, UNK

MAX_SOURCE = 512


class Seq2SeqBeams:
    """Scores the next tokens of several targets of one source, for ``decoding.beam_search``.

    Args:
        model: A network in evaluation mode.
        source: The ids of one source, a row.
        width: Targets written together.
    """

    def __init__(self, model: Seq2Seq, source: SourceIds, width: int) -> None:
        self.model = model
        with torch.inference_mode():
            self.memory = model.encode(source).select(torch.zeros(width, dtype=torch.long))
            self._state = model.start(self.memory)
        self._sums: Float[Tensor, "B S"] = torch.zeros(width, source.shape[1])

    def start(self) -> TokenLogits:
        """Return the logits of the first token."""
        return self.scores(np.full(len(self._sums), SOS))[0]

    def scores(self, ids: NDArray[np.int64]) -> TokenLogits:
        """Append one id to every row; return logits, rows x vocabulary."""
        with torch.inference_mode():
            step, tokens = self._state.step, torch.from_numpy(ids)[:, None]
            logits, queries, self._state = self.model.decode(tokens, self.memory, self._state)
            self._sums = self._sums + self.model.align(queries, self.memory, step)[:, 0]
        scores = logits[:, 0].float().numpy()
        scores[:, [PAD, SOS, UNK]] = -np.inf
        return scores

    def reorder(self, rows: NDArray[np.int64]) -> None:
        """Replace the target of row i by that of row ``rows[i]``."""
        picked = torch.from_numpy(rows)
        self._state, self._sums = self._state.select(picked), self._sums[picked]

    def coverage(self) -> NDArray[np.float64]:
        """Return the sums of the weights of each row on each token of the source."""
        return self._sums.double().numpy()


def encode_source(run: Seq2SeqRun, text: str) -> tuple[tuple[str, ...], SourceIds]:
    """Split a text of a user and return its tokens and their ids, a row.

    Raises:
        UsageError: It is empty or too long, or has a token that the model does not know.
    """
    tokens = run.split(text)
    if not tokens:
        raise UsageError("the text to write for is empty; give it with --prompt")
    if len(tokens) > MAX_SOURCE:
        raise UsageError(f"the text has {len(tokens)} tokens; give at most {MAX_SOURCE}")
    ids = torch.from_numpy(encode_rows(run.tables[0], [tokens]))
    if unknown := [token for token, i in zip(tokens, ids[0].tolist(), strict=True) if i == UNK]:
        raise UsageError(f"the model knows no {unknown[0][:40]!r}; it was trained on {run.recipe.data.task}")
    return tokens, ids


def translate(run: Seq2SeqRun, text: str, config: BeamSearchConfig) -> list[tuple[list[str], Hypothesis]]:
    """Return the targets that a beam search finds for a text, best first, as tokens.

    Raises:
        UsageError: The text is empty, too long or has unknown tokens.
    """
    _, ids = encode_source(run, text)
    beams = Seq2SeqBeams(run.model, ids, config.width)
    found = search_beams(beams.start(), beams, replace(config, stop=(EOS,)))
    return [(run.tables[1].decode(one.ids), one) for one in found]


@torch.inference_mode()
def align(run: Seq2SeqRun, text: str, target: list[str]) -> NDArray[np.float64]:
    """Return the alignment weights of a target's tokens, and of the end of it, over those of a source.

    Raises:
        UsageError: The text is empty, too long or has unknown tokens, or the model has no attention.
    """
    if not run.model.has_alignment:
        raise UsageError("the decoder of this run is fixed: it has no attention to draw")
    _, ids = encode_source(run, text)
    memory = run.model.encode(ids)
    tokens = torch.from_numpy(encode_rows(run.tables[1], [target], ends=True))[:, :-1]
    _, queries, _ = run.model.decode(tokens, memory, run.model.start(memory))
    return run.model.align(queries, memory)[0].double().numpy()
