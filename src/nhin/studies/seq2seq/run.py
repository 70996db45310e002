"""Train and score the models of the study; finished runs are kept, so that it can be continued."""

import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nhin.errors import Diverged, UsageError
from nhin.seq2seq.evaluate import evaluate
from nhin.seq2seq.loading import open_seq2seq_run
from nhin.seq2seq.task import PairBatch, Seq2SeqTask
from nhin.studies.files import check_folder, load_dataclass, save_dataclass
from nhin.studies.seq2seq.settings import Seq2SeqStudy
from nhin.training.distributed import ProcessGroup
from nhin.training.train_state import TrainState
from nhin.training.trainer import Trainer

SETTINGS = "study.json"


@dataclass(frozen=True, slots=True)
class Seq2SeqStudyRun:
    """The result of one run.

    Args:
        model: Its name.
        seed: Its seed.
        weights: Number of weights.
        ms: CPU milliseconds of a step, with drawing the pairs, of all threads.
        exact: The share of exact targets, by length of the source from 1 on.
        aligned: The share of target tokens that attend most to their origin or its neighbor, by length; empty
            without attention.
        on_origin: The same, on the origin alone.
        diverged: Whether training ended in a loss that is not finite; nothing is measured then.
    """

    model: str
    seed: int
    weights: int
    ms: float
    exact: tuple[float, ...] = field(default=())
    aligned: tuple[float, ...] = field(default=())
    on_origin: tuple[float, ...] = field(default=())
    diverged: bool = False


def run_study(
    study: Seq2SeqStudy,
    out: Path,
    resume: bool = False,
    on_progress: Callable[[str], object] = lambda _: None,
) -> list[Seq2SeqStudyRun] | None:
    """Run the study, or what is left of it.

    Args:
        study: The settings.
        out: Folder of the study: a run's folder and its results for each model and seed.
        resume: Go on with the study in that folder.
        on_progress: Called with a line for each run.

    Returns:
        The results; None where Ctrl-C has stopped it.

    Raises:
        UsageError: The folder holds a study and resume is off, or other settings.
        CheckpointError: There is no room.
    """
    study.check()
    check_folder(out)
    before = load_dataclass(Seq2SeqStudy, out / SETTINGS)
    if before is not None and not resume:
        raise UsageError(f"{out} holds a study; continue it with --resume, or choose another --out")
    if before not in (None, study):
        raise UsageError(f"{out} holds a study with other settings; give those, or choose another --out")
    save_dataclass(out / SETTINGS, study)
    results = []
    for seed in range(study.seed, study.seed + study.seeds):
        for model in study.models:
            path = out / f"{model}-{seed}.json"
            result = load_dataclass(Seq2SeqStudyRun, path)
            if result is None:
                result = _run_model(study, model, seed, out / f"{model}-{seed}")
                if result is None:
                    return None
                save_dataclass(path, result)
            results.append(result)
            seen = sum(result.exact[: study.length]) / max(1, study.length)
            on_progress(
                f"{model}, seed {seed}: {seen:.1%} exact on trained lengths, {result.ms:.1f} ms a step"
            )
    return results


def _run_model(study: Seq2SeqStudy, model: str, seed: int, folder: Path) -> Seq2SeqStudyRun | None:
    """Train and score one model; None where it was stopped."""
    recipe = study.recipe(model, seed)
    task = _MeasuredTask(recipe)
    trainer = Trainer(task, folder, io.StringIO())
    try:
        trainer.fit(resume=folder.is_dir())
    except Diverged:
        return Seq2SeqStudyRun(model, seed, 0, 0.0, diverged=True)
    done = trainer.state.step
    if done < study.steps:
        return None
    ms = 1000 * (time.process_time() - task.start) / max(1, done - task.first)
    run = open_seq2seq_run(folder)
    scores = evaluate(run, study.task, study.pairs).by_length
    weights = sum(weight.numel() for weight in run.model.parameters())
    exact = _by_length({length: one.accuracy for length, one in scores.items()})
    if not run.model.has_alignment:
        return Seq2SeqStudyRun(model, seed, weights, ms, exact)
    aligned = _by_length({length: one.alignment_accuracy for length, one in scores.items()})
    on_origin = _by_length({length: one.on_origin / max(1, one.origins) for length, one in scores.items()})
    return Seq2SeqStudyRun(model, seed, weights, ms, exact, aligned, on_origin)


def _by_length(values: Mapping[int, float]) -> tuple[float, ...]:
    return tuple(round(values[length], 6) for length in sorted(values))


class _MeasuredTask(Seq2SeqTask):
    """Notes when its first step begins, and is not scored while it trains."""

    start, first = 0.0, 0

    @contextmanager
    def open_batches(self, state: TrainState, group: ProcessGroup) -> Iterator[Iterator[PairBatch]]:
        """Yield an iterator over batches; see ``Seq2SeqTask``."""
        with super().open_batches(state, group) as batches:
            self.start, self.first = time.process_time(), state.step
            yield batches

    def validate(self, state: object, log: object, last: bool) -> bool:
        """Go on."""
        return True
