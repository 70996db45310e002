"""The recipe of an encoder-decoder model, and its pairs."""

from dataclasses import dataclass
from typing import Annotated, Literal

from nhin.data.pairs.batches import PairStream, TokenTable
from nhin.data.pairs.marks import MARKS, MarkPairs, read_text
from nhin.data.pairs.pair import PairSource
from nhin.data.pairs.rules import RULES, NumberPairs, NumberWordPairs
from nhin.errors import UsageError
from nhin.models.seq2seq.config import Seq2SeqConfig
from nhin.ranges import Length, Range
from nhin.training.config import Recipe, TrainerConfig
from nhin.training.resume import TRAINER_RULES, ResumeRules


@dataclass(frozen=True, slots=True)
class PairDataConfig:
    """The pairs to learn.

    ``task`` numbers writes Vietnamese number words for digits, number-words digits for words, dates ISO 8601
    for dates as people write them; reverse and copy are of letters; marks puts the marks back on the text in
    the file ``path``, in sentences of up to ``max_length`` words. ``min_length`` and ``max_length`` are the
    digits or letters of a source, ``dialect`` that of number words. A step takes ``batch`` pairs.
    """

    task: Literal["numbers", "number-words", "dates", "reverse", "copy", "marks"] = "numbers"
    path: Annotated[str | None, Length(1)] = None
    dialect: Literal["north", "south"] = "north"
    min_length: Annotated[int, Range(1, 36)] = 1
    max_length: Annotated[int, Range(1, 512)] = 9
    batch: Annotated[int, Range(1, 2**16)] = 64


@dataclass(frozen=True, slots=True)
class Seq2SeqTrainConfig(TrainerConfig):
    """The settings of the trainer; a validation takes ``validate_pairs`` pairs."""

    threads: Annotated[int, Range(1, 256)] = 1
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    validate_pairs: Annotated[int, Range(1, 10**6)] = 500


@dataclass(frozen=True, slots=True)
class Seq2SeqRecipe(Recipe):
    """The settings of one run."""

    workflow: Literal["seq2seq"] = "seq2seq"
    model: Seq2SeqConfig = Seq2SeqConfig()  # noqa: RUF009 - frozen
    data: PairDataConfig = PairDataConfig()
    training: Seq2SeqTrainConfig = Seq2SeqTrainConfig()


SEQ2SEQ_RULES = ResumeRules(
    changeable=TRAINER_RULES.changeable
    | {"model.dropout", "training.validate_pairs", "data.path"},  # a text is compared by its hash
    fixed=TRAINER_RULES.fixed
    | {"workflow"}
    | {f"data.{name}" for name in "task dialect min_length max_length batch".split()}
    | {
        f"model.{name}"
        for name in (
            "decoder cell directions depth dim score alignment reach input_feeding heads mlp_ratio context"
        ).split()
    },
)


def open_pairs(data: PairDataConfig) -> PairSource:
    """Open the source of pairs of a recipe.

    Raises:
        UsageError: A path is missing or not needed, or the lengths contradict each other.
        DataError: The text cannot be read.
    """
    if data.task == MARKS:
        if data.path is None:
            raise UsageError("the task marks needs a text of yours: give it with --data")
        return MarkPairs(read_text(data.path), data.max_length)
    if data.path is not None:
        raise UsageError(f"the task {data.task} makes its own pairs; leave out --data")
    if data.min_length > data.max_length:
        raise UsageError(f"min_length is {data.min_length}, more than max_length {data.max_length}")
    if data.task in ("numbers", "number-words"):
        if data.max_length > 36:
            raise UsageError(f"max_length is {data.max_length}; a number may have 36 digits")
        return (NumberPairs if data.task == "numbers" else NumberWordPairs)(data.dialect)
    return RULES[data.task]()


def make_stream(recipe: Seq2SeqRecipe, source: PairSource) -> PairStream:
    """Return the batches of a run."""
    data = recipe.data
    return PairStream(source, data.batch, (data.min_length, data.max_length), recipe.seed)


def make_tables(source: PairSource) -> tuple[TokenTable, TokenTable]:
    """Return the tables of source and target tokens."""
    return TokenTable(tuple(source.source_tokens)), TokenTable(tuple(source.target_tokens))
