"""Measure how much faster a language model writes when it remembers what it read.

    python benchmarks/generation.py                       softmax; keeps benchmarks/generation.json
    python benchmarks/generation.py window linear         these mechanisms, kept nowhere without --json OUT
    python benchmarks/generation.py --all --rounds 1      every mechanism that is causal

Depth 4, dim 256 (8 heads), rotary positions where the mechanism takes them, 256 tokens of vocabulary, 200
tokens after one, greedy, within the context. One thread, its own CPU time; with and without the cache take
turns, and both must write the same text. What a token costs is the least of the rounds, token by token; the
ratio is the median of the rounds', with the least and the greatest. A step with a cache reads all weights
once, so it slows down most where others crowd the processor's caches. --profile shows where the time of a
cached token goes.

The JSON: machine, settings, generation {name: {cached_ms, uncached_ms, ratio, min, max}}, milliseconds for a
token; target {limit, ratio, met}: the ratio of softmax is to be at least the limit.
"""

import argparse
import cProfile
import json
import os
import platform
import pstats
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from measuring import Cell

from nhin.attention.registry import MECHANISMS
from nhin.decoding.sampling import SamplingParams
from nhin.lm.generate import generate
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT

DEPTH, DIM, VOCAB, TOKENS, CONTEXT, ROUNDS = 4, 256, 256, 200, 256, 5
TARGET = 6.0
CAUSAL = [name for name, made in MECHANISMS.items() if "causal" in made.facts.abilities]


def model(name: str) -> GPT:
    """Build a model whose scores are far apart, as a trained one's are."""
    torch.manual_seed(0)
    built = build_lm(
        VOCAB, ModelConfig(depth=DEPTH, dim=DIM, heads=8, context=CONTEXT, mechanism=name)
    ).eval()
    torch.nn.init.normal_(built.embedding.weight)
    return built


def timed(built: GPT, cache: bool) -> tuple[list[int], list[float]]:
    """Write one text; return it and what each token took, in seconds."""
    ids, marks = [], [time.thread_time()]
    for chosen in generate(built, [0], tokens=TOKENS, sampling=SamplingParams(temperature=0), cache=cache):
        ids.append(chosen)
        marks.append(time.thread_time())
    return ids, [after - before for before, after in pairwise(marks)]


def measure(name: str, rounds: int) -> Cell:
    """Measure one mechanism, both ways in turns."""
    built, took = model(name), {True: [], False: []}
    for _ in range(rounds):
        texts = []
        for cache, rows in took.items():
            ids, row = timed(built, cache)
            texts.append(ids)
            rows.append(row)
        if texts[0] != texts[1]:
            raise SystemExit(f"{name} writes another text with its cache")
    cached, uncached = (sum(map(min, zip(*rows, strict=True))) for rows in took.values())
    ratios = [sum(slow) / sum(fast) for fast, slow in zip(took[True], took[False], strict=True)]
    return {
        "cached_ms": round(cached * 1e3 / TOKENS, 3),
        "uncached_ms": round(uncached * 1e3 / TOKENS, 3),
        "ratio": round(statistics.median(ratios), 2),
        "min": round(min(ratios), 2),
        "max": round(max(ratios), 2),
    }


def profiled(name: str) -> None:
    """Show where the time of a cached token goes."""
    built = model(name)
    timed(built, True)
    with cProfile.Profile() as profile:
        timed(built, True)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print a table, keep the numbers."""
    parser = argparse.ArgumentParser(description="Measure generation with a cache and without.")
    parser.add_argument("names", nargs="*", choices=[[], *CAUSAL], metavar="MECHANISM")
    parser.add_argument("--all", action="store_true", help="every causal mechanism")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", action="store_true", help="show where a cached token's time goes")
    parser.add_argument("--json", type=Path, help="where to keep the numbers")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    names = CAUSAL if asked.all else asked.names or ["softmax"]
    if asked.profile:
        profiled(names[0])
        return 0
    cells = {}
    for name in names:
        cells[name] = cell = measure(name, max(1, asked.rounds))
        print(
            f"{name:14} {cell['cached_ms']:8.3f} ms a token with a cache, {cell['uncached_ms']:8.3f} without:"
            f" {cell['ratio']:6.2f}x ({cell['min']:.2f} to {cell['max']:.2f})",
            flush=True,
        )
    out = {
        "machine": f"{platform.machine()} {os.cpu_count()} cores, torch {torch.__version__}, one thread",
        "settings": {"depth": DEPTH, "dim": DIM, "vocab": VOCAB, "tokens": TOKENS, "context": CONTEXT},
        "generation": cells,
    }
    if "softmax" in cells:
        ratio = cells["softmax"]["ratio"]
        out["target"] = {"limit": TARGET, "ratio": ratio, "met": ratio >= TARGET}
    place = asked.json or (None if asked.names else Path(__file__).with_suffix(".json"))
    if place is not None:
        place.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
