"""Measure the CPU time and the validation loss of the recipes of language models.

    python benchmarks/lm.py TEXT                     lm-nano, lm-fast and lm-small; writes benchmarks/lm.json
    python benchmarks/lm.py TEXT lm-fast --seeds 1 --steps 300

TEXT is tokenized into characters; its last tenth is held out, and nats per character are over all of it, in
disjoint windows. lm-nano is nanoGPT's configuration for a CPU (4 layers, 4 heads, width 128, 64 characters,
batches of 12, 2,000 steps of AdamW at 1e-3), with this project's layers. CPU-seconds are those of all steps,
batches included, on one thread, without evaluation and saving. Recipes take turns, seed by seed.

The JSON: machine, text (SHA-256), and for each recipe its settings and, per seed, nats, cpu_seconds, steps.
"""

import hashlib
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measuring import describe_machine, make_parser, save_json

from nhin.config import load_recipe, to_dict
from nhin.data.text.prepare import prepare
from nhin.data.text.splits import SplitConfig
from nhin.data.text.token_dataset import Corpus, open_tokens
from nhin.errors import NhinError
from nhin.lm.budget import scale_schedule
from nhin.lm.evaluate import mean_nats
from nhin.lm.ngram import count_ngrams
from nhin.lm.recipe import LMRecipe
from nhin.lm.task import LanguageModelTask
from nhin.training.precision import configure_cpu
from nhin.training.trainer import Trainer

RECIPES = ["lm-nano", "lm-fast", "lm-small"]
ORDER = 5


def measure(recipe: LMRecipe, corpus: Corpus) -> dict[str, Any]:
    """Train one model and evaluate it on all held-out text."""
    with configure_cpu(1):
        task = LanguageModelTask(recipe, corpus)
        trainer = Trainer(task)
        state = trainer.start()
        begin = time.process_time()
        with task.open_batches(state, trainer.group) as batches:
            for _ in range(recipe.schedule.steps):
                trainer.step(next(batches))
        spent = time.process_time() - begin
        nats = mean_nats(state.model, corpus.split("validation"))
    weights = sum(p.numel() for p in state.model.parameters())
    result = {"seed": recipe.seed, "nats": round(nats, 4), "cpu_seconds": round(spent, 1)}
    return {**result, "steps": recipe.schedule.steps, "weights": weights}


def count_control(corpus: Corpus) -> dict[str, Any]:
    """Evaluate n-gram models of the same text, with both kinds of counts."""
    out: dict[str, Any] = {"order": ORDER}
    train, validation = (corpus.split(name) for name in ("train", "validation"))
    for name, continued in (("absolute discounting", False), ("Kneser-Ney", True)):
        begin = time.process_time()
        ids, vocab = train.read(0, len(train)), corpus.tokenizer.vocab
        model = count_ngrams(ids, vocab, ORDER, continuation_counts=continued)
        nats = float(model.nats(validation.read(0, len(validation)))[1:].mean())
        out[name] = {"nats": round(nats, 4), "cpu_seconds": round(time.process_time() - begin, 2)}
    return out


def format_runs(name: str, runs: list[dict[str, Any]], peer: list[dict[str, Any]]) -> str:
    """Format a recipe's results, with its CPU time as a share of the peer's."""
    nats, seconds = ([run[key] for run in runs] for key in ("nats", "cpu_seconds"))
    ratios = [run["cpu_seconds"] / other["cpu_seconds"] for run, other in zip(runs, peer, strict=False)]
    share = f"{statistics.median(ratios):.2f} of {RECIPES[0]}'s time" if ratios else ""
    return (
        f"{name:10} {statistics.mean(nats):.4f} nats ({min(nats):.4f} to {max(nats):.4f})  "
        f"{statistics.median(seconds):6.1f} CPU-s ({min(seconds):.1f} to {max(seconds):.1f})  {share}"
    )


def main() -> int:
    """Measure, print a table, write the JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    args = parser.parse_args()
    if args.text is None:
        print("lm.py needs a text: python benchmarks/lm.py TEXT", file=sys.stderr)
        return 0  # make bench goes on with the others
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in args.recipes}
    try:
        with tempfile.TemporaryDirectory() as folder:
            split = SplitConfig("tail", validation=0.1, test=0.0)
            corpus = open_tokens(prepare(str(args.text), "char", Path(folder) / "tokens", split))
            grams = count_control(corpus)
            for seed in range(args.seeds):
                for name in args.recipes:
                    recipe = replace(load_recipe(LMRecipe, name), seed=seed)
                    recipe = scale_schedule(recipe, args.steps) if args.steps else recipe
                    results[name].append(measure(recipe, corpus))
                    print(f"seed {seed}", format_runs(name, results[name][-1:], []), flush=True)
    except NhinError as why:
        print(f"{why}", file=sys.stderr)
        return why.exit_code
    for name, runs in results.items():
        print(format_runs(name, runs, results.get(RECIPES[0], [])))
    print(", ".join(f"{name}: {x['nats']} nats" for name, x in grams.items() if isinstance(x, dict)))
    text = {
        "sha256": hashlib.sha256(args.text.read_bytes()).hexdigest(),
        "characters": len(args.text.read_text()),
    }
    settings = {name: to_dict(load_recipe(LMRecipe, name)) for name in args.recipes}
    tree = {
        "machine": describe_machine(f"torch {torch.__version__}"),
        "text": text,
        "ngram": grams,
        "recipes": results,
        "settings": settings,
    }
    is_default = not args.steps and args.recipes == RECIPES
    save_json(args.json or (Path(__file__).with_suffix(".json") if is_default else None), tree)
    return 0


if __name__ == "__main__":
    sys.exit(main())
