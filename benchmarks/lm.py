"""Measure how much processor time language models need to say a text as well.

    python benchmarks/lm.py TEXT                     lm-nano, lm-fast and lm-small; keeps benchmarks/lm.json
    python benchmarks/lm.py TEXT lm-fast --seeds 1 --steps 300

TEXT is read as characters; its last tenth is held out, and nats per character are over all of it, in
disjoint windows. lm-nano is nanoGPT's configuration for a CPU (4 layers, 4 heads, width 128, 64 characters,
batches of 12, 2,000 steps of AdamW at 1e-3), with this project's layers. CPU-seconds are those of all steps,
batches included, on one thread, measuring and saving excluded. Recipes take turns, seed by seed.

The JSON: machine, text (SHA-256), and for each recipe its settings and, per seed, nats, cpu_seconds, steps.
"""

import argparse
import hashlib
import json
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

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


def measured(recipe: LMRecipe, corpus: Corpus) -> dict[str, Any]:
    """Train one model and measure it on the whole held-out text."""
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
    told = {"seed": recipe.seed, "nats": round(nats, 4), "cpu_seconds": round(spent, 1)}
    return {**told, "steps": recipe.schedule.steps, "weights": weights}


def control(corpus: Corpus) -> dict[str, Any]:
    """Count n-grams of the same text, in both ways."""
    out: dict[str, Any] = {"order": ORDER}
    ids, held = (corpus.split(name) for name in ("train", "validation"))
    for name, continued in (("absolute discounting", False), ("Kneser-Ney", True)):
        begin = time.process_time()
        model = count_ngrams(
            ids.read(0, len(ids)), corpus.tokenizer.vocab, ORDER, continuation_counts=continued
        )
        nats = float(model.nats(held.read(0, len(held)))[1:].mean())
        out[name] = {"nats": round(nats, 4), "cpu_seconds": round(time.process_time() - begin, 2)}
    return out


def told(name: str, runs: list[dict[str, Any]], peer: list[dict[str, Any]]) -> str:
    """Say how a recipe did, and what share of its peer's time it took."""
    nats, seconds = ([run[key] for run in runs] for key in ("nats", "cpu_seconds"))
    ratios = [run["cpu_seconds"] / other["cpu_seconds"] for run, other in zip(runs, peer, strict=False)]
    share = f"{statistics.median(ratios):.2f} of {RECIPES[0]}'s time" if ratios else ""
    return (
        f"{name:10} {statistics.mean(nats):.4f} nats ({min(nats):.4f} to {max(nats):.4f})  "
        f"{statistics.median(seconds):6.1f} CPU-s ({min(seconds):.1f} to {max(seconds):.1f})  {share}"
    )


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.text is None:
        print(
            "lm.py: language models are measured on a text of yours: python benchmarks/lm.py TEXT",
            file=sys.stderr,
        )
        return 0  # make bench goes on with the others
    out = {"machine": f"{platform.machine()}, python {platform.python_version()}, torch {torch.__version__}"}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in asked.recipes}
    try:
        with tempfile.TemporaryDirectory() as folder:
            how = SplitConfig("tail", validation=0.1, test=0.0)
            corpus = open_tokens(prepare(str(asked.text), "char", Path(folder) / "tokens", how))
            grams = control(corpus)
            for seed in range(asked.seeds):
                for name in asked.recipes:
                    recipe = replace(load_recipe(LMRecipe, name), seed=seed)
                    recipe = scale_schedule(recipe, asked.steps) if asked.steps else recipe
                    found[name].append(measured(recipe, corpus))
                    print(f"seed {seed}", told(name, found[name][-1:], []), flush=True)
    except NhinError as why:
        print(f"{why}", file=sys.stderr)
        return why.exit_code
    for name, runs in found.items():
        print(told(name, runs, found.get(RECIPES[0], [])))
    print(", ".join(f"{name}: {x['nats']} nats" for name, x in grams.items() if isinstance(x, dict)))
    text = {
        "sha256": hashlib.sha256(asked.text.read_bytes()).hexdigest(),
        "characters": len(asked.text.read_text()),
    }
    settings = {name: to_dict(load_recipe(LMRecipe, name)) for name in asked.recipes}
    tree = {**out, "text": text, "ngram": grams, "recipes": found, "settings": settings}
    whole = not asked.steps and asked.recipes == RECIPES
    place = asked.json or (Path(__file__).with_name("lm.json") if whole else None)
    if place:
        place.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
