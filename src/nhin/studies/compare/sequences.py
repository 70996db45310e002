"""Tasks on token sequences: what is asked stands earlier in the sequence, or is the next character of a text.

Source:  associative recall and copying: Graves et al. 2014, arXiv:1410.5401; selective copying: Gu and Dao
         2023, arXiv:2312.00752.
Differs: sizes that a few seconds of one processor suffice for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nhin.data.text.sources import open_python_library
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT, IGNORE_INDEX
from nhin.studies.compare.settings import scale_settings

Ids = NDArray[np.int64]
Rng = np.random.Generator
Draw = Callable[[Rng, int], tuple[Ids, Ids]]  # tokens and targets; a target of -100 is not scored
SequenceBatch = tuple[Tensor, Tensor]

KEYS, PAIRS = 16, 8  # of associative recall; there are as many values as keys
LETTERS = 8
COPY_LENGTH, DISTANCE = 48, 32  # longer than two layers of windows of a quarter reach
BODY, MARKED = 28, 4  # of selective copying
CHARS, TEXT_CHARS, TEST_SHARE = 64, 400_000, 10
_FIRST, _NEWLINE, _OTHER = 32, 95, 96  # characters: printable ASCII, then these two
_TEST_SEED, _TEST_COUNT = 1, 512


@dataclass(frozen=True, slots=True)
class SequenceTask:
    """A task on token sequences, for two layers of causal attention without MLPs.

    Args:
        draw: Draws sequences to train on.
        draw_test: Draws sequences to test on.
        vocab: Number of tokens.
        length: Tokens of a sequence.
        chance: Accuracy of the best answer that does not look at the sequence.
        steps: Of softmax; the others get the same operations.
        batch: Sequences of a step.
    """

    draw: Draw
    draw_test: Draw
    vocab: int
    length: int
    chance: float
    steps: int
    batch: int = 32
    rate: float = 1.2e-2

    def build(self, mechanism: str) -> nn.Module:
        """Build the network; biases of the scores replace the rotation of queries and keys."""
        config = ModelConfig(
            depth=2,
            dim=64,
            heads=2,
            context=self.length,
            mechanism=mechanism,
            settings=scale_settings(mechanism, self.length),
            positions="none" if mechanism in ("alibi", "t5") else "rotary",
            qk_norm=True,
            mlp="none",
            tie_embeddings=False,
            init="zero",
        )
        return GPT(self.vocab, config)

    def draw_batch(self, rng: Rng) -> SequenceBatch:
        """Draw a batch to train on."""
        tokens, targets = self.draw(rng, self.batch)
        return torch.from_numpy(tokens), torch.from_numpy(targets)

    def loss(self, model: nn.Module, batch: SequenceBatch) -> Mapping[str, Tensor]:
        """Return the mean nats of what is asked."""
        assert isinstance(model, GPT)
        return model.loss(*batch)

    @torch.no_grad()
    def measure_accuracy(self, model: nn.Module) -> float:
        """Return the share of right answers in fixed test sequences."""
        tokens, targets = map(
            torch.from_numpy, self.draw_test(np.random.default_rng(_TEST_SEED), _TEST_COUNT)
        )
        asked = targets != IGNORE_INDEX
        best = torch.cat([model(part).argmax(-1) for part in tokens.split(self.batch)])
        return float((best == targets)[asked].double().mean())


def draw_recall(rng: Rng, count: int) -> tuple[Ids, Ids]:
    """Draw pairs of a key and a value, then the same keys in another order: the value is asked after each."""
    keys = _permute(rng, count, KEYS)[:, :PAIRS]
    values = rng.integers(KEYS, 2 * KEYS, (count, PAIRS))
    order = _permute(rng, count, PAIRS)
    asked, answers = (np.take_along_axis(ids, order, 1) for ids in (keys, values))
    pairs = np.stack([np.concatenate([keys, asked], 1), np.concatenate([values, answers], 1)], -1)
    tokens = pairs.reshape(count, -1)
    targets = np.full_like(tokens, IGNORE_INDEX)
    targets[:, 2 * PAIRS :: 2] = answers
    return tokens, targets


def draw_copy(rng: Rng, count: int) -> tuple[Ids, Ids]:
    """Draw letters; asked at each position is the letter ``DISTANCE`` positions before it."""
    tokens = rng.integers(LETTERS, size=(count, COPY_LENGTH))
    targets = np.full_like(tokens, IGNORE_INDEX)
    targets[:, DISTANCE:] = tokens[:, :-DISTANCE]
    return tokens, targets


def draw_selective(rng: Rng, count: int) -> tuple[Ids, Ids]:
    """Draw a few letters among noise (0); after a marker they are asked in their order."""
    letters = rng.integers(1, 1 + LETTERS, (count, MARKED))
    places = np.sort(_permute(rng, count, BODY)[:, :MARKED], 1)
    tokens = np.zeros((count, BODY + MARKED), np.int64)
    np.put_along_axis(tokens, places, letters, 1)
    tokens[:, BODY] = 1 + LETTERS
    tokens[:, BODY + 1 :] = letters[:, :-1]
    targets = np.full_like(tokens, IGNORE_INDEX)
    targets[:, BODY:] = letters
    return tokens, targets


def make_text_task(text: str) -> SequenceTask:
    """Make the task of the next character; the end of the text is for the test."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64)
    ids = np.where((codes >= _FIRST) & (codes < _FIRST + _NEWLINE), codes - _FIRST, _OTHER)
    ids[codes == ord("\n")] = _NEWLINE
    border = len(ids) - len(ids) // TEST_SHARE
    chance = float(np.bincount(ids[border:]).max() / (len(ids) - border))
    return SequenceTask(
        _draw_from(ids[:border]), _draw_from(ids[border:]), _OTHER + 1, CHARS, chance, steps=200, batch=16
    )


@cache
def read_library() -> str:
    """Read the beginning of Python's standard library."""
    pieces = chain.from_iterable(open_python_library().documents())
    return "".join(islice(chain.from_iterable(pieces), TEXT_CHARS))


def _draw_from(ids: Ids) -> Draw:
    def draw(rng: Rng, count: int) -> tuple[Ids, Ids]:
        starts = rng.integers(len(ids) - CHARS, size=count)
        windows = ids[starts[:, None] + np.arange(CHARS + 1)]
        return windows[:, :-1], windows[:, 1:]

    return draw


def _permute(rng: Rng, count: int, size: int) -> Ids:
    return rng.permuted(np.tile(np.arange(size), (count, 1)), axis=1)
