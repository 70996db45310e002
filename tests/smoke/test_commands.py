"""Real commands in real processes: what a person meets after installing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nhin

EXAMPLES = Path(nhin.__file__).parent / "examples"
HOME = {**os.environ, "PYTHONPATH": str(Path(nhin.__file__).parents[1])}


def run(*words: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """Run one command, with these variables added to the environment."""
    command = [sys.executable, "-m", "nhin", *words]
    return subprocess.run(command, capture_output=True, check=False, env={**HOME, **settings})


def loads(code: str, *names: str) -> set[str]:
    """Run code in a fresh process and return which of these packages it loaded."""
    # On a line of its own: a command may warn before.
    tell = f"import sys; sys.stderr.write('\\n' + ' '.join({set(names)} & sys.modules.keys()))"
    command = [sys.executable, "-c", f"from nhin.cli.app import main\n{code}\n{tell}"]
    ran = subprocess.run(command, capture_output=True, check=True, env=HOME)
    return set(ran.stderr.decode().split("\n")[-1].split())


def test_help_loads_nothing_that_takes_time():
    """The benches time it; what makes it slow is one of these."""
    heavy = ("numpy", "PIL", "cv2", "onnxruntime", "rapidocr", "torch", "fontTools")
    assert loads("main(['--help'])", *heavy) == set()


def test_a_pipe_that_closes_is_no_complaint():
    command = [sys.executable, "-m", "nhin", "read", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=HOME) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        captured = process.stderr.read()
    assert captured == b""
    assert process.returncode in (0, 1, 141)


def test_failures_are_one_line_without_a_trace(tmp_path):
    ran = run("read", str(tmp_path / "không có.png"), LC_ALL="C", PYTHONUTF8="0")
    assert ran.returncode in (2, 3, 4)
    assert ran.stderr.count(b"\n") == 1
    assert b"Traceback" not in ran.stderr


def test_the_example_reads_as_it_says():
    ran = run("read", "--example")
    assert ran.returncode == 0
    assert ran.stdout.decode("utf-8") == (EXAMPLES / "street_sign.txt").read_text(encoding="utf-8")
    assert ran.stderr == b""


def test_reading_a_crop_loads_only_what_reading_needs():
    sign = str(EXAMPLES / "street_sign.png")
    heavy = ("torch", "rapidocr", "onnx", "shapely", "fontTools", "matplotlib", "rich", "onnxruntime")
    assert loads(f"main(['read', '--crop', {sign!r}])", *heavy) == {"onnxruntime"}


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


def test_noise_is_read_without_failing(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    for options in ([], ["--crop"]):
        assert run("read", *options, str(tmp_path / "noise.png")).returncode == 0
