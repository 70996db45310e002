"""Compare a training step of two processes: DistributedDataParallel and one flat all-reduce.

    python benchmarks/ddp.py                     reader-small and lm-fast; writes benchmarks/ddp.json
    python benchmarks/ddp.py lm-fast --rounds 3  writes only with --json OUT

Two processes of one thread each, gloo, on random pictures and tokens of the recipe's shapes. Both methods
train their own models and take turns. Times are of the first process, in milliseconds per step: CPU time of
all its threads, and wall-clock time. The ratio is DDP over all-reduce, the median of the rounds, with minimum
and maximum.

The JSON: machine, settings, steps {recipe: {cpu | clock: {all_reduce_ms, ddp_ms, ratio, min, max}}}.
"""

import json
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measuring import describe_machine, make_parser, save_json, summarize_ratios
from torch import multiprocessing

from nhin.config import load_recipe
from nhin.data.images.bucket_sampler import BATCH_PIXELS, StreamPosition
from nhin.data.text.prepare import open_tokens, prepare
from nhin.lm.recipe import LMRecipe
from nhin.lm.task import LanguageModelTask
from nhin.ocr.recipe import OCRRecipe
from nhin.ocr.task import OCRBatch, RecognizerTask
from nhin.training.distributed import ProcessGroup, join_process_group
from nhin.training.precision import configure_cpu
from nhin.training.trainer import Trainer

STEPS = {"reader-small": 1, "lm-fast": 10}  # per round
WIDTH, WARM = 160, 2


def build_trainers(name: str, group: ProcessGroup, tokens: Path) -> tuple[list[Trainer], Any]:
    """Return a trainer with the all-reduce and one with DDP, and a batch for both."""
    torch.manual_seed(group.rank)
    if name.startswith("lm-"):
        task = LanguageModelTask(load_recipe(LMRecipe, name), open_tokens(tokens))
        pair = [Trainer(task, ddp=ddp) for ddp in (False, True)]
        with task.open_batches(pair[0].start(group), group) as batches:
            batch = next(batches)
    else:
        task = RecognizerTask(load_recipe(OCRRecipe, name))
        pair = [Trainer(task, ddp=ddp) for ddp in (False, True)]
        height = pair[0].start(group).model.height
        count = BATCH_PIXELS // (height * WIDTH)
        ids = [[random.randrange(3, 90) for _ in range(8)] for _ in range(count)]
        batch = OCRBatch(torch.randn(count, 1, height, WIDTH), ids, StreamPosition(), count * group.world)
    pair[1].start(group)
    return pair, batch


def run_worker(rank: int, port: int, name: str, rounds: int, folder: str) -> None:
    """Measure one recipe in one of two processes; the first one writes the result."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ.update(shared, RANK=str(rank), MASTER_PORT=str(port))
    with join_process_group() as group, configure_cpu(1):
        pair, batch = build_trainers(name, group, Path(folder) / "tokens")
        times: list[tuple[list[float], list[float]]] = []
        for number in range(WARM + rounds):
            order = (0, 1) if number % 2 else (1, 0)
            costs = {i: measure_step(pair[i], batch, STEPS[name]) for i in order}
            times.append(([costs[i][0] for i in (0, 1)], [costs[i][1] for i in (0, 1)]))
        if group.is_first:
            columns = zip(*times[WARM:], strict=True)
            out = {clock: summarize(rows) for clock, rows in zip(("cpu", "clock"), columns, strict=True)}
            (Path(folder) / f"{name}.json").write_text(json.dumps(out), encoding="utf-8")


def measure_step(trainer: Trainer, batch: Any, steps: int) -> tuple[float, float]:
    """Return the milliseconds of a step: CPU time and wall-clock time."""
    trainer.group.barrier()
    begin, spent = time.perf_counter(), time.process_time()
    for _ in range(steps):
        trainer.step(batch)
    cpu = time.process_time() - spent
    return cpu * 1e3 / steps, (time.perf_counter() - begin) * 1e3 / steps


def summarize(rows: Any) -> dict[str, float]:
    """Return the medians of both methods and their ratio."""
    flat, ddp = zip(*rows, strict=True)
    medians = {"all_reduce_ms": statistics.median(flat), "ddp_ms": statistics.median(ddp)}
    ratios = [b / a for a, b in rows]
    return {key: round(value, 2) for key, value in medians.items()} | summarize_ratios(ratios)


def main() -> int:
    """Measure, print a table, write the JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("recipe", nargs="?", choices=list(STEPS))
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    results = {}
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text("".join(random.choices("abcdefgh ijklmn.\n", k=40_000)), encoding="utf-8")
        prepare(str(text), "char", Path(folder) / "tokens")
        for name in [args.recipe] if args.recipe else STEPS:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            workers = [
                context.Process(target=run_worker, args=(rank, port, name, args.rounds, folder))
                for rank in (0, 1)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            if any(worker.exitcode for worker in workers):
                return 1
            results[name] = json.loads((Path(folder) / f"{name}.json").read_text(encoding="utf-8"))
            for clock, cell in results[name].items():
                times = f"all-reduce {cell['all_reduce_ms']:8.2f} ms  DDP {cell['ddp_ms']:8.2f} ms"
                ratio = f"{cell['ratio']:.3f}x ({cell['min']:.3f} to {cell['max']:.3f})"
                print(f"{name:13} {clock:5} {times}  {ratio}", flush=True)
    settings = {"rounds": args.rounds, "steps": STEPS, "batch_pixels": BATCH_PIXELS, "width": WIDTH}
    path = args.json or (None if args.recipe else Path(__file__).with_suffix(".json"))
    machine = describe_machine(f"torch {torch.__version__}, 2 processes of 1 thread")
    save_json(path, {"machine": machine, "settings": settings, "steps": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
