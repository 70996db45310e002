r"""Marks put back by context: how likely each way to mark a syllable is, given the words beside it.

.. math::
    p(w \mid c) = \frac{\exp s(w, c)}{\sum_{w'} \exp s(w', c)}, \qquad
    s(w, c) = \beta_w + \sum_t \theta[h(t, c_t, w)]

w' runs over the ways to mark the syllable. Template t sees what stands beside it, c_t: one or two words
without marks before or after, or both neighbors; or whether it and its neighbors are capitalized. A first
pass uses only these. The words that it finds stand beside the syllable in a second pass, with templates that
see marks. beta is the log of the share of w among the ways. theta is a hash table: a hash of 64 bits names a
cell, and eight more of its bits must be the check of the cell.

Cost:    a cell of the table for each way and template, in two passes; 4 MiB of memory.
Source:  log-linear models: Berger et al. 1996, Computational Linguistics 22(1); a table without keys: Talbot
         and Brants 2008, ACL.
Differs: a cell holds one entry, the most telling of those that hash to it; the others are left out.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import blake2b
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.decoding.mark_bigram import Alternative
from nhin.errors import CheckpointError
from nhin.files import read_bytes
from nhin.text.letters import nfc, strip_marks
from nhin.text.unmarked import Slot

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

TEMPLATES: tuple[tuple[str, tuple[int, ...]], ...] = (
    *(("plain", at) for at in ((-1,), (1,), (-2,), (2,), (-2, -1), (-1, 1), (1, 2))),
    ("cases", (-1, 0, 1)),
    *(("marked", at) for at in ((-1,), (1,), (-1, 1))),
)  # what a template sees of which words: the first see no marks
BLIND = sum(kind != "marked" for kind, _ in TEMPLATES)
PAD = 2  # edges beside each sentence, as many as a template reaches
_HEADER, _VERSION, _MAX_FILE = 5, 2, 2**26
_MAX_BITS, _MAX_SLOTS, _CHUNK = 24, 2**17, 2**15
_MIX, _MIX_WORD, _MIX_CELL = map(np.uint64, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93))


@lru_cache(2**16)
def hash_word(word: str) -> int:
    """Return 64 bits that name a word; the edge of a sentence is the empty word."""
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


@dataclass(slots=True)
class HashedText:
    """Sentences end to end with edges between.

    Args:
        plain: Hashes of the words without marks.
        marked: Hashes of the words.
        cases: Hashes of how they are written; of a sentence without a capitalized word, of nothing.
        first: The number of the first way to mark each word.
        count: How many ways there are; none if it is fixed.
    """

    plain: Hashes
    marked: Hashes
    cases: Hashes
    first: Ints
    count: Ints


def hash_contexts(text: HashedText, places: Ints, template: int) -> Hashes:
    """Return a hash of what a template sees beside each place."""
    kind, offsets = TEMPLATES[template]
    keys: Hashes = getattr(text, kind)
    hashes = np.full(len(places), template + 1, np.uint64) * _MIX_CELL
    for offset in offsets:
        hashes = (hashes ^ keys[places + offset]) * _MIX
        hashes ^= hashes >> np.uint64(32)
    return hashes


def hash_pairs(contexts: Hashes, words: Hashes) -> Hashes:
    """Return a hash of each context with a word in it."""
    hashes = (contexts ^ words) * _MIX_WORD
    hashes ^= hashes >> np.uint64(29)
    return hashes * _MIX_CELL


def split_hashes(hashes: Hashes, bits: int) -> tuple[Ints, NDArray[np.uint8]]:
    """Return the cells that hashes name in a table of 2^bits, and their checks."""
    checks = (hashes >> np.uint64(56 - bits)) & np.uint64(255)
    return (hashes >> np.uint64(64 - bits)).astype(np.int64), checks.astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways to mark the syllables of some places: which word, of which place, and where each begins."""

    words: Ints
    rows: Ints
    starts: Ints


def list_ways(first: Ints, count: Ints) -> Ways:
    """Return the ways of places that have ``count`` of them each, numbered from ``first``."""
    count = count.astype(np.intp)  # in a browser Python has 32 bits, and repeats by no wider numbers
    rows = np.repeat(np.arange(len(count)), count)
    starts = np.cumsum(count) - count
    return Ways(np.arange(len(rows)) + (first - starts)[rows], rows, starts)


def share(scores: Floats, ways: Ways) -> Floats:
    """Return the probability of each way among those of its place."""
    powers: Floats = np.exp(scores - np.maximum.reduceat(scores, ways.starts)[ways.rows])
    sums: Floats = np.add.reduceat(powers, ways.starts)
    return powers / sums[ways.rows]


@dataclass(frozen=True, eq=False)
class MarkContext:
    """The model.

    Args:
        words: The ways to mark every syllable, most frequent first, syllable by syllable.
        bias: beta of each of them.
        checks: The check of each cell, of which there are a power of two.
        weights: theta of each cell, in steps of ``step``; 0 where it is empty.
        step: The size of such a step.
    """

    words: tuple[str, ...]
    bias: Floats
    checks: NDArray[np.uint8]
    weights: NDArray[np.int8]
    step: float
    hashes: Hashes = field(init=False, repr=False)
    _forms: dict[str, tuple[int, int]] = field(init=False, repr=False)
    _slots: dict[Slot, tuple[int, ...]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Find the ways of each syllable."""
        forms, start = {}, 0
        for form, words in groupby(self.words, strip_marks):
            count = len(list(words))
            forms[form] = (start, count)
            start += count
        object.__setattr__(self, "_forms", forms)
        object.__setattr__(self, "hashes", np.array([hash_word(word) for word in self.words], np.uint64))

    @property
    def bits(self) -> int:
        """The logarithm of the number of cells."""
        return len(self.weights).bit_length() - 1

    def candidates(self, slot: Slot) -> tuple[str, ...]:
        """Return the words that may stand in a slot, most frequent first, or the word that stands in it."""
        start, count = self.find_ways(slot)
        return self.words[start : start + count] or (slot.word,)

    def find_ways(self, slot: Slot) -> tuple[int, int]:
        """Return the number of the first way to mark a slot, and how many there are; none if it is fixed."""
        return self._forms.get(slot.word, (0, 0)) if slot.is_open else (0, 0)

    def choose(self, sentences: Sequence[Sequence[Slot]]) -> list[list[str]]:
        """Return the likeliest word of each slot."""
        text = self.encode(sentences)
        best = np.full(len(text.first), -1)
        for places, ways, shares in self._solve(text):
            best[places] = _take_best(shares, ways)
        return self._split(sentences, best, lambda slot, i: self.words[i] if i >= 0 else slot.word)

    def list_alternatives(self, sentences: Sequence[Sequence[Slot]]) -> list[list[list[Alternative]]]:
        """Return the candidates of each slot of each sentence with their probabilities, likeliest first."""
        text = self.encode(sentences)
        found: dict[int, list[Alternative]] = {}
        for places, ways, shares in self._solve(text):
            ends = np.append(ways.starts[1:], len(ways.words))
            for place, start, end in zip(places.tolist(), ways.starts.tolist(), ends.tolist(), strict=True):
                each = zip(ways.words[start:end].tolist(), shares[start:end].tolist(), strict=True)
                listed = [Alternative(self.words[i], confidence) for i, confidence in each]
                found[place] = sorted(listed, key=lambda one: -one.confidence)
        places = np.arange(len(text.first))
        return self._split(sentences, places, lambda slot, i: found.get(i) or [Alternative(slot.word, 1.0)])

    def encode(self, sentences: Sequence[Sequence[Slot]]) -> HashedText:
        """Return sentences as arrays; the marks of open slots are unknown yet."""
        known = self._slots
        if len(known) > _MAX_SLOTS:
            known.clear()
        edge = (hash_word(""), hash_word(""), hash_word(""), 0, 0)
        rows = [edge] * PAD
        for sentence in sentences:
            row = [known.get(slot) or self._encode_slot(slot) for slot in sentence]
            if not any(slot.case == "capital" for slot in sentence):
                row = [(plain, marked, 0, *ways) for plain, marked, _, *ways in row]
            rows += row + [edge] * PAD
        hashes = [np.array([row[i] for row in rows], np.uint64) for i in range(3)]
        ways = [np.array([row[i] for row in rows], np.int64) for i in (3, 4)]
        return HashedText(hashes[0], hashes[1], hashes[2], ways[0], ways[1])

    def score(self, text: HashedText, places: Ints, ways: Ways, with_marks: bool) -> Floats:
        """Return s of every way of some places."""
        scores, words = self.bias[ways.words], self.hashes[ways.words]
        for template in range(len(TEMPLATES) if with_marks else BLIND):
            contexts = hash_contexts(text, places, template)[ways.rows]
            cells, checks = split_hashes(hash_pairs(contexts, words), self.bits)
            scores += np.where(self.checks[cells] == checks, self.weights[cells], 0) * np.float32(self.step)
        return scores

    def to_bytes(self) -> bytes:
        """Return the model as one NumPy array of bytes."""
        text = "\n".join(self.words).encode()
        header = np.array([_VERSION, self.bits, len(self.words), len(text)], "<u4").tobytes()
        numbers = np.array([self.step, *self.bias], "<f4").tobytes()
        parts = (header, numbers, text, self.checks.tobytes(), self.weights.tobytes())
        out = io.BytesIO()
        np.save(out, np.frombuffer(b"".join(parts), np.uint8), allow_pickle=False)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "MarkContext":
        """Read what ``to_bytes`` returned.

        Raises:
            CheckpointError: It is something else.
        """
        try:
            values = np.load(io.BytesIO(data), allow_pickle=False)
            if values.dtype != np.uint8 or values.ndim != 1 or len(values) < 4 * _HEADER:
                raise ValueError("it is no array of bytes")
            version, bits, size, length = values[:16].view("<u4").tolist()
            if version != _VERSION or bits > _MAX_BITS:
                raise ValueError("it is of another version")
            ends = np.cumsum([4 * _HEADER + 4 * size, length, 2**bits, 2**bits]).tolist()
            if len(values) != ends[-1]:
                raise ValueError("its parts do not fill it")
            numbers = values[16 : ends[0]].copy().view("<f4")
            words = tuple(values[ends[0] : ends[1]].tobytes().decode().split("\n"))
            if (
                len(words) != size
                or list(words) != [nfc(word) for word in words]
                or not np.isfinite(numbers).all()
            ):
                raise ValueError("its words do not fit their weights")
            checks, weights = values[ends[1] : ends[2]], values[ends[2] :].view(np.int8)
            return cls(words, numbers[1:].astype(np.float32), checks, weights, float(numbers[0]))
        except (ValueError, EOFError, OverflowError, LookupError, TypeError) as why:
            raise CheckpointError(f"{where} holds no model of marks: {str(why)[:100]}") from why

    def _encode_slot(self, slot: Slot) -> tuple[int, ...]:
        words = (strip_marks(slot.word), slot.word, slot.case)
        row = (*map(hash_word, words), *self.find_ways(slot))
        self._slots[slot] = row
        return row

    def _solve(self, text: HashedText) -> list[tuple[Ints, Ways, Floats]]:
        """Return the probabilities of all ways in both passes, chunk by chunk."""
        places = np.flatnonzero(text.count)
        if not len(places):
            return []
        chunks = [places[i : i + _CHUNK] for i in range(0, len(places), _CHUNK)]
        found: list[Any] = []
        for with_marks in (False, True):
            found = []
            for chunk in chunks:
                ways = list_ways(text.first[chunk], text.count[chunk])
                found.append((chunk, ways, share(self.score(text, chunk, ways, with_marks), ways)))
            for chunk, ways, shares in found:
                text.marked[chunk] = self.hashes[_take_best(shares, ways)]
        return found

    def _split(
        self, sentences: Sequence[Sequence[Slot]], values: Ints, make: Callable[[Slot, int], Any]
    ) -> list[list[Any]]:
        """Make something of each slot and its value; the values are of all words, edges too."""
        out, at, numbers = [], PAD, values.tolist()
        for sentence in sentences:
            out.append(
                [make(slot, i) for slot, i in zip(sentence, numbers[at : at + len(sentence)], strict=True)]
            )
            at += len(sentence) + PAD
        return out


def _take_best(values: Floats, ways: Ways) -> Ints:
    """Return the way of each place that has the highest value, the first of equal ones."""
    best = np.flatnonzero(values == np.maximum.reduceat(values, ways.starts)[ways.rows])
    return ways.words[best[np.searchsorted(best, ways.starts)]]


@cache
def load_bundled() -> MarkContext:
    """Read the model that comes with nhin."""
    path = str(files("nhin").joinpath("weights", "marks.npy"))
    return MarkContext.from_bytes(read_bytes(Path(path), _MAX_FILE), path)
