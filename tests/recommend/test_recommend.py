"""Laws of the recommender, over made-up measurements; nothing here is timed."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nhin.attention.registry import MECHANISMS
from nhin.bench.cells import BenchCell, BenchRow
from nhin.bench.results import BenchResults, BenchSettings, describe_machine, save_results
from nhin.cli.app import main
from nhin.errors import UnknownName, UsageError
from nhin.recommend.choose import default_settings, recommend
from nhin.recommend.estimate import choose_rows, estimate_cost, total_bytes
from nhin.recommend.question import SIMPLICITY, AttentionQuestion, list_candidates, parse_positions
from nhin.recommend.rules import apply_rules
from nhin.recommend.sources import choose_results, load_shipped

LENGTHS = (512, 1024, 2048, 4096)
# Seconds of a length, and bytes for a position.
COSTS = {
    "softmax": (lambda n: 1e-8 * n**2, 4096),
    "window": (lambda n: 1e-5 * n, 4096),
    "linear": (lambda n: 5e-6 * n, 2048),
    "linear-relu": (lambda n: 5e-6 * n, 9000),
}


def make_row(name, length, seconds, *, phase="train", noise=0.01, peak=4096, **changes):
    ratio = seconds / COSTS["softmax"][0](length)
    ends = {"low": seconds * (1 - noise), "high": seconds * (1 + noise)}
    ratios = {"ratio": ratio, "ratio_low": ratio * (1 - noise), "ratio_high": ratio * (1 + noise)}
    return BenchRow(
        BenchCell(name, phase, length, **changes), seconds, **ends, **ratios, repeats=7,
        peak_bytes=peak * length, predicted_bytes=1, date="2026-11-27",
    )  # fmt: skip


ROWS = tuple(make_row(name, n, cost(n), peak=peak) for name, (cost, peak) in COSTS.items() for n in LENGTHS)
RESULTS = BenchResults(describe_machine(), BenchSettings(), ROWS)


def answer(length=4096, rows=ROWS, **question):
    return recommend(AttentionQuestion(length, "train", **question), replace(RESULTS, rows=tuple(rows)), True)


def test_the_order_of_simplicity_has_every_mechanism_once():
    assert sorted(SIMPLICITY) == sorted(MECHANISMS)


@pytest.mark.parametrize(
    ("length", "quality", "expected"),
    [(512, "any", "linear"), (512, "near", "softmax"), (4096, "near", "window"), (4096, "exact", "softmax")],
)
def test_the_fastest_of_the_quality_is_named(length, quality, expected):
    assert answer(length, quality=quality).mechanism == expected


def test_a_tie_goes_to_the_simpler_and_the_reason_names_the_other():
    got = answer()
    assert got.mechanism == "linear" and "linear-relu" in got.reason
    exactly = [make_row("lsh", 4096, 1.0, noise=0), make_row("window", 4096, 1.019, noise=0)]
    assert answer(rows=exactly).mechanism == "window"  # 2%
    apart = [exactly[0], make_row("window", 4096, 1.03, noise=0)]
    assert answer(rows=apart).mechanism == "lsh"
    overlapping = [exactly[0], make_row("window", 4096, 1.03, noise=0.04)]
    assert answer(rows=overlapping).mechanism == "window"


DRIFT = (1.0, 1.3, 0.8, 1.1, 0.9)  # of a machine: both that take turns are slowed alike


def make_turns(name, factors, *, length=4096, began=7):
    """Return a row whose interval is as wide as the drift."""
    rounds = tuple(drift * factor for drift, factor in zip(DRIFT, factors, strict=True))
    return replace(make_row(name, length, sorted(rounds)[2], noise=0.3), rounds=rounds, began=began)


def test_two_that_took_turns_are_told_apart_by_their_rounds_where_their_intervals_overlap():
    slow, fast = make_turns("linear", [1.12, 1.1, 1.14, 1.11, 1.13]), make_turns("linear-relu", [1.0] * 5)
    assert answer(rows=[slow, fast]).mechanism == "linear-relu"
    assert answer(rows=[replace(slow, began=8), fast]).mechanism == "linear"  # not in the same rounds
    longer = [make_turns(row.cell.mechanism, row.rounds, length=16384, began=9) for row in (slow, fast)]
    assert answer(8192, rows=[slow, fast, *longer]).mechanism == "linear-relu"
    even = make_turns("linear", [1.1, 0.95, 1.12, 0.93, 1.08])
    assert answer(rows=[even, fast]).mechanism == "linear"
    close = make_turns("linear", [1.015] * 5)
    assert answer(rows=[close, fast]).mechanism == "linear"  # 2%


def test_what_does_not_fit_into_the_memory_is_never_named():
    sizes = {row.cell.mechanism: total_bytes(row) for row in ROWS if row.cell.length == 4096}
    for memory in sizes.values():
        got = answer(memory=int(memory))
        assert got.estimate.peak_bytes <= memory
        assert all(cost.peak_bytes <= memory for cost in got.runners_up)
    with pytest.raises(UsageError, match=r"nothing fits into 1 KB.*linear"):
        answer(memory=1024)


def test_the_users_own_choice_wins_and_the_answer_says_what_it_costs():
    got = answer(mechanism="softmax")
    assert got.mechanism == "softmax" and "your own choice" in got.reason and "linear" in got.reason
    assert "though it needs" in answer(mechanism="softmax", memory=10**7).reason
    with pytest.raises(UsageError, match="not been measured"):
        answer(mechanism="bigbird")


@pytest.mark.parametrize("length", [512, 700, 3000, 4096, 100, 65536])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_between_and_beyond_measured_lengths_the_fitted_exponent_holds(length, power):
    curve = [make_row("window", n, 1e-6 * n**power) for n in LENGTHS]
    cost = estimate_cost(*choose_rows(curve, length), length, has_ratios=True)
    assert cost.seconds == pytest.approx(1e-6 * length**power)
    inside = 512 <= length <= 4096
    assert cost.how == ("measured" if length in LENGTHS else "interpolated" if inside else "extrapolated")
    assert cost.low <= cost.ratio <= cost.high
    assert len(cost.rows) == (1 if length in LENGTHS else 2 if inside or length < 512 else 3)


def test_ends_of_an_interval_never_cross_however_far_away():
    rows = [
        make_row("linear", n, 1.0, noise=noise)
        for n, noise in zip(LENGTHS, (0.5, 0.3, 0.1, 0.0), strict=True)
    ]
    for length in (1, 600, 3000, 2**20):
        cost = estimate_cost(*choose_rows(rows, length), length, has_ratios=True)
        assert cost.low <= cost.ratio <= cost.high


def test_seconds_are_compared_where_the_baseline_was_too_slow():
    rows = [replace(row, ratio=None, ratio_low=None, ratio_high=None) for row in ROWS]
    assert answer(rows=rows).mechanism == answer().mechanism
    assert answer(rows=rows).estimate.ratio is None


def test_a_length_without_a_baseline_leaves_the_ratios_of_the_others():
    far = [replace(make_row(name, 8192, 1.0), ratio=None) for name in COSTS]
    assert answer(rows=[*ROWS, *far]).estimate.ratio is not None


def test_layers_of_several_sizes_are_not_mixed():
    wide = [make_row("bigbird", 4096, 1e-9, head_dim=128), make_row("softmax", 4096, 1e-9, head_dim=128)]
    got = answer(rows=[*wide, *ROWS])
    names = [cost.mechanism for cost in (got.estimate, *got.runners_up)]
    assert got.mechanism == "linear" and len(set(names)) == len(names)


def test_rows_of_other_situations_do_not_count():
    fast = [
        make_row("bigbird", 4096, 1e-9, phase="prefill"),
        make_row("bigbird", 4096, 1e-9, dtype="bfloat16"),
        make_row("bigbird", 4096, 1e-9, causal=False),
        make_row("sdpa", 4096, 1e-9),
        BenchRow(BenchCell("bigbird", "train", 4096), skipped="too slow"),
    ]
    assert answer(rows=[*ROWS, *fast]).mechanism == "linear"
    with pytest.raises(UsageError, match="nothing of quality any has been measured"):
        answer(rows=fast[:3])


def test_mechanisms_that_cannot_decode_are_no_candidates():
    for phase in ("train", "prefill", "decode"):
        for name in list_candidates(AttentionQuestion(64, phase)):
            assert "causal" in MECHANISMS[name].facts.abilities
            assert phase == "train" or "decode" in MECHANISMS[name].facts.abilities
    exact = list_candidates(AttentionQuestion(64, "train", quality="exact"))
    assert set(exact) == {name for name, made in MECHANISMS.items() if made.facts.exact}


def test_each_rule_of_the_report_agrees_disagrees_or_does_not_apply():
    here = {rule["situation"]: rule["here"] for rule in answer().rules}
    assert here["training large models"] == "disagrees"
    assert here["over 100,000 positions"] == "does not apply"
    far = AttentionQuestion(200_000, "decode", memory=10**8)
    here = {rule["situation"]: rule["here"] for rule in apply_rules(far, "linear")}
    assert here["over 100,000 positions"] == here["long text, little hardware"] == "agrees"
    assert here["inference at the edge"].startswith("not about the mechanism")


def test_own_measurements_come_first_and_the_likest_machine_answers_otherwise():
    question, here = AttentionQuestion(4096, "train"), describe_machine()
    other = replace(RESULTS, machine=replace(here, processor="other"))
    assert choose_results(question, other, [RESULTS], here) is other
    assert choose_results(question, None, [other, RESULTS], here) is RESULTS
    assert choose_results(question, replace(other, rows=()), [RESULTS], here) is RESULTS
    assert choose_results(question, None, [], here) is None


def test_shipped_measurements_can_be_read_and_answer():
    for results in load_shipped():
        asked = {(row.cell.phase, row.cell.dtype, row.cell.device) for row in results.rows if row.seconds}
        for phase, dtype, device in asked:
            if phase in ("train", "prefill", "decode"):
                question = AttentionQuestion(3000, phase, dtype=dtype, device=device)
                assert recommend(question, results, False).mechanism in MECHANISMS


def test_settings_are_the_defaults_that_were_measured():
    assert default_settings("window") == {"window": 256} and default_settings("softmax") == {}


def test_lengths_are_written_as_people_write_them():
    assert [parse_positions(text) for text in ("4096", "32k", "1M", " 2K ")] == [4096, 32768, 2**20, 2048]


@pytest.mark.parametrize(
    "text", ["0", "-1", "1000000000000", "99999999999999999999", "", "32 k", "1e3", "nan"]
)
def test_impossible_lengths_are_refused(text):
    with pytest.raises(UsageError):
        parse_positions(text)


def test_an_unknown_choice_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match="window"):
        AttentionQuestion(16, "train", mechanism="windo")


@pytest.fixture
def own(tmp_path):
    save_results(tmp_path / "own.json", RESULTS)
    return tmp_path / "own.json"


@pytest.fixture
def evaluation(monkeypatch):
    """Load benchmarks/recommend.py as its command does: the folder of the script comes first."""
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("evaluation_of_recommend", folder / "recommend.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("measuring", None)


def test_the_evaluation_counts_right_answers_and_how_far_off_the_others_are(evaluation):
    truth = [
        make_row(name, n, cost(n), peak=peak) for name, (cost, peak) in COSTS.items() for n in (700, 3000)
    ]
    questions = evaluation.draw_questions(truth, 40)
    assert questions == evaluation.draw_questions(truth, 40) and len({q.memory for q in questions}) == 40
    verdicts = [evaluation.judge(question, RESULTS, truth) for question in questions]
    assert evaluation.summarize(verdicts) | {"wrong": 0} == {
        "questions": 40, "right": 40, "share": 1.0, "worst_times_best": 1.0, "do_not_fit": 0, "wrong": 0,
    }  # fmt: skip
    slow = [replace(row, seconds=5.0, ratio=50.0, ratio_low=49.0, ratio_high=51.0) for row in truth]
    others = [row for row in truth if row.cell.mechanism != "linear"]
    changed = [*others, *(row for row in slow if row.cell.mechanism == "linear")]
    wrong = evaluation.summarize([evaluation.judge(question, RESULTS, changed) for question in questions])
    assert wrong["share"] < 1 and wrong["worst_times_best"] > 1.25


def asked(own, words):
    return main(["recommend", "--measured", str(own), *words.split()])


def test_the_command_names_one_mechanism_with_reason_evidence_and_rules(own, capsys):
    assert asked(own, "--length 3k --phase train --memory 8GB --quality near") == 0
    text = capsys.readouterr().out
    assert text.startswith("window (window=256)")
    for part in (
        "The fastest of 2 mechanisms",
        "interpolated",
        "2048",
        "4096",
        "2026-11-27",
        "this machine",
        "disagrees",
    ):
        assert part in text or part in " ".join(text.split())
    assert asked(own, "--length 3k --phase train --quality near --json") == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["mechanism"] == "window" and tree["settings"] == {"window": 256}
    assert [row["cell"]["length"] for row in tree["estimate"]["rows"]] == [2048, 4096]
    assert tree["disagreements"] and tree["machine"]["processor"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--length 0 --phase train", "length is 0"),
        ("--length -5 --phase train", "-5"),
        ("--length 1000000000000 --phase train", "length is 1000000000000"),
        ("--length 4k --phase train --memory 0KB", "memory is 0"),
        ("--length 4k --phase train --memory lots", "memory looks like"),
        ("--length 4k --phase train --memory 1KB", "nothing fits into 1 KB"),
        ("--length 4k --phase train --mechanism windo", "window"),
        ("--length 4k --phase train --device tpu", "tpu"),
        ("--length 4k --phase sleep", "sleep"),
        ("--length 4k --phase train --dtype float16", "give --measure"),
    ],
)
def test_bad_input_is_one_line(own, capsys, words, says):
    assert asked(own, words) == 2
    out = capsys.readouterr()
    assert says in out.err and out.err.count("\n") == 1 and not out.out


def test_a_file_of_measurements_that_is_damaged_is_refused(own, capsys):
    own.write_text(own.read_text().replace('"version": 2', '"version": 3'))
    assert asked(own, "--length 4k --phase train") == 3
    assert "version 3" in capsys.readouterr().err


def test_measure_adds_this_situation_to_the_users_file(own, capsys, monkeypatch):
    from contextlib import contextmanager

    from nhin.bench import probe
    from nhin.bench.results import load_results

    @contextmanager
    def open_probe(device, threads, limits):
        yield probe.probe_here

    monkeypatch.setattr(probe, "open_probe", open_probe)
    assert asked(own, "--length 64 --phase decode --quality exact --measure --json") == 0
    assert json.loads(capsys.readouterr().out)["estimate"]["how"] == "measured"
    rows = load_results(own).rows
    assert {row.cell for row in rows} >= {row.cell for row in RESULTS.rows}
    new = {row.cell.mechanism for row in rows if row.cell.length == 64 and row.seconds}
    assert new == {"sdpa", "softmax", "naive", "flash"}
