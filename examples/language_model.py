"""Train a language model on a text file and let it write: language_model.py TEXT [STEPS]."""

import sys
import tempfile
from pathlib import Path

from nhin.config import load
from nhin.data.shards import open_tokens, prepare
from nhin.decoding.sampling import Sampling
from nhin.lm.budgets import scaled
from nhin.lm.evaluate import control, evaluate
from nhin.lm.generate import generate
from nhin.lm.recipe import Recipe
from nhin.lm.run import open_run
from nhin.lm.train import train


def main(text: str, steps: int, folder: Path) -> None:
    """Prepare, train, measure beside counted n-grams, write."""
    corpus = open_tokens(prepare(text, "char", folder / "tokens"))
    run = open_run(train(scaled(load(Recipe, "lm-fast"), steps), corpus, folder / "run"))
    held = corpus.split("validation")
    ours, grams = evaluate(run, held), evaluate(control(corpus)[0], held)
    print(f"{ours.cost.figures()['nats']:.3f} nats per character; 5-grams {grams.cost.figures()['nats']:.3f}")
    ids = generate(run.model, [run.tokenizer.end], tokens=200, sampling=Sampling(temperature=0.8, seed=1))
    print(run.tokenizer.decode(list(ids)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 800, Path(place))
