"""What a run leaves for people beside its checkpoint: curves and samples."""

import math
from pathlib import Path

from nhin.decoding.sampling import Sampling
from nhin.errors import CheckpointError
from nhin.lm.generate import generate
from nhin.models.gpt import GPT
from nhin.text.tokenizers import Tokenizer
from nhin.training.curves import draw, read_log
from nhin.training.whole import write

_LENGTH, _AT_END, _TEMPERATURE = 200, 400, 0.8


def leave(out: Path, model: GPT, tokenizer: Tokenizer, step: int, last: bool) -> None:
    """Draw ``curves.png`` and add a text the model writes to ``samples.txt``.

    Raises:
        CheckpointError: There is no room.
    """
    guess = {"a guess": math.log(tokenizer.vocab)}
    try:
        write(out / "curves.png", draw(read_log(out / "log.jsonl"), guess))
        with (out / "samples.txt").open("a", encoding="utf-8") as file:
            file.write(f"==> step {step} <==\n{written(model, tokenizer, _AT_END if last else _LENGTH)}\n\n")
    except OSError as why:
        raise CheckpointError(f"cannot write in {out}: {why.strerror or why}") from why


def written(model: GPT, tokenizer: Tokenizer, tokens: int) -> str:
    """Return what a model writes, the same at every call."""
    was = model.training
    model.eval()
    how = Sampling(temperature=_TEMPERATURE, seed=0)
    stop = {tokenizer.end}
    ids = list(generate(model, [tokenizer.end], tokens=tokens, sampling=how, stop=stop))
    model.train(was)
    return tokenizer.decode([i for i in ids if i not in stop])
