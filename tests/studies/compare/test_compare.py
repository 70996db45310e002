import json
import os
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from nhin.attention.registry import MECHANISMS
from nhin.bench.results import describe_machine
from nhin.cli.app import main
from nhin.errors import ProcessError, UnknownName, UsageError
from nhin.models.gpt import IGNORE_INDEX
from nhin.recommend.quality import (
    TASK_TITLES,
    CompareResults,
    CompareSettings,
    QualityRow,
    load_quality,
    save_quality,
)
from nhin.studies.compare import cells as cells_module
from nhin.studies.compare import run as run_module
from nhin.studies.compare import sequences, words
from nhin.studies.compare.cells import count_step_flops, make_task, train_cell
from nhin.studies.compare.report import draw_compare, format_compare
from nhin.studies.compare.run import list_cells, open_results, run_cells
from nhin.studies.compare.settings import DEFAULT_MECHANISMS, parse_mechanisms, parse_tasks, scale_settings

RESULTS = CompareResults(describe_machine(), CompareSettings())


@pytest.fixture(autouse=True)
def small_text(monkeypatch):
    """Read a text of this test in place of Python's library, and draw few words."""
    monkeypatch.setattr(cells_module, "read_library", lambda: "một hai\tba\n" + "abcdefgh " * 200)
    monkeypatch.setattr(words, "WORDS", 48)
    monkeypatch.setattr(words, "TEST_WORDS", 16)
    monkeypatch.setattr(sequences, "_TEST_COUNT", 16)
    for cached in (make_task, count_step_flops, words.draw_words):
        cached.cache_clear()
    yield
    for cached in (make_task, count_step_flops, words.draw_words):
        cached.cache_clear()


def draw(function):
    return function(np.random.default_rng(3), 64)


def test_each_asked_key_has_the_value_that_followed_it():
    tokens, targets = draw(sequences.draw_recall)
    half = 2 * sequences.PAIRS
    for row, answers in zip(tokens, targets, strict=True):
        value_of = dict(zip(row[:half:2], row[1:half:2], strict=True))
        assert len(value_of) == sequences.PAIRS
        assert [value_of[key] for key in row[half::2]] == list(answers[half::2])
        assert (np.delete(answers, np.arange(half, len(row), 2)) == IGNORE_INDEX).all()
    assert tokens[:, :half:2].max() < sequences.KEYS <= tokens[:, 1::2].min()


def test_a_copied_letter_stands_exactly_the_distance_earlier_and_nothing_else_is_asked():
    tokens, targets = draw(sequences.draw_copy)
    at = np.argwhere(targets != IGNORE_INDEX)
    assert set(at[:, 1]) == set(range(sequences.DISTANCE, sequences.COPY_LENGTH))
    assert all(targets[i, t] == tokens[i, t - sequences.DISTANCE] for i, t in at)


def test_selected_letters_are_asked_in_their_order_and_fed_back_one_later():
    tokens, targets = draw(sequences.draw_selective)
    for row, answers in zip(tokens, targets, strict=True):
        body, asked = row[: sequences.BODY], answers[sequences.BODY :]
        assert list(body[body > 0]) == list(asked) and (answers[: sequences.BODY] == IGNORE_INDEX).all()
        assert row[sequences.BODY] == sequences.LETTERS + 1 and list(row[sequences.BODY + 1 :]) == list(
            asked[:-1]
        )


def test_characters_are_asked_one_ahead_and_the_test_is_from_text_that_was_not_learned():
    task = sequences.make_text_task("a" * 900 + "b\né" + "b" * 97)
    tokens, targets = task.draw(np.random.default_rng(0), 4)
    assert (tokens[:, 1:] == targets[:, :-1]).all() and set(tokens.flat) == {ord("a") - 32}
    tested = set(task.draw_test(np.random.default_rng(0), 64)[0].flat)
    assert tested == {ord("b") - 32, 95, 96} and task.chance == pytest.approx(0.98)


def test_words_have_the_letters_that_are_drawn_and_differ_in_nothing_but_place_and_noise():
    pictures, texts = words.draw_words()
    assert pictures.shape == (words.WORDS, 1, words.HEIGHT, words.WIDTH)
    assert all(words.MIN_LETTERS <= len(text) <= words.MAX_LETTERS for text in texts)
    ink = [(picture > 0).sum() for picture in pictures]
    longest, shortest = (
        [n for n, text in zip(ink, texts, strict=True) if len(text) == size] for size in (4, 2)
    )
    assert np.mean(longest) > np.mean(shortest) > 0


@pytest.mark.parametrize("task", TASK_TITLES)
def test_a_mechanism_trains_and_the_same_seed_trains_alike(task):
    row = train_cell(task, "softmax", 1, 0.01)
    assert (
        row.skipped is None
        and 0 <= row.accuracy <= 1
        and row.steps == max(1, round(0.01 * make_task(task).steps))
    )
    assert train_cell(task, "softmax", 1, 0.01).accuracy == row.accuracy


@pytest.mark.parametrize("mechanism", ["naive", "linear", "lsh"])
def test_every_mechanism_gets_the_operations_of_softmax(mechanism):
    budget = 0.02 * make_task("recall").steps * count_step_flops("recall", "softmax")
    row = train_cell("recall", mechanism, 0, 0.02)
    assert abs(row.steps * row.flops - budget) <= row.flops / 2


def test_a_mechanism_that_cannot_be_causal_is_a_row_with_the_reason_and_reads_words():
    row = train_cell("recall", "linformer", 0, 0.01)
    assert row.accuracy is None and "causal" in row.skipped
    assert train_cell("words", "linformer", 0, 0.01).accuracy is not None


def test_scaled_settings_are_settings_of_known_mechanisms_and_leave_patterns_sparse():
    for name in MECHANISMS:
        make_task("words").build(name)
    with pytest.raises(UnknownName):
        words.build("window", **scale_settings("linformer", 16))
    assert scale_settings("softmax", 64) == {} and scale_settings("window", 64) == {"window": 16}


def test_a_training_that_diverges_is_a_row_that_says_so(monkeypatch):
    def loss(self, model, batch):
        return {"loss": sum(weight.sum() for weight in model.parameters()) * torch.nan}

    count_step_flops("copy", "softmax")
    monkeypatch.setattr(sequences.SequenceTask, "loss", loss)
    row = train_cell("copy", "softmax", 0, 0.01)
    assert row.accuracy is None and "loss is nan" in row.skipped


def fake_row(cell, accuracy=0.5):
    task, mechanism, seed = cell
    return QualityRow(task, mechanism, seed, accuracy, 0.1, 10, 1e6, 0.5, date="2026-11-27")


def submit_fake(cell):
    future = Future()
    future.set_result(fake_row(cell))
    return future


def test_only_cells_that_are_left_are_trained_and_what_is_done_is_kept_at_once():
    cells, kept, trained = list_cells(("copy", "chars"), ("softmax", "linear"), 2), [], []
    start = replace(RESULTS, rows=(fake_row(cells[1]),))
    results = run_cells(
        cells, start, lambda cell: (trained.append(cell), submit_fake(cell))[1], lambda: len(trained) >= 2,
        lambda results, rows: kept.append(len(results.rows)),
    )  # fmt: skip
    assert trained == [cells[0], cells[2]] and kept == [2, 3]
    assert {cell[2] for cell in cells[: len(cells) // 2]} == {0}
    rest = run_cells(cells, results, submit_fake, lambda: False, lambda *_: None, workers=3)
    assert sorted(row.cell for row in rest.rows) == sorted(cells)


def test_a_dead_process_is_one_clear_error_and_finished_cells_stay():
    kept = []
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, pytest.raises(ProcessError, match="--resume"):

        def submit(cell):
            return submit_fake(cell) if cell[1] == "softmax" else pool.submit(os._exit, 1)

        cells = list_cells(("copy",), ("softmax", "linear"), 1)
        run_cells(cells, RESULTS, submit, lambda: False, lambda results, rows: kept.extend(rows))
    assert [row.mechanism for row in kept] == ["softmax"]


def test_results_of_another_machine_effort_or_version_are_not_continued(tmp_path):
    path = tmp_path / "compare.json"
    save_quality(path, replace(RESULTS, rows=(fake_row(("copy", "softmax", 0), 0.0),)))
    assert open_results(path, RESULTS, True).rows[0].accuracy == 0.0
    with pytest.raises(UsageError, match="--resume continues"):
        open_results(path, RESULTS, False)
    with pytest.raises(UsageError, match="another machine"):
        open_results(path, replace(RESULTS, machine=replace(RESULTS.machine, processor="other")), True)
    with pytest.raises(UsageError, match="effort 1;"):
        open_results(path, replace(RESULTS, settings=CompareSettings(2.0)), True)


def test_the_report_has_intervals_reasons_and_costs_beside_softmax():
    rows = [
        fake_row((task, "softmax", seed), 0.9 + 0.02 * seed) for task in ("copy", "words") for seed in (0, 1)
    ]
    rows += [replace(fake_row(("copy", "linear", 0), 0.0), seconds=1.0, steps=5)]
    rows += [QualityRow("copy", "linformer", 0, skipped="it cannot")]
    results = replace(RESULTS, rows=tuple(rows))
    text = format_compare(results)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    softmax, linear, linformer, chance = (line.split(" | ") for line in lines[-4:])
    assert softmax[1].startswith("91.0% ± 12.7") and softmax[-1].startswith("1.00x")
    assert linear[1] == "0.0%" and linear[2] == "–" and linear[-2:] == ["0.50x", "4.00x |"]
    assert linformer[1] == "–" and "linformer on copy: it cannot." in text and chance[1] == "10.0%"
    panels = draw_compare(results).axes
    assert [axes.get_title(loc="left") for axes in panels] == [TASK_TITLES["copy"], TASK_TITLES["words"]]
    assert [len(axes.containers) for axes in panels] == [2, 1]


def test_names_are_checked_before_anything_is_trained():
    assert parse_tasks(None) == tuple(TASK_TITLES) and parse_mechanisms("all") == tuple(MECHANISMS)
    assert set(parse_mechanisms(None)) <= set(MECHANISMS) and len(DEFAULT_MECHANISMS.split()) == 14
    with pytest.raises(UnknownName, match="did you mean copy"):
        parse_tasks("coppy")
    with pytest.raises(UsageError, match="twice"):
        parse_mechanisms("linear, linear")


def test_the_command_trains_says_what_is_left_and_continues(tmp_path, monkeypatch, capsys):
    @contextmanager
    def open_threads(workers):
        with ThreadPoolExecutor(1) as pool:
            yield pool

    monkeypatch.setattr(run_module, "open_pool", open_threads)
    words_ = (
        f"compare --tasks copy --mechanisms softmax,linear --seeds 1 --effort 0.005 --out {tmp_path / 'out'}"
    )
    assert main([*words_.split(), "--minutes", "0.0000001"]) == 0
    assert "2 of 2 trainings are left" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(words_.split()) == 0
    captured = capsys.readouterr()
    assert "copy, linear, seed 0" in captured.err and "| softmax |" in captured.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"compare.{ending}" for ending in ("json", "md", "csv", "png", "svg")
    }
    assert main(words_.split()) == 2 and "--resume" in capsys.readouterr().err
    assert main([*words_.split(), "--resume"]) == 0
    assert capsys.readouterr().err == ""
    path = tmp_path / "out/compare.json"
    assert len(load_quality(path).rows) == 2
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 9}))
    assert main([*words_.split(), "--resume"]) == 3
    assert "is of version 9, and this nhin reads version 1" in capsys.readouterr().err
