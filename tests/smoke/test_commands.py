"""Real commands in real processes: what a person meets after installing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nhin
from nhin.reading.weights import DEFAULT, shipped

EXAMPLES = Path(nhin.__file__).parent / "examples"
HOME = {**os.environ, "PYTHONPATH": str(Path(nhin.__file__).parents[1])}
needs_weights = pytest.mark.skipif(DEFAULT not in shipped(), reason="the shipped weights are not there yet")


def run(*words: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """Run one command, with these variables added to the environment."""
    command = [sys.executable, "-m", "nhin", *words]
    return subprocess.run(command, capture_output=True, check=False, env={**HOME, **settings})


def work(*words: str) -> float:
    """Run a command that must succeed and say something; return the processor seconds it took.

    On free cores it takes no longer than that; the clock on the wall also counts who else is busy.
    """
    before = os.times()
    ran = run(*words)
    after = os.times()
    assert ran.returncode == 0
    assert ran.stdout.strip()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_help_answers_at_once():
    assert min(work("--help") for _ in range(3)) < 0.3


def test_a_pipe_that_closes_is_no_complaint():
    command = [sys.executable, "-m", "nhin", "read", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=HOME) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
    assert process.returncode in (0, 1, 141)


def test_failures_are_one_line_without_a_trace(tmp_path):
    ran = run("read", str(tmp_path / "không có.png"), LC_ALL="C", PYTHONUTF8="0")
    assert ran.returncode in (2, 3, 4)
    assert ran.stderr.count(b"\n") == 1
    assert b"Traceback" not in ran.stderr


@needs_weights
def test_the_example_reads_as_it_says():
    ran = run("read", "--example")
    assert ran.returncode == 0
    assert ran.stdout.decode("utf-8") == (EXAMPLES / "street_sign.txt").read_text(encoding="utf-8")
    assert ran.stderr == b""


@needs_weights
def test_a_crop_is_read_from_a_cold_start_in_time(tmp_path):
    with Image.open(EXAMPLES / "street_sign.png") as sign:
        sign.convert("RGB").crop((280, 300, 700, 360)).save(tmp_path / "crop.png")
    assert min(work("read", "--crop", str(tmp_path / "crop.png")) for _ in range(2)) < 1.5


@needs_weights
@pytest.mark.parametrize("crop", [False, True])
def test_pictures_without_text_give_no_text(tmp_path, crop):
    """Blank paper, a smooth shade, dots and thin strips: nothing is invented."""
    random = np.random.default_rng(0)
    shade = np.repeat(np.linspace(60, 200, 300)[None, :, None], 100, 0).repeat(3, 2)
    pictures = {
        "blank": np.full((200, 300, 3), 255),
        "black": np.zeros((64, 64, 3)),
        "shade": shade,
        "dot": np.ones((1, 1, 3)) * 90,
        "strip": random.integers(0, 256, (3, 4000, 3)),
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    ran = run("read", *(["--crop"] if crop else []), "--format", "tsv", str(tmp_path))
    assert ran.returncode == 0
    assert ran.stdout.count(b"\n") == 1


@needs_weights
def test_noise_is_read_without_failing(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    for options in ([], ["--crop"]):
        assert run("read", *options, str(tmp_path / "noise.png")).returncode == 0
