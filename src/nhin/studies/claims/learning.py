"""Claims on what a network does at the start, and on how scores learn."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from nhin.attention.registry import build
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT
from nhin.studies.claims.claim import Bound, Measured, SourceClaim
from nhin.training.config import Recipe
from nhin.training.lr_schedule import LRSchedule
from nhin.training.small_models import SMALL_TRAINING, train_small_model

SEEDS = 5
_SYMBOLS, _LISTED, _BATCH, _STEPS, _TRAININGS = 64, 16, 32, 150, 6
_RATES = (3e-3, 3e-2)
_NO_CLIP = 1e9
NARROW, WIDE = 4, 128


def measure_first_loss() -> Measured:
    """Measure the loss of untrained models over the log of the vocabulary."""
    vocab, losses = 50257, []
    for seed in range(SEEDS):
        model, tokens = _new_model(vocab, seed)
        with torch.no_grad():
            losses.append(float(model.loss(tokens[:, :-1], tokens[:, 1:])["loss"]) / math.log(vocab))
    model, tokens = _new_model(vocab, 0)
    nn.init.normal_(model.embedding.weight)
    with torch.no_grad():
        wide = float(model.loss(tokens[:, :-1], tokens[:, 1:])["loss"]) / math.log(vocab)
    return losses, wide


def _new_model(vocab: int, seed: int) -> tuple[GPT, Tensor]:
    torch.manual_seed(seed)
    model = build_lm(vocab, ModelConfig(depth=1, dim=64, heads=1, context=32, positions="learned"))
    model.eval()
    return model, torch.randint(vocab, (2, 33))


def measure_first_weights() -> Measured:
    """Measure the entropy of untrained attention over its maximum."""
    shares = []
    for seed in range(SEEDS):
        model, tokens = _new_model(1000, seed)
        weights = model.explain(tokens[:, :32])[0]["weights"][..., 1:, :]
        entropy = -(weights * weights.clamp_min(1e-30).log()).sum(-1)
        shares.append(float((entropy / torch.arange(2, 33).log()).mean()))
    return (shares,)


def measure_scale() -> Measured:
    """Measure the spread of products of wide heads, and the gradient of a softmax over them."""
    variances, ratios = [], []
    for seed in range(SEEDS):
        random = torch.Generator().manual_seed(seed)
        q, k = torch.randn(2, 512, 512, generator=random, dtype=torch.float64)
        products = q[:, None].mul(k[:64]).sum(-1)
        variances.append(float(products.var()) / 512)
        norms = [_softmax_gradient(products * scale) for scale in (1.0, 512**-0.5)]
        ratios.append(norms[0] / norms[1])
    return variances, ratios


def _softmax_gradient(logits: Tensor) -> float:
    """Return the norm of the Jacobian of a softmax, the median over rows."""
    p = logits.softmax(-1)
    jacobian = torch.diag_embed(p) - p[..., None] * p[..., None, :]
    return float(jacobian.flatten(-2).norm(dim=-1).median())


class _Retrieval(nn.Module):
    """Finds the partner of a symbol among listed ones: embeddings and one score."""

    def __init__(self, mechanism: str, head_dim: int) -> None:
        super().__init__()
        self.queries, self.keys = (nn.Embedding(_SYMBOLS, head_dim) for _ in range(2))
        self.attention = build(mechanism, heads=1, head_dim=head_dim)

    def forward(self, symbols: Tensor, listed: Tensor) -> Tensor:
        """Return the weight of every listed symbol."""
        q, k = self.queries(symbols)[:, None, None], self.keys(listed)[:, :, None]
        return self.attention.weights(q, k)[:, 0, 0]


@lru_cache(maxsize=256)
def train_retrieval(mechanism: str, head_dim: int, seed: int) -> float:
    """Return the last nats of the partner's weight, at the better of two rates."""
    return min(_train_retrieval(mechanism, head_dim, seed, rate) for rate in _RATES)


def _train_retrieval(mechanism: str, head_dim: int, seed: int, rate: float) -> float:
    schedule = LRSchedule(rate=rate, steps=_STEPS, warmup=0, shape="constant")
    training = replace(SMALL_TRAINING, grad_clip=_NO_CLIP)
    _, nats = train_small_model(
        Recipe(seed, schedule, training),
        lambda: _Retrieval(mechanism, head_dim),
        lambda model: torch.optim.Adam(model.parameters(), lr=rate),
        _partner_nats,
        _draw_partners(seed),
    )
    return math.fsum(nats[-20:]) / 20


def _draw_partners(seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield symbols, lists that hold the partner of each, and its place there."""
    random = torch.Generator().manual_seed(seed)
    partner = torch.randperm(_SYMBOLS, generator=random)
    while True:
        listed = torch.rand(_BATCH, _SYMBOLS, generator=random).argsort(-1)[:, :_LISTED]
        place = torch.randint(_LISTED, (_BATCH,), generator=random)
        yield partner[listed[torch.arange(_BATCH), place]], listed, place


def _partner_nats(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    symbols, listed, place = batch
    weights = model(symbols, listed)[torch.arange(len(place)), place]
    return {"loss": -weights.clamp_min(1e-12).log().mean()}


def measure_additive() -> Measured:
    """Measure what additive scores gain over dot products, by width."""
    figures: list[Sequence[float]] = []
    for width in (NARROW, WIDE):
        nats = {
            name: [train_retrieval(name, width, seed) for seed in range(_TRAININGS)]
            for name in ("additive", "dot", "softmax")
        }
        figures += [_subtract(nats["dot"], nats["additive"]), _subtract(nats["softmax"], nats["additive"])]
    return figures


def _subtract(one: Sequence[float], two: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(one, two, strict=True)]


_START, _SCORES = "The start of training", "Scores"
_TRANSFORMER = "Vaswani et al. 2017, arXiv:1706.03762, sec. 3.2.1"
CLAIMS = (
    SourceClaim(
        "first-loss",
        _START,
        "An untrained language model has a loss of ln V, V being the size of its vocabulary.",
        "the source report's ladder of language models",
        (Bound("loss over ln 50,257", 0.99, 1.01), Bound("the same with embeddings of size 1")),
        measure_first_loss,
        "one block of width 64, tied head, embeddings of size 0.02, 5 seeds",
    ),
    SourceClaim(
        "first-weights",
        _START,
        "With random weights attention is nearly uniform.",
        "the source report's ladder of language models",
        (Bound("entropy over that of equal weights", 0.98, 1.0),),
        measure_first_weights,
        "one head, 32 positions, 5 seeds",
    ),
    SourceClaim(
        "scale-gradient",
        _SCORES,
        (
            "Products of wide heads spread by sqrt(D), and without the scale the gradient of the "
            "softmax vanishes."
        ),
        _TRANSFORMER,
        (
            Bound("variance of q.k over D", 0.9, 1.1),
            Bound("gradient without the scale over that with it", high=0.1),
        ),
        measure_scale,
        "D = 512, 64 keys, normal q and k; median norm of the softmax's Jacobian; 5 seeds",
    ),
    SourceClaim(
        "additive-scores",
        _SCORES,
        (
            "Additive scores learn at least as well as dot products in narrow heads, so in small models, "
            "and better than unscaled ones in wide heads."
        ),
        f"{_TRANSFORMER}; Britz et al. 2017, arXiv:1703.03906; the source report",
        (
            Bound("nats gained over dot at width 4", low=0.0),
            Bound("over scaled dot at width 4", low=0.0),
            Bound("over dot at width 128", low=0.0),
            Bound("over scaled dot at width 128"),
        ),
        measure_additive,
        (
            "find the partner of one of 64 symbols among 16; 150 steps of 32, the better of two rates "
            "each, 6 seeds"
        ),
    ),
)
