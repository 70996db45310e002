"""``nhin study``: experiments on what a part of a model adds."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from nhin.cli.output import INTERRUPTED, require_torch
from nhin.ranges import Range


def study(  # noqa: PLR0913  # every option is one word of the command line
    subject: Literal["seq2seq"],
    /,
    *models: str,
    out: Path = Path("runs/study-seq2seq"),
    task: Literal["numbers", "number-words", "reverse", "copy"] | None = None,
    seeds: Annotated[int | None, Range(1, 100)] = None,
    steps: Annotated[int | None, Range(1, 10**7)] = None,
    batch: Annotated[int | None, Range(1, 2**16)] = None,
    dim: Annotated[int | None, Range(4, 2**13)] = None,
    length: Annotated[int | None, Range(1, 18)] = None,
    pairs: Annotated[int | None, Range(1, 10**6)] = None,
    resume: bool = False,
) -> int:
    """Train encoder-decoder models with and without attention, and compare them by length.

    Reports exact targets by the length of the source, up to twice the trained lengths, how often a target
    token attends to what it comes from, and the cost of a step: seq2seq.md, .csv, .png and .svg. About an
    hour of one CPU with all models and the defaults; Ctrl-C stops, --resume continues.

    Args:
        subject: seq2seq.
        models: fixed, bahdanau, dot, general, concat, location, feeding, local-m, local-p, transformer; all
            when none is named.
        out: Folder of the study.
        task: What is learned; reverse when not given.
        seeds: Runs of every model; 3 when not given.
        steps: Steps of every run; 2000 when not given.
        batch: Pairs of a step; 64 when not given.
        dim: Width of every model; 64 when not given.
        length: The longest source in training, in letters or digits; 9 when not given.
        pairs: Pairs that are scored, of each length; 200 when not given.
        resume: Continue the study in that folder; options that are not given are as before.
    """
    require_torch("the study needs")
    import matplotlib  # noqa: F401 - a missing package is reported before anything is computed

    from nhin.studies.files import load_dataclass
    from nhin.studies.seq2seq.report import save_report
    from nhin.studies.seq2seq.run import SETTINGS, run_study
    from nhin.studies.seq2seq.settings import Seq2SeqStudy

    given = {"task": task, "models": models or None, "seeds": seeds, "steps": steps, "batch": batch}
    given |= {"dim": dim, "length": length, "pairs": pairs}
    before = load_dataclass(Seq2SeqStudy, out / SETTINGS) if resume else None
    changes = {name: value for name, value in given.items() if value is not None}
    settings = replace(before or Seq2SeqStudy(), **changes)
    runs = run_study(settings, out, resume, lambda line: sys.stderr.write(f"{line}\n"))
    if runs is None:
        return INTERRUPTED
    sys.stdout.write(f"{save_report(settings, runs, out)}\nall in {out}\n")
    return 0
