"""A small reader that answers something short, and crops it sees differently."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nhin.config import to_dict
from nhin.image.preprocess import preprocess_crop, to_batch
from nhin.models.recognizer import RecognizerNet
from nhin.ocr.export import export
from nhin.ocr.recipe import OCRRecipe, build_model, load_model
from nhin.text.charset import PAD, VIETNAMESE
from nhin.training.checkpoint import Checkpoint, save

# Without misread letters: what is learnt by heart shall not hang on which were misread last.
RECIPE = OCRRecipe(
    model={"backbone": "tiny", "dim": 32, "depth": 1, "decoder_depth": 1, "heads": 2, "token_noise": 0.0}
)
WORDS = "phở bún chả cơm xôi chè 25.000đ BÁNH MÌ nước".split()


def small_reader(seed: int = 0, steps: int = 100) -> RecognizerNet:
    """Build a reader that learnt a few words by heart: its answers are short, sure and differ."""
    torch.manual_seed(seed)
    model = build_model(RECIPE)
    pictures = torch.from_numpy(to_batch([preprocess_crop(stroked(60, 40, i)) for i in range(len(WORDS))]))
    texts = [VIETNAMESE.encode(word) for word in WORDS]
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(pictures, texts)["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        # CTC learns slower than the decoder; it shall not call unknown crops blank.
        assert model.ctc_head.bias is not None
        model.ctc_head.bias[PAD] -= 4.0
    return model.eval()


def stroked(width: int, height: int, seed: int) -> np.ndarray:
    """Draw a crop of random strokes."""
    rng = np.random.default_rng([seed, width, height])
    crop = np.full((height, width, 3), rng.integers(150, 256, 3), dtype=np.uint8)
    for _ in range(6):
        top, left = int(rng.integers(height - 6)), int(rng.integers(width - 6))
        bottom, right = top + int(rng.integers(2, height)), left + int(rng.integers(2, 9))
        crop[top:bottom, left:right] = rng.integers(90)
    return crop


def some_crops(count: int, seed: int = 0) -> list[np.ndarray]:
    """Draw crops of many sizes: one tall, one wide, half of them known to the small reader."""
    rng = np.random.default_rng(seed)
    others = [(int(rng.integers(20, 90)), int(rng.integers(12, 60))) for _ in range(count)]
    known = [stroked(60, 40, i % len(WORDS)) for i in range(count)]
    crops = [stroked(20, 48, 0), stroked(150, 20, 0)]
    for i, size in enumerate(others):
        crops += [known[i], stroked(*size, seed)]
    return crops[:count]


def save_checkpoint(folder, model: RecognizerNet):
    """Save a reader as training does."""
    weights = model.state_dict()
    values = {"recipe": to_dict(RECIPE), "charset": {"chars": VIETNAMESE.chars}}
    save(folder, Checkpoint({"model": weights, "ema": weights}, values))
    return folder


@pytest.fixture(scope="session")
def small():
    """Return the makers above: ``reader``, ``crops``."""
    return SimpleNamespace(reader=small_reader, crops=some_crops)


@pytest.fixture(scope="session")
def crops() -> Sequence[np.ndarray]:
    return some_crops(40)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Return the folder of a run whose checkpoint is a small reader."""
    folder = tmp_path_factory.mktemp("runs")
    save_checkpoint(folder / "checkpoint", small_reader())
    return folder


@pytest.fixture(scope="session")
def pair(tmp_path_factory, run, crops):
    """Return the folder of the run's export, and the torch model as it was exported."""
    folder = tmp_path_factory.mktemp("weights") / "nhỏ xíu"
    model, charset, recipe = load_model(run / "checkpoint")
    done = export(model, charset, folder, crops[:12], notes={"name": "tiny", "recipe": to_dict(recipe)})
    assert done.crops == 12
    return folder, model
