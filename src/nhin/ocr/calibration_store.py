"""Store calibrations with exported weights: in ``model.json``, and for people in the card."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nhin.errors import CheckpointError
from nhin.files import explain_os_error, read_bytes, read_folder, write_folder
from nhin.ocr.calibrate import CalibrationResult
from nhin.ocr.model_card import CARD, replace_section
from nhin.reading.onnx_model import DECODER, ENCODER, MANIFEST, VERSION, check_out_folder, read_model

_TITLE, _MAX_CARD = "Confidence", 2**20
_HEAD = "| mode | crops of | count | right | calibration error before | after | above 0.95 | wrong of these |"


def write_calibrations(
    folder: Path, out: Path, results: Mapping[str, CalibrationResult], digest: str
) -> None:
    """Write weights with their calibrations, and a section of their card.

    Args:
        folder: The exported weights; the calibrations of other modes are kept.
        out: A new folder, or an earlier export, which is replaced; may be ``folder``.
        results: By mode.
        digest: What the weights must have, so that they are those that were measured.

    Raises:
        UsageError: ``out`` holds something else.
        CheckpointError: The weights were changed meanwhile, or there is no room.
    """
    check_out_folder(out)
    found = read_folder(folder, lambda place: (read_model(place, digest), _read_card(place)))
    if found is None:
        raise CheckpointError(f"{folder} is gone")
    (manifest, networks), card = found
    fitted = {mode: result.calibration for mode, result in results.items()}
    new = replace(manifest, version=VERSION, calibrations={**manifest.calibrations, **fitted})
    with explain_os_error(f"write {out}"), write_folder(out) as place:
        for name, data in zip((ENCODER, DECODER), networks, strict=True):
            (place / name).write_bytes(data)
        (place / MANIFEST).write_text(new.to_json(), encoding="utf-8")
        (place / CARD).write_text(replace_section(card, _TITLE, _describe(results)), encoding="utf-8")


def _read_card(folder: Path) -> str:
    path = folder / CARD
    return read_bytes(path, _MAX_CARD).decode("utf-8", "replace") if path.is_file() else ""


def _describe(results: Mapping[str, CalibrationResult]) -> list[str]:
    """Describe the calibration of each mode on each set, and the floor."""
    rows, floors = [], []
    for mode, result in results.items():
        for name, report in result.sets.items():
            before, after = report.lines.before, report.lines.after
            above = next(rate for rate in after.answers if rate.threshold == 0.95)
            figures = f"{before.accuracy:.2%} | {before.ece:.2%} | {after.ece:.2%} | {above.answered:.2%}"
            rows.append(f"| {mode} | {name} | {after.count} | {figures} | {above.wrong} |")
        drawn, invented, kept = map(sum, zip(*result.textless.values(), strict=True))
        floors.append(
            f"`{mode}` reads text from {kept} of {drawn} pictures without text (blanks, textures, bar codes, "
            f"noises), from {invented} without its floor of {result.calibration.floor:.3f}."
        )
    return ["Calibrated with `nhin calibrate`:", "", _HEAD, "|---|---|" + "---:|" * 6, *rows, "", *floors]
