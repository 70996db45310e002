"""Reading synthetic words: a reader as small as ``reader-tiny``, whose frames attend to each other.

Words of random letters in a face that matplotlib ships, so that every machine draws the same. The network is
``RecognizerNet`` with its CTC head alone; the mechanism stands in its block over the frames, two-way.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nhin.attention.registry import build
from nhin.decoding.ctc import greedy_decode
from nhin.image.preprocess import STRIDE
from nhin.image.render import Style, draw_glyphs
from nhin.layers.block import Block
from nhin.models.recognizer import RecognizerNet
from nhin.studies.compare.settings import scale_settings
from nhin.text.charset import Charset

LETTERS = "abcdehim"
MIN_LETTERS, MAX_LETTERS = 2, 4
HEIGHT, WIDTH = 16, 64
WORDS, TEST_WORDS = 2048, 256
_SIZE, _NOISE, _SEED = 15, 0.2, 17

WordPictures = NDArray[np.float32]
WordBatch = tuple[Tensor, list[list[int]]]


class WordsTask:
    """Reading words of a few letters; see ``SequenceTask`` for the attributes."""

    length = WIDTH // STRIDE
    chance = 0.0
    steps, batch, rate = 250, 32, 2e-2

    def build(self, mechanism: str) -> nn.Module:
        """Build the reader."""
        reader = RecognizerNet(
            Charset(LETTERS),
            backbone="tiny",
            height=HEIGHT,
            dim=32,
            depth=1,
            decoder_depth=0,
            heads=2,
            ctc=1.0,
        )
        for block in reader.encoder:
            assert isinstance(block, Block)
            attention, settings = block.attention, scale_settings(mechanism, self.length)
            sizes = {"heads": attention.heads, "head_dim": attention.head_dim}
            attention.mechanism = build(mechanism, **sizes, **settings)
        return reader

    def draw_batch(self, rng: np.random.Generator) -> WordBatch:
        """Draw a batch to train on."""
        pictures, texts = draw_words()
        chosen = rng.integers(WORDS - TEST_WORDS, size=self.batch)
        return torch.from_numpy(pictures[chosen]), [texts[index] for index in chosen]

    def loss(self, model: nn.Module, batch: WordBatch) -> Mapping[str, Tensor]:
        """Return the loss of the CTC head, and of a decoder that sees no picture."""
        assert isinstance(model, RecognizerNet)
        return model.loss(*batch)

    @torch.no_grad()
    def measure_accuracy(self, model: nn.Module) -> float:
        """Return the share of test words that are read without an error."""
        assert isinstance(model, RecognizerNet)
        pictures, texts = draw_words()
        frames = model.encode(torch.from_numpy(pictures[-TEST_WORDS:]))[1].numpy()
        return float(
            np.mean(
                [greedy_decode(one) == text for one, text in zip(frames, texts[-TEST_WORDS:], strict=True)]
            )
        )


@cache
def draw_words() -> tuple[WordPictures, list[list[int]]]:
    """Draw all words; return pictures (-1 to 1, words x 1 x height x width) and the ids of their letters."""
    import matplotlib

    face = str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")
    rng, charset = np.random.default_rng(_SEED), Charset(LETTERS)
    pictures, texts = np.full((WORDS, 1, HEIGHT, WIDTH), -1, np.float32), []
    for picture in pictures[:, 0]:
        text = "".join(rng.choice(list(LETTERS), rng.integers(MIN_LETTERS, MAX_LETTERS + 1)))
        mask, _ = draw_glyphs(text, Style(face, _SIZE))
        height, width = mask.shape
        top, left = rng.integers(HEIGHT - height + 1), rng.integers(WIDTH - width + 1)
        picture[top : top + height, left : left + width] += 2 * mask
        texts.append(charset.encode(text))
    return pictures + rng.normal(0, _NOISE, pictures.shape).astype(np.float32), texts
