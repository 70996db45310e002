"""Validation during training: the word accuracy of both heads on held-out crops."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nhin.data.images.datasets import Crop, open_crops
from nhin.decoding.ctc import greedy_decode
from nhin.image.preprocess import preprocess_crop, to_batch
from nhin.models.recognizer import RecognizerNet
from nhin.text.charset import EOS, PAD, SOS, Charset

_BATCH = 64
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Preprocessed crops with their labels, in batches of equal width."""

    batches: tuple[tuple[NDArray[np.float32], tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """Word accuracies (0 to 1) of both heads, and a few pairs (label, text of the CTC head)."""

    ctc: float
    decoder: float
    crops: int
    examples: tuple[tuple[str, str], ...]


def load_validation_set(data: Path | str, count: int, height: int) -> ValidationSet:
    """Load and preprocess up to ``count`` crops, spaced evenly over the set."""
    return make_validation_set(spread_evenly(open_crops(data), count), height)


def spread_evenly(crops: Sequence[Crop], count: int) -> list[Crop]:
    """Return up to ``count`` crops, spaced evenly over a set, from its first to its last."""
    return [crops[i] for i in np.linspace(0, len(crops) - 1, min(count, len(crops))).round().astype(int)]


def make_validation_set(crops: Sequence[Crop], height: int) -> ValidationSet:
    """Preprocess crops and group them by width."""
    by_width: dict[int, list[tuple[NDArray[np.uint8], str]]] = {}
    for crop in crops:
        pixels = preprocess_crop(crop.picture, height)
        by_width.setdefault(pixels.shape[1], []).append((pixels, crop.text))
    groups = [group[i : i + _BATCH] for group in by_width.values() for i in range(0, len(group), _BATCH)]
    return ValidationSet(
        tuple((to_batch([p for p, _ in group]), tuple(t for _, t in group)) for group in groups)
    )


@torch.no_grad()
def score_validation_set(model: RecognizerNet, crops: ValidationSet, charset: Charset) -> ValidationScores:
    """Score both heads on every crop.

    The decoder is given the label's previous characters; it predicts a whole word correctly exactly when
    greedy decoding would.
    """
    model.eval()
    device = next(model.parameters()).device
    correct = np.zeros(2, int)
    pairs: list[tuple[str, str]] = []
    for pictures, texts in crops.batches:
        tokens, encodable = _encode_texts(texts, charset)
        outputs = model(torch.from_numpy(pictures).to(device), tokens[:, :-1].to(device))
        frames, logits = (x.float().cpu() for x in outputs)
        targets = tokens[:, 1:]
        exact = ((logits.argmax(-1) == targets) | (targets == PAD)).all(1) & encodable
        read = [charset.decode(greedy_decode(row)) for row in frames.log_softmax(-1).numpy()]
        correct += sum(a == b for a, b in zip(read, texts, strict=True)), int(exact.sum())
        pairs += zip(texts, read, strict=True)
    count = max(1, len(pairs))
    shown = np.linspace(0, len(pairs) - 1, min(_EXAMPLES, len(pairs))).round().astype(int)
    examples = tuple(pairs[i] for i in shown)
    return ValidationScores(correct[0] / count, correct[1] / count, len(pairs), examples)


def _encode_texts(texts: tuple[str, ...], charset: Charset) -> tuple[Tensor, Tensor]:
    """Return padded token ids from SOS to EOS, and which texts the charset can encode."""
    longest = max(map(len, texts))
    rows = [[SOS, *charset.encode(t), EOS] + [PAD] * (longest - len(t)) for t in texts]
    return torch.tensor(rows), torch.tensor([not charset.missing_chars(t) for t in texts])
