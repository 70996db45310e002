"""The command that measures: a reader on crops, a language model on text."""

from pathlib import Path
from typing import Literal

from nhin.errors import UsageError


def evaluate(  # noqa: PLR0913  # every option is one word of the command line
    model: str,
    data: Path,
    /,
    *,
    json: bool = False,
    limit: int | None = None,
    mode: Literal["both", "exact", "fast"] | None = None,
    split: Literal["train", "validation", "test"] | None = None,
    stride: int | None = None,
    threads: int = 2,
) -> int:
    """Measure a reader on labelled crops, or a language model on text.

    Args:
        model: A reader: a name of shipped weights, a folder with an ONNX pair, or a checkpoint. Or the run of
            a language model.
        data: For a reader a folder, a zip or a TSV file of labelled crops, or VinText as VinAI lays it out;
            for a language model a folder that nhin prepare made, or a text file.
        json: Write one JSON object instead of tables.
        limit: Readers: read only so many crops, taken evenly from all of them.
        mode: Readers: fast takes what the CTC head drafts; exact lets the decoder verify it; both, the
            default, takes whichever the two heads together find likelier.
        split: Language models: which part of a prepared text; validation when not given.
        stride: Language models: from window to window, in tokens. Less than the context gives every token
            more before it, and takes longer; the context when not given.
        threads: Processors to use.
    """
    from nhin.lm.run_dir import is_run

    if is_run(Path(model)):
        from nhin.cli.evaluate_lm import measure_lm

        _refuse_options("a language model", "a reader", limit=limit, mode=mode)
        return measure_lm(Path(model), data, split, stride, threads, json)
    from nhin.cli.evaluate_reader import measure_reader

    _refuse_options("a reader", "a language model", split=split, stride=stride)
    return measure_reader(model, data, limit, mode or "both", threads, json)


def _refuse_options(given: str, other: str, **options: object) -> None:
    """Refuse options that mean something for the other kind of model only."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"--{name} is for {other}, and this is {given}; leave it out")
