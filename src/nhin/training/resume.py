"""What a resumed run may change: its settings, listed by name, and the data, compared by their hashes.

A setting that may change has its new value from the first resumed step on. The learning rate of a step is
that of the new schedule at this step, as if the run had had it from the start: more ``steps`` stretch the
decay, and a longer ``warmup`` returns to it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nhin.config import from_dict, to_dict
from nhin.errors import CheckpointError, NhinError
from nhin.files import find_folder
from nhin.training.agreement import flatten
from nhin.training.checkpoint import Checkpoint
from nhin.training.config import Recipe
from nhin.training.lr_schedule import LRSchedule, compute_lr
from nhin.training.run_dir import read_run_recipe

R = TypeVar("R", bound=Recipe)

DATA = "data"  # the file of a checkpoint with the hashes of what was trained on


@dataclass(frozen=True, slots=True)
class ResumeRules:
    """The settings of a recipe by dotted name, each in one of two lists.

    A table with free keys is listed as one setting; keys of it may be listed apart.
    """

    changeable: frozenset[str]
    fixed: frozenset[str]

    def is_changeable(self, name: str) -> bool:
        """Return whether a resume may change a setting."""
        while name not in self.changeable | self.fixed:
            assert "." in name, f"no list has the setting {name}"
            name = name.rpartition(".")[0]
        return name in self.changeable


TRAINER_RULES = ResumeRules(
    changeable=frozenset(
        {
            *(f"schedule.{name}" for name in ("rate", "steps", "warmup", "shape", "decay", "floor")),
            "training.threads",
            "training.device",
            "training.precision",
            "training.grad_clip",
            "training.weight_decay",
            "training.ema_decay",
            "training.save_seconds",
            "training.log_seconds",
            "training.validate_steps",
        }
    ),
    fixed=frozenset({"seed"}),
)


def compare_recipes(
    before: object, now: R, rules: ResumeRules, where: str
) -> tuple[R, dict[str, tuple[Any, Any]]]:
    """Compare a recipe with the one in a checkpoint.

    Args:
        before: The recipe in the checkpoint, as JSON holds it.
        now: The recipe to go on with.
        rules: Which settings may change.
        where: The checkpoint, for errors.

    Returns:
        The recipe in the checkpoint, and the settings that differ with their old and new values, None for one
        not given.

    Raises:
        CheckpointError: A setting differs that cannot change; the message names it.
    """
    if not isinstance(before, Mapping):
        raise CheckpointError(f"{where} holds no recipe")
    try:
        former = from_dict(type(now), before, where)
    except NhinError as why:
        raise CheckpointError(f"{where} does not fit the recipe: {why}") from why
    old, new = (flatten(json.loads(json.dumps(to_dict(recipe)))) for recipe in (former, now))
    changes = {x: (old.get(x), new.get(x)) for x in {**old, **new} if old.get(x) != new.get(x)}
    refused = [name for name in changes if not rules.is_changeable(name)]
    if refused:
        words = ", ".join(f"{name} was {changes[name][0]!r}, is now {changes[name][1]!r}" for name in refused)
        raise CheckpointError(
            f"{where} does not fit the recipe: {words}; a resume cannot change this: "
            "give the former value, or start another run"
        )
    return former, changes


def check_run(out: Path, recipe: Recipe, rules: ResumeRules) -> bool:
    """Compare a recipe with the one in a run's checkpoint, before anything else is opened.

    Returns:
        Whether there is a checkpoint.

    Raises:
        CheckpointError: A setting differs that cannot change, or the checkpoint cannot be read.
    """
    folder = out / "checkpoint"
    if find_folder(folder) is None:
        return False
    compare_recipes(read_run_recipe(out), recipe, rules, str(folder))
    return True


def compare_files(saved: Checkpoint, files: Mapping[str, Any], where: str) -> None:
    """Compare the values that belong to the weights, such as the tokenizer.

    Raises:
        CheckpointError: One differs or is missing.
    """
    for name, expected in files.items():
        if name not in saved.values:
            raise CheckpointError(f"{where} does not fit the recipe: it holds no {name}")
        if saved.values[name] != expected:
            raise CheckpointError(f"{where} was trained with another {name}")


def compare_data(saved: Checkpoint, hashes: Mapping[str, str], where: str) -> tuple[str, bool]:
    """Compare hashes of data with those in a checkpoint.

    Returns:
        A sentence on how they differ, empty where they do not, and whether they differ for certain.
    """
    before = saved.values.get(DATA)
    if not isinstance(before, Mapping):
        return f"{where} has no hashes of its data, so they could not be compared", False
    names = [name for name in {**before, **hashes} if before.get(name) != hashes.get(name)]
    return f"{where} was trained on other data: {', '.join(names)}" if names else "", bool(names)


def describe_changes(
    changes: Mapping[str, tuple[Any, Any]], before: LRSchedule, now: LRSchedule, step: int
) -> list[str]:
    """Return lines that state the changed settings, and what a changed schedule does at the next step."""
    lines = [f"{name} was {old!r}, is now {new!r}" for name, (old, new) in changes.items()]
    if before != now:
        old, new = (f"{compute_lr(schedule, step + 1):.4g}" for schedule in (before, now))
        change = f"stays {new}" if new == old else f"is now {new} (it was {old})"
        lines.append(f"the learning rate of step {step + 1} {change}")
    return lines
