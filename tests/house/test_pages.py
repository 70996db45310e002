"""The pages of docs/ that are made are as they would be made now, and what they show runs."""

import io
import json
import re
import runpy
from pathlib import Path

import comparison_page
import mechanism_pages
import numpy as np
import pytest
from doc_markdown import format_table, to_markdown
from PIL import Image

from nhin.attention.registry import MECHANISMS
from nhin.viz.catalogue import find_entry
from nhin.viz.plots import encode_figure

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "docs" / "build.py"))
each = pytest.mark.parametrize("name", MECHANISMS)


def test_every_page_says_what_the_code_says_now():
    for path, text in SCRIPT["build_pages"]().items():
        assert (DOCS / path).read_text("utf-8") == text, f"docs/{path} is out of date: make pages"


def test_no_page_is_left_of_a_mechanism_that_is_gone():
    kept = {path.stem for path in (DOCS / "mechanisms").iterdir()}
    assert kept == {*MECHANISMS, "README"}


@each
def test_the_picture_is_what_would_be_drawn_now(name):
    now = encode_figure(mechanism_pages.draw_picture(find_entry(name)), "png", dpi=80)
    was, is_now = (
        np.asarray(Image.open(file).convert("RGB"), dtype=int)
        for file in (DOCS / "mechanisms" / f"{name}.png", io.BytesIO(now))
    )
    assert was.shape == is_now.shape, "make pages"
    assert abs(was - is_now).mean() < 1, "make pages"


@each
def test_the_example_of_the_page_runs(name):
    page = (DOCS / "mechanisms" / f"{name}.md").read_text("utf-8")
    code = re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert code
    assert len(code[1].splitlines()) <= 13
    exec(compile(code[1], f"{name}.md", "exec"), {})


@pytest.mark.parametrize("page", ["docs/attention-contract.md"])
def test_what_the_contract_shows_runs(page):
    code = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    exec(compile("\n".join(code), page, "exec"), {})


def test_an_example_that_is_wrong_would_fail():
    code = mechanism_pages.build_example(find_entry("softmax")).replace(
        "mixed = attend(q, k, v", "mixed = attend(k, q, v"
    )
    with pytest.raises(AssertionError):
        exec(code, {})


def test_what_was_not_measured_is_a_dash_and_no_number():
    bare = {
        "machine": "m",
        "settings": json.loads((ROOT / "benchmarks/attention.json").read_text())["settings"],
    }
    page = comparison_page.build_comparison_page(bare)
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| [`")}
    assert rows.keys() == MECHANISMS.keys()
    assert all(line.count("–") == 5 for line in rows.values())
    assert "not measured" in page


def test_measurements_stand_where_they_belong():
    measured = json.loads((ROOT / "benchmarks/attention.json").read_text("utf-8"))
    cell = {"ms": 12.3, "ratio": 4.567, "min": 4, "max": 5, "peak_mb": 100.0}
    measured["forward"]["naive"] = {"512": cell, "2048": {"skipped": "too long"}}
    row = next(
        line
        for line in comparison_page.build_comparison_page(measured).splitlines()
        if line.startswith("| [`naive`]")
    )
    assert "| 12.3 (4.57x) | – |" in row


def test_the_cache_of_8_groups_is_a_quarter_and_of_one_a_thirty_second():
    page = comparison_page.build_comparison_page(
        json.loads((ROOT / "benchmarks/attention.json").read_text("utf-8"))
    )
    assert "| grouped | 8 | 2·S·G·D | 16,777,216 | 1/4 |" in page
    assert "| multi-query | 1 | 2·S·D | 2,097,152 | 1/32 |" in page


def test_the_longest_that_fits_follows_how_memory_grew():
    def longest(*peaks):
        cells = {n: {"peak_mb": p} for n, p in zip(("512", "2048", "8192"), peaks, strict=False)}
        return comparison_page._estimate_longest({"backward": {"x": cells}}, "x")

    assert longest(1, 4, 16) == "4,200,000"  # a line: 8 GB hold 512 times 16 MB
    assert longest(16, 256, 4096) == "12,000"  # a parabola: twice the memory, 1.4 times the length
    assert longest(5) == longest(5, 5) == "–"


def test_code_and_formulas_of_a_docstring_are_marked_and_bars_in_cells_escaped():
    assert to_markdown("see :math:`x_i` in ``call``") == "see $`x_i`$ in `call`"
    assert format_table(("a", ""), [("x|y", "z")]) == "| a |  |\n| --- | --- |\n| x\\|y | z |"
