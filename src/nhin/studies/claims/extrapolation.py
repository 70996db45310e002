"""Claims on texts longer than those of training: small models trained on 64 characters and read at 256."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from nhin.data.text.sources import open_python_library
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT
from nhin.studies.claims.claim import Bound, Measured, SourceClaim
from nhin.training.config import Recipe
from nhin.training.lr_schedule import LRSchedule
from nhin.training.optimizers import build_adamw
from nhin.training.small_models import SMALL_TRAINING, train_small_model

SEEDS, STEPS, BATCH, TRAINED, FACTOR = 5, 300, 16, 64, 4
LONG = FACTOR * TRAINED
_RATE = 3e-3
_VOCAB, _CHARACTERS, _HELD_OUT = 128, 2_000_000, 40 * LONG
_CONFIG = ModelConfig(depth=2, dim=64, heads=2, context=TRAINED)
_STRETCHED = {
    "interpolation": {"factor": float(FACTOR)},
    "ntk": {"factor": float(FACTOR)},
    "dynamic-ntk": {"trained": TRAINED},
    "yarn": {"factor": float(FACTOR), "trained": TRAINED},
}


@lru_cache(maxsize=1)
def read_characters() -> Tensor:
    """Return the first ASCII characters of Python's own library, as numbers."""
    pieces: list[bytes] = []
    size = 0
    for document in open_python_library().documents():
        for piece in document:
            pieces.append(piece.encode("ascii", "ignore"))
            size += len(pieces[-1])
        if size >= _CHARACTERS:
            break
    return torch.frombuffer(bytearray(b"".join(pieces)[:_CHARACTERS]), dtype=torch.uint8).long()


@lru_cache(maxsize=32)
def train_model(positions: str, seed: int) -> GPT:
    """Train a model on texts of the trained length."""
    schedule = LRSchedule(rate=_RATE, steps=STEPS, warmup=40, decay=0.5, floor=0.0)
    model, _ = train_small_model(
        Recipe(seed, schedule, SMALL_TRAINING),
        lambda: build_lm(_VOCAB, replace(_CONFIG, positions=positions)),
        lambda model: build_adamw(model, _RATE, weight_decay=0.01),
        _compute_loss,
        _draw_batches(seed),
    )
    assert isinstance(model, GPT)
    return model


def _compute_loss(model: nn.Module, batch: Tensor) -> Mapping[str, Tensor]:
    assert isinstance(model, GPT)
    return model.loss(batch[:, :-1], batch[:, 1:])


def _draw_batches(seed: int) -> Iterator[Tensor]:
    text = read_characters()[:-_HELD_OUT]
    random = torch.Generator().manual_seed(seed)
    offsets = torch.arange(TRAINED + 1)
    while True:
        starts = torch.randint(len(text) - TRAINED, (BATCH, 1), generator=random)
        yield text[starts + offsets]


def count_nats(positions: str, seed: int, length: int, stretched: str | None = None) -> float:
    """Return nats per character of held-out texts of a length, read with other positions if given."""
    config = replace(_CONFIG, context=length, positions=stretched or positions)
    model = build_lm(_VOCAB, replace(config, position=_STRETCHED.get(stretched or "", {})))
    model.load_state_dict(train_model(positions, seed).state_dict())
    windows = read_characters()[-_HELD_OUT:].unfold(0, length, length)
    with torch.no_grad():
        return float(model.eval().loss(windows[:, :-1], windows[:, 1:])["loss"])


def measure_longer(positions: str) -> tuple[list[float], list[float]]:
    """Measure how many nats a model loses at four times its trained length."""
    return (
        [count_nats(positions, seed, LONG) - count_nats(positions, seed, TRAINED) for seed in range(SEEDS)],
        [count_nats(positions, seed, TRAINED) for seed in range(SEEDS)],
    )


def measure_stretched(stretched: str) -> Measured:
    """Measure what stretched rotary positions gain at four times the trained length."""
    plain, better, short = (
        [count_nats("rotary", seed, length, name) for seed in range(SEEDS)]
        for length, name in ((LONG, None), (LONG, stretched), (TRAINED, None))
    )
    gains = [a - b for a, b in zip(plain, better, strict=True)]
    return gains, [a - b for a, b in zip(better, short, strict=True)]


def measure_xpos() -> Measured:
    """Measure xPos against rotary positions at four times the trained length."""
    gains = [count_nats("rotary", seed, LONG) - count_nats("xpos", seed, LONG) for seed in range(SEEDS)]
    return gains, measure_longer("xpos")[0]


_LONGER = "Longer texts than those of training"
_HOW = (
    f"characters of Python's library, depth 2, width 64, {STEPS} steps of {BATCH} texts of {TRAINED}, "
    f"read at {LONG}; {SEEDS} seeds"
)
_GAIN, _LOSS = "nats gained over plain rotary positions at 256", "nats lost, 256 against 64"


def _stretched_claim(name: str, says: str, source: str) -> SourceClaim:
    bounds = (Bound(_GAIN, low=0.0), Bound(_LOSS, high=0.1))
    how = f"{_HOW}, without further training"
    measure = partial(measure_stretched, name)
    return SourceClaim(f"extend-{name}", _LONGER, says, source, bounds, measure, how)


CLAIMS = (
    SourceClaim(
        "rope-extrapolation",
        _LONGER,
        "Rotary positions fail beyond the trained length.",
        "Press et al. 2021, arXiv:2108.12409, fig. 1; Chen et al. 2023, arXiv:2306.15595, sec. 2.2",
        (Bound(_LOSS, low=0.0), Bound("nats at 64")),
        partial(measure_longer, "rotary"),
        _HOW,
    ),
    SourceClaim(
        "alibi-extrapolation",
        _LONGER,
        "With ALiBi a model trained short reads long texts no worse.",
        "Press et al. 2021, arXiv:2108.12409, sec. 4",
        (Bound(_LOSS, high=0.01), Bound("nats at 64")),
        partial(measure_longer, "alibi"),
        _HOW,
    ),
    SourceClaim(
        "xpos-extrapolation",
        _LONGER,
        "xPos extrapolates better than rotary positions.",
        "Sun et al. 2022, arXiv:2212.10554, sec. 4",
        (Bound(_GAIN, low=0.0), Bound(_LOSS, high=0.1)),
        measure_xpos,
        _HOW,
    ),
    _stretched_claim(
        "interpolation",
        "Interpolated positions extend a rotary model far better than none.",
        "Chen et al. 2023, arXiv:2306.15595, sec. 3",
    ),
    _stretched_claim(
        "ntk",
        "NTK-aware positions extend a rotary model without further training.",
        "arXiv:2309.00071, sec. 3.1",
    ),
    _stretched_claim(
        "dynamic-ntk",
        "Dynamic NTK extends a rotary model without further training.",
        "arXiv:2309.00071, sec. 3.3",
    ),
    _stretched_claim(
        "yarn",
        "YaRN extends a rotary model, also without further training.",
        "Peng et al. 2023, arXiv:2309.00071, sec. 3.4",
    ),
)
