"""The command that climbs every rung of the ladder and writes down what each buys."""

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from nhin.errors import MissingExtra

_STOPPED = 130


@Parameter(name="*")
@dataclass(frozen=True)
class Sizes:
    """The sizes of every rung, which suit a laptop.

    Args:
        dim: Width; 128 when not given.
        heads: Heads of rungs that have several; 4 when not given.
        context: Tokens that are read at once; 64 when not given.
        batch: Texts of a step; 32 when not given.
        tokenizer: For a text that is not prepared: char, byte or bpe:N; bpe:2048 when not given.
    """

    dim: int | None = None
    heads: int | None = None
    context: int | None = None
    batch: int | None = None
    tokenizer: str | None = None


_USUAL = Sizes()


def ladder(  # noqa: PLR0913  # every option is one word of the command line
    *,
    data: Path | None = None,
    out: Path = Path("runs/ladder"),
    budget: str | None = None,
    seeds: int | None = None,
    depths: str | None = None,
    rates: str | None = None,
    resume: bool = False,
    sizes: Annotated[Sizes, Parameter(name="*")] = _USUAL,
) -> int:
    """Train every rung of language model on one text, and tell what each buys and what does not hold.

    All rungs get the same width, context, steps and tokens; n-grams of orders 1 to 5 are the control. Ctrl-C
    stops, and --resume goes on. The table is written to ladder.md, ladder.json and ladder.png.

    Args:
        data: Tokens made by nhin prepare, or a text to prepare; the sources of Python's own library when not
            given.
        out: Folder of the climb; every run is a folder in it.
        budget: CPU time that all runs together may take, such as 90s, 30m or 2h; 30m when not given. On a
            machine with nothing else to do that is the time on the clock. Preparing a text comes before.
        seeds: Runs of every rung; 3 when not given.
        depths: Of lm-blocks and lm-modern; 2,4,8 when not given.
        rates: To try on every rung, such as 1e-3,3e-3,1e-2; three around each rung's own when not given. More
            are tried while the best is at an edge. A single one is taken as it is.
        resume: Go on with the climb in that folder; what is not given is as it was begun.
        sizes: Of every rung.
    """
    from nhin.lm.ladder.words import depths_of, rates_of, seconds_of

    given: dict[str, Any] = {field.name: getattr(sizes, field.name) for field in fields(sizes)}
    given |= {
        "data": None if data is None else str(data.resolve()),
        "budget": None if budget is None else seconds_of(budget),
        "seeds": seeds,
        "depths": None if depths is None else depths_of(depths),
        "rates": None if rates is None else rates_of(rates),
    }
    try:
        import torch  # noqa: F401 - asked for before anything that needs it, to say how to get it
    except ImportError as why:
        raise MissingExtra("the ladder needs PyTorch: pip install 'nhin[torch]'") from why
    from nhin.lm.ladder.climb import climb
    from nhin.lm.ladder.page import page
    from nhin.lm.ladder.plan import begun
    from nhin.lm.ladder.settings import Settings

    before = begun(out) if resume else None
    usual = Settings() if before is None else before.settings
    settings = replace(usual, **{name: value for name, value in given.items() if value is not None})
    found = climb(settings, out, resume)
    if found is None:
        return _STOPPED
    sys.stdout.write(f"{page(found)}\nall in {out}\n")
    return 0
