"""Measure how many words get their marks back: a trained run beside the counts it must beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nhin.data.pairs.marks import Sentence, read_text, split_sentences, split_text
from nhin.decoding.mark_bigram import MarkBigram
from nhin.errors import DataError
from nhin.metrics.statistics import ratio
from nhin.seq2seq.loading import Seq2SeqRun
from nhin.seq2seq.restore import MarkModel
from nhin.text.letters import strip_marks
from nhin.text.unmarked import Chooser, Slot


@dataclass(frozen=True, slots=True)
class MarkEvalResult:
    """The share of words that are right; the counts are None where the text of the run cannot be read."""

    words: int
    model: float
    most_frequent: float | None = None
    bigram: float | None = None


def evaluate_marks(run: Seq2SeqRun, data: Path, limit: int | None = None) -> MarkEvalResult:
    """Measure a run of the task marks on a text.

    Args:
        run: The run.
        data: A text with marks. Of the text that the run learned from, the held-out part is taken; of another
            the sentences that the run did not learn from.
        limit: Take the first sentences only.

    Raises:
        DataError: The text cannot be read, or has no such sentence.
    """
    path = run.recipe.data.path
    learned = Path(path) if path is not None and Path(path).is_file() else None
    train, sentences = split_text(read_text(learned)) if learned else ([], [])
    if learned is None or learned.resolve() != data.resolve():
        known = set(train)
        sentences = [sentence for sentence in split_sentences(read_text(data)) if sentence not in known]
    sentences = sentences[:limit]
    if not sentences:
        raise DataError(f"{data} has no sentence that the run did not learn from")
    count, model = sum(map(len, sentences)), _share_right(MarkModel(run).choose, sentences)
    if learned is None:
        return MarkEvalResult(count, model)
    counts = MarkBigram.count(train)
    baselines = (_share_right(one, sentences) for one in (counts.choose_most_frequent, counts.choose))
    return MarkEvalResult(count, model, *baselines)


def _share_right(choose: Chooser, sentences: Sequence[Sentence]) -> float:
    slots = [[Slot(strip_marks(word), True) for word in sentence] for sentence in sentences]
    pairs = zip(choose(slots), sentences, strict=True)
    right = sum(a == b for chosen, sentence in pairs for a, b in zip(chosen, sentence, strict=True))
    return ratio(right, sum(map(len, sentences)))
