"""``nhin claims``: the headline claims of the sources, measured on this machine."""

import sys
from pathlib import Path

from nhin.cli.output import INTERRUPTED, require_torch
from nhin.errors import UsageError


def claims(*names: str, out: Path | None = None, resume: bool = False) -> int:
    """Check headline claims of papers about attention by measuring them here.

    Prints for each what was measured, what would be wanted, and the verdict. Most take milliseconds, small
    trainings up to a minute of a processor. Ctrl-C stops after the claim that is being measured.

    Args:
        names: Claims, such as rope-distance or linear-generation; all when none is named.
        out: Folder for claims.json and claims.md; nothing is written when not given.
        resume: Continue in that folder.
    """
    require_torch("the claims need")
    if resume and out is None:
        raise UsageError("--resume continues a folder; name it with --out")

    from nhin.files import write_atomic
    from nhin.studies.claims.catalogue import CLAIMS, find_claims
    from nhin.studies.claims.claim import ClaimResult, SourceClaim, judge
    from nhin.studies.claims.page import format_claims_page, format_result
    from nhin.studies.claims.run import PAGE, RESULTS, run_claims
    from nhin.training.signals import catch_stop_signals

    wanted = find_claims(names)

    def show(claim: SourceClaim, result: ClaimResult) -> None:
        lines = [f"{claim.name}: {judge(claim, result)}", f"  {claim.says} ({claim.source})"]
        sys.stdout.write("\n".join([*lines, *(f"  {line}" for line in format_result(claim, result))]) + "\n")
        sys.stdout.flush()

    with catch_stop_signals() as signals:
        results = run_claims(wanted, out, resume=resume, on_result=show, stop=lambda: signals.requested)
    if out is not None and results.results:
        write_atomic(out / PAGE, format_claims_page(results, CLAIMS), UsageError)
        sys.stdout.write(f"{out / RESULTS}\n{out / PAGE}\n")
    return INTERRUPTED if signals.requested else 0
