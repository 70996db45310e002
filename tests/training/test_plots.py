"""A log becomes a picture; torn lines are left out."""

import io
import json

from PIL import Image

from nhin.training.plots import plot_log, read_log

ROWS = [
    *(
        {"event": "step", "step": n, "time": 0.0, "loss": 4.0 / n, "rate": 0.1, "grad_norm": 1.0}
        for n in (1, 2, 3)
    ),
    {"event": "validation", "step": 3, "time": 0.0, "nats": 2.0, "whole": True},
]


def test_a_log_is_read_to_its_last_whole_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + '{"event": "st', encoding="utf-8")
    assert read_log(path) == ROWS


def test_it_is_drawn_with_levels_to_compare_with_and_the_same_twice():
    picture = plot_log(ROWS, {"a guess": 4.2})
    assert picture == plot_log(ROWS, {"a guess": 4.2})
    assert picture != plot_log(ROWS)
    assert picture != plot_log(ROWS[:2], {"a guess": 4.2})
    assert Image.open(io.BytesIO(picture)).width > 400


def test_an_empty_log_is_an_empty_picture():
    assert Image.open(io.BytesIO(plot_log([]))).height > 200
