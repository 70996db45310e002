"""Train a language model on a text file and sample from it: language_model.py TEXT [STEPS]."""

import sys
import tempfile
from pathlib import Path

from nhin.config import load_recipe
from nhin.data.text.prepare import prepare
from nhin.data.text.token_dataset import open_tokens
from nhin.decoding.sampling import SamplingParams
from nhin.lm.budget import scale_schedule
from nhin.lm.evaluate import build_ngram_baseline, evaluate
from nhin.lm.generate import generate
from nhin.lm.loading import open_run
from nhin.lm.recipe import LMRecipe
from nhin.lm.task import train_language_model


def main(text: str, steps: int, folder: Path) -> None:
    """Prepare the text, train, evaluate beside counted n-grams, and print a sample."""
    corpus = open_tokens(prepare(text, "char", folder / "tokens"))
    run = open_run(
        train_language_model(scale_schedule(load_recipe(LMRecipe, "lm-fast"), steps), corpus, folder / "run")
    )
    validation = corpus.split("validation")
    model, ngram = evaluate(run, validation), evaluate(build_ngram_baseline(corpus)[0], validation)
    print(
        f"{model.cost.figures()['nats']:.3f} nats per character; 5-grams {ngram.cost.figures()['nats']:.3f}"
    )
    ids = generate(
        run.model, [run.tokenizer.eos_id], tokens=200, sampling=SamplingParams(temperature=0.8, seed=1)
    )
    print(run.tokenizer.decode(list(ids)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 800, Path(temporary))
