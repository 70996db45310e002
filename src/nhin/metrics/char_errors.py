"""Errors by part of a character: base, mark, tone or case.

Every wrong character in the alignment of fewest edits is extra, missing or substituted. A substituted one
has another base letter, or the same base with a wrong mark, tone or case, or several of these. Marks and
tones are compared only where the base is right.
"""

from collections import Counter
from typing import Any

from nhin.metrics.edit_distance import CharPair, align_texts
from nhin.text.letters import factor, nfc

PARTS = ("base", "mark", "tone", "case")


class Breakdown:
    """Running counts of errors, one crop at a time."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.only: Counter[str] = Counter()
        self.marks: Counter[tuple[str, str]] = Counter()
        self.tones: Counter[tuple[str, str]] = Counter()

    def add(self, read: str, true: str) -> None:
        """Count one crop."""
        true = nfc(true)
        self.counts["characters"] += len(true)
        for pair in align_texts(nfc(read), true):
            self._count(pair)

    def _count(self, pair: CharPair) -> None:
        read, true = pair
        if read is None or true is None:
            self.counts["missing" if read is None else "extra"] += 1
            return
        self.counts["matched" if read == true else "substituted"] += 1
        a, b = factor(read), factor(true)
        if a.base.lower() == b.base.lower():
            self.marks[b.mark, a.mark] += 1
            self.tones[b.tone, a.tone] += 1
        parts = compare_chars(read, true)
        self.wrong.update(parts)
        if len(parts) == 1:
            self.only.update(parts)

    def figures(self) -> dict[str, Any]:
        """Return counts for JSON.

        Returns:
            ``characters, matched, substituted, missing, extra``; ``wrong`` and ``only``, per part, the
            substituted characters with this part wrong, and with nothing else wrong; ``share``, ``wrong``
            over all true characters; ``marks`` and ``tones``, the confusions, most frequent first;
            ``mark_recall`` and ``tone_recall``, per mark and tone, the share read right where the base was.
        """
        names = ("characters", "matched", "substituted", "missing", "extra")
        total = max(1, self.counts["characters"])
        return {
            **{name: self.counts[name] for name in names},
            "wrong": {part: self.wrong[part] for part in PARTS},
            "only": {part: self.only[part] for part in PARTS},
            "share": {part: self.wrong[part] / total for part in PARTS},
            "marks": _list_confusions(self.marks),
            "tones": _list_confusions(self.tones),
            "mark_recall": _compute_recall(self.marks),
            "tone_recall": _compute_recall(self.tones),
        }


def compare_chars(read: str, true: str) -> tuple[str, ...]:
    """Name the ``PARTS`` in which two characters differ; a wrong base hides the others."""
    if read == true:
        return ()
    a, b = factor(read), factor(true)
    if a.base.lower() != b.base.lower():
        return ("base",)
    pairs = (("mark", a.mark, b.mark), ("tone", a.tone, b.tone), ("case", a.base, b.base))
    return tuple(name for name, left, right in pairs if left != right)


def _list_confusions(counts: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"true": true, "read": read, "count": count}
        for (true, read), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if true != read
    ]


def _compute_recall(counts: Counter[tuple[str, str]]) -> dict[str, float]:
    totals: Counter[str] = Counter()
    for (true, _), count in counts.items():
        totals[true] += count
    return {true: counts[true, true] / total for true, total in sorted(totals.items())}
