"""``nhin train``: train a reader, a language model or an encoder-decoder model."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nhin.cli.output import require_torch
from nhin.errors import CheckpointError, NhinError, UsageError
from nhin.ranges import Range

if TYPE_CHECKING:
    from nhin.training.distributed import ProcessGroup


@Parameter(name="*")
@dataclass(frozen=True)
class BudgetOptions:
    """The budget of training a language model, to which its schedule is fitted.

    Args:
        steps: Number of steps.
        tokens: Number of tokens.
        cpu_seconds: CPU-seconds of the steps, in each process.
    """

    steps: Annotated[int | None, Parameter("--budget-steps"), Range(1, 10**12)] = None
    tokens: Annotated[int | None, Parameter("--budget-tokens"), Range(1, 10**15)] = None
    cpu_seconds: Annotated[
        float | None, Parameter("--budget-cpu-seconds"), Range(above=0, maximum=10**12)
    ] = None

    @property
    def is_given(self) -> bool:
        """Whether any is given."""
        return self != BudgetOptions()


@Parameter(name="*")
@dataclass(frozen=True)
class ResumeOptions:
    """How a run in the folder goes on.

    Args:
        resume: Continue the run in that folder.
        other_data: Continue it on other data than before, from their first batch on.
    """

    resume: Annotated[bool, Parameter("--resume")] = False
    other_data: Annotated[bool, Parameter("--other-data", negative=())] = False


_NO_BUDGET, _NO_RESUME = BudgetOptions(), ResumeOptions()

# OpenMP threads spin before they sleep: with the default, one other busy program makes training 20 times
# slower; with this count 2 to 4 times, and no slower on an idle machine.
_SPIN_COUNT = "5000"


def train(
    recipe: str,
    *,
    out: Path | None = None,
    resuming: ResumeOptions = _NO_RESUME,
    set: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    data: Path | None = None,
    validate: Path | None = None,
    budget: BudgetOptions = _NO_BUDGET,
) -> int:
    """Train a reader, a line detector, a language model or an encoder-decoder model; Ctrl-C saves and ends.

    --resume continues bit for bit.

    Args:
        recipe: A shipped recipe (reader-tiny, reader-small, reader-resnet18; detector; lm-ngram, lm-bigram,
            lm-one-head, lm-one-block, lm-blocks, lm-nano, lm-fast, lm-small, lm-medium, lm-modern;
            seq2seq-numbers, seq2seq-marks), a TOML file, or the folder of a language model's run, also of an
            imported one, to train on from it in another folder.
        out: Folder of the run: recipe.json, log.jsonl, checkpoint; runs/RECIPE when not given.
        resuming: Going on with a run.
        set: Change a setting of the recipe, such as --set schedule.steps=2000; repeatable.
        data: Language models: tokens made by nhin prepare, or a text to prepare; the source code of Python's
            library when not given, or what the run to resume was trained on. seq2seq-marks: a text.
        validate: Readers: labeled crops (folder, TSV, zip or VinAI's folders) to validate on.
        budget: Budget of training.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # nhin says itself which process is lost
    require_torch("training needs")
    from nhin.training.distributed import join_process_group

    # Joined before anything can fail: what one process refuses ends all, with one line.
    with join_process_group() as group:
        out = out or Path("runs") / Path(recipe).stem
        existed = out.exists()
        try:
            return _train_recipe(group, recipe, out, resuming, set, (data, validate, budget))
        except NhinError:
            if group.is_first and not existed:
                with suppress(OSError):  # not empty
                    out.rmdir()
            raise


def _train_recipe(
    group: "ProcessGroup",
    recipe: str,
    out: Path,
    resuming: ResumeOptions,
    changes: Sequence[str],
    more: tuple[Path | None, Path | None, BudgetOptions],
) -> int:
    """Train what a recipe describes, or refuse options that are for others."""
    from nhin.config import override, read_recipe
    from nhin.training.agreement import check_same, list_settings

    data, validate, budget = more
    written = read_recipe(recipe)
    tree = override(written, changes)
    is_lm = tree.get("workflow") == "lm"
    if resuming.other_data and not resuming.resume:
        raise UsageError("--other-data is for a run that is continued with --resume")
    if is_lm and resuming.resume and not budget.is_given:
        tree = override(_keep_fitted_schedule(written, out), changes)
    options = {"--resume": asdict(resuming), "the budget": asdict(budget)}
    check_same(group, UsageError, list_settings(tree) | options)
    if is_lm:
        if validate is not None:
            raise UsageError("--validate is for readers; a language model has a validation split in --data")
        return _train_lm(tree, recipe, out, resuming, data, budget)
    if budget.is_given:
        raise UsageError("--budget-... is for language models; other recipes say it by --set schedule.steps")
    if tree.get("workflow") == "seq2seq":
        if validate is not None:
            raise UsageError(
                "--validate is for readers; a tenth of a text is held out, and rules draw others"
            )
        return _train_seq2seq(tree, recipe, out, resuming, data)
    return _train_reader(tree, recipe, out, resuming, data, validate)


def _train_reader(
    tree: dict[str, Any],
    name: str,
    out: Path,
    resuming: ResumeOptions,
    data: Path | None,
    validate: Path | None,
) -> int:
    """Train a reader or a line detector."""
    if data is not None:
        raise UsageError("--data is for language models; a reader's recipe says it by --set")
    from nhin.config import from_dict

    if tree.get("workflow") == "detector":
        from nhin.detection.recipe import DetectorRecipe
        from nhin.detection.task import train_detector

        if validate is not None:
            raise UsageError("--validate is for readers; a detector is validated on pages of another seed")
        detector = from_dict(DetectorRecipe, tree, name)
        train_detector(detector, out, resuming.resume, other_data=resuming.other_data)
        return 0
    from nhin.ocr.recipe import OCRRecipe
    from nhin.ocr.task import train_recognizer

    recipe = from_dict(OCRRecipe, tree, name)
    train_recognizer(recipe, out, resuming.resume, validate, other_data=resuming.other_data)
    return 0


def _train_lm(
    tree: dict[str, Any],
    name: str,
    out: Path,
    resuming: ResumeOptions,
    data: Path | None,
    budget: BudgetOptions,
) -> int:
    """Train a language model, after preparing its text where needed."""
    from nhin.config import from_dict
    from nhin.lm.budget import TrainBudget as Given
    from nhin.lm.budget import fit_to_budget
    from nhin.lm.recipe import LMRecipe
    from nhin.lm.task import train_language_model
    from nhin.lm.train_data import hash_corpus, open_corpus, reopen_corpus
    from nhin.lm.train_ngram import train_ngram

    recipe = from_dict(LMRecipe, tree, name)
    if data is not None:
        recipe = replace(recipe, data=replace(recipe.data, path=str(data)))
    if recipe.ngram and resuming.other_data:
        raise UsageError("--other-data is for networks; the counts of another text are another run")
    given = Given(budget.steps, budget.tokens, budget.cpu_seconds)
    if resuming.resume:
        recipe, corpus = reopen_corpus(recipe, out, resuming.other_data)
    else:
        corpus = open_corpus(recipe.data, out)
    if recipe.ngram:
        hashes = hash_corpus(corpus)
        train_ngram(recipe, corpus.split("train"), corpus.tokenizer, out, resuming.resume, data=hashes)
        return 0
    if given.is_given:
        recipe = fit_to_budget(recipe, corpus, given)
    train_language_model(recipe, corpus, out, resuming.resume, resuming.other_data)
    return 0


def _train_seq2seq(
    tree: dict[str, Any], name: str, out: Path, resuming: ResumeOptions, data: Path | None
) -> int:
    """Train an encoder-decoder model; a resumed run reads its own text where none is given."""
    from nhin.config import from_dict
    from nhin.seq2seq.recipe import Seq2SeqRecipe
    from nhin.seq2seq.task import train_seq2seq
    from nhin.training.run_dir import read_run_recipe

    recipe = from_dict(Seq2SeqRecipe, tree, name)
    path = recipe.data.path if data is None else str(data)
    if path is None and resuming.resume:
        before = read_run_recipe(out).get("data")
        path = before.get("path") if isinstance(before, dict) else None
    recipe = replace(recipe, data=replace(recipe.data, path=path))
    train_seq2seq(recipe, out, resuming.resume, resuming.other_data)
    return 0


def _keep_fitted_schedule(tree: dict[str, Any], out: Path) -> dict[str, Any]:
    """Keep the schedule of a run being resumed, if it was fitted to a budget."""
    from nhin.training.run_dir import read_run_recipe

    before = read_run_recipe(out)
    if not before.get("fitted"):
        return tree
    if "schedule" not in before:
        raise CheckpointError(
            f"the recipe in {out} has no schedule; give a budget or --set schedule.steps=..."
        )
    return tree | {"schedule": before["schedule"], "fitted": True}
