"""Compare generation with a cache and without one.

    python benchmarks/generation.py                       softmax; writes benchmarks/generation.json
    python benchmarks/generation.py window linear         these mechanisms; writes only with --json OUT
    python benchmarks/generation.py --all --rounds 1      every causal mechanism

Depth 4, dim 256, 8 heads, vocabulary of 256, 200 tokens after one, greedy. CPU time of one thread; runs with
and without the cache take turns and must return the same tokens. The time of a token is its minimum over the
rounds; the ratio is the median of the rounds, with minimum and maximum. A cached step is bound by reading the
weights, so other work on the machine slows it down most. --profile profiles the cached tokens.

The JSON: machine, settings, generation {name: {cached_ms, uncached_ms, ratio, min, max}}, milliseconds per
token; target {limit, ratio, met}: the ratio of softmax should be at least the limit.
"""

import cProfile
import pstats
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
from measuring import Cell, describe_machine, make_parser, save_json

from nhin.attention.registry import MECHANISMS
from nhin.decoding.sampling import SamplingParams
from nhin.lm.generate import generate
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT

DEPTH, DIM, VOCAB, TOKENS, CONTEXT, ROUNDS = 4, 256, 256, 200, 256, 5
TARGET = 6.0
CAUSAL = [name for name, cls in MECHANISMS.items() if "causal" in cls.facts.abilities]


def build_model(name: str) -> GPT:
    """Build a model whose logits are far apart, as those of a trained one."""
    torch.manual_seed(0)
    config = ModelConfig(depth=DEPTH, dim=DIM, heads=8, context=CONTEXT, mechanism=name)
    model = build_lm(VOCAB, config).eval()
    torch.nn.init.normal_(model.embedding.weight)
    return model


def time_tokens(model: GPT, cache: bool) -> tuple[list[int], list[float]]:
    """Generate tokens; return them and the seconds of each."""
    ids, marks = [], [time.thread_time()]
    for token in generate(model, [0], tokens=TOKENS, sampling=SamplingParams(temperature=0), cache=cache):
        ids.append(token)
        marks.append(time.thread_time())
    return ids, [after - before for before, after in pairwise(marks)]


def measure(name: str, rounds: int) -> Cell:
    """Measure one mechanism, with and without its cache in turns."""
    model, times = build_model(name), {True: [], False: []}
    for _ in range(rounds):
        texts = []
        for cache, rows in times.items():
            ids, row = time_tokens(model, cache)
            texts.append(ids)
            rows.append(row)
        if texts[0] != texts[1]:
            raise SystemExit(f"{name} generates other tokens with its cache")
    cached, uncached = (sum(map(min, zip(*rows, strict=True))) for rows in times.values())
    ratios = [sum(slow) / sum(fast) for fast, slow in zip(times[True], times[False], strict=True)]
    return {
        "cached_ms": round(cached * 1e3 / TOKENS, 3),
        "uncached_ms": round(uncached * 1e3 / TOKENS, 3),
        "ratio": round(statistics.median(ratios), 2),
        "min": round(min(ratios), 2),
        "max": round(max(ratios), 2),
    }


def print_profile(name: str) -> None:
    """Profile generation with a cache."""
    model = build_model(name)
    time_tokens(model, True)
    with cProfile.Profile() as profile:
        time_tokens(model, True)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main() -> int:
    """Measure, print a table, write the JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *CAUSAL], metavar="MECHANISM")
    parser.add_argument("--all", action="store_true", help="every causal mechanism")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", action="store_true", help="profile the cached tokens")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = CAUSAL if args.all else args.names or ["softmax"]
    if args.profile:
        print_profile(names[0])
        return 0
    cells = {}
    for name in names:
        cells[name] = cell = measure(name, max(1, args.rounds))
        print(
            f"{name:14} {cell['cached_ms']:8.3f} ms a token with a cache, {cell['uncached_ms']:8.3f} without:"
            f" {cell['ratio']:6.2f}x ({cell['min']:.2f} to {cell['max']:.2f})",
            flush=True,
        )
    out = {
        "machine": describe_machine(f"torch {torch.__version__}, one thread"),
        "settings": {"depth": DEPTH, "dim": DIM, "vocab": VOCAB, "tokens": TOKENS, "context": CONTEXT},
        "generation": cells,
    }
    if "softmax" in cells:
        ratio = cells["softmax"]["ratio"]
        out["target"] = {"limit": TARGET, "ratio": ratio, "met": ratio >= TARGET}
    save_json(args.json or (None if args.names else Path(__file__).with_suffix(".json")), out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
