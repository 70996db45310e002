"""Put marks back with a trained model: each word is chosen among those that are its syllable with marks."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from nhin.data.pairs.batches import encode_rows
from nhin.errors import UsageError
from nhin.seq2seq.loading import Seq2SeqRun
from nhin.seq2seq.recipe import MARKS
from nhin.text.charset import SOS, SPECIALS, UNK
from nhin.text.letters import strip_marks
from nhin.text.unmarked import Slot

_BATCH = 64
_MAX_WORDS = 64


class MarkModel:
    """A run of the task marks, as a chooser of ``text.unmarked``.

    It writes one word for each of the source, the likeliest of its candidates at every step. Words that it
    does not know stay as they are, and are read as the target of their step where it knows them with marks.

    Raises:
        UsageError: The run was trained on something else.
    """

    def __init__(self, run: Seq2SeqRun) -> None:
        if run.recipe.data.task != MARKS:
            raise UsageError(f"this run was trained on {run.recipe.data.task}; restoring needs one of marks")
        self.run = run
        source, target = run.tables
        candidates: dict[str, list[int]] = {}
        for i, word in enumerate(target.tokens, start=len(SPECIALS)):
            candidates.setdefault(strip_marks(word), []).append(i)
        most = max(map(len, candidates.values()), default=1)
        # Of each id of the source; filled up with its first, or with UNK.
        self._candidates: Int[Tensor, "source most"] = torch.full((len(source), most), UNK)
        for row, form in enumerate(source.tokens, start=len(SPECIALS)):
            ids = candidates.get(form, [UNK])
            self._candidates[row] = torch.tensor(ids + ids[:1] * (most - len(ids)))

    def choose(self, sentences: Sequence[Sequence[Slot]]) -> list[list[str]]:
        """Return the words of each sentence; long ones are read in parts."""
        parts = [
            (row, list(sentence[i : i + _MAX_WORDS]))
            for row, sentence in enumerate(sentences)
            for i in range(0, len(sentence), _MAX_WORDS)
        ]
        # Of like lengths together, so that little is padded.
        order = sorted(range(len(parts)), key=lambda i: len(parts[i][1]))
        words: list[list[str]] = [[] for _ in parts]
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            for i, chosen in zip(batch, self._choose_batch([parts[i][1] for i in batch]), strict=True):
                words[i] = chosen
        out: list[list[str]] = [[] for _ in sentences]
        for (row, _), chosen in zip(parts, words, strict=True):
            out[row] += chosen
        return out

    @torch.inference_mode()
    def _choose_batch(self, sentences: Sequence[Sequence[Slot]]) -> list[list[str]]:
        model, (source_table, target_table) = self.run.model, self.run.tables
        source = torch.from_numpy(
            encode_rows(source_table, [[strip_marks(slot.word) for slot in row] for row in sentences])
        )
        given = torch.from_numpy(
            encode_rows(target_table, [[slot.word for slot in row] for row in sentences])
        )
        is_open = torch.zeros_like(source, dtype=torch.bool)
        for row, slots in enumerate(sentences):
            is_open[row, : len(slots)] = torch.tensor([slot.is_open for slot in slots])
        memory = model.encode(source)
        state, token, columns = model.start(memory), source.new_full((len(source), 1), SOS), []
        for t in range(source.shape[1]):
            logits, _, state = model.decode(token, memory, state)
            ids = self._candidates[source[:, t]]
            best = ids.gather(1, logits[:, 0].gather(1, ids).argmax(1, keepdim=True))
            token = torch.where(is_open[:, t : t + 1], best, given[:, t : t + 1])
            columns.append(token)
        rows = torch.cat(columns, 1).tolist()
        return [
            [
                target_table.tokens[i - len(SPECIALS)] if slot.is_open and i >= len(SPECIALS) else slot.word
                for slot, i in zip(slots, ids, strict=False)
            ]
            for slots, ids in zip(sentences, rows, strict=True)
        ]
