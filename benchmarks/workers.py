"""Compare ``nhin read --workers 2`` with one process on 10,000 word crops: seconds, CPU time, and the texts.

    python benchmarks/workers.py            300 drawn crops, read again and again
    python benchmarks/workers.py --count N  N crops instead

Both take turns on parts of the crops. Where other programs take the processors, the time on the clock says
little: ``cores`` is how many processors a run got, its CPU time over its time. The results also go to
benchmarks/workers.json.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import describe_machine, make_parser, save_json, summarize_ratios
from PIL import Image

from nhin.data.images.synthetic import SyntheticSource

DRAWN, PARTS = 300, 5


def draw_crops(folder: Path) -> list[Path]:
    """Write synthetic word crops, and return their paths."""
    source = SyntheticSource(seed=2026, lines=0.0, blanks=0.0, prints=0.0)
    paths = [folder / f"{i:03}.png" for i in range(DRAWN)]
    for i, path in enumerate(paths):
        Image.fromarray(source.sample(i).picture).save(path)
    return paths


def run(workers: int, names: Path) -> tuple[bytes, float, float]:
    """Read the crops of a list; return what was written, the seconds and the CPU-seconds."""
    command = [sys.executable, "-m", "nhin", "read", "--crop", "--format", "tsv", "--list", str(names)]
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, "--workers", str(workers)], capture_output=True, check=True)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, seconds, cpu


def main() -> int:
    """Measure, print a table, write the JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="crops that are read")
    given = parser.parse_args()
    totals = {workers: [0.0, 0.0] for workers in (1, 2)}
    ratios, is_same = [], True
    with tempfile.TemporaryDirectory() as folder:
        paths, names = draw_crops(Path(folder)), Path(folder) / "names.txt"
        for part in range(PARTS):
            numbers = range(part, given.count, PARTS)
            names.write_text("".join(f"{paths[i % DRAWN]}\n" for i in numbers))
            runs = {workers: run(workers, names) for workers in ((1, 2) if part % 2 else (2, 1))}
            is_same &= runs[1][0] == runs[2][0]
            ratios.append(runs[1][1] / runs[2][1])
            for workers, (_, seconds, cpu) in runs.items():
                totals[workers] = [totals[workers][0] + seconds, totals[workers][1] + cpu]
    rows = [
        {"workers": workers, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1),
         "cores": round(cpu / seconds, 2)}
        for workers, (seconds, cpu) in totals.items()
    ]  # fmt: skip
    out = {"machine": describe_machine(), "crops": given.count, "same_text": is_same, "rows": rows}
    out |= {"speedup": summarize_ratios(ratios)}
    save_json(given.json or Path(__file__).with_suffix(".json"), out)
    for row in rows:
        print(row)
    print(f"{given.count} crops, the same text: {is_same}; speedup by parts: {out['speedup']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
