"""The command that runs the experiments of arXiv:2310.11685 and beyond, and those of a report on reading."""

import sys
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from nhin.cli.output import show_progress
from nhin.cli.replicate_beyond import StudyOptions, test_kernels, train_kernels
from nhin.cli.replicate_ocr import OCRReportOptions, replicate_ocr
from nhin.errors import UnknownName, UsageError
from nhin.ranges import SEED, Range
from nhin.studies.separation.options import CrossDef, Inner, Method, Rounding, Variant, Weights
from nhin.studies.separation.sweeps import FAMILIES, INNERS, Family

What = Literal["regression", "self", "cross", "all", "explain", "kernels", "train", "ocr"]
Sweep = Literal["n", "d", "m", "a1", "a0", "c", "all"]


@Parameter(name="*")
@dataclass(frozen=True)
class VariantOptions:
    """Choices for what the paper leaves open.

    Args:
        tau: Threshold of the regression.
        margin: The threshold of attention is (c + margin) sqrt(ln n).
        m_rule: How m = log n becomes a whole number.
        tie_b: b is 1 - c, not .2.
        weights: Whether the four networks share the random columns y.
        cross_def: The definition of cross-attention, which is nhin's reconstruction: c1 spikes in independent
            rows; c1perm classes in another order too; c2 queries without a spike; c3 every query with it; c4
            the queries' spike is 1.
        independent: The sweep over m of the regression draws anew at every point.
    """

    tau: Annotated[float, Range(0, 1)] = 0.25
    margin: Annotated[float, Range(0, 1e3)] = 0.1
    m_rule: Rounding = "ceil"
    tie_b: bool = False
    weights: Weights = "shared"
    cross_def: CrossDef = "c1"
    independent: bool = False

    def to_variant(self) -> Variant:
        """Return the choices under the names of the experiments."""
        return Variant(*astuple(self))


@Parameter(name="*")
@dataclass(frozen=True)
class SweepOptions:
    """What is swept, and how it is measured.

    Args:
        inner: X: eye for vec(I_d), ones for all ones; both when not given.
        sweep: What is swept; everything when not given.
        repeats: Of every point; 1,000 of the regression and 100 of attention when not given, as in the paper.
        method: exact draws nothing; mc draws, fast; dense draws the same and computes every matrix. The exact
            probabilities are given beside the counts of mc and dense.
    """

    inner: Annotated[Inner | None, Parameter(("--X", "--x"))] = None
    sweep: Sweep = "all"
    repeats: Annotated[int | None, Range(1, 10**7)] = None
    method: Method = "mc"


_SWEEPS, _VARIANT, _STUDY, _OCR = SweepOptions(), VariantOptions(), StudyOptions(), OCRReportOptions()


def replicate(
    what: What,
    /,
    *words: str,
    seed: Annotated[int, SEED] = 0,
    out: Path | None = None,
    swept: SweepOptions = _SWEEPS,
    choices: VariantOptions = _VARIANT,
    training: StudyOptions = _STUDY,
    reading: OCRReportOptions = _OCR,
) -> int:
    """Run softmax against linear attention: the published sweeps, or one experiment explained in words.

    Writes results.csv, figures, a report and a manifest to a folder, all of them or nothing. ocr repeats a
    report on reading Vietnamese instead, on your copy of VinText: ResNet18 and a Transformer decoder.

    Args:
        what: regression, self, cross (a reconstruction) or all: the sweeps of the paper. explain: one
            experiment, such as explain n=200 d=22 a1=2, or explain cross n=1000 d=12. kernels: the same test
            for every kernel of nhin's registry and some more. train: the same networks, trained on data with
            noise. ocr: a reader, trained and measured as in the source report.
        words: Of explain: a family, and settings, NAME=VALUE. Of kernels and train: which kernels.
        seed: Of all samples: the same seed, the same results.
        out: Folder of the results; runs/replicate-WHAT when not given.
        swept: What is swept, and how it is measured.
        choices: Choices for what the paper leaves open.
        training: Options of train.
        reading: Options of ocr.
    """
    _check_options(what, swept, choices, training)
    if what != "ocr" and reading != _OCR:
        raise UsageError(f"--data, --epochs, --limit and --variant are of ocr, not of {what}")
    if what == "explain" and (seed or out is not None):
        raise UsageError("explain draws nothing and writes no files: leave out --seed and --out")
    out = Path(f"runs/replicate-{what}") if out is None else out
    if what == "explain":
        return _explain(words, swept.inner, choices)
    if what == "kernels":
        return test_kernels(words, seed, out)
    if what == "train":
        return train_kernels(words, seed, out, training)
    if words:
        raise UsageError(f"{words[0]!r} is one word too many: only explain takes settings, as NAME=VALUE")
    if what == "ocr":
        if seed:
            raise UsageError("the seed of ocr is in its recipe: --variant seed=1 has another")
        return replicate_ocr(out, reading, training.resume)
    return _run_sweeps(FAMILIES if what == "all" else (what,), seed, out, swept, choices)


def _check_options(what: What, swept: SweepOptions, choices: VariantOptions, training: StudyOptions) -> None:
    """Refuse options that would have no effect."""
    if replace(training, resume=False) != _STUDY and what != "train":
        raise UsageError(f"--sigmas, --lengths, --seeds and --steps are of train, not of {what}")
    if training.resume and what not in ("train", "ocr"):
        raise UsageError(f"--resume is of train and of ocr, not of {what}")
    if what in ("kernels", "train", "ocr") and (swept != _SWEEPS or choices != _VARIANT):
        raise UsageError(f"{what} has neither sweeps nor open choices: leave out their options")
    if what == "explain" and replace(swept, inner=None) != _SWEEPS:
        raise UsageError(
            "explain tells of one experiment, exactly: leave out --sweep, --repeats and --method"
        )


def _run_sweeps(
    families: tuple[Family, ...], seed: int, out: Path, swept: SweepOptions, choices: VariantOptions
) -> int:
    """Run the paper's sweeps and print the report."""
    import matplotlib  # noqa: F401 - a missing package is reported before anything is computed

    from nhin.studies.separation.run import SweepRequest, run_sweeps

    inners = INNERS if swept.inner is None else (swept.inner,)
    variant = choices.to_variant()
    request = SweepRequest(families, inners, swept.sweep, swept.method, swept.repeats, seed, variant)
    total = sum(len(request.points(family)) for family in families)
    with show_progress(total, "replicating") as advance:
        run_sweeps(request, out, advance)
    sys.stdout.write((out / "report.md").read_text("utf-8") + f"\nall in {out}\n")
    return 0


def _explain(words: tuple[str, ...], inner: Inner | None, choices: VariantOptions) -> int:
    """Print one experiment in words."""
    from nhin.studies.separation.explain import explain_experiment

    family = "self"
    if words and "=" not in words[0]:
        family, words = words[0], words[1:]
    if family not in FAMILIES:
        raise UnknownName("family", family, FAMILIES)
    settings = dict(_parse_pair(word) for word in words)
    settings |= {} if inner is None else {"X": inner}
    sys.stdout.write(explain_experiment(family, settings, choices.to_variant()))
    return 0


def _parse_pair(word: str) -> tuple[str, str]:
    name, sign, value = word.partition("=")
    if not sign:
        raise UsageError(f"{word!r} sets nothing; give NAME=VALUE, such as n=200")
    return name, value
