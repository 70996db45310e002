"""Measure the CPU time and the validation loss of language models: recipes, nanoGPT's own code, n-grams.

    python benchmarks/lm.py TEXT --nanogpt CLONE     all of it; writes benchmarks/lm.json
    python benchmarks/lm.py TEXT lm-fast --seeds 1 --steps 300

TEXT is tokenized into characters; its last tenth is held out, and nats per character are over all of it, in
disjoint windows of the model's context, in float32. Every row is a program of its own, ``nhin train RECIPE``
or nanoGPT's ``train.py``, on one thread; CPU-seconds are of the whole process, user and system, with its
start, its own validation and saving. Rows take turns, seed by seed. CLONE is a folder with nanoGPT's code,
from https://github.com/karpathy/nanoGPT; without it its row is left out. lm-nano is the same configuration,
with this project's layers. ``--work`` keeps finished rows, so that a stopped measurement goes on.

FLOPs are counted from shapes (``nhin.lm.flops``), forward and backward, over all steps. A gain is the nats
that a row is below another, with one-sided p-values: over blocks of 512 characters of the text (changes of
sign), and over seeds (Student's paired t).

The JSON: machine, text (SHA-256), and for each row its settings and, per seed, nats, cpu_seconds, steps,
weights, flops; gains.
"""

import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import nanogpt
import numpy as np
import torch
from measuring import (
    Nats,
    compute_p_values,
    describe_machine,
    make_parser,
    nats_of_windows,
    run_timed,
    save_json,
)

from nhin.config import load_recipe, to_dict
from nhin.data.text.prepare import prepare
from nhin.data.text.splits import SplitConfig
from nhin.data.text.token_dataset import Corpus, open_tokens
from nhin.errors import NhinError
from nhin.files import write_atomic
from nhin.lm.flops import count_flops
from nhin.lm.loading import open_run
from nhin.lm.ngram import count_ngrams
from nhin.lm.recipe import LMRecipe
from nhin.models.build import build_lm

NANOGPT = "nanoGPT"
SAME_AS_NANOGPT = "lm-nano"
ROWS = [NANOGPT, SAME_AS_NANOGPT, "lm-fast", "lm-small", "lm-medium"]
COUNTED = ["absolute discounting", "Kneser-Ney"]
# Whose nats are said to be below whose.
GAINS = [(COUNTED[1], "lm-medium"), (COUNTED[1], "lm-small"), ("lm-small", "lm-medium"), (NANOGPT, "lm-fast")]
ORDER = 5
Row = dict[str, Any]


def train_recipe(name: str, seed: int, corpus: Corpus, work: Path, steps: int | None) -> tuple[Row, Nats]:
    """Train a recipe from the command line; return its row and the nats of the held-out characters."""
    out = work / f"{name}-{seed}"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "nhin", "train", name, "--data", str(corpus.folder), "--out", str(out)]
    command += ["--set", f"seed={seed}", *(["--budget-steps", str(steps)] if steps else [])]
    spent = run_timed(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    run, validation = open_run(out), corpus.split("validation")
    ids = validation.read(0, len(validation))
    weights = sum(p.numel() for p in run.model.parameters())
    row = {"seed": seed, "cpu_seconds": round(spent, 1), "steps": run.step, "weights": weights}
    return row, nats_of_windows(run.model, ids, run.model.context)


def count_training_flops(name: str, vocab: int, steps: int) -> float:
    """Return the operations of all steps of a row, forward and backward."""
    recipe = load_recipe(LMRecipe, SAME_AS_NANOGPT if name == NANOGPT else name)
    with torch.device("meta"):
        model = build_lm(vocab, recipe.model)
    tokens = steps * recipe.data.batch * model.context
    return count_flops(model, model.context).training * tokens


def count_control(corpus: Corpus) -> tuple[dict[str, Any], dict[str, Nats]]:
    """Evaluate n-gram models of the same text, with both kinds of counts."""
    tree: dict[str, Any] = {"order": ORDER}
    nats: dict[str, Nats] = {}
    train, validation = (corpus.split(name) for name in ("train", "validation"))
    ids = train.read(0, len(train))
    for name in COUNTED:
        begin = time.process_time()
        model = count_ngrams(ids, corpus.tokenizer.vocab, ORDER, continuation_counts=name != COUNTED[0])
        nats[name] = np.asarray(model.nats(validation.read(0, len(validation)))[1:], np.float64)
        seconds = round(time.process_time() - begin, 2)
        tree[name] = {"nats": round(float(nats[name].mean()), 4), "cpu_seconds": seconds}
    return tree, nats


def measure(
    args: Any, names: Sequence[str], work: Path
) -> tuple[dict[str, Any], dict[str, list[Row]], list[dict[str, Any]]]:
    """Train every row with every seed, those already finished in ``work`` left out; print as they end."""
    split = SplitConfig("tail", validation=0.1, test=0.0)
    tokens = work / "tokens"
    corpus = open_tokens(tokens if tokens.exists() else prepare(str(args.text), "char", tokens, split))
    grams, counted = count_control(corpus)
    copy = nanogpt.copy_clone(args.nanogpt, args.text, work) if NANOGPT in names else work
    rows: dict[str, list[Row]] = {name: [] for name in names}
    nats: dict[str, list[Nats]] = {name: [counted[name]] * args.seeds for name in COUNTED}
    for seed in range(args.seeds):
        for name in names:
            done = work / f"{name}-{seed}.json"
            if not done.exists():
                if name == NANOGPT:
                    row, losses = nanogpt.train_nanogpt(copy, seed)
                else:
                    row, losses = train_recipe(name, seed, corpus, work, args.steps)
                row["nats"] = round(float(losses.mean()), 4)
                row["flops"] = count_training_flops(name, corpus.tokenizer.vocab, row["steps"])
                np.save(done.with_suffix(".npy"), losses)
                write_atomic(done, json.dumps(row))
            rows[name].append(json.loads(done.read_text("utf-8")))
            nats.setdefault(name, []).append(np.load(done.with_suffix(".npy")))
            print(f"seed {seed} {format_row(name, rows[name][-1:])}", flush=True)
    return grams, rows, compute_gains(nats)


def compute_gains(nats: Mapping[str, list[Nats]]) -> list[dict[str, Any]]:
    """Return every claimed gain of the rows that were measured, in nats, with its p-values."""
    return [
        {
            "of": better,
            "over": worse,
            "nats": round(float(np.mean(nats[worse]) - np.mean(nats[better])), 4),
            "p": compute_p_values(nats[worse], nats[better]),
        }
        for worse, better in GAINS
        if worse in nats and better in nats
    ]


def format_row(name: str, runs: list[Row]) -> str:
    """Format a row of the table in Markdown: means or medians, and the least and greatest."""
    nats, seconds = ([run[key] for run in runs] for key in ("nats", "cpu_seconds"))
    return (
        f"| {name} | {statistics.mean(nats):.3f} ({min(nats):.3f} to {max(nats):.3f}) | "
        f"{statistics.median(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f}) | "
        f"{runs[0]['weights'] / 1e6:.2f} M | {runs[0]['flops'] / 1e12:.1f} |"
    )


def main() -> int:
    """Measure, print a table, write the JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("rows", nargs="*", default=ROWS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of every recipe, not of nanoGPT")
    parser.add_argument("--nanogpt", type=Path, help="a folder with nanoGPT's code")
    parser.add_argument(
        "--work", type=Path, help="where finished rows are kept; a temporary folder if not given"
    )
    args = parser.parse_args()
    if args.text is None:
        print("lm.py needs a text: python benchmarks/lm.py TEXT", file=sys.stderr)
        return 0  # make bench goes on with the others
    names = args.rows
    if args.nanogpt is None and NANOGPT in names:
        print("nanoGPT's row is left out: give its folder by --nanogpt", file=sys.stderr)
        names = [name for name in names if name != NANOGPT]
    place: AbstractContextManager[Any] = (
        nullcontext(args.work) if args.work else tempfile.TemporaryDirectory()
    )
    try:
        with place as folder:
            grams, rows, gains = measure(args, names, Path(folder).resolve())
    except NhinError as why:
        print(f"{why}", file=sys.stderr)
        return why.exit_code
    for name, runs in rows.items():
        print(format_row(name, runs))
    print(", ".join(f"{name}: {grams[name]['nats']} nats" for name in COUNTED))
    for gain in gains:
        print(gain)
    tree = {
        "machine": describe_machine(f"torch {torch.__version__}"),
        "text": {
            "sha256": hashlib.sha256(args.text.read_bytes()).hexdigest(),
            "characters": len(args.text.read_text("utf-8")),
        },
        "ngram": grams,
        "rows": rows,
        "gains": gains,
        "settings": {name: to_dict(load_recipe(LMRecipe, name)) for name in names if name != NANOGPT},
    }
    is_default = not args.steps and args.rows == ROWS
    save_json(args.json or (Path(__file__).with_suffix(".json") if is_default else None), tree)
    return 0


if __name__ == "__main__":
    sys.exit(main())
