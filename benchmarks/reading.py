"""Compare word accuracy and milliseconds per crop with RapidOCR's own recognizer.

    python benchmarks/reading.py            synthetic crops of a fixed seed
    python benchmarks/reading.py DATA       crops of your own: a folder, TSV or zip with labels

All recognizers run in this process on one thread and take turns on the same crops, so that their ratio holds
even when the machine's speed drifts. RapidOCR's charset lacks many Vietnamese letters, hence the second
score, which ignores marks. The results also go to benchmarks/reading.json.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from measuring import describe_machine, save_json
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


def load_crops(where: str | None) -> tuple[list[Pixels], list[str]]:
    """Return crops and their texts, from DATA or synthetic."""
    if where is None:
        samples = [
            SyntheticSource(seed=2026, lines=0.0, blanks=0.0, prints=0.0).sample(i) for i in range(CROPS)
        ]
        return [s.picture for s in samples], [s.text for s in samples]
    data = open_crops(Path(where))
    crops = [data[int(i)] for i in np.random.default_rng(0).permutation(len(data))[:CROPS]]
    return [np.ascontiguousarray(crop.picture) for crop in crops], [crop.text for crop in crops]


def load_nhin(mode: Mode) -> Read:
    """Return nhin's recognizer in one mode, on one thread."""
    recognizer = load_recognizer(threads=1, mode=mode)
    return lambda pictures: [reading.text for reading in recognizer.read(pictures)]


def load_rapidocr() -> Read:
    """Return RapidOCR's bundled recognizer, on one thread."""
    from rapidocr import RapidOCR  # pyright: ignore[reportMissingImports]  # not part of any extra

    engine = RapidOCR(
        params={"EngineConfig.onnxruntime.intra_op_num_threads": 1, "Global.log_level": "critical"}
    )

    def read(pictures: list[Pixels]) -> list[str]:
        outputs = [engine(p, use_det=False, use_cls=False, use_rec=True) for p in pictures]
        return [nfc((getattr(out, "txts", None) or ("",))[0]) for out in outputs]

    return read


def measure_ms(read: Read, pictures: Sequence[Pixels], batch: int) -> float:
    """Return the milliseconds per crop in batches of ``batch``."""
    begin = time.perf_counter()
    for i in range(0, len(pictures), batch):
        read(list(pictures[i : i + batch]))
    return (time.perf_counter() - begin) * 1000 / len(pictures)


def main() -> int:
    """Measure, print a table, write the JSON."""
    where = sys.argv[1] if len(sys.argv) > 1 else None
    pictures, texts = load_crops(where)
    readers = {
        "nhin": load_nhin("both"),
        "nhin exact": load_nhin("exact"),
        "nhin fast": load_nhin("fast"),
    }
    if find_spec("rapidocr") is None:
        print("RapidOCR is not measured: it comes with pip install -c constraints.txt '.[peers]'")
    else:
        readers["RapidOCR"] = load_rapidocr()
    rows = []
    for name, read in readers.items():
        pairs = list(zip(read(pictures), texts, strict=True))
        exact = sum(a == b for a, b in pairs) / len(texts)
        plain = sum(strip_marks(a) == strip_marks(b) for a, b in pairs) / len(texts)
        rows.append({"reader": name, "word_accuracy": exact, "word_accuracy_no_marks": plain})
    for batch in (1, 32):
        times: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(ROUNDS):
            for name, read in readers.items():
                times[name].append(measure_ms(read, pictures, batch))
        for row in rows:
            ms = times[row["reader"]]
            row[f"ms_batch_{batch}"] = [min(ms), statistics.median(ms), max(ms)]
    out = {
        "machine": describe_machine(),
        "data": "rendered, seed 2026" if where is None else Path(where).name,
        "crops": len(texts),
        "threads": 1,
        "rows": rows,
    }
    save_json(Path(__file__).with_suffix(".json"), out)
    print(f"{out['crops']} crops ({out['data']}), one thread, median of {ROUNDS} rounds")
    for row in rows:
        words = f"words {row['word_accuracy']:6.1%}  ignoring marks {row['word_accuracy_no_marks']:6.1%}"
        one, many = row["ms_batch_1"][1], row["ms_batch_32"][1]
        print(f"{row['reader']:12} {words}  {one:6.1f} ms alone  {many:6.1f} ms in batches of 32")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
