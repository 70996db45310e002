"""Laws of a ladder's report: each claim follows from the numbers, either way."""

import io
import json
import math
from dataclasses import replace

import pytest
from PIL import Image

from nhin.studies.ladder.report import format_report, plot_ladder
from nhin.studies.ladder.results import LadderResults, LadderRow, check_claims, fit_lines, improvement

ABOUT = {
    "text": "a.txt",
    "tokenizer": "char",
    "vocab": 66,
    "trained_on": 1000,
    "split": "test",
    "measured_tokens": 99,
    "dim": 8,
    "heads": 2,
    "context": 4,
    "batch": 3,
    "seeds": 3,
    "threads": 1,
    "steps": 5,
    "tokens": 60,
    "rounds": 7,
    "budget": 90.0,
    "spent": 61.0,
    "machine": "a machine",
}


def row(name, nats, depth=1, **more):
    family = name.rpartition("-")[0] if name[-1].isdigit() else name
    figures = (
        {"ms": 10.0 * depth + 5, "memory": 1000 * depth + 64, "rate": 0.01} if "gram-" not in name else {}
    )
    given = {"parameters": 10, "bits_per_byte": 2.0, "cpu_seconds": 1.5 * depth + 1, **figures, **more}
    return LadderRow(rung=name, family=family, depth=depth, nats=tuple(nats), **given)


ROWS = [
    row("lm-ngram-3", [2.0], 3),
    row("lm-ngram-5", [1.5], 5),
    row("lm-bigram", [2.5, 2.51, 2.49], 0),
    row("lm-one-head", [2.4, 2.42, 2.38]),
    row("lm-one-block", [2.2, 2.23, 2.19]),
    row("lm-blocks-2", [2.0, 2.03, 1.98], 2),
    row("lm-blocks-4", [1.9, 1.92, 1.88], 4),
    row("lm-blocks-8", [1.85, 1.87, 1.83], 8),
]


def with_changes(**changes):
    names = {name.replace("_", "-"): change for name, change in changes.items()}
    return [replace(one, **names.get(one.rung, {})) for one in ROWS]


def claims_of(rows):
    stacks = [one for one in rows if one.family == "lm-blocks"]
    return {one.claim.split(",")[0]: one for one in check_claims(rows, {"lm-blocks": fit_lines(stacks)})}


def ladder_of(rows):
    over_depth = {"lm-blocks": fit_lines([one for one in rows if one.family == "lm-blocks"])}
    return LadderResults(
        ABOUT, tuple(rows), over_depth, tuple(check_claims(rows, over_depth)), {"lm-bigram": {"0.1": None}}
    )


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, "yes"),
        # Deeper is surely worse.
        ({"lm_blocks_8": {"nats": (1.99, 2.02, 1.97)}}, "no"),
        # The seeds do not agree.
        ({"lm_blocks_8": {"nats": (1.85, 1.95, 1.88)}}, "cannot be told"),
        # A seed has no number.
        ({"lm_blocks_4": {"nats": (1.9, None, 1.88)}}, "cannot be told"),
    ],
)
def test_the_ordering_is_judged_by_pairs_of_seeds(changes, answer):
    verdict = claims_of(with_changes(**changes))["lm-blocks: perplexity falls with depth"]
    assert verdict.answer == answer
    assert verdict.claim.endswith("2 > 4 > 8")


def test_paired_differences_decide_where_means_alone_do_not():
    """Seeds that differ more than depths do: the difference is the same in each pair."""
    one, two = row("lm-blocks-2", [1.0, 2.0, 3.0], 2), row("lm-blocks-4", [0.9, 1.9, 2.899], 4)
    gain = improvement(one, two)
    assert gain.mean == pytest.approx(0.1003, abs=1e-4)
    assert gain.low > 0
    assert one.half > 2


def test_one_seed_decides_no_ordering():
    rows = [replace(one, nats=one.nats[:1]) for one in ROWS]
    claims = claims_of(rows)
    assert claims["lm-blocks: perplexity falls with depth"].answer == "cannot be told"
    assert "over 1 seed," in claims["lm-blocks: perplexity falls with depth"].figures
    assert claims["each part buys something"].answer == "cannot be told"


@pytest.mark.parametrize(
    ("ms", "answer"),
    [
        ((25.0, 45.0, 85.0), "yes"),
        ((25.0, 46.0, 84.0), "yes"),
        ((25.0, 30.0, 85.0), "no"),
        ((9, 9.5, 9), "no"),
    ],
)
def test_time_is_linear_where_a_line_explains_it(ms, answer):
    changes = {f"lm_blocks_{depth}": {"ms": time} for depth, time in zip((2, 4, 8), ms, strict=True)}
    assert claims_of(with_changes(**changes))["lm-blocks: time of a step is linear in depth"].answer == answer


def test_two_depths_are_on_a_line_and_say_nothing():
    rows = [one for one in ROWS if one.rung != "lm-blocks-4"]
    for what in ("time of a step", "memory"):
        verdict = claims_of(rows)[f"lm-blocks: {what} is linear in depth"]
        assert verdict.answer == "cannot be told"
        assert "give 3 depths" in verdict.figures


def test_a_line_is_that_of_its_points():
    time, memory = (
        fit_lines([one for one in ROWS if one.family == "lm-blocks"])[k] for k in ("time", "memory")
    )
    assert (time.start, time.slope, time.fit) == pytest.approx((5, 10, 1))
    assert (memory.start, memory.slope) == pytest.approx((64, 1000))
    unknown = [replace(one, memory=None) for one in ROWS[-3:]]
    assert set(fit_lines(unknown)) == {"time"}


@pytest.mark.parametrize(
    ("nats", "answer", "words"),
    [
        ((1.85, 1.87, 1.83), "no", "0.3500 more"),
        ((1.40, 1.42, 1.41), "yes", "0.0900 less; surely better: lm-blocks-8"),
        ((1.40, 1.60, 1.41), "cannot be told", "0.0300 less"),
    ],
)
def test_networks_are_held_against_the_5_gram(nats, answer, words):
    verdict = claims_of(with_changes(lm_blocks_8={"nats": nats}))["a network beats the 5-gram"]
    assert verdict.answer == answer
    assert verdict.figures.endswith(words)


def test_without_a_5_gram_or_with_networks_that_diverged_no_claim_is_made():
    assert "a network beats the 5-gram" not in claims_of([one for one in ROWS if one.rung != "lm-ngram-5"])
    lost = [one if "ngram" in one.family else replace(one, nats=(None,) * 3) for one in ROWS]
    assert "a network beats the 5-gram" not in claims_of(lost)


def test_rates_at_an_edge_are_reported():
    verdict = claims_of(with_changes(lm_blocks_4={"edge": True}))["lm-blocks: perplexity falls with depth"]
    assert "the best rate of lm-blocks-4 is at the edge" in verdict.figures


def test_the_page_holds_every_figure_and_sorts_the_verdicts():
    words = format_report(ladder_of(with_changes(lm_blocks_8={"nats": (1.99, 2.02, 1.97), "edge": True})))
    cells = next(line for line in words.splitlines() if line.startswith("| lm-blocks-8 |")).split(" | ")
    assert cells[2] == "1.9933 ± 0.0625"
    assert cells[3] == "1.9900 2.0200 1.9700"
    assert cells[5] == f"{math.exp(1.99333):.2f}"
    assert cells[6:9] == ["85.0", "8 KB", "0.01!"]
    counted = next(line for line in words.splitlines() if line.startswith("| lm-ngram-5 |"))
    assert "| 1.5000 |  |" in counted
    assert "| 4 | 6.69 | 45.0 | 4 KB | 29.4 | 2.3 |" in words
    assert "| R² |  | 1.00000 | 1.00000 |  |  |" in words
    reproduced, failed = words.split("## Did NOT reproduce")
    assert "time of a step is linear" in reproduced.split("## Reproduced")[1]
    assert "falls with depth" in failed
    assert "beats the 5-gram" in failed
    assert "There is no test split" not in words
    validated = replace(ladder_of(ROWS), about=ABOUT | {"split": "validation"})
    assert "There is no test split" in format_report(validated)


def test_a_diverged_model_has_no_number_anywhere():
    ladder = ladder_of(with_changes(lm_blocks_2={"nats": (None, 2.0, 2.0), "bits_per_byte": None}))
    assert "| lm-blocks-2 | 10 | none | none 2.0000 2.0000 | none | none |" in format_report(ladder)
    assert Image.open(io.BytesIO(plot_ladder(ladder))).width > 800
    tree = json.loads(json.dumps(ladder.to_dict(), allow_nan=False))
    (row_tree,) = (one for one in tree["rows"] if one["rung"] == "lm-blocks-2")
    assert (row_tree["mean"], row_tree["half"], row_tree["perplexity"]) == (None, None, None)
    assert row("lm-bigram", [800.0]).perplexity is None


def test_the_picture_shows_levels_points_and_lines_and_is_the_same_twice():
    picture = plot_ladder(ladder_of(ROWS))
    assert picture == plot_ladder(ladder_of(ROWS))
    assert picture != plot_ladder(ladder_of(ROWS[1:]))
    assert picture != plot_ladder(ladder_of(with_changes(lm_blocks_8={"ms": 200.0})))
    assert picture != plot_ladder(ladder_of(with_changes(lm_bigram={"nats": (2.5, 2.6, 2.4)})))


def test_of_n_grams_alone_there_is_a_page_and_a_picture():
    ladder = LadderResults(ABOUT, tuple(ROWS[:2]), {}, (), {})
    assert "lm-ngram-3" in format_report(ladder)
    assert Image.open(io.BytesIO(plot_ladder(ladder))).height > 300
