"""Letters that stand below each other, as on upright signs, are one line: its words, from the top down.

Only what can be nothing else is joined: at least three upright letters of like size in one column, at like
distances, that are Vietnamese syllables or known words without a rest. The letters of a list (A, B, C) are
none. Nothing says where a word ends, so the likeliest words are taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod

from nhin.decoding.text_prior import TextPrior
from nhin.reading.line_crop import LineCrop, locate_line
from nhin.reading.onnx_model import load_prior
from nhin.reading.result import Char, Line, Point, Recognition
from nhin.text.syllables import is_syllable

MIN_LETTERS = 3
_MAX_LETTERS = 40
_MAX_SHIFT = 0.4  # sideways, from letter to letter, in their height
_PITCH = (0.9, 2.6)  # from center to center, in their height
_MAX_CHANGE = 0.35  # of the pitch, from letter to letter, in the pitch
_MAX_RATIO = 1.7  # of the heights of neighbors: marks make a letter higher
_MIN_FOREIGN = 4  # letters of a word that is no Vietnamese syllable

Pair = tuple[LineCrop, Recognition]


@dataclass(frozen=True, slots=True)
class _Letter:
    """A line of one letter: its number, its box, and the middle of it."""

    index: int
    line: Line
    center: Point
    height: float


def join_stacked(pairs: Sequence[Pair]) -> tuple[list[Line], list[Pair]]:
    """Join the letters of a page that stand below each other.

    Returns:
        The lines that they make, and the other lines.
    """
    letters = [letter for i, pair in enumerate(pairs) if (letter := _measure(i, *pair)) is not None]
    joined, taken = [], set[int]()
    for stack in find_stacks(letters):
        words = split_letters("".join(letter.line.text for letter in stack), load_prior())
        if words:
            joined.append(_join([letter.line for letter in stack], words))
            taken |= {letter.index for letter in stack}
    return joined, [pair for i, pair in enumerate(pairs) if i not in taken]


def _measure(index: int, crop: LineCrop, result: Recognition) -> _Letter | None:
    """Return a line as a letter, if it is one upright letter."""
    if len(result.text) != 1 or not result.text.isalpha():
        return None
    line = locate_line(crop, result)
    (left, top), (right, slant), (_, low), _ = line.box
    if right <= left or low <= top or abs(slant - top) > 0.2 * (right - left):
        return None
    return _Letter(index, line, ((left + right) / 2, (top + low) / 2), low - top)


def find_stacks(letters: Sequence[_Letter]) -> list[list[_Letter]]:
    """Return the columns of letters, each from the top down."""
    stacks, rest = [], sorted(letters, key=lambda letter: letter.center[1])
    while rest:
        stack = [rest.pop(0)]
        while len(stack) < _MAX_LETTERS and (below := _find_below(stack, rest)) is not None:
            rest.remove(below)
            stack.append(below)
        if len(stack) >= MIN_LETTERS:
            stacks.append(stack)
    return stacks


def _find_below(stack: Sequence[_Letter], rest: Sequence[_Letter]) -> _Letter | None:
    """Return the letter that goes on a stack below, if there is one."""
    last = stack[-1]
    pitch = last.center[1] - stack[-2].center[1] if len(stack) > 1 else None
    for letter in rest:  # from the top down
        height = min(letter.height, last.height)
        step = letter.center[1] - last.center[1]
        if step > _PITCH[1] * last.height:
            return None
        if (
            _PITCH[0] * height <= step <= _PITCH[1] * height
            and abs(letter.center[0] - last.center[0]) <= _MAX_SHIFT * height
            and max(letter.height, last.height) <= _MAX_RATIO * height
            and (pitch is None or abs(step - pitch) <= _MAX_CHANGE * pitch)
        ):
            return letter
    return None


def split_letters(letters: str, prior: TextPrior) -> list[str]:
    """Return the likeliest words that letters are, without a rest; none if there are none."""
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(letters) + 1):
        options = [
            (best[start][0] + prior.score_word(word.lower()), start)
            for start in range(end - 1)
            if best[start][0] > -inf and _is_word(word := letters[start:end], prior)
        ]
        best.append(max(options, default=(-inf, 0)))
    words, end = [], len(letters) if best[-1][0] > -inf else 0
    while end:
        words.insert(0, letters[best[end][1] : end])
        end = best[end][1]
    return words


def _is_word(word: str, prior: TextPrior) -> bool:
    return is_syllable(word) or (len(word) >= _MIN_FOREIGN and prior.knows(word.lower()))


def _join(lines: Sequence[Line], words: Sequence[str]) -> Line:
    """Return one line of letters; the space between two words has no height."""
    chars: list[Char] = []
    ends = {sum(map(len, words[:i])) for i in range(1, len(words))}
    for i, line in enumerate(lines):
        if i in ends:
            _, _, right, left = chars[-1].box
            chars.append(Char(" ", 1.0, (left, right, right, left)))
        chars.append(Char(line.text, line.chars[0].confidence if line.chars else line.confidence, line.box))
    x, y = ([point[axis] for line in lines for point in line.box] for axis in (0, 1))
    box = (min(x), min(y)), (max(x), min(y)), (max(x), max(y)), (min(x), max(y))
    return Line(" ".join(words), prod(line.confidence for line in lines), box, tuple(chars))
