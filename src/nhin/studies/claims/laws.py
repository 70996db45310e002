"""Claims that are laws of a formula: checked in float64 on random inputs."""

import math

import torch
from torch import Tensor

from nhin.attention.bias.alibi import ALiBi
from nhin.attention.positions.interpolation import Interpolation
from nhin.attention.positions.ntk import NTK
from nhin.attention.positions.rotary import Rotary
from nhin.attention.positions.sinusoidal import sinusoidal
from nhin.attention.positions.yarn import YaRN
from nhin.attention.registry import build
from nhin.bench.recorder import OpRecorder
from nhin.layers.head_conversion import convert_heads
from nhin.layers.moe import MixtureOfExperts
from nhin.layers.multihead import MultiHead
from nhin.studies.claims.claim import Bound, Measured, SourceClaim

SEEDS = 5
ROUNDING = 1e-10


def draw_heads(seed: int, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw queries, keys and values, (B T H D), in float64."""
    random = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(*shape, generator=random, dtype=torch.float64) for _ in range(3))
    return q, k, v


def measure_row_sums() -> Measured:
    """Measure sums and signs of softmax weights."""
    sums, least = [], []
    for seed in range(SEEDS):
        q, k, _ = draw_heads(seed, 2, 33, 4, 16)
        weights = build("softmax").weights(3 * q, k, causal=True)
        sums.append(float((weights.sum(-1) - 1).abs().max()))
        least.append(float(weights.min()))
    return max(sums), min(least)


def measure_causality() -> Measured:
    """Measure what a later token changes before it."""
    q, k, v = draw_heads(0, 1, 24, 2, 16)
    later = [torch.cat([x[:, :12], draw_heads(1, 1, 12, 2, 16)[0]], 1) for x in (q, k, v)]
    change = build("softmax")(q, k, v, causal=True) - build("softmax")(*later, causal=True)
    return float(change[:, :12].abs().max()), float(change[:, 12:].abs().max())


def measure_permutation() -> Measured:
    """Measure how a layer answers to permuted tokens, without and with positions."""
    errors = []
    for rotary in (False, True):
        torch.manual_seed(0)
        layer = MultiHead(32, 4, rotary=rotary).double()
        x, order = draw_heads(0, 1, 20, 32)[0], torch.randperm(20)
        with torch.no_grad():
            errors.append(float((layer(x[:, order]) - layer(x)[:, order]).abs().max() / layer(x).abs().max()))
    return errors


def measure_online_softmax() -> Measured:
    """Measure outputs and gradients of tiles against those of the table."""
    worst = [0.0, 0.0]
    for seed in range(SEEDS):
        inputs = [x.requires_grad_() for x in draw_heads(seed, 2, 65, 2, 16)]
        outs = [
            build(name, **blocks)(*inputs, causal=True)
            for name, blocks in (("naive", {}), ("flash", {"query_block": 16, "key_block": 7}))
        ]
        grads = [torch.autograd.grad(out.square().sum(), inputs) for out in outs]
        worst[0] = max(worst[0], float((outs[0] - outs[1]).detach().abs().max()))
        worst[1] = max(worst[1], *(float((a - b).abs().max()) for a, b in zip(*grads, strict=True)))
    return worst


def measure_linear_forms() -> Measured:
    """Measure the parallel, chunked and recurrent forms against each other."""
    q, k, v = draw_heads(0, 1, 70, 2, 16)
    linear = build("linear", chunk=16)
    table = torch.einsum("bhts,bshd->bthd", linear.weights(q, k, causal=True), v)
    state, steps = torch.zeros(1, 2, 16, 17, dtype=torch.float64), []
    phi_q, phi_k = (torch.nn.functional.elu(x) + 1 for x in (q, k))
    ones = torch.cat([v, torch.ones_like(v[..., :1])], -1)
    for t in range(70):
        state = state + torch.einsum("bhd,bhe->bhde", phi_k[:, t], ones[:, t])
        mixed = torch.einsum("bhd,bhde->bhe", phi_q[:, t], state)
        steps.append(mixed[..., :-1] / mixed[..., -1:])
    out = linear(q, k, v, causal=True)
    return float((out - table).abs().max()), float((out - torch.stack(steps, 1)).abs().max())


def measure_rope_distance() -> Measured:
    """Measure how much scores change when query and key move together."""
    rotary, worst = Rotary(64, context=8192), 0.0
    for seed in range(SEEDS):
        q, k, _ = draw_heads(seed, 1, 1, 1, 64)
        scores = [
            (rotary(q, start=shift + 300) * rotary(k, start=shift)).sum() for shift in (0, 1, 100, 4000, 7000)
        ]
        size = float(q.norm() * k.norm())
        worst = max(worst, float((torch.stack(scores) - scores[0]).abs().max()) / size)
    return (worst,)


def measure_rope_decay() -> Measured:
    """Measure how the bound on a score falls with the distance, as in the paper's figure 2."""
    angles = Rotary(128).angles(torch.arange(257, dtype=torch.float64))
    partial = torch.polar(torch.ones_like(angles), angles).cumsum(-1).abs().mean(-1)
    near, far = partial[1:9].mean(), partial[249:257].mean()
    ranks = partial[1:].argsort().argsort().double()
    order = torch.corrcoef(torch.stack([ranks, torch.arange(256.0, dtype=torch.float64)]))[0, 1]
    return float(far / near), float(order)


def measure_extensions() -> Measured:
    """Measure the angles of stretched rotary positions against those of training."""
    trained, factor, settings = 1000, 4.0, {"base": 10000.0, "context": 8}
    last = torch.tensor([factor * trained], dtype=torch.float64)
    plain = Rotary(64, **settings).angles(last)[0]
    even = Interpolation(64, factor=factor, **settings).angles(last)[0] / plain
    ntk = NTK(64, factor=factor, **settings).angles(last)[0] / plain
    yarn = YaRN(64, factor=factor, trained=trained, **settings).angles(last)[0] / plain
    ends = [ntk[0], ntk[-1], yarn[0], yarn[-1]]
    return float(even.max()), *(float(end) for end in ends)


def measure_alibi() -> Measured:
    """Measure the slopes and whether biases are linear in the distance."""
    alibi = ALiBi(8)
    bias = alibi.bias(torch.arange(0, 4096)).double()
    curve = (bias[:, 2:] - 2 * bias[:, 1:-1] + bias[:, :-2]).abs().max()
    slopes = -bias[:, 1]
    powers = torch.tensor([2.0**-i for i in range(1, 9)], dtype=torch.float64)
    return (
        float(curve),
        float((slopes - powers).abs().max()),
        float(sum(p.numel() for p in alibi.parameters())),
    )


def measure_sinusoidal() -> Measured:
    """Measure whether a rotation of each sine with its cosine moves every position by k."""
    table, shift = sinusoidal(512, 64).double(), 17
    angle = Rotary(64).angles(torch.tensor([shift], dtype=torch.float64))[0]
    sine, cosine = table[:-shift, ::2], table[:-shift, 1::2]
    moved = torch.stack(
        [sine * angle.cos() + cosine * angle.sin(), cosine * angle.cos() - sine * angle.sin()], -1
    )
    return (float((moved.flatten(1) - table[shift:]).abs().max()),)


def measure_head_cost() -> Measured:
    """Count the operations of eight heads of an eighth of the width, and of one whole head."""
    flops = []
    for heads in (8, 1):
        layer, x = MultiHead(256, heads, mechanism="naive"), torch.randn(1, 256, 256)
        with torch.no_grad(), OpRecorder() as ops:
            layer(x)
        flops.append(ops.flops)
    return (flops[0] / flops[1],)


def measure_conversion() -> Measured:
    """Measure what averaging keys and values over groups changes where they are equal, and where not."""
    torch.manual_seed(0)
    changes, x = [], draw_heads(0, 1, 16, 64)[0]
    for is_equal in (True, False):
        full, grouped = MultiHead(64, 8).double(), MultiHead(64, 8, kv_heads=2).double()
        if is_equal:
            with torch.no_grad():
                heads = full.key_value.weight.view(2, 2, 4, 8, 64)
                heads.copy_(heads[:, :, :1].expand_as(heads).clone())
        grouped.load_state_dict(convert_heads(full.state_dict(), 2, heads=8))
        with torch.no_grad():
            changes.append(float((full(x) - grouped(x)).norm() / full(x).norm()))
    return changes


def measure_balance_loss() -> Measured:
    """Measure the balance loss of gates that are even, and of gates that choose one expert."""
    losses = []
    for gates in (torch.eye(8) * 50, torch.eye(8)[:1].expand(8, 8) * 50):
        experts = MixtureOfExperts(8, 8, top_k=1)
        with torch.no_grad():
            experts.router.weight.copy_(torch.eye(8))
            experts(gates)
        assert experts.balance_loss is not None
        losses.append(float(experts.balance_loss))
    return losses


def measure_dispersal() -> Measured:
    """Measure the weight of one key whose logit is larger by a constant, as keys are added."""
    weights = [
        [float(torch.tensor([4.0] + [0.0] * (n - 1), dtype=torch.float64).softmax(0)[0])]
        for n in (2**10, 2**17)
    ]
    slope = math.log2(weights[1][0] / weights[0][0]) / 7
    spread = []
    for seed in range(SEEDS):
        logits = torch.randn(2**17, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        entropies = [-(p * p.log()).sum() for p in (logits[:n].softmax(0) for n in (2**10, 2**17))]
        spread.append(float(entropies[1] - entropies[0]) / math.log(2**7))
    return slope, spread


_TRANSFORMER, _ROPE = "Vaswani et al. 2017, arXiv:1706.03762", "Su et al. 2021, arXiv:2104.09864"
_LAWS = "Laws of the formulas"
_POSITIONS = "Positions"
CLAIMS = (
    SourceClaim(
        "row-sums",
        _LAWS,
        "Softmax weights are never negative, and those of a query sum to one.",
        f"{_TRANSFORMER}, sec. 3.2.1",
        (Bound("largest distance of a sum from 1", high=ROUNDING), Bound("smallest weight", low=0.0)),
        measure_row_sums,
        "causal, 33 positions, 5 seeds",
    ),
    SourceClaim(
        "causal-mask",
        _LAWS,
        "A causal mask keeps predictions from depending on later tokens.",
        f"{_TRANSFORMER}, sec. 3.1",
        (Bound("change before a new token", high=ROUNDING), Bound("change after it")),
        measure_causality,
        "the last 12 of 24 tokens replaced",
    ),
    SourceClaim(
        "permutation",
        _LAWS,
        "Without positions attention does not know the order of its input.",
        f"{_TRANSFORMER}, sec. 3.5",
        (Bound("relative change without positions", high=ROUNDING), Bound("with rotary positions", low=0.01)),
        measure_permutation,
        "self-attention of permuted tokens",
    ),
    SourceClaim(
        "online-softmax",
        _LAWS,
        "FlashAttention is exact: tiles give the output of the whole table.",
        "Dao et al. 2022, arXiv:2205.14135, theorem 1",
        (Bound("largest difference of outputs", high=ROUNDING), Bound("of gradients", high=ROUNDING)),
        measure_online_softmax,
        "tiles of 16 x 7, causal, 5 seeds",
    ),
    SourceClaim(
        "linear-forms",
        _LAWS,
        "Linear attention is an RNN: table, chunks and state are one function.",
        "Katharopoulos et al. 2020, arXiv:2006.16236, sec. 3.4",
        (Bound("chunks against the table", high=ROUNDING), Bound("chunks against the state", high=ROUNDING)),
        measure_linear_forms,
        "70 positions, chunks of 16",
    ),
    SourceClaim(
        "head-cost",
        _LAWS,
        "Several narrow heads cost about as much as one head of full width.",
        f"{_TRANSFORMER}, sec. 3.2.2",
        (Bound("operations, 8 heads over 1", 0.99, 1.01),),
        measure_head_cost,
        "width 256, 256 positions, products counted",
    ),
    SourceClaim(
        "gqa-conversion",
        _LAWS,
        "A multi-head checkpoint becomes grouped-query by averaging the heads of a group.",
        "Ainslie et al. 2023, arXiv:2305.13245, sec. 2.1",
        (Bound("relative change, equal heads in a group", high=ROUNDING), Bound("random heads")),
        measure_conversion,
        "8 heads to 2; heads that differ need further training, as the paper says",
    ),
    SourceClaim(
        "balance-loss",
        _LAWS,
        "The balance loss is 1 where experts are used evenly, and as large as their number where one is.",
        "Fedus et al. 2021, arXiv:2101.03961, eq. (4)",
        (Bound("even", 0.999, 1.001), Bound("one of 8 experts", 7.99, 8.01)),
        measure_balance_loss,
        "8 experts, one per token",
    ),
    SourceClaim(
        "dispersal",
        _LAWS,
        "With bounded logits a softmax cannot stay sharp as the context grows.",
        "Peng et al. 2023, arXiv:2309.00071, sec. 3.4; Veličković et al. 2024, arXiv:2410.01104",
        (
            Bound("exponent of the largest weight over keys", -1.05, -0.95),
            Bound("growth of the entropy over that of log n", 0.95, 1.05),
        ),
        measure_dispersal,
        "1,024 and 131,072 keys; one logit 4 above the others; normal logits, 5 seeds",
    ),
    SourceClaim(
        "sinusoidal-shift",
        _POSITIONS,
        "The sines and cosines of position p + k are a linear function of those of p.",
        f"{_TRANSFORMER}, sec. 3.5",
        (Bound("largest error of one matrix", high=1e-5),),
        measure_sinusoidal,
        "k = 17, 512 positions, width 64, table in float32",
    ),
    SourceClaim(
        "rope-distance",
        _POSITIONS,
        "Scores of rotated queries and keys depend on their distance only.",
        f"{_ROPE}, eq. (16)",
        (Bound("largest change of a score over the norms", high=1e-5),),
        measure_rope_distance,
        "distance 300, shifts up to 7,000, tables in float32, 5 seeds",
    ),
    SourceClaim(
        "rope-decay",
        _POSITIONS,
        "Rotary positions let the score fall with the distance.",
        f"{_ROPE}, sec. 3.4.3, fig. 2",
        (
            Bound("the bound at distances 249-256 over that at 1-8", high=0.75),
            Bound("rank correlation with the distance", high=-0.5),
        ),
        measure_rope_decay,
        "the paper's upper bound of a score, D = 128",
    ),
    SourceClaim(
        "stretched-angles",
        _POSITIONS,
        (
            "Interpolation brings all angles into the trained range; NTK and YaRN leave the fast "
            "pairs and slow down the slow ones."
        ),
        "arXiv:2306.15595, eq. (3); arXiv:2309.00071, sec. 3.1-3.2",
        (
            Bound("interpolation", 0.2499, 0.2501),
            Bound("NTK, fastest pair", 0.9999, 1.0001),
            Bound("NTK, slowest pair", 0.2499, 0.2501),
            Bound("YaRN, fastest pair", 0.9999, 1.0001),
            Bound("YaRN, slowest pair", 0.2499, 0.2501),
        ),
        measure_extensions,
        "angle over that of plain rotary positions, factor 4",
    ),
    SourceClaim(
        "alibi-line",
        _POSITIONS,
        "ALiBi adds a line in the distance with slopes 1/2 to 1/256 for 8 heads, and no parameters.",
        "Press et al. 2021, arXiv:2108.12409, sec. 3",
        (
            Bound("curvature", high=1e-4),
            Bound("distance of the slopes from powers of 2", high=1e-9),
            Bound("parameters", high=0.0),
        ),
        measure_alibi,
        "distances up to 4,095",
    ),
)
