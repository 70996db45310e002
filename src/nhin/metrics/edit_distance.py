"""Edit distance of two sequences, and the alignment of two texts.

Cost:    ``edit_distance`` O(T) steps on integers of S bits; ``align_texts`` O(S T).
Source:  Levenshtein 1966; Hyyrö 2003, "A bit-vector algorithm for computing Levenshtein and Damerau
         edit distances", figure 3.
Differs: one Python integer holds the bits of any length.
"""

from collections.abc import Hashable, Sequence

from nhin.text.letters import factor

CharPair = tuple[str | None, str | None]
"""A read and a true character, aligned; None for one without a partner."""

_EDIT, _MATCH = 1 << 40, 1 << 20
_TAKE_BOTH, _TAKE_READ, _TAKE_TRUE = range(3)


def edit_distance(read: Sequence[Hashable], true: Sequence[Hashable]) -> int:
    """Count the insertions, deletions and substitutions that turn one sequence into the other."""
    if not read:
        return len(true)
    positions: dict[Hashable, int] = {}
    for i, item in enumerate(read):
        positions[item] = positions.get(item, 0) | 1 << i
    full, high = (1 << len(read)) - 1, 1 << (len(read) - 1)
    more, less, score = full, 0, len(read)
    for item in true:
        same = positions.get(item, 0)
        down = same | less
        across = (((same & more) + more) ^ more) | same
        up, drop = less | (full & ~(across | more)), more & across
        score += bool(up & high) - bool(drop & high)
        up, drop = (up << 1 | 1) & full, drop << 1 & full
        more, less = drop | (full & ~(down | up)), up & down
    return score


def align_texts(read: str, true: str) -> list[CharPair]:
    """Align two texts with the fewest edits, then most equal characters, then most equal base letters."""
    if read == true:
        return [(char, char) for char in true]
    read_bases, true_bases = _bases(read), _bases(true)
    costs = [j * _EDIT for j in range(len(true) + 1)]
    moves = [[_TAKE_TRUE] * (len(true) + 1)]
    for i, char in enumerate(read, start=1):
        diagonal, costs[0] = costs[0], i * _EDIT
        row = [_TAKE_READ]
        for j, other in enumerate(true, start=1):
            both = diagonal - _MATCH if char == other else diagonal + _EDIT
            if char != other and read_bases[i - 1] == true_bases[j - 1]:
                both -= 1
            best, move = both, _TAKE_BOTH
            if costs[j] + _EDIT < best:
                best, move = costs[j] + _EDIT, _TAKE_READ
            if costs[j - 1] + _EDIT < best:
                best, move = costs[j - 1] + _EDIT, _TAKE_TRUE
            diagonal, costs[j] = costs[j], best
            row.append(move)
        moves.append(row)
    return _trace_back(read, true, moves)


def _bases(text: str) -> list[str]:
    return [factor(char).base.lower() for char in text]


def _trace_back(read: str, true: str, moves: Sequence[Sequence[int]]) -> list[CharPair]:
    """Follow the moves back from the end of both texts."""
    i, j = len(read), len(true)
    pairs: list[CharPair] = []
    while i or j:
        move = moves[i][j]
        left = read[i - 1] if move != _TAKE_TRUE else None
        right = true[j - 1] if move != _TAKE_READ else None
        pairs.append((left, right))
        i, j = i - (left is not None), j - (right is not None)
    return pairs[::-1]
