"""Measure an encoder-decoder model by the length of the source: on fresh pairs of its rules, or a file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nhin.data.pairs.pair import NO_ORIGIN, Pair
from nhin.errors import DataError, UsageError
from nhin.files import read_bytes
from nhin.seq2seq.loading import Seq2SeqRun
from nhin.seq2seq.recipe import open_pairs
from nhin.seq2seq.scoring import PairScores, score_pairs
from nhin.seq2seq.task import draw_held_out

MAX_FILE = 2**26
MAX_DIGITS = 36
PAIRS_PER_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Seq2SeqEvalResult:
    """Scores by the length of the source; ``trained`` are the lengths of training, None where unknown."""

    by_length: Mapping[int, PairScores]
    trained: tuple[int, int] | None

    @property
    def total(self) -> PairScores:
        """The scores of all pairs."""
        return sum(self.by_length.values(), PairScores())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""

        def figures(scores: PairScores) -> dict[str, Any]:
            rates = {name: getattr(scores, name) for name in ("accuracy", "token_accuracy")}
            aligned = {"alignment_accuracy": scores.alignment_accuracy} if scores.origins else {}
            return asdict(scores) | rates | aligned

        lengths = {str(length): figures(scores) for length, scores in self.by_length.items()}
        return figures(self.total) | {"by_length": lengths, "trained_lengths": self.trained}


def evaluate(
    run: Seq2SeqRun, data: str, limit: int | None = None, on_progress: Callable[[int], object] | None = None
) -> Seq2SeqEvalResult:
    """Measure a run.

    Args:
        run: The run.
        data: The name of its task, for fresh pairs of every length up to twice the trained ones; or a file
            with a line for each pair: the source, a tab and the target.
        limit: Pairs of each length, or all pairs of a file.
        on_progress: Called with the number of lengths done.

    Raises:
        UsageError: The name is of another task.
        DataError: The file cannot be read or holds no pairs.
    """
    task = run.recipe.data.task
    trained = (run.recipe.data.min_length, run.recipe.data.max_length)
    groups: dict[int, list[Pair]] = {}
    if data == task:
        source = open_pairs(run.recipe.data)
        longest = 1 if task == "dates" else min(2 * trained[1], MAX_DIGITS)
        for length in range(1, longest + 1):
            groups[length] = draw_held_out(source, run.recipe, limit or PAIRS_PER_LENGTH, length)
    else:
        trained = None
        for pair in read_pairs(run, Path(data))[:limit]:
            groups.setdefault(len(pair.source), []).append(pair)
    scores: dict[int, PairScores] = {}
    for length, pairs in sorted(groups.items()):
        scores[length] = score_pairs(run.model, run.tables, pairs)
        if on_progress is not None:
            on_progress(1)
    return Seq2SeqEvalResult(scores, trained)


def read_pairs(run: Seq2SeqRun, path: Path) -> Sequence[Pair]:
    """Read the pairs of a file; see ``evaluate``."""
    task = run.recipe.data.task
    if not path.exists():
        raise UsageError(f"{path} is no file, and this run was trained on {task}; give a file or {task}")
    try:
        lines = read_bytes(path, MAX_FILE, DataError).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as why:
        raise DataError(f"{path} is not UTF-8: byte {why.start} is wrong") from None
    pairs: list[Pair] = []
    for number, line in enumerate(lines, start=1):
        source, tab, target = line.partition("\t")
        tokens = run.split(source)
        if not tab or not tokens:
            raise DataError(f"{path}, line {number} is no pair: write the source, a tab and the target")
        written = tuple(target.split()) if run.separator else tuple("".join(target.split()))
        pairs.append(Pair(tokens, written, (NO_ORIGIN,) * len(written)))
    if not pairs:
        raise DataError(f"{path} holds no pairs")
    return pairs
