"""Runs of tiny language models, as training leaves them, to be used by tests of what uses runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from nhin.lm import artifacts
from nhin.lm.recipe import LMRecipe
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.text.tokenizers import train_tokenizer
from nhin.training.checkpoint import Checkpoint, save

TEXT = "the cat sat on the mat. a bird sang to the cat, and the cat sat still.\n"
TINY = ModelConfig(depth=2, dim=16, heads=2, context=16)


def tiny_run(
    folder: Path, text: str = TEXT, design: ModelConfig = TINY, *, tokenizer: str = "char", steps: int = 0
) -> Path:
    """Write the run of a model that was trained for some steps on one text; return its folder."""
    learned = train_tokenizer(tokenizer, lambda: [text])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_lm(learned.vocab, design)
        if steps:
            train(model, learned.encode(text), steps)
    values = {
        "recipe": asdict(LMRecipe(model=design)),
        "tokenizer": learned.to_dict(),
        "trainer": {"step": steps},
    }
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "checkpoint", Checkpoint({"model": model.state_dict()}, values))
    return folder


@contextmanager
def small_artifacts() -> Iterator[None]:
    """Let trainings draw no curves and sample a few tokens, which takes longer than tiny trainings do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "plot_log", lambda rows, lines: json.dumps(len(rows)).encode())
        patch.setattr(artifacts, "_SAMPLE_TOKENS", 8)
        patch.setattr(artifacts, "_FINAL_SAMPLE_TOKENS", 8)
        yield


def train(model, ids: list[int], steps: int) -> None:
    """Take steps on windows of a text, one after another."""
    length = min(model.context, len(ids) - 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        at = step * 7 % (len(ids) - length)
        window = torch.tensor([ids[at : at + length + 1]])
        optimizer.zero_grad()
        model.loss(window[:, :-1], window[:, 1:])["loss"].backward()
        optimizer.step()
