"""How well a network in training reads held-out crops, in seconds: both heads, whole words only."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nhin.data.images.datasets import open_crops
from nhin.decoding.ctc import greedy_decode
from nhin.image.preprocess import preprocess_crop, to_batch
from nhin.models.recognizer import RecognizerNet
from nhin.text.charset import EOS, PAD, SOS, Charset

_BATCH = 64
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Held-out crops, fitted, in batches of one width each."""

    batches: tuple[tuple[NDArray[np.float32], tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """Shares (0 to 1) of words read exactly by each head, and a few (label, reading of the CTC head)."""

    ctc: float
    decoder: float
    crops: int
    examples: tuple[tuple[str, str], ...]


def load_validation_set(data: Path | str, count: int, height: int) -> ValidationSet:
    """Fit up to ``count`` crops, taken evenly from the whole set."""
    crops = open_crops(data)
    indices = np.linspace(0, len(crops) - 1, min(count, len(crops))).round().astype(int)
    by_width: dict[int, list[tuple[NDArray[np.uint8], str]]] = {}
    for i in indices:
        fitted = preprocess_crop(crops[i].picture, height)
        by_width.setdefault(fitted.shape[1], []).append((fitted, crops[i].text))
    groups = [group[i : i + _BATCH] for group in by_width.values() for i in range(0, len(group), _BATCH)]
    return ValidationSet(
        tuple((to_batch([p for p, _ in group]), tuple(t for _, t in group)) for group in groups)
    )


@torch.no_grad()
def score_validation_set(model: RecognizerNet, crops: ValidationSet, charset: Charset) -> ValidationScores:
    """Read every crop with both heads.

    The decoder sees the right letters so far: it has the whole word right exactly when it would have
    written it letter by letter on its own.
    """
    model.eval()
    right = np.zeros(2, int)
    pairs: list[tuple[str, str]] = []
    for pictures, texts in crops.batches:
        tokens, knowable = _encode_texts(texts, charset)
        drafts, logits = model(torch.from_numpy(pictures), tokens[:, :-1])
        wanted = tokens[:, 1:]
        good = ((logits.argmax(-1) == wanted) | (wanted == PAD)).all(1) & knowable
        read = [charset.decode(greedy_decode(frames)) for frames in drafts.float().log_softmax(-1).numpy()]
        right += sum(a == b for a, b in zip(read, texts, strict=True)), int(good.sum())
        pairs += zip(texts, read, strict=True)
    count = max(1, len(pairs))
    shown = tuple(
        pairs[i] for i in np.linspace(0, len(pairs) - 1, min(_EXAMPLES, len(pairs))).round().astype(int)
    )
    return ValidationScores(right[0] / count, right[1] / count, len(pairs), shown)


def _encode_texts(texts: tuple[str, ...], charset: Charset) -> tuple[Tensor, Tensor]:
    """Return SOS, letters, EOS, padding; and which texts the charset can write at all."""
    longest = max(map(len, texts))
    rows = [[SOS, *charset.encode(t), EOS] + [PAD] * (longest - len(t)) for t in texts]
    return torch.tensor(rows), torch.tensor([not charset.missing_chars(t) for t in texts])
