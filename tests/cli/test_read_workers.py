"""``nhin read --workers``: processes that may die read many pictures, in order."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from nhin.cli import read_workers
from nhin.cli.app import main
from nhin.cli.read_folder import FolderRun
from nhin.reading import read_pool
from nhin.reading.layout import arrange_lines
from nhin.reading.reading import Reading
from nhin.reading.reading_tree import make_tree, parse_tree
from nhin.reading.result import Char, Line, ReadingWarning

WORKER = """
import json, os, resource, signal
from pathlib import Path
import numpy as np
from nhin.sandbox import serve

FLAG = Path(__file__).with_name("dies")

def handle(values, arrays):
    if "open" in values:
        refusal = {"refused": "no such weights", "kind": "UnknownName"}
        return refusal if values["open"]["weights"] == "none" else {}, []
    width, height, _ = values["size"]
    if height == 31 and FLAG.exists():
        FLAG.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if height == 32:
        os.kill(os.getpid(), signal.SIGKILL)
    if height == 33:
        bytearray(4 * 2**30)
    box = [[0, 0], [width, 0], [width, height], [0, height]]
    line = [f"rộng {width}", 0.9, box, [], []]
    warning = {"code": "too-small", "message": f"{values['name']} is small"}
    tree = {"page": 1, "size": [width, height, 0], "source": "picture", "lines": [line], "blocks": [],
            "warnings": [warning] if height == 34 else []}
    return {}, [np.frombuffer(json.dumps(tree).encode(), np.uint8)]

serve(handle)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that reads pictures of given heights with workers that are faked."""
    (tmp_path / "fake_read_worker.py").write_text(WORKER, "utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(read_pool, "MODULE", "fake_read_worker")
    (tmp_path / "vào").mkdir()

    def run(*words: str, heights=(30,) * 6) -> int:
        for i, height in enumerate(heights):
            pixels = np.random.default_rng(0).integers(0, 256, (height, 40 + i, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "vào" / f"{i}.png")
        return main(["read", str(tmp_path / "vào"), "--workers", "2", *words])

    return run


def manifest(out) -> dict:
    return json.loads((out / "nhin-read.json").read_text("utf-8"))


def test_texts_come_in_the_order_of_the_pictures(run, capsys):
    assert run() == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("rộng")] == [
        f"rộng {40 + i}" for i in range(6)
    ]


def test_a_worker_that_is_killed_costs_one_retry_and_one_line(run, tmp_path, capsys):
    (tmp_path / "dies").touch()
    out = tmp_path / "ra"
    assert run("--out", str(out), heights=(30, 31, 30, 30)) == 0
    assert [(out / f"{i}.txt").read_text("utf-8") for i in range(4)] == [f"rộng {40 + i}\n" for i in range(4)]
    assert manifest(out)["read"] == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nhin: a worker process ended while it read")
    assert "1.png" in line


def test_a_picture_that_no_worker_survives_or_has_memory_for_fails_alone(run, tmp_path, capsys):
    out = tmp_path / "ra"
    assert run("--out", str(out), heights=(30, 32, 30, 33, 34)) == 3
    tree = manifest(out)
    assert (tree["read"], tree["failed"]) == (3, 2)
    reasons = [failure["reason"] for failure in tree["failures"]]
    assert reasons[0].endswith("1.png cannot be read: two worker processes ended over it")
    assert reasons[1].endswith("3.png needs more than 2048 MiB of memory to be read")
    assert [warning["code"] for warning in tree["warnings"]] == ["too-small"]
    assert len(capsys.readouterr().err.splitlines()) == 4


def test_an_interruption_ends_the_workers_and_leaves_nothing_half_written(run, tmp_path, monkeypatch, capsys):
    pools = []

    class Pool(read_pool.ReadPool):
        def close(self):
            pools.append([*self._processes])
            super().close()

    def interrupt(self, source, warnings):
        if warnings:
            raise KeyboardInterrupt

    monkeypatch.setattr(read_workers, "ReadPool", Pool)
    monkeypatch.setattr(FolderRun, "_note_warnings", interrupt)
    out = tmp_path / "ra"
    assert run("--out", str(out), heights=(30, 34, 30, 30, 30, 30)) == 130
    assert pools and all(process.poll() is not None for process in pools[0])
    assert capsys.readouterr().err == "nhin: interrupted\n"
    assert manifest(out)["read"] == 1
    assert all(path.read_text("utf-8").startswith("rộng") for path in out.glob("*.txt"))


def test_weights_that_are_not_there_are_reported_once(run, capsys):
    assert run("--weights", "none") == 2
    assert capsys.readouterr().err == "nhin: no such weights\n"


def test_a_page_is_the_same_after_its_way_through_json():
    def line(text, x, y):
        box = ((x, y), (x + 50.25, y), (x + 50.25, y + 10 / 3), (x, y + 10 / 3))
        return Line(text, 0.1 + 0.2, box, (Char(text[0], 1 / 3, box),), ((text, 2 / 3),))

    lines = [line(text, x, y) for y in (0, 20, 40) for text, x in (("Giá", 0), ("5.000 đ", 300))]
    layout = arrange_lines(lines)
    assert layout.blocks
    warnings = (ReadingWarning("too-small", "a.png"),)
    for page in (Reading(layout.lines, 400, 90, 3, warnings, 90, layout.blocks, "text"), Reading((), 0, 0)):
        assert parse_tree(json.loads(json.dumps(make_tree(page)))) == page
