"""Train and measure the report's reader, and variants of it, into one folder; each run can be continued.

::

    OUT/runs/NAME/       a run of each reader: recipe.json, log.jsonl, checkpoint, and results.json at its end
    OUT/report.md        tables beside the report's figures, and the error analysis
    OUT/results.csv      the figures of every reader
    OUT/curves.png/.svg  loss and character accuracy after each epoch
    OUT/outputs.png      words with what was read: pictures of the data, for the user alone
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nhin.data.images.datasets import Crop
from nhin.errors import CheckpointError
from nhin.files import read_json, write_atomic
from nhin.ocr.evaluate import evaluate, open_reader
from nhin.ocr.recipe import build_model
from nhin.studies.files import check_folder, check_new_folder, write_json
from nhin.studies.ocr_report.error_analysis import ReadWord, WordRecorder, analyze_errors
from nhin.studies.ocr_report.report import OUTPUTS, plot_outputs, write_report
from nhin.studies.ocr_report.task import EpochScores, ReportTask
from nhin.studies.ocr_report.variants import EPOCHS, RECIPE, build_report_recipe, find_changes, folder_name
from nhin.studies.ocr_report.word_sets import WordSets, open_word_sets
from nhin.training import checkpoint as checkpoints
from nhin.training.plots import read_log
from nhin.training.trainer import Trainer

VALIDATION = "validation"
Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None] | None]]
"""Shows how many of so many things are done, under a name; see ``cli.output.show_progress``."""


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """What to run.

    Args:
        data: The user's copy, see ``open_word_sets``.
        epochs: Passes over the words.
        limit: Use only so many words of each set.
        variants: Names or assignments, see ``find_changes``; each is a reader of its own.
    """

    data: Path
    epochs: int = EPOCHS
    limit: int | None = None
    variants: tuple[str, ...] = ()


def run_report(plan: ReportPlan, out: Path, resume: bool, progress: Progress) -> bool:
    """Train, measure and report what is not done yet; return whether all of it is done.

    Raises:
        UsageError: The folder holds something and ``resume`` is off.
        CheckpointError: There is nothing to resume, or it was of other data or settings.
        DataError: The data cannot be read.
        UnknownName: There is no such variant.
    """
    variants = {folder_name(name): find_changes(name) for name in dict.fromkeys(plan.variants)}
    sets = open_word_sets(plan.data, plan.limit)
    for changes in variants.values():  # wrong ones are refused before anything is trained
        with torch.device("meta"):
            build_model(build_report_recipe(sets, plan.epochs, str(out / "cache"), changes), sets.charset)
    if not resume:
        check_new_folder(out)
    elif not out.is_dir():
        raise CheckpointError(f"there is no run in {out} to resume")
    check_folder(out)
    for name, changes in {RECIPE: (), **variants}.items():
        if not _run_reader(sets, plan, out, changes, name, progress):
            return False
        write_report(out, load_results(out), sets)
    return True


def load_results(out: Path) -> dict[str, dict[str, Any]]:
    """Return the results of the finished readers of a folder, by name, the recipe's first."""
    found = {path.parent.name: read_json(path) for path in sorted(out.glob("runs/*/results.json"))}
    return {name: found[name] for name in sorted(found, key=lambda name: (name != RECIPE, name))}


def _run_reader(
    sets: WordSets, plan: ReportPlan, out: Path, changes: Sequence[str], name: str, progress: Progress
) -> bool:
    """Train one reader and measure it; return whether it is done."""
    folder = out / "runs" / name
    recipe = build_report_recipe(sets, plan.epochs, str(out / "cache"), changes)
    results = folder / "results.json"
    words = {"train": len(sets.train), **{key: len(each) for key, each in sets.tests.items()}}
    if results.is_file():
        before = read_json(results)
        if isinstance(before, dict) and before.get("epochs") == plan.epochs and before.get("words") == words:
            return True
    trainer = Trainer(ReportTask(recipe, sets), folder)
    trainer.fit(resume=checkpoints.exists(folder / "checkpoint"))
    if trainer.state.step < recipe.schedule.steps:
        return False
    measured, read = _measure(folder, sets, recipe.training.threads, progress)
    rows = read_log(folder / "log.jsonl")
    epochs = [{key: row.get(key) for key in EpochScores.__slots__} for row in rows if row["event"] == "epoch"]
    parameters = sum(weight.numel() for weight in trainer.state.model.parameters())
    tree = {"changes": list(changes), "epochs": plan.epochs, "words": words, "parameters": parameters}
    write_json(results, tree | {"curves": epochs, "sets": measured})
    if name == RECIPE:
        last = next(reversed(read))
        write_atomic(out / OUTPUTS, plot_outputs(read[last], _crops_of(sets)[last]))
    return True


def _crops_of(sets: WordSets) -> Mapping[str, Sequence[Crop]]:
    """Return what is measured: the test words, or the words for validation where there are none."""
    return sets.tests or {VALIDATION: sets.validation}


def _measure(
    folder: Path, sets: WordSets, threads: int, progress: Progress
) -> tuple[dict[str, Any], dict[str, list[ReadWord]]]:
    """Read the test words; return the figures and the errors of each set, and what was read."""
    measured, read = {}, {}
    for name, crops in _crops_of(sets).items():
        recorder = WordRecorder(open_reader(folder, "exact", threads))
        with progress(len(crops), f"reading {name}") as advance:
            result = evaluate(recorder, crops, advance)
        read[name] = recorder.words(crop.text for crop in crops)
        figures = json.loads(json.dumps(result.to_dict() | {"breakdown": None, "calibration": None}))
        measured[name] = figures | {"errors": analyze_errors(read[name])}
    return measured, read
