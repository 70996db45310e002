"""A network that reads bars: a bar's height is its letter."""

import numpy as np

from nhin.decoding import ctc
from nhin.image.preprocess import HEIGHT, STRIDE
from nhin.text.charset import EOS, Charset

LETTERS = Charset("abcdefg")
BAR = 12


class Bars:
    """Reads bars: each frame's darkness is its letter, white is blank; the decoder writes the same."""

    def __init__(self, wrong: str = "") -> None:
        self.wrong = LETTERS.encode(wrong)
        self.batches: list[int] = []

    def encode(self, pictures):
        self.batches.append(len(pictures))
        dark = (1 - pictures[:, 0]).mean(1) / 2
        dark = dark.reshape(len(pictures), -1, STRIDE).mean(2)
        classes = np.where(dark < 0.08, ctc.BLANK, 3 + np.clip(np.round(dark * 8), 1, 7)).astype(int)
        probs = np.full((*classes.shape, len(LETTERS)), 0.02 / len(LETTERS), dtype=np.float32)
        np.put_along_axis(probs, classes[..., None], 0.98, axis=-1)
        return classes[..., None].astype(np.float32), np.log(probs)

    def decode(self, memory, tokens):
        out = np.zeros((*tokens.shape, len(LETTERS)), dtype=np.float32)
        for row, classes in enumerate(memory[..., 0].astype(int)):
            first = np.concatenate(([True], classes[1:] != classes[:-1]))
            ids = self.wrong or [i for i in classes[first] if i]
            for t in range(tokens.shape[1]):
                out[row, t, ids[t] if t < len(ids) else EOS] = 6.0 - 0.1 * len(ids)
        return out


def bars(text: str):
    """Draw text for ``Bars``, white before, between and after."""
    picture = np.full((HEIGHT, BAR * (2 * len(text) + 1), 3), 255, dtype=np.uint8)
    for place, letter in enumerate(text):
        left = BAR * (2 * place + 1)
        picture[: HEIGHT * (LETTERS.encode(letter)[0] - 3) // 8, left : left + BAR] = 0
    return picture
