"""Learn to put marks back, and write the model that nhin restore comes with.

    python scripts/make_marks.py src/nhin/weights/marks.npy TEXTS

TEXTS is what make_marks_corpus.py wrote. From its part ``train`` and nhin's own sentences, the entries of the
table are chosen by what they tell beyond the shares of the words and shorter contexts, and their weights are
learned by Adagrad. On ``test`` and each text of ``held-out``, the syllables right are counted: of the most
frequent forms, of the counted pairs, and of the model. Words that Vietnamese spelling does not allow are left
out.
"""

import argparse
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nhin.decoding.mark_bigram import MarkBigram
from nhin.decoding.mark_context import (
    BLIND,
    PAD,
    TEMPLATES,
    Floats,
    HashedText,
    Hashes,
    Ints,
    MarkContext,
    Ways,
    hash_contexts,
    hash_pairs,
    hash_word,
    list_ways,
    share,
    split_hashes,
)
from nhin.files import write_atomic
from nhin.text.letters import strip_marks
from nhin.text.unmarked import Chooser, Slot, find_sentences, unmarked_forms

OWN = {"sentences.txt": 3, "common.txt": 3, "signs.txt": 1}
BITS, STEPS = 21, 63  # cells of the table: 2^21; a weight is a number of steps up to 63
MIN_COUNT, MIN_SHARE, MAX_WAYS = 4, 1 / 3000, 16  # of a way to mark a syllable
MIN_SEEN, MIN_GAIN = 2, 1.0  # of an entry of the table: times, nats in all
BATCH, RATE, UNSEEN = 8192, 0.5, 0.3  # a share UNSEEN of the batches sees no marks
LOWERED = 0.15  # a share of the sentences whose capitals are not seen
SHORTER = {4: (0,), 5: (0, 1), 6: (1,), 10: (8, 9)}  # the templates that see a part of what a longer one sees


def read_own() -> Iterator[str]:
    """Yield the sentences of nhin's own lists, without their comments."""
    for name, times in OWN.items():
        lines = files("nhin").joinpath("data", "words", name).read_text("utf-8").splitlines()
        sentences = re.split(r"[.!?;:…\n]+", "\n".join(line for line in lines if not line.startswith("#")))
        yield from [" ".join(re.findall(r"[^\W\d_]+", sentence)) for sentence in sentences] * times


def read_part(folder: Path) -> list[str]:
    """Read the sentences of all texts of a folder."""
    return [line for path in sorted(folder.glob("*.txt")) for line in path.read_text("utf-8").splitlines()]


def list_words(counts: Counter[str]) -> tuple[list[str], Floats]:
    """Return the ways to mark every syllable, most frequent first, and the logs of their shares."""
    forms: dict[str, list[tuple[str, int]]] = {}
    for word, count in counts.most_common():
        form = strip_marks(word)
        if form in unmarked_forms() and count >= MIN_COUNT:
            known = forms.setdefault(form, [])
            if not known or (count >= MIN_SHARE * known[0][1] and len(known) < MAX_WAYS):
                known.append((word, count))
    words, bias = [], []
    for known in forms.values():
        total = sum(count + 0.5 for _, count in known)
        words += [word for word, _ in known]
        bias += [np.log((count + 0.5) / total) for _, count in known]
    return words, np.array(bias, np.float32)


@dataclass(frozen=True, slots=True)
class MarkedText:
    """Sentences with their true marks: arrays, the places to learn from, and the true way of each word."""

    text: HashedText
    places: Ints
    gold: Ints


def encode_lines(model: MarkContext, lines: Sequence[str]) -> MarkedText:
    """Encode sentences with marks as if their syllables were open."""
    gold_of = {word: i for i, word in enumerate(model.words)}
    edge = hash_word("")
    rows: dict[str, tuple[int, ...]] = {"": (edge, edge, edge, 0, 0, -1)}
    number, stream, cased, draw = {"": 0}, [0] * PAD, [True] * PAD, random.Random(0)
    for line in lines:
        slots = [make_slot(word) for word in line.split()]
        has_case = any(slot.case == "capital" for slot in slots) and draw.random() > LOWERED
        for word, slot in zip(line.split(), slots, strict=True):
            if word not in number:
                number[word] = len(number)
                hashes = map(hash_word, (strip_marks(slot.word), word.lower(), slot.case))
                rows[word] = (*hashes, *model.find_ways(slot), gold_of.get(word.lower(), -1))
            stream.append(number[word])
        stream += [0] * PAD
        cased += [has_case] * len(slots) + [True] * PAD
    at, table = np.array(stream), list(rows.values())
    plain, marked, cases = (np.array([row[i] for row in table], np.uint64)[at] for i in range(3))
    first, count, gold = (np.array([row[i] for row in table], np.int64)[at] for i in range(3, 6))
    places = np.flatnonzero((count > 1) & (gold >= 0))
    cases = np.where(cased, cases, np.uint64(0))
    return MarkedText(HashedText(plain, marked, cases, first, count), places, gold)


@lru_cache(2**17)
def make_slot(word: str) -> Slot:
    """Return a slot for a word with marks: open, without them, where it is a syllable."""
    form = strip_marks(word)
    slot = find_sentences(form)[1][0]
    return (
        slot[0] if slot and slot[0].is_open else Slot(word.lower(), False, slot[0].case if slot else "lower")
    )


def choose_entries(model: MarkContext, marked: MarkedText) -> tuple[Hashes, Floats]:
    """Return the hashes of the entries that tell something, and how many nats beyond what is known."""
    text, places = marked.text, marked.places
    gold = marked.gold[places]
    shares = np.exp(model.bias)[gold]
    seen: dict[int, Floats] = {}
    hashes, gains = [], []
    for template in range(len(TEMPLATES)):
        contexts = hash_contexts(text, places, template)
        pairs, at, back, counts = np.unique(
            hash_pairs(contexts, model.hashes[gold]),
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        _, whole, totals = np.unique(
            hash_pairs(contexts, text.plain[places]), return_inverse=True, return_counts=True
        )
        seen[template] = (counts[back] / (totals[whole] + 1.0)).astype(np.float32)
        base = np.maximum.reduce([shares, *(seen[shorter] for shorter in SHORTER.get(template, ()))])
        gain = counts * np.log(seen[template][at] / base[at])
        kept = (counts >= MIN_SEEN) & (gain > MIN_GAIN)
        hashes.append(pairs[kept])
        gains.append(gain[kept].astype(np.float32))
        print(f"template {template}: {kept.sum():,} of {len(pairs):,} entries", flush=True)
    return np.concatenate(hashes), np.concatenate(gains)


def fill_cells(hashes: Hashes, gains: Floats) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the checks of the table, the most telling entry in each cell, and which cells are taken."""
    cells, checks = split_hashes(hashes, BITS)
    order = np.lexsort((-gains, cells))
    order = order[np.append(True, np.diff(cells[order]) > 0)]
    table, taken = np.zeros(2**BITS, np.uint8), np.zeros(2**BITS, bool)
    table[cells[order]], taken[cells[order]] = checks[order], True
    print(f"{len(order):,} of {len(hashes):,} entries in {2**BITS:,} cells", flush=True)
    return table, taken


def find_entries(model: MarkContext, text: HashedText, places: Ints, ways: Ways, template: int) -> Ints:
    """Return the cell of each way in a template; where there is no entry, one past the table."""
    contexts = hash_contexts(text, places, template)
    cells, checks = split_hashes(hash_pairs(contexts[ways.rows], model.hashes[ways.words]), BITS)
    return np.where((model.checks[cells] == checks) & (model.weights[cells] != 0), cells, 2**BITS)


def learn_weights(model: MarkContext, marked: MarkedText, epochs: int) -> Floats:
    """Return the weights of the cells that are taken in ``model``. The last epoch takes smaller steps."""
    weights, squares = np.zeros(2**BITS + 1, np.float32), np.full(2**BITS + 1, 1e-2, np.float32)
    draw, blocks = np.random.default_rng(0), len(marked.places) // BATCH + 1
    for epoch in range(epochs):
        rate, loss = RATE if epoch < epochs - 1 else RATE / 3, 0.0
        for block in draw.permutation(blocks):
            places = marked.places[block * BATCH : (block + 1) * BATCH]
            if not len(places):
                continue
            ways = list_ways(marked.text.first[places], marked.text.count[places])
            count = BLIND if draw.random() < UNSEEN else len(TEMPLATES)
            cells = np.stack([find_entries(model, marked.text, places, ways, i) for i in range(count)])
            shares = share(model.bias[ways.words] + weights[cells].sum(0, dtype=np.float32), ways)
            is_gold = ways.words == marked.gold[places][ways.rows]
            loss -= float(np.log(np.maximum(shares[is_gold], 1e-9)).sum())
            slopes = np.broadcast_to(shares - is_gold, cells.shape).ravel()
            used, back = np.unique(cells, return_inverse=True)
            slope = np.bincount(back.ravel(), slopes).astype(np.float32)
            squares[used] += slope**2
            weights[used] -= rate * slope / np.sqrt(squares[used])
            weights[-1] = 0.0
        print(f"epoch {epoch + 1}: {loss / len(marked.places):.4f} nats", flush=True)
    return weights[:-1]


def count_right(choose: Chooser, lines: Sequence[str]) -> float:
    """Return the share of syllables, all without marks, that get the right ones."""
    right = total = 0
    for start in range(0, len(lines), 5000):
        sentences = [line.split() for line in lines[start : start + 5000]]
        slots = [[make_slot(word) for word in sentence] for sentence in sentences]
        for row, words, sentence in zip(slots, choose(slots), sentences, strict=True):
            opened = [i for i, slot in enumerate(row) if slot.is_open]
            right += sum(words[i] == sentence[i].lower() for i in opened)
            total += len(opened)
    return right / max(total, 1)


def main() -> None:
    """Read, learn, write, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    lines = [*read_part(args.texts / "train"), *read_own()]
    random.Random(0).shuffle(lines)
    counts = Counter(word for line in lines for word in line.lower().split())
    words, bias = list_words(counts)
    empty = MarkContext(tuple(words), bias, np.zeros(2**BITS, np.uint8), np.zeros(2**BITS, np.int8), 1.0)
    marked = encode_lines(empty, lines)
    print(f"{counts.total():,} words, {len(marked.places):,} places, {len(words):,} ways to mark", flush=True)
    checks, taken = fill_cells(*choose_entries(empty, marked))
    model = MarkContext(empty.words, bias, checks, taken.astype(np.int8), 1.0)
    weights = learn_weights(model, marked, args.epochs)
    step = float(np.quantile(np.abs(weights[taken]), 0.999)) / STEPS
    small = np.clip(np.round(weights / step), -STEPS, STEPS).astype(np.int8)
    model = MarkContext(empty.words, bias, np.where(small, checks, 0).astype(np.uint8), small, step)
    data = model.to_bytes()
    write_atomic(args.out, data)
    print(f"{np.count_nonzero(small):,} entries, {len(data):,} bytes in {args.out}", flush=True)
    pairs = MarkBigram.count(line.lower().split() for line in lines)
    for path in [args.texts / "test", *sorted((args.texts / "held-out").glob("*.txt"))]:
        part = path.read_text("utf-8").splitlines() if path.is_file() else read_part(path)
        found = [count_right(one, part) for one in (pairs.choose_most_frequent, pairs.choose, model.choose)]
        print(path.stem, f"{len(part):,} sentences,", " ".join(f"{share:.2%}" for share in found), flush=True)


if __name__ == "__main__":
    main()
