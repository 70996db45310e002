"""What a run leaves for people beside its checkpoint: curves and samples."""

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
    """Draw ``curves.png`` and add a text the model writes to ``samples.txt``.

    Raises:
        CheckpointError: There is no room.
    """
    guess = {"a guess": math.log(tokenizer.vocab)}
    try:
        write_atomic(out / "curves.png", plot_log(read_log(out / "log.jsonl"), guess))
        with (out / "samples.txt").open("a", encoding="utf-8") as file:
            file.write(
                f"==> step {step} <==\n{sample_text(model, tokenizer, _FINAL_SAMPLE_TOKENS if is_last else _SAMPLE_TOKENS)}\n\n"
            )
    except OSError as why:
        raise CheckpointError(f"cannot write in {out}: {why.strerror or why}") from why


def sample_text(model: GPT, tokenizer: Tokenizer, max_tokens: int) -> str:
    """Return what a model writes, the same at every call."""
    was = model.training
    model.eval()
    how = SamplingParams(temperature=_TEMPERATURE, seed=0)
    stop = {tokenizer.eos_id}
    ids = list(generate(model, [tokenizer.eos_id], tokens=max_tokens, sampling=how, stop=stop))
    model.train(was)
    return tokenizer.decode([i for i in ids if i not in stop])
