"""``nhin calibrate``: make a reader's confidences say how often it is right."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nhin.cli.evaluate import make_answers_table
from nhin.cli.output import make_table, print_tables, save_figures, show_progress, to_json
from nhin.errors import UnknownName, UsageError
from nhin.ranges import THREADS, Range

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from nhin.data.images.datasets import Crop
    from nhin.ocr.calibrate import BeforeAfter, CalibrationResult
    from nhin.reading.recognizer import Mode

_COUNTED = (0.9, 0.95)
_ROWS = (
    *("count", "right", "ECE before → after", "by chance", "Brier score", "log loss"),
    *(f"wrong above {threshold:g}" for threshold in _COUNTED),
)
Paths = Annotated[list[Path] | None, Parameter(name="--data", consume_multiple=True)]


def calibrate(  # noqa: PLR0913  # every option is one word of the command line
    weights: str,
    data: Path,
    /,
    *,
    more: Paths = None,
    out: Path | None = None,
    last: Annotated[int | None, Range(10, 10**9)] = None,
    mode: str | None = None,
    floor_cost: Annotated[float, Range(0, 100)] = 0.1,
    plot: Path | None = None,
    digest: str | None = None,
    json: bool = False,
    threads: Annotated[int, THREADS] = 2,
) -> int:
    """Calibrate a reader's confidences on labeled crops that it was not trained on.

    A confidence then says how often such a character or such a line is right. A floor is chosen too, on drawn
    pictures without text: a text whose letters are on average less probable is dropped. Both are stored with
    the weights. The figures after calibration are of crops that the fit did not see.

    Args:
        weights: A folder with an ONNX pair, or a name of shipped weights.
        data: Labeled crops, in any form that nhin evaluate takes.
        more: More sets of labeled crops, such as lines of print beside words of signs; all count alike.
        out: The folder to write, new or an earlier export; when not given, the weights' own.
        last: Use only this many crops of each set, the last ones.
        mode: Calibrate only this mode of reading; all when not given.
        floor_cost: How many points the floor may add to the character error rate of each set.
        plot: A folder for a reliability diagram of each mode, as PNG and SVG.
        digest: The digest that the weights must have, as nhin inspect prints it; 16 digits are enough.
        json: Write one JSON object instead of tables.
        threads: CPU threads.
    """
    from nhin.ocr.calibrate import calibrate as fit
    from nhin.ocr.calibrate import count_crops
    from nhin.ocr.calibration_store import write_calibrations
    from nhin.reading.onnx_model import (
        bundled_models,
        check_out_folder,
        hash_model,
        load_recognizer,
        locate_model,
    )
    from nhin.reading.recognizer import MODES

    if mode is not None and mode not in MODES:
        raise UnknownName("reading mode", mode, MODES)
    if out is None and weights in bundled_models():
        raise UsageError(f"{weights} comes with nhin; name a folder for its calibrated copy with --out")
    modes: list[Mode] = [each for each in MODES if mode in (None, each)]
    readers = {each: load_recognizer(weights, mode=each, threads=threads, digest=digest) for each in modes}
    with locate_model(weights) as folder:
        check_out_folder(out or folder)
        found = hash_model(folder)
        sets = _open_sets([data, *(more or ())], last)
        with show_progress(len(modes) * count_crops(sets), "reading") as on_progress:
            results = {
                each: fit(reader, sets, floor_cost / 100, on_progress) for each, reader in readers.items()
            }
        write_calibrations(folder, out or folder, results, found)
    if json:
        sys.stdout.write(to_json({each: asdict(result) for each, result in results.items()}))
    else:
        print_tables(*_make_tables(results))
    if plot is None:
        return 0
    return save_figures(plot, modes, lambda each: _draw(each, results[each]), "-reliability")


def _open_sets(paths: Sequence[Path], last: int | None) -> dict[str, "Sequence[Crop]"]:
    """Open sets of crops, by the name of their file or folder, which the card will tell."""
    from nhin.data.images.datasets import open_crops

    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("the same crops are given twice")
    sets: dict[str, Sequence[Crop]] = {}
    for number, path in enumerate(paths, start=1):
        name = path.resolve().name
        sets[f"{name} ({number})" if name in sets else name] = open_crops(path)[-(last or 0) :]
    return sets


def _make_tables(results: "Mapping[str, CalibrationResult]") -> "Iterator[Table | str]":
    """Tabulate the calibration of each mode, and the answer rates of the first."""
    for mode, result in results.items():
        parts = [(name, part) for name in result.sets for part in ("lines", "chars")]
        table = make_table(mode, *(f"{name} {part}" for name, part in parts))
        columns = [_format_pair(getattr(result.sets[name], part)) for name, part in parts]
        for row in zip(_ROWS, *columns, strict=True):
            table.add_row(*row)
        yield table
        yield _format_floor(result)
    mode, result = next(iter(results.items()))
    for name, report in result.sets.items():
        columns = {"before:": report.lines.before, "after:": report.lines.after}
        table = make_answers_table(columns)
        table.title = f"{mode}, {name}"
        yield table


def _format_pair(pair: "BeforeAfter") -> "Iterator[str]":
    before, after = pair.before, pair.after
    yield str(before.count)
    yield f"{before.accuracy:.2%}"
    yield f"{before.ece:.2%} → {after.ece:.2%}"
    yield f"{after.ece_by_chance:.2%}"
    yield f"{before.brier:.4f} → {after.brier:.4f}"
    yield f"{before.log_loss:.4f} → {after.log_loss:.4f}"
    for old, new in zip(before.answers, after.answers, strict=True):
        if old.threshold in _COUNTED:
            yield f"{old.wrong} → {new.wrong}"


def _format_floor(result: "CalibrationResult") -> str:
    drawn, invented, kept = (sum(counts) for counts in zip(*result.textless.values(), strict=True))
    costs = ", ".join(
        f"of {name} {report.cer[0]:.2%} → {report.cer[1]:.2%}" for name, report in result.sets.items()
    )
    return (
        f"floor {result.calibration.floor:.3f}: text read from {invented} → {kept} of {drawn} pictures "
        f"without text; character error rate {costs}\n"
    )


def _draw(mode: str, result: "CalibrationResult") -> "Figure":
    from nhin.viz.reliability import plot_reliability

    return plot_reliability(
        f"Reliability of confidences, mode {mode}",
        {
            f"{name}: {part}": {"before": pair.before.bins, "after": pair.after.bins}
            for name, report in result.sets.items()
            for part, pair in (("lines", report.lines), ("characters", report.chars))
        },
    )
