"""Laws of the scripts that gather text with marks and learn from it."""

import runpy
import sys
from pathlib import Path

import pytest

from nhin.decoding.mark_context import MarkContext
from nhin.text.letters import strip_marks
from nhin.text.unmarked import restore_text

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def run(monkeypatch):
    def call(name, *words):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")

    return call


PAGE = """---
title: không có trong văn bản
---
# Tiêu đề của trang

Hoà bình là ước mơ của mọi người. Đọc [hướng dẫn này](https://hoc.vn/mot) nhé:
`mã lệnh không đọc` và thôi.

```
đây là mã lệnh không phải văn xuôi
```

This sentence is written in English, and is left out.
"""


def read(folder):
    return [line for path in sorted(folder.glob("*.txt")) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def texts(run, tmp_path):
    book = tmp_path / "in/khudocmo/vu-trong-phung_so-do"
    site = tmp_path / "in/reactjs/vi.react.dev/src/content"
    for folder in (book, site):
        folder.mkdir(parents=True)
    (book / "doc.md").write_text("Một ngày đẹp trời nọ. Tôi đi học ở trường làng.\n", "utf-8")
    lines = [f"Tôi đi học lần thứ {word} ở trường làng." for word in "một hai ba bốn năm sáu bảy".split()]
    (site / "a.md").write_text(PAGE + "\n" + "\n".join(lines * 3), "utf-8")
    (site / "b.md").write_text(PAGE + "\nMột ngày đẹp trời nọ.\n", "utf-8")
    run("make_marks_corpus.py", tmp_path / "in", tmp_path / "out")
    return tmp_path / "out"


def test_prose_is_taken_once_without_code_and_what_is_measured_on_is_kept_out(texts):
    parts = {part: read(texts / part) for part in ("train", "dev", "test", "held-out")}
    assert parts["held-out"] == ["Một ngày đẹp trời nọ", "Tôi đi học ở trường làng"]
    learned = parts["train"] + parts["dev"] + parts["test"]
    assert "Hòa bình là ước mơ của mọi người" in learned
    assert "Đọc hướng dẫn này nhé" in learned
    assert len(learned) == len(set(learned))
    assert not set(learned) & set(parts["held-out"])
    assert not any(word in line for line in learned for word in ("mã", "English", "title", "hoc"))


def test_what_is_learned_is_a_model_that_marks_the_words_of_the_texts(texts, run, tmp_path):
    run("make_marks.py", tmp_path / "marks.npy", texts, "--epochs", "1")
    model = MarkContext.from_bytes((tmp_path / "marks.npy").read_bytes(), "it")
    assert {"học", "tôi", "trường", "làng"} <= set(model.words)
    assert strip_marks(restore_text("Toi di hoc o truong lang", model.choose)) == "Toi di hoc o truong lang"
