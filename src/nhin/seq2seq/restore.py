"""Put marks back with a trained model: each word is chosen among those that are its syllable with marks.

No torch: the model may be a run, or its export.
"""

from collections.abc import Sequence

import numpy as np

from nhin.data.pairs.batches import IdRows, encode_rows
from nhin.data.pairs.marks import MARKS
from nhin.errors import UsageError
from nhin.seq2seq.steps import SourceReader
from nhin.text.charset import SOS, SPECIALS, UNK
from nhin.text.letters import strip_marks
from nhin.text.unmarked import Slot

_BATCH = 64
_MAX_WORDS = 64


class MarkModel:
    """A run of the task marks, or its export, as a chooser of ``text.unmarked``.

    It writes one word for each of the source, the likeliest of its candidates at every step. Words that it
    does not know stay as they are, and are read as the target of their step where it knows them with marks.

    Raises:
        UsageError: The run was trained on something else.
    """

    def __init__(self, run: SourceReader) -> None:
        if run.task != MARKS:
            raise UsageError(f"this run was trained on {run.task:.40}; restoring needs one of marks")
        self.run, self._steps = run, run.steps
        source, target = run.tables
        candidates: dict[str, list[int]] = {}
        for i, word in enumerate(target.tokens, start=len(SPECIALS)):
            candidates.setdefault(strip_marks(word), []).append(i)
        most = max(map(len, candidates.values()), default=1)
        # Of each id of the source; filled up with its first, or with UNK.
        self._candidates: IdRows = np.full((len(source), most), UNK)
        for row, form in enumerate(source.tokens, start=len(SPECIALS)):
            ids = candidates.get(form, [UNK])
            self._candidates[row] = ids + ids[:1] * (most - len(ids))

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

    def _choose_batch(self, sentences: Sequence[Sequence[Slot]]) -> list[list[str]]:
        source_table, target_table = self.run.tables
        source = encode_rows(source_table, [[strip_marks(slot.word) for slot in row] for row in sentences])
        given = encode_rows(target_table, [[slot.word for slot in row] for row in sentences])
        is_open = np.zeros(source.shape, dtype=bool)
        for row, slots in enumerate(sentences):
            is_open[row, : len(slots)] = [slot.is_open for slot in slots]
        state, token, columns = self._steps.start(source), np.full(len(source), SOS), []
        for t in range(source.shape[1]):
            logits, state = self._steps.step(token, state)
            ids = self._candidates[source[:, t]]
            best = np.take_along_axis(logits, ids, 1).argmax(1)
            token = np.where(is_open[:, t], ids[np.arange(len(ids)), best], given[:, t])
            columns.append(token)
        rows = np.stack(columns, 1).tolist()
        return [
            [
                target_table.tokens[i - len(SPECIALS)] if slot.is_open and i >= len(SPECIALS) else slot.word
                for slot, i in zip(slots, ids, strict=False)
            ]
            for slots, ids in zip(sentences, rows, strict=True)
        ]
