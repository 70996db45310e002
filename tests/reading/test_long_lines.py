"""Laws of reading lines wider than a window, with a network that reads bars: a bar's height is its letter."""

import numpy as np
import pytest
from bars import BAR, LETTERS, Bars, bars

from nhin.decoding import ctc
from nhin.reading import line_windows
from nhin.reading.long_lines import MAX_ASPECT
from nhin.reading.recognizer import MODES, Recognizer
from nhin.text.charset import EOS, Charset


class Follower(Bars):
    """Continues what it sees from where the prefix is in it, however the window cuts its edges."""

    def decode(self, memory, tokens):
        out = np.zeros((*tokens.shape, len(LETTERS)), dtype=np.float32)
        for row, classes in enumerate(memory[..., 0].astype(int)):
            first = np.concatenate(([True], classes[1:] != classes[:-1]))
            ids = [int(i) for i in classes[first] if i]
            for t in range(tokens.shape[1]):
                prefix = tokens[row, 1 : t + 1].tolist()
                starts = (o for o in (0, 1) if ids[o : o + t] == prefix)
                at = next(starts, 0) + t
                out[row, t, ids[at] if at < len(ids) else EOS] = 8.0
        return out


def random_text(length: int) -> str:
    """Draw letters; neighbors differ, or a window cut through one would not say which it shows."""
    steps = np.random.default_rng(length).integers(1, 7, length)
    return "".join("abcdefg"[i] for i in np.cumsum(steps) % 7)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [13, 14, 33, 34, 60, 75, 140, 400])
def test_a_line_of_any_length_is_read_letter_for_letter(mode, length):
    text = random_text(length)
    crop = bars(text)
    assert crop.shape[1] > MAX_ASPECT * crop.shape[0]
    reading = Recognizer(Follower(), LETTERS, mode=mode).read([crop])[0]
    assert reading.text == text
    for place, char in enumerate(reading.chars):
        assert char.left < BAR * (2 * place + 1.5) < char.right
    edges = [edge for char in reading.chars for edge in (char.left, char.right)]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= crop.shape[1]


def test_a_wide_gap_writes_no_space():
    spaced = Charset("abcdefg ")
    crop = bars("abcdefgabcdefgabcd")
    wide = np.concatenate([crop, np.full((40, 36, 3), 255, np.uint8), crop], axis=1)

    class Spaced(Bars):
        def encode(self, pictures):
            memory, log_probs = super().encode(pictures)
            return memory, np.pad(log_probs, ((0, 0), (0, 0), (0, 1)), constant_values=-20.0)

    assert Recognizer(Spaced(), spaced, mode="fast").read([wide])[0].text == 2 * "abcdefgabcdefgabcd"


@pytest.mark.parametrize("mode", ["both", "fast"])
def test_long_lines_read_the_same_alone_and_in_a_batch(mode):
    crops = [bars(random_text(length)) for length in (5, 20, 50, 51, 90)]
    reader = Recognizer(Follower(), LETTERS, mode=mode)
    assert reader.read(crops) == [reader.read([crop])[0] for crop in crops]


def test_spans_are_in_the_pixels_of_a_long_crop():
    small = bars(random_text(60))
    large = small.repeat(2, axis=0).repeat(2, axis=1)
    reader = Recognizer(Follower(), LETTERS)
    for a, b in zip(reader.read([small])[0].chars, reader.read([large])[0].chars, strict=True):
        assert b.left == pytest.approx(2 * a.left)
        assert b.right == pytest.approx(2 * a.right)


@pytest.mark.parametrize(
    "shape", [(40, 321), (40, 800), (40, 801), (20, 900), (3, 4000), (1, 2000), (40, 9000)]
)
def test_windows_cover_a_line_are_equally_wide_and_overlap(shape):
    crop = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    windows = line_windows.cut_windows(crop)
    widths = {picture.shape for picture in windows.pictures}
    (height, width) = widths.pop()
    assert not widths
    assert height == 40
    assert width % 16 == 0
    assert width <= 40 * line_windows.MAX_WINDOW
    steps = np.diff(windows.starts) * 4
    assert windows.starts[0] == 0
    assert all(width - step >= 40 * line_windows.MIN_OVERLAP - 4 for step in steps)
    assert windows.starts[-1] * 4 + width >= windows.width - 2
    assert windows.width == round(shape[1] * 40 / shape[0])


def test_the_cut_lies_in_a_blank_where_both_windows_agree():
    def frames(classes):
        out = np.full((len(classes), 6), -9.0)
        out[np.arange(len(classes)), classes] = 0.0
        return out

    left = frames([0, 4, 0, 0, 5, 0, 0, 4, 0, 0, 0, 3])  # its last letter is a part of one
    right = frames([3, 0, 5, 5, 0, 0, 4, 0, 0, 0, 5, 0])  # and so is the first here
    start, cut, stop = line_windows.find_cuts([left, right], [0, 3])
    assert (start, stop) == (0, 15)
    whole = np.concatenate([left[:cut], right[cut - 3 :]])
    assert ctc.find_runs(whole)[0] in ([4, 5, 4, 5], [4, 5, 4, 4, 5])
