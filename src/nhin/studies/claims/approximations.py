"""Claims on approximations of softmax attention: their error on random inputs, over seeds."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nhin.attention.linear.performer import Performer
from nhin.attention.lsh.lsh import LSH
from nhin.attention.registry import build
from nhin.metrics.statistics import fit_line
from nhin.studies.claims.claim import Bound, Measured, SourceClaim

SEEDS = 8
_WIDTH, _KEYS = 32, 128


def draw(seed: int, keys: int = _KEYS, size: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Draw queries, keys and values of one head, (1 T 1 D), in float64."""
    random = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(1, keys, 1, _WIDTH, generator=random, dtype=torch.float64) for _ in range(3))
    return size * q, size * k, v


def relative_error(approximate: Tensor, exact: Tensor) -> float:
    """Return the norm of the difference over that of the exact one."""
    return float((approximate - exact).norm() / exact.norm())


def fit_power(sizes: Sequence[int], errors: Sequence[float]) -> float:
    """Return p of error ~ size^p."""
    return fit_line([math.log2(n) for n in sizes], [math.log2(error) for error in errors]).slope


def _performer_error(features: int, seed: int, is_orthogonal: bool = True) -> float:
    """Return the relative error of the estimated exp(q . k), all pairs."""
    performer = Performer(_WIDTH, features, seed=1000 * seed + features)
    if not is_orthogonal:
        random = torch.Generator().manual_seed(seed)
        performer.projection = torch.randn(_WIDTH, features, generator=random, dtype=torch.float64)
    q, k, _ = draw(seed, size=0.5)
    kernel = (performer.project(q)[0, :, 0].exp() @ performer.project(k)[0, :, 0].exp().T) / features
    return relative_error(kernel, (q[0, :, 0] @ k[0, :, 0].T / math.sqrt(_WIDTH)).exp())


def measure_performer() -> Measured:
    """Measure how the error falls with the features."""
    sizes = (64, 256, 1024, 4096)
    return ([fit_power(sizes, [_performer_error(m, seed) for m in sizes]) for seed in range(SEEDS)],)


def measure_orthogonal() -> Measured:
    """Measure orthogonal features against independent ones."""
    pairs = [[_performer_error(_WIDTH, seed, kind) for kind in (True, False)] for seed in range(16 * SEEDS)]
    return ([math.log(a / b) for a, b in pairs],)


def measure_lsh() -> Measured:
    """Measure how often a query shares a bucket with its nearest key, and with any."""
    found: dict[int, list[float]] = {1: [], 4: [], 8: []}
    others = []
    for seed in range(SEEDS):
        _, k, noise = draw(seed, 512)
        q = k + 0.5 * noise
        for rounds, shares in found.items():
            lsh = LSH(_WIDTH, buckets=16, rounds=rounds, seed=seed)
            of_queries, of_keys = (lsh.hash_buckets(x)[:, 0, :, 0] for x in (q, k))
            same = (of_queries[:, :, None] == of_keys[:, None]).any(0)
            shares.append(float(same.diagonal().double().mean()))
            if rounds == 1:
                others.append(float(same.double().mean()))
    return found[1], others, found[4], found[8]


def measure_nystrom() -> Measured:
    """Measure the error by the number of landmarks, on sequences whose neighbors are alike."""
    errors: dict[int, list[float]] = {16: [], 64: [], 256: []}
    for seed in range(SEEDS):
        q, k, v = (_smooth(x) for x in draw(seed, 256))
        exact = build("softmax")(q, k, v)
        for landmarks, values in errors.items():
            steps = 20 if landmarks == len(q[0]) else 6
            nystrom = build("nystromformer", landmarks=landmarks, iterations=steps)
            values.append(relative_error(nystrom(q, k, v), exact))
    falls = [math.log(few / many) for few, many in zip(errors[16], errors[64], strict=True)]
    return errors[16], errors[64], falls, errors[256]


def _smooth(x: Tensor) -> Tensor:
    """Average over 16 positions and give the result the former size."""
    kernel = torch.ones(1, 1, 16, dtype=x.dtype) / 4.0
    rows = torch.nn.functional.pad(x[0, :, 0].T[:, None], (15, 0), mode="circular")
    return torch.nn.functional.conv1d(rows, kernel)[:, 0].T[None, :, None]


def measure_linformer() -> Measured:
    """Measure the error of weights and values projected at random, by rank and by length."""
    ranks, lengths = (64, 256, 1024), (256, 1024, 2048)
    by_rank, by_length = [], []
    for seed in range(SEEDS):
        by_rank.append(fit_power(ranks, [_projection_error(512, rank, seed) for rank in ranks]))
        by_length.append(fit_power(lengths, [_projection_error(n, 256, seed) for n in lengths]))
    return by_rank, by_length


def _projection_error(keys: int, rank: int, seed: int) -> float:
    """Return the error of P R R^T V beside the product of norms of P's rows and V's columns."""
    q, k, v = draw(seed, keys)
    weights = build("softmax").weights(q[:, :64], k)[0, 0]
    values = v[0, :, 0]
    random = torch.Generator().manual_seed(seed + 1)
    r = torch.randn(keys, rank, generator=random, dtype=torch.float64) / math.sqrt(rank)
    error = (weights @ r) @ (r.T @ values) - weights @ values
    return float((error / weights.norm(dim=1)[:, None] / values.norm(dim=0)).square().mean().sqrt())


_NEAR = "Approximations"
CLAIMS = (
    SourceClaim(
        "performer-error",
        _NEAR,
        "The error of FAVOR+ falls as one over the root of the number of features.",
        "Choromanski et al. 2020, arXiv:2009.14794, lemma 2 and theorem 4",
        (Bound("exponent", -0.6, -0.4),),
        measure_performer,
        "estimated exp(q.k), 64 to 4,096 features, 128 keys of width 32, 8 seeds",
    ),
    SourceClaim(
        "performer-orthogonal",
        _NEAR,
        "Orthogonal features are more accurate than independent ones.",
        "arXiv:2009.14794, theorem 2",
        (Bound("log of the error's ratio", high=0.0),),
        measure_orthogonal,
        "32 features of width 32, 128 seeds",
    ),
    SourceClaim(
        "lsh-neighbors",
        _NEAR,
        (
            "Hashing finds the near keys: they share a bucket often, others rarely, and several "
            "rounds miss few."
        ),
        "Kitaev et al. 2020, arXiv:2001.04451, sec. 2",
        (
            Bound("nearest key found, 1 round", low=0.3),
            Bound("any key in the bucket, 1 round", high=0.1),
            Bound("nearest, 4 rounds", low=0.8),
            Bound("nearest, 8 rounds", low=0.9),
        ),
        measure_lsh,
        "512 keys of width 32, queries at half their size from a key, 16 buckets, 8 seeds",
    ),
    SourceClaim(
        "nystrom-error",
        _NEAR,
        "Landmarks approximate softmax: more of them do so better, all of them exactly.",
        "Xiong et al. 2021, arXiv:2102.03902, sec. 3",
        (
            Bound("relative error, 16 landmarks"),
            Bound("64 landmarks", high=0.2),
            Bound("log of 16's error over 64's", low=0.0),
            Bound("256 landmarks, as many as keys", high=0.01),
        ),
        measure_nystrom,
        "256 positions, each like its neighbors; 6 steps to the inverse, 20 where it is exact; 8 seeds",
    ),
    SourceClaim(
        "linformer-rank",
        _NEAR,
        (
            "A projection to few mixtures keeps the product of weights and values; the rank that this "
            "takes does not grow with the length."
        ),
        "Wang et al. 2020, arXiv:2006.04768, theorem 2",
        (Bound("exponent of the error over the rank", -0.6, -0.4), Bound("over the length", -0.1, 0.1)),
        measure_linformer,
        "random projections; error beside the norms of both; ranks 64 to 1,024, 256 to 2,048 keys",
    ),
)
