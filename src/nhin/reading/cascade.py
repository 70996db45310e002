"""Read the lines of a page with a small network, and what is in doubt again with a large one.

Of a line with several words only those in doubt are read again, as crops of their own. Marks that are in
doubt even then are settled by the words beside them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from nhin.image.preprocess import Pixels
from nhin.reading.mark_opinion import settle_marks
from nhin.reading.result import Recognition, Span
from nhin.reading.rotation import mean_confidence
from nhin.reading.show_through import find_faint
from nhin.text.letters import strip_marks

ReadCrops = Callable[[Sequence[Pixels]], list[Recognition]]
"""Reads crops (height x width x 3, RGB, or height x width); see ``Recognizer.read``."""

DOUBT, SHORT_DOUBT = 0.5, 0.9
"""Confidences of a line, and of one of at most ``SHORT`` characters, below which it is read again: a small
network invents a letter or two more easily than a line."""
SHORT = 3
MAX_DOUBTFUL = 300
"""Lines of a page that are read again at most, the longest ones: the time that a picture takes is bounded."""
LETTER_DOUBT = 0.8
"""Confidence of a letter of such a line below which its word is read again."""
FAINT_DOUBT = 0.6
"""Mean confidence of the letters of a faint line below which it is left as it is: it would need 0.9."""
_LARGEST_PART = 0.6
"""Share of a line from which it is read again whole."""


class CascadeRecognizer:
    """Reads crops with one network, and those in doubt with another.

    Args:
        small: Reads every crop.
        large: Reads those in doubt again.
        large_for_words: Reads the words in doubt of a line that is not; by default ``large``.
    """

    def __init__(self, small: ReadCrops, large: ReadCrops, large_for_words: ReadCrops | None = None) -> None:
        self.small, self.large, self.large_for_words = small, large, large_for_words or large

    def read(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Return one answer per crop."""
        recognitions = self.small(crops)
        doubtful = [i for i, first in enumerate(recognitions) if _is_doubtful(first)]
        doubtful = _leave_faint(doubtful, recognitions, crops)
        doubtful = sorted(doubtful, key=lambda i: -len(recognitions[i].text))[:MAX_DOUBTFUL]
        parts = {i: _find_parts(recognitions[i], crops[i].shape[1]) for i in doubtful}
        whole = [i for i in doubtful if parts[i] is None]
        if whole:
            for i, second in zip(whole, self.large([crops[i] for i in whole]), strict=True):
                recognitions[i] = second
        # From the right, so that the places of what is still to be replaced stay.
        cut = [(i, part) for i in doubtful for part in reversed(parts[i] or [])]
        if cut:
            again = self.large_for_words([crops[i][:, part.left : part.right] for i, part in cut])
            for (i, part), second in zip(cut, again, strict=True):
                recognitions[i] = _replace_part(recognitions[i], part, second)
        return settle_marks(recognitions)


@dataclass(frozen=True, slots=True)
class _Part:
    """Neighboring words of a line: their columns, and the characters that these show."""

    left: int
    right: int
    start: int
    stop: int


def _find_parts(first: Recognition, width: int) -> list[_Part] | None:
    """Return the words in doubt of a line, from left to right; None if it is to be read again whole."""
    parts: list[_Part] = []
    chars = first.chars
    if first.rotation or " " not in first.text:
        return None
    for start, stop in _find_words(chars):
        # A dash alone could be any dash.
        doubt = [char.confidence for char in chars[start:stop] if char.confidence < LETTER_DOUBT]
        if doubt and any(char.text.isalnum() for char in chars[start:stop]):
            # Half of the spaces around it, where there are any.
            left = _middle(chars[start - 1]) if start else 0
            right = _middle(chars[stop]) if stop < len(chars) else width
            if parts and parts[-1].stop == start - 1:
                parts[-1] = replace(parts[-1], right=right, stop=stop)
            else:
                parts.append(_Part(left, right, start, stop))
    widths = [part.right - part.left for part in parts]
    return None if sum(widths) > _LARGEST_PART * width or min(widths, default=2) < 2 else parts


def _find_words(chars: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """Yield where each word starts and stops."""
    spaces = [i for i, char in enumerate(chars) if char.text == " "]
    for start, stop in zip([0, *(i + 1 for i in spaces)], [*spaces, len(chars)], strict=True):
        if stop > start:
            yield start, stop


def _middle(space: Span) -> int:
    return round((space.left + space.right) / 2)


def _replace_part(first: Recognition, part: _Part, second: Recognition) -> Recognition:
    """Return a line in which a part was read again; what then seems blank stays as it was."""
    if not second.text or second.rotation:
        return first
    new = [replace(char, left=char.left + part.left, right=char.right + part.left) for char in second.chars]
    old = first.chars[part.start : part.stop]
    if len(old) == len(new):
        new = [_choose(one, two) for one, two in zip(old, new, strict=True)]
    chars = (*first.chars[: part.start], *new, *first.chars[part.stop :])
    return Recognition("".join(c.text for c in chars), prod(c.confidence for c in chars), chars)


def _choose(in_line: Span, alone: Span) -> Span:
    """Return a character as it was read alone, but for what the line tells better: its case, punctuation."""
    old, new = in_line.text, alone.text
    if not (old.isalnum() or new.isalnum()):
        return replace(alone, text=old)
    if strip_marks(old).lower() != strip_marks(new).lower():
        return alone
    copy_case = str.upper if old.isupper() else str.lower
    if len(copy_case(new)) > 1:  # İ has no small letter of one character
        return in_line
    others = tuple((copy_case(letter), share) for letter, share in alone.others)
    return replace(alone, text=copy_case(new), others=others)


def _leave_faint(
    doubtful: Sequence[int], recognitions: Sequence[Recognition], crops: Sequence[Pixels]
) -> list[int]:
    """Return the doubtful lines but for those that show through the paper and tell hardly anything."""
    hopeless = {i for i in doubtful if mean_confidence(recognitions[i]) < FAINT_DOUBT}
    if not hopeless:
        return list(doubtful)
    faint = find_faint(crops)
    return [i for i in doubtful if not (i in hopeless and faint[i])]


def _is_doubtful(first: Recognition) -> bool:
    if len(first.text) <= SHORT:
        return first.confidence < SHORT_DOUBT
    return first.confidence < DOUBT
