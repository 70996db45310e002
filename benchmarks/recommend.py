"""Ask the recommender 200 questions at lengths that it has not seen, and compare with measurements there.

    python benchmarks/recommend.py                                           what nhin ships
    python benchmarks/recommend.py --fitted bench-attention/attention.json   what nhin bench attention wrote

A question is a length, a dtype, a phase and a memory, drawn with a fixed seed; the memory lies between
what the least and twice what the most demanding mechanism needs. An answer is right if it is the fastest
that fits, or tied with it, as the recommender defines a tie (docs/bench.md). The measurements at those
lengths go to ``--held-out`` (``--resume`` uses and completes them), the verdict to
benchmarks/recommend.json.
"""

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from measuring import make_parser, save_json

from nhin.bench.cells import BenchGrid, BenchRow
from nhin.bench.results import BenchResults, load_results
from nhin.cli.bench import measure_grid
from nhin.errors import NhinError
from nhin.recommend.choose import estimate_costs, recommend
from nhin.recommend.estimate import CostEstimate
from nhin.recommend.question import ASKED_PHASES, AttentionQuestion

LENGTHS = (700, 1500, 3000, 6000)
QUESTIONS, SEED = 200, 2026


def draw_questions(rows: Sequence[BenchRow], count: int = QUESTIONS) -> list[AttentionQuestion]:
    """Draw questions about the situations of some rows."""
    draw = random.Random(SEED)
    cells = {
        AttentionQuestion(row.cell.length, phase, dtype=row.cell.dtype)
        for row in rows
        for phase in ASKED_PHASES
        if row.seconds and row.cell.phase == phase
    }
    situations = sorted(cells, key=str)
    questions = []
    for _ in range(count):
        question = draw.choice(situations)
        costs = estimate_costs(question, rows)
        sizes = [cost.peak_bytes for cost in costs]
        memory = min(sizes) * (2 * max(sizes) / min(sizes)) ** draw.random()
        questions.append(replace(question, memory=math.ceil(memory)))
    return questions


def judge(question: AttentionQuestion, fitted: BenchResults, truth: Sequence[BenchRow]) -> dict[str, Any]:
    """Compare one answer with the measurements of the question's own length."""

    def cost(estimate: CostEstimate) -> float:
        return estimate.ratio or estimate.seconds

    real = {one.mechanism: one for one in estimate_costs(question, truth) if one.how == "measured"}
    best = min((one for one in real.values() if one.peak_bytes <= (question.memory or 0)), key=cost)
    verdict: dict[str, Any] = {
        "length": question.length,
        "phase": question.phase,
        "dtype": question.dtype,
        "memory": question.memory,
        "best": best.mechanism,
    }
    try:
        answer = recommend(question, fitted, True).mechanism
    except NhinError as why:
        return verdict | {"answer": str(why), "is_right": False, "times_best": None}
    mine = real.get(answer)
    if mine is None or mine.peak_bytes > (question.memory or 0):
        return verdict | {"answer": answer, "is_right": False, "times_best": None, "note": "does not fit"}
    times = round(cost(mine) / cost(best), 3)
    return verdict | {"answer": answer, "is_right": mine.is_tied(best), "times_best": times}


def summarize(verdicts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the share of right answers, and the worst of the others."""
    wrong = [one for one in verdicts if not one["is_right"]]
    times = [one["times_best"] for one in wrong if one["times_best"] is not None]
    return {
        "questions": len(verdicts),
        "right": len(verdicts) - len(wrong),
        "share": round(1 - len(wrong) / len(verdicts), 4),
        "worst_times_best": max(times, default=1.0),
        "do_not_fit": sum(one["times_best"] is None for one in wrong),
        "wrong": wrong,
    }


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    here = Path(__file__).parent
    shipped = here.parent / "src" / "nhin" / "recommend" / "machines" / "xeon-amx.json"
    parser.add_argument("--fitted", type=Path, default=shipped)
    parser.add_argument("--held-out", type=Path, default=Path("held-out.json"))
    parser.add_argument("--resume", action="store_true", help="use what --held-out has, and complete it")
    parser.add_argument("--seconds", type=float, default=600.0, help="the most to measure")
    args = parser.parse_args()
    args.json = args.json or Path(__file__).with_suffix(".json")
    return args


def main() -> int:
    """Measure at the held-out lengths, ask, print and save the verdict."""
    args = parse_args()
    fitted = load_results(args.fitted)
    measured = [row.cell for row in fitted.rows if row.seconds and row.cell.phase in ASKED_PHASES]
    names, phases, dtypes = (
        list(dict.fromkeys(getattr(cell, field) for cell in measured))
        for field in ("mechanism", "phase", "dtype")
    )
    grid = BenchGrid(names, phases, LENGTHS, dtypes, device=measured[0].device)
    before = load_results(args.held_out).rows if args.resume else ()
    start = BenchResults(fitted.machine, fitted.settings, before)
    truth = measure_grid(grid, start, args.held_out, args.seconds)[0].rows
    verdicts = [judge(question, fitted, truth) for question in draw_questions(truth)]
    summary = {"seed": SEED, "machine": fitted.machine.processor, "torch": fitted.machine.torch}
    summary |= summarize(verdicts)
    save_json(args.json, summary)
    for one in summary["wrong"]:
        print(one)
    print(
        f"{summary['right']} of {summary['questions']} right ({summary['share']:.1%}); the others at most "
        f"{summary['worst_times_best']:.2f} times the best; {summary['do_not_fit']} do not fit"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
