import json
from dataclasses import replace

import pytest

from nhin.attention.registry import MECHANISMS
from nhin.bench.results import describe_machine
from nhin.errors import DataError, UnknownName
from nhin.recommend import quality
from nhin.recommend.quality import (
    TASK_TITLES,
    CompareResults,
    CompareSettings,
    QualityRow,
    explain_quality,
    find_quality,
    has_quality,
    load_quality,
    load_shipped_quality,
    save_quality,
    show_quality,
)
from nhin.recommend.question import AttentionQuestion, list_candidates


def make_rows(task, mechanism, *accuracies):
    return [
        QualityRow(task, mechanism, seed, accuracy, 0.1, 10, 1e6, 0.5, date="2026-11-27")
        for seed, accuracy in enumerate(accuracies)
    ]


ROWS = (
    *make_rows("recall", "softmax", 0.9, 0.9),
    *make_rows("recall", "linear", 0.86, 0.88),
    *make_rows("recall", "window", 0.1, 0.12),
    *make_rows("words", "softmax", 0.8),
    *make_rows("words", "window", 0.8),
    QualityRow("words", "linear", 0, skipped="it cannot"),
)
RESULTS = CompareResults(describe_machine(), CompareSettings(), ROWS)


@pytest.fixture
def shipped(monkeypatch):
    monkeypatch.setattr(quality, "load_shipped_quality", lambda: RESULTS)


def test_near_is_what_learned_nearly_as_much_above_chance_as_softmax():
    linear, window = (find_quality(name, "recall", ROWS) for name in ("linear", "window"))
    assert linear.is_near and linear.share == pytest.approx(0.77 / 0.8) and linear.seeds == 2
    assert not window.is_near and window.share < 0.05
    barely = find_quality("linear", "recall", [*ROWS[:2], *make_rows("recall", "linear", 0.859)])
    assert not barely.is_near and barely.half_width is None
    assert find_quality("linear", "words", ROWS) is None and find_quality("lsh", "recall", ROWS) is None
    assert find_quality("linear", "recall", ROWS[2:]) is None  # nothing to compare with


def test_a_task_of_which_softmax_learned_nothing_sets_nothing_apart():
    rows = [*make_rows("copy", "softmax", 0.1), *make_rows("copy", "linear", 0.1)]
    assert find_quality("linear", "copy", rows).is_near


def test_with_a_task_near_rests_on_training_and_without_a_row_on_the_formula(shipped):
    asked = {
        name: has_quality(MECHANISMS[name].facts, "near", "recall") for name in ("linear", "window", "lsh")
    }
    assert asked == {"linear": True, "window": False, "lsh": True}
    plain = {name: has_quality(MECHANISMS[name].facts, "near") for name in ("linear", "window", "lsh")}
    assert plain == {"linear": False, "window": True, "lsh": True}
    for task in TASK_TITLES:
        exact = list_candidates(AttentionQuestion(64, "train", quality="exact", task=task))
        assert set(exact) == {name for name, made in MECHANISMS.items() if made.facts.exact}
        assert len(list_candidates(AttentionQuestion(64, "train", task=task))) > 20
    near = list_candidates(AttentionQuestion(64, "train", quality="near", task="recall"))
    assert "linear" in near and "window" not in near


def test_the_answer_says_where_there_is_no_row(shipped):
    assert show_quality("window", None) == "recall 11.0% ± 12.7"
    assert show_quality("window", "words") == "80.0%"
    assert show_quality("lsh", "recall") == show_quality("linear", "words") == "no row"
    assert "softmax has 80.0%" in explain_quality(["window"], "words")
    assert explain_quality(["linear", "lsh"], "words").endswith("judged by their formula: linear, lsh.")
    assert "without a row" not in explain_quality(["linear"], "recall")


def test_an_unknown_task_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match="recall"):
        AttentionQuestion(16, "train", task="recal")


def test_results_are_read_as_they_were_saved_zero_included(tmp_path):
    results = replace(RESULTS, rows=(*ROWS, *make_rows("copy", "lsh", 0.0)))
    save_quality(tmp_path / "one.json", results)
    assert load_quality(tmp_path / "one.json") == results


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "is of version 2"),
        ({"format": "nhin bench attention"}, "is no file of nhin compare"),
        ({"rows": [{"task": "recall", "mechanism": "linear", "seed": 0}]}, "row 0 has neither"),
        ({"rows": [{"task": "recall", "mechanism": "linear", "seed": 0, "accuracy": 1.5}]}, "accuracy"),
        ({"rows": [{"task": "racing", "mechanism": "linear", "seed": 0, "accuracy": 1.0}]}, "task"),
    ],
)
def test_a_strangers_file_is_refused_in_one_line(tmp_path, change, message):
    path = tmp_path / "compare.json"
    save_quality(path, RESULTS)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message) as error:
        load_quality(path)
    assert "\n" not in str(error.value)


def test_shipped_results_are_of_known_mechanisms_with_a_date_and_beside_softmax():
    results = load_shipped_quality()
    assert results is not None and results.machine.torch and results.settings.effort == 1
    for row in results.rows:
        assert row.mechanism in MECHANISMS and row.date
        if row.accuracy is not None:
            assert find_quality(row.mechanism, row.task, results.rows) is not None
