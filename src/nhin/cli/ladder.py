"""The command that trains and compares the language models of the ladder."""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from nhin.cli.output import INTERRUPTED, require_torch
from nhin.format import parse_duration
from nhin.ranges import Range, parse_list


@Parameter(name="*")
@dataclass(frozen=True)
class LadderOptions:
    """The sizes of every model; the defaults suit a laptop.

    Args:
        dim: Model width; 128 when not given.
        heads: Heads of models that have several; 4 when not given.
        context: Sequence length in tokens; 64 when not given.
        batch: Sequences per step; 32 when not given.
        tokenizer: For a text that is not prepared: char, byte or bpe:N; bpe:2048 when not given.
    """

    dim: Annotated[int | None, Range(1, 2**14)] = None
    heads: Annotated[int | None, Range(1, 1024)] = None
    context: Annotated[int | None, Range(1, 2**16)] = None
    batch: Annotated[int | None, Range(1, 2**16)] = None
    tokenizer: str | None = None


_DEFAULTS = LadderOptions()


def ladder(  # noqa: PLR0913  # every option is one word of the command line
    *,
    data: Path | None = None,
    out: Path = Path("runs/ladder"),
    budget: str | None = None,
    seeds: Annotated[int | None, Range(1, 100)] = None,
    depths: str | None = None,
    rates: str | None = None,
    resume: bool = False,
    sizes: Annotated[LadderOptions, Parameter(name="*")] = _DEFAULTS,
) -> int:
    """Train language models of rising size on one text, and report what each part improves and what does not.

    All models get the same width, context, steps and tokens; n-grams of orders 1 to 5 are the baseline.
    Ctrl-C stops, and --resume continues. The table is written to ladder.md, ladder.json and ladder.png.

    Args:
        data: Tokens made by nhin prepare, or a text to prepare; the sources of Python's own library when not
            given.
        out: Folder of the ladder; every run is a folder in it.
        budget: CPU time of all runs together, such as 90s, 30m or 2h; 30m when not given. On an idle
            machine that is the time on the clock. Preparing a text is not counted.
        seeds: Runs of every model; 3 when not given.
        depths: Of lm-blocks and lm-modern; 2,4,8 when not given.
        rates: Learning rates to try for every model, such as 1e-3,3e-3,1e-2; three around each model's
            default when not given. More are tried while the best is at an edge. A single one is not searched.
        resume: Continue the ladder in that folder; options that are not given are as before.
        sizes: Of every model.
    """
    options: dict[str, Any] = asdict(sizes) | {
        "data": None if data is None else str(data.resolve()),
        "budget": None if budget is None else parse_duration("budget", budget),
        "seeds": seeds,
        "depths": None if depths is None else parse_list(depths, int, "depths look like 2,4,8"),
        "rates": None if rates is None else parse_list(rates, float, "rates look like 1e-3,3e-3,1e-2"),
    }
    require_torch("the ladder needs")
    from nhin.studies.ladder.plan import load_plan
    from nhin.studies.ladder.report import format_report
    from nhin.studies.ladder.run import run_ladder
    from nhin.studies.ladder.settings import LadderSettings

    plan = load_plan(out) if resume else None
    settings = LadderSettings() if plan is None else plan.settings
    settings = replace(settings, **{name: value for name, value in options.items() if value is not None})
    results = run_ladder(settings, out, resume)
    if results is None:
        return INTERRUPTED
    sys.stdout.write(f"{format_report(results)}\nall in {out}\n")
    return 0
