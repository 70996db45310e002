"""``nhin replicate ocr``: the source report's reader, trained and measured on the user's copy of VinText."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nhin.cli.output import show_progress
from nhin.errors import MissingExtra, UsageError, explain_install
from nhin.ranges import Range


@Parameter(name="*")
@dataclass(frozen=True)
class OCRReportOptions:
    """Options of ocr.

    Args:
        data: Of ocr: your copy of VinText: VinAI's folder; a folder with train and test, each a zip or a
            folder of labeled crops; or one such set.
        epochs: Of ocr: passes over the training words; 10 when not given, as in the report.
        limit: Of ocr: use only so many words of each set, to try it.
        variant: Of ocr: also train this variant: a name of docs/ocr-report.md, or a setting, as in
            --variant model.backbone=lean; repeatable.
    """

    data: Path | None = None
    epochs: Annotated[int | None, Range(1, 10**4)] = None
    limit: Annotated[int | None, Range(1, 10**9)] = None
    variant: Annotated[tuple[str, ...], Parameter(negative=())] = ()


def replicate_ocr(out: Path, options: OCRReportOptions, resume: bool) -> int:
    """Train and measure the report's reader, and print the report."""
    if options.data is None:
        raise UsageError("give your copy of VinText with --data; nhin may not bring it")
    try:
        import matplotlib  # noqa: F401 - what is missing is reported before anything is trained
        import torch  # noqa: F401
    except ImportError as why:
        raise MissingExtra(f"training needs PyTorch and matplotlib: {explain_install()}") from why
    from nhin.studies.ocr_report.run import ReportPlan, run_report

    default = ReportPlan(options.data)
    epochs = default.epochs if options.epochs is None else options.epochs
    plan = ReportPlan(options.data, epochs, options.limit, options.variant)
    if not run_report(plan, out, resume, show_progress):
        sys.stderr.write(f"stopped; the same command with --resume goes on in {out}\n")
        return 0
    sys.stdout.write((out / "report.md").read_text("utf-8") + f"\nall in {out}\n")
    return 0
