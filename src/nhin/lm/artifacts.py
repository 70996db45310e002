"""Curves and sampled texts, which a run writes beside its checkpoint."""

import math
import re
from pathlib import Path

from nhin.decoding.sampling import SamplingParams
from nhin.files import read_bytes, write_atomic
from nhin.lm.generate import generate
from nhin.models.gpt import GPT
from nhin.text.tokenizers import Tokenizer
from nhin.training.plots import plot_log, read_log

_MAX_BYTES = 2**28
_SAMPLE_TOKENS, _FINAL_SAMPLE_TOKENS, _TEMPERATURE = 200, 400, 0.8


def save_artifacts(out: Path, model: GPT, tokenizer: Tokenizer, step: int, is_last: bool) -> None:
    """Draw ``curves.png`` and add a sampled text to ``samples.txt``, in place of those from this step on.

    Raises:
        CheckpointError: There is no room.
    """
    guess = {"a guess": math.log(tokenizer.vocab)}
    count = _FINAL_SAMPLE_TOKENS if is_last else _SAMPLE_TOKENS
    log, samples = out / "log.jsonl", out / "samples.txt"
    write_atomic(out / "curves.png", plot_log(read_log(log) if log.exists() else [], guess))
    before = read_bytes(samples, _MAX_BYTES) if samples.exists() else b""
    for title in re.finditer(rb"^==> step (\d{1,18}) <==$", before, re.MULTILINE):
        if int(title[1]) >= step:  # left by a run that was killed after it
            before = before[: title.start()]
            break
    text = f"==> step {step} <==\n{sample_text(model, tokenizer, count)}\n\n"
    write_atomic(samples, before + text.encode())


def sample_text(model: GPT, tokenizer: Tokenizer, max_tokens: int) -> str:
    """Sample a text with a fixed seed."""
    was_training = model.training
    model.eval()
    sampling, stop = SamplingParams(temperature=_TEMPERATURE, seed=0), tokenizer.stop_ids
    prompt = tokenizer.encode_prompt("")
    ids = list(generate(model, prompt, tokens=max_tokens, sampling=sampling, stop=stop))
    model.train(was_training)
    return tokenizer.decode([i for i in ids if i not in stop])
