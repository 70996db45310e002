"""Measure the wall-clock time of `nhin --help`, one crop and one whole picture, each in a fresh process.

    python benchmarks/start.py

The first run of each is not counted. The results also go to benchmarks/start.json.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import describe_machine, save_json
from PIL import Image

import nhin

ROUNDS = 7
SIGN = Path(nhin.__file__).parent / "examples" / "street_sign.png"


def time_command(words: list[str]) -> float:
    """Return the seconds of one command."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "nhin", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> int:
    """Measure, print a table, write the JSON."""
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
            times = [time_command(words) for _ in range(ROUNDS + 1)][1:]
            rows[name] = [min(times), statistics.median(times), max(times)]
            low, median, high = rows[name]
            print(f"{name:28} {median:6.3f} s  ({low:.3f} to {high:.3f})")
    out = {"machine": describe_machine(), "rounds": ROUNDS, "seconds_min_median_max": rows}
    save_json(Path(__file__).with_suffix(".json"), out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
