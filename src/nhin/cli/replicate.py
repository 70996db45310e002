"""The command that runs the experiments of arXiv:2310.11685, and what lies beyond them."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from nhin.cli.output import show_progress
from nhin.cli.replicate_beyond import Training, kernels, train
from nhin.errors import UnknownName, UsageError
from nhin.replication.choices import CrossDef, Inner, Method, Rounding, Weights
from nhin.replication.sweeps import FAMILIES, INNERS, Choices, Family

What = Literal["regression", "self", "cross", "all", "explain", "kernels", "train"]
Sweep = Literal["n", "d", "m", "a1", "a0", "c", "all"]


@Parameter(name="*")
@dataclass(frozen=True)
class Open:
    """What the paper leaves open.

    Args:
        tau: Threshold of the regression.
        margin: That of attention is (c + margin) sqrt(ln n).
        m_rule: How m = log n becomes a whole number.
        tie_b: b is 1 - c, not .2.
        weights: Whether the four networks share the random columns y.
        cross_def: The definition of cross-attention, which is nhin's reconstruction: c1 spikes in independent
            rows; c1perm classes in another order too; c2 queries without a spike; c3 every query with it; c4
            the queries' spike is 1.
        independent: The sweep over m of the regression draws anew at every point.
    """

    tau: float = 0.25
    margin: float = 0.1
    m_rule: Rounding = "ceil"
    tie_b: bool = False
    weights: Weights = "shared"
    cross_def: CrossDef = "c1"
    independent: bool = False

    def choices(self) -> Choices:
        """Return them as the experiments take them."""
        return Choices(
            self.tau,
            self.margin,
            self.m_rule,
            self.tie_b,
            self.weights,
            self.cross_def,
            self.independent,
        )


@Parameter(name="*")
@dataclass(frozen=True)
class Swept:
    """What is swept, and how it is measured.

    Args:
        inner: X: eye for vec(I_d), ones for all ones; both when not given.
        sweep: What is swept; all of them when not given.
        repeats: Of every point; 1,000 of the regression and 100 of attention when not given, as in the paper.
        method: exact draws nothing; mc draws, fast; dense draws the same and computes every matrix. The exact
            chances stand beside those that draw.
    """

    inner: Annotated[Inner | None, Parameter(("--X", "--x"))] = None
    sweep: Sweep = "all"
    repeats: int | None = None
    method: Method = "mc"


_ALL, _USUAL, _NONE = Swept(), Open(), Training()


def replicate(
    what: What,
    /,
    *words: str,
    seed: int = 0,
    out: Path | None = None,
    swept: Swept = _ALL,
    choices: Open = _USUAL,
    training: Training = _NONE,
) -> int:
    """Run softmax against linear attention: the published sweeps, or one experiment explained in words.

    Writes results.csv, figures, a report and a manifest to a folder, which is there whole or not at all.

    Args:
        what: regression, self, cross (a reconstruction) or all: the sweeps of the paper. explain: one
            experiment, such as explain n=200 d=22 a1=2, or explain cross n=1000 d=12. kernels: the same test
            for every kernel of nhin's registry and some more. train: the same networks, trained on data with
            noise.
        words: Of explain: a family, and what is set, NAME=VALUE. Of kernels and train: which kernels.
        seed: Of all draws: the same seed, the same results.
        out: Folder of the results; runs/replicate-WHAT when not given.
        swept: What is swept, and how it is measured.
        choices: What the paper leaves open.
        training: What is trained.
    """
    _fitting(what, swept, choices, training)
    if what == "explain" and (seed or out is not None):
        raise UsageError("explain draws nothing and writes no files: leave out --seed and --out")
    out = Path(f"runs/replicate-{what}") if out is None else out
    if what == "explain":
        return _explain(words, swept.inner, choices)
    if what == "kernels":
        return kernels(words, seed, out)
    if what == "train":
        return train(words, seed, out, training)
    if words:
        raise UsageError(f"{words[0]!r} is one word too many: only explain takes settings, as NAME=VALUE")
    return _sweeps(FAMILIES if what == "all" else (what,), seed, out, swept, choices)


def _fitting(what: What, swept: Swept, choices: Open, training: Training) -> None:
    """Refuse options that would do nothing."""
    if training != _NONE and what != "train":
        raise UsageError(f"--sigmas, --lengths, --seeds, --steps and --resume are of train, not of {what}")
    if what in ("kernels", "train") and (swept != _ALL or choices != _USUAL):
        raise UsageError(f"{what} has neither sweeps nor open choices: leave out their options")
    if what == "explain" and replace(swept, inner=None) != _ALL:
        raise UsageError(
            "explain tells of one experiment, exactly: leave out --sweep, --repeats and --method"
        )


def _sweeps(families: tuple[Family, ...], seed: int, out: Path, swept: Swept, choices: Open) -> int:
    """Run the paper's sweeps and print the report."""
    import matplotlib  # noqa: F401 - asked for before anything is computed

    from nhin.replication.run import Request, run

    inners = INNERS if swept.inner is None else (swept.inner,)
    request = Request(families, inners, swept.sweep, swept.method, swept.repeats, seed, choices.choices())
    total = sum(len(request.points(family)) for family in families)
    with show_progress(total, "replicating") as told:
        run(request, out, None if told is None else lambda _done, _of: told(1))
    sys.stdout.write((out / "report.md").read_text("utf-8") + f"\nall in {out}\n")
    return 0


def _explain(words: tuple[str, ...], inner: Inner | None, choices: Open) -> int:
    """Print one experiment in words."""
    from nhin.replication.words import page_of

    family = "self"
    if words and "=" not in words[0]:
        family, words = words[0], words[1:]
    if family not in FAMILIES:
        raise UnknownName("family", family, FAMILIES)
    given = dict(_pair(word) for word in words)
    given |= {} if inner is None else {"X": inner}
    sys.stdout.write(page_of(family, given, choices.choices()))
    return 0


def _pair(word: str) -> tuple[str, str]:
    name, sign, value = word.partition("=")
    if not sign:
        raise UsageError(f"{word!r} sets nothing; give NAME=VALUE, such as n=200")
    return name, value
