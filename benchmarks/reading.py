"""Measure reading of labelled crops: words right and milliseconds a crop, beside RapidOCR's own recogniser.

    python benchmarks/reading.py            rendered crops, drawn here from a seed
    python benchmarks/reading.py DATA       crops of your own: a folder, TSV or zip with labels

Both readers run in this process on one thread and take the same crops in turn, so their ratio holds even
when the machine's speed drifts. RapidOCR's alphabet lacks many Vietnamese letters, hence the second score,
which ignores marks. The table goes to the screen and, as JSON, to benchmarks/reading.json.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.datasets import open_crops
from nhin.data.images.synthetic import SyntheticSource
from nhin.reading.onnx_model import load_recognizer
from nhin.reading.recognizer import Mode
from nhin.text.letters import nfc, strip_marks

Pixels = NDArray[np.uint8]
Read = Callable[[list[Pixels]], list[str]]

CROPS = 400
ROUNDS = 5


def crops(where: str | None) -> tuple[list[Pixels], list[str]]:
    """Return crops and their texts, from DATA or drawn here."""
    if where is None:
        samples = [SyntheticSource(seed=2026, lines=0.0, blanks=0.0).sample(i) for i in range(CROPS)]
        return [s.picture for s in samples], [s.text for s in samples]
    found = open_crops(Path(where))
    chosen = np.random.default_rng(0).permutation(len(found))[:CROPS]
    return [np.ascontiguousarray(found[int(i)].picture) for i in chosen], [found[int(i)].text for i in chosen]


def ours(mode: Mode) -> Read:
    """Return nhin's recogniser in one mode, one thread."""
    recogniser = load_recognizer(threads=1, mode=mode)
    return lambda pictures: [reading.text for reading in recogniser.read(pictures)]


def rapid() -> Read:
    """Return RapidOCR's bundled recogniser, one thread."""
    from rapidocr import RapidOCR

    engine = RapidOCR(
        params={"EngineConfig.onnxruntime.intra_op_num_threads": 1, "Global.log_level": "critical"}
    )

    def read(pictures: list[Pixels]) -> list[str]:
        found = [engine(p, use_det=False, use_cls=False, use_rec=True) for p in pictures]
        return [nfc((getattr(f, "txts", None) or ("",))[0]) for f in found]

    return read


def milliseconds(read: Read, pictures: Sequence[Pixels], batch: int) -> float:
    """Return how long a crop takes, read ``batch`` at a time."""
    begin = time.perf_counter()
    for at in range(0, len(pictures), batch):
        read(list(pictures[at : at + batch]))
    return (time.perf_counter() - begin) * 1000 / len(pictures)


def main() -> int:
    """Measure, print a table, keep the numbers."""
    where = sys.argv[1] if len(sys.argv) > 1 else None
    pictures, texts = crops(where)
    readers = {
        "nhin": ours("both"),
        "nhin exact": ours("exact"),
        "nhin fast": ours("fast"),
        "RapidOCR": rapid(),
    }
    rows = []
    for name, read in readers.items():
        said = read(pictures)
        right = sum(a == b for a, b in zip(said, texts, strict=True)) / len(texts)
        plain = sum(strip_marks(a) == strip_marks(b) for a, b in zip(said, texts, strict=True)) / len(texts)
        rows.append({"reader": name, "word_accuracy": right, "word_accuracy_no_marks": plain})
    for batch in (1, 32):
        taken: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(ROUNDS):
            for name, read in readers.items():
                taken[name].append(milliseconds(read, pictures, batch))
        for row in rows:
            times = taken[row["reader"]]
            row[f"ms_batch_{batch}"] = [min(times), statistics.median(times), max(times)]
    out = {
        "machine": f"{platform.machine()} {platform.processor()} python {platform.python_version()}",
        "data": "rendered, seed 2026" if where is None else Path(where).name,
        "crops": len(texts),
        "threads": 1,
        "rows": rows,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(out, indent=1), encoding="utf-8")
    sys.stdout.write(f"{out['crops']} crops ({out['data']}), one thread, median of {ROUNDS} rounds\n")
    for row in rows:
        one, many = row["ms_batch_1"][1], row["ms_batch_32"][1]
        sys.stdout.write(
            f"{row['reader']:12} words {row['word_accuracy']:6.1%}"
            f"  ignoring marks {row['word_accuracy_no_marks']:6.1%}"
            f"  {one:6.1f} ms alone  {many:6.1f} ms by 32\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
