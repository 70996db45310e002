"""Measure claims one after the other; what is measured is kept, so that a run can be continued."""

import datetime
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch

from nhin.bench.results import Machine, describe_machine, open_earlier
from nhin.config import from_dict
from nhin.errors import DataError, NhinError
from nhin.files import read_json
from nhin.ranges import Length
from nhin.studies.claims.claim import ClaimFigure, ClaimResult, SourceClaim, has_figures_of, make_figure
from nhin.studies.files import write_json
from nhin.training.precision import configure_cpu

RESULTS, PAGE = "claims.json", "claims.md"


@dataclass(frozen=True, slots=True)
class ClaimsResults:
    """What was measured on one machine."""

    machine: Machine
    results: Annotated[tuple[ClaimResult, ...], Length(0, 1000)] = ()
    format: Literal["nhin claims"] = "nhin claims"


def measure_claim(claim: SourceClaim) -> ClaimResult:
    """Measure one claim with one thread, from the same random state every time."""
    begin, load = time.process_time(), round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    with configure_cpu(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        measured = claim.measure()
    seconds = round(time.process_time() - begin, 1)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    if isinstance(measured, str):
        return ClaimResult(claim.name, reason=measured, seconds=seconds, date=date, load=load)
    pairs = zip(claim.bounds, measured, strict=True)
    figures = tuple(_round(make_figure(bound.what, value)) for bound, value in pairs)
    return ClaimResult(claim.name, figures, seconds=seconds, date=date, load=load)


def _round(figure: ClaimFigure) -> ClaimFigure:
    """Keep six digits."""
    numbers = {"value": figure.value, "low": figure.low, "high": figure.high}
    rounded = {name: None if x is None else float(f"{x:.6g}") for name, x in numbers.items()}
    return replace(figure, **rounded)


def run_claims(
    claims: Sequence[SourceClaim],
    out: Path | None,
    *,
    resume: bool = False,
    on_result: Callable[[SourceClaim, ClaimResult], object] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> ClaimsResults:
    """Measure claims, or those that are left.

    Args:
        claims: What to measure.
        out: Folder of the results, which are saved after each claim; None to keep them here alone.
        resume: Continue what is in that folder.
        on_result: Called with each claim and its result.
        stop: Asked before each claim.

    Raises:
        UsageError: The folder holds results and resume is off, or they are of another machine.
        DataError: They cannot be read.
    """
    now = ClaimsResults(describe_machine("cuda" if torch.cuda.is_available() else "cpu"))
    path = None if out is None else out / RESULTS
    done: dict[str, ClaimResult] = {}
    if path is not None and (
        before := open_earlier(path, load_claims, resume and path.exists(), now.machine)
    ):
        done = {result.name: result for result in before.results}
    for claim in claims:
        if claim.name in done and has_figures_of(claim, done[claim.name]):
            continue
        if stop():
            break
        done[claim.name] = result = measure_claim(claim)
        now = replace(now, results=tuple(done.values()))
        if path is not None:
            write_json(path, asdict(now))
        on_result(claim, result)
    return replace(now, results=tuple(done.values()))


def load_claims(path: Path) -> ClaimsResults:
    """Read results that a stranger may have made.

    Raises:
        DataError: The file cannot be read, or is no file of nhin claims.
    """
    tree = read_json(path, DataError)
    if not isinstance(tree, dict) or tree.get("format") != "nhin claims":
        raise DataError(f"{path} is no file of nhin claims")
    try:
        return from_dict(ClaimsResults, tree, path.name)
    except NhinError as why:
        raise DataError(str(why)) from why
