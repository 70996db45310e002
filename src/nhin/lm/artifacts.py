"""Curves and sampled texts, which a run writes beside its checkpoint."""

import math
from pathlib import Path

from nhin.decoding.sampling import SamplingParams
from nhin.errors import CheckpointError
from nhin.files import write_atomic
from nhin.lm.generate import generate
from nhin.models.gpt import GPT
from nhin.text.tokenizers import Tokenizer
from nhin.training.plots import plot_log, read_log

_SAMPLE_TOKENS, _FINAL_SAMPLE_TOKENS, _TEMPERATURE = 200, 400, 0.8


def save_artifacts(out: Path, model: GPT, tokenizer: Tokenizer, step: int, is_last: bool) -> None:
    """Draw ``curves.png`` and append a sampled text to ``samples.txt``.

    Raises:
        CheckpointError: There is no room.
    """
    guess = {"a guess": math.log(tokenizer.vocab)}
    count = _FINAL_SAMPLE_TOKENS if is_last else _SAMPLE_TOKENS
    try:
        write_atomic(out / "curves.png", plot_log(read_log(out / "log.jsonl"), guess))
        with (out / "samples.txt").open("a", encoding="utf-8") as file:
            file.write(f"==> step {step} <==\n{sample_text(model, tokenizer, count)}\n\n")
    except OSError as why:
        raise CheckpointError(f"cannot write in {out}: {why.strerror or why}") from why


def sample_text(model: GPT, tokenizer: Tokenizer, max_tokens: int) -> str:
    """Sample a text with a fixed seed."""
    was_training = model.training
    model.eval()
    sampling, eos = SamplingParams(temperature=_TEMPERATURE, seed=0), tokenizer.eos_id
    ids = list(generate(model, [eos], tokens=max_tokens, sampling=sampling, stop={eos}))
    model.train(was_training)
    return tokenizer.decode([i for i in ids if i != eos])
