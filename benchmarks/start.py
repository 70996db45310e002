"""Measure what a person waits for: `nhin --help`, one crop and one whole picture, each from a cold start.

    python benchmarks/start.py

Every run is a fresh process on the cores that are free; the clock is the one on the wall. The first run
of each is not counted. The table goes to the screen and, as JSON, to benchmarks/start.json.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import nhin

ROUNDS = 7
SIGN = Path(nhin.__file__).parent / "examples" / "street_sign.png"


def seconds(words: list[str]) -> float:
    """Return how long one command takes."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "nhin", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> int:
    """Measure, print a table, keep the numbers."""
    with tempfile.TemporaryDirectory() as folder:
        crop = str(Path(folder) / "crop.png")
        with Image.open(SIGN) as sign:
            sign.convert("RGB").crop((280, 300, 700, 360)).save(crop)
        commands = {
            "nhin --help": ["--help"],
            "nhin read --crop crop.png": ["read", "--crop", crop],
            "nhin read street_sign.png": ["read", str(SIGN)],
        }
        rows = {}
        for name, words in commands.items():
            times = [seconds(words) for _ in range(ROUNDS + 1)][1:]
            rows[name] = [min(times), statistics.median(times), max(times)]
            least, median, most = rows[name]
            sys.stdout.write(f"{name:28} {median:6.3f} s  ({least:.3f} to {most:.3f})\n")
    machine = f"{platform.machine()} {os.cpu_count()} cores, python {platform.python_version()}"
    out = {"machine": machine, "rounds": ROUNDS, "seconds_min_median_max": rows}
    Path(__file__).with_suffix(".json").write_text(json.dumps(out, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
