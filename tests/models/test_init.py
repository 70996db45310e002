"""How weights begin: GPT-2's deviations, parts that add nothing, DeepNorm's gain."""

import math

import pytest
import torch
from torch.testing import assert_close

from nhin.layers.block import deepnorm
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT

CONFIG = {"depth": 8, "dim": 128, "heads": 4, "bias": True, "norm": "layer"}
feeds = pytest.mark.parametrize("experts", [0, 3])


def deviations(one):
    """Return the deviation of every matrix of a block, by what it is."""
    feed = one.mlp
    keys, values = one.attention.key_value.weight.chunk(2)
    widen, narrow = (getattr(x, "weight", x) for x in (feed.up_proj, feed.down_proj))
    found = {
        "query": one.attention.query.weight,
        "keys": keys,
        "values": values,
        "out": one.attention.out.weight,
        "widen": widen,
        "narrow": narrow,
    }
    return {name: x.std().item() for name, x in found.items()}


@feeds
def test_the_small_start_is_gpt_2s(experts):
    model = GPT(100, ModelConfig(**CONFIG, experts=experts))
    ends = 0.02 / math.sqrt(16)
    for one in model.blocks:
        for name, size in deviations(one).items():
            assert size == pytest.approx(ends if name in ("out", "narrow") else 0.02, rel=0.05)
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    assert len(biases) > 8
    assert not any(p.any() for p in biases)


@feeds
def test_the_zero_start_keeps_variance_and_adds_nothing(experts):
    model = GPT(100, ModelConfig(**CONFIG, experts=experts, init="zero", tie_embeddings=False))
    t = torch.randint(100, (2, 9))
    assert torch.equal(model.hidden(t), model.embed(t))
    assert not model.head.weight.any()
    assert_close(model.loss(t, t).get("nats", model.loss(t, t)["loss"]), torch.tensor(math.log(100)))
    sizes = deviations(model.blocks[3])
    assert sizes.pop("out") == sizes.pop("narrow") == 0.0
    assert all(size == pytest.approx(128**-0.5, rel=0.05) for size in sizes.values())


@feeds
@pytest.mark.parametrize("start", ["small", "zero"])
@pytest.mark.parametrize("feed", ["gelu", "swiglu"])
def test_deepnorm_is_xaviers_start_and_all_but_queries_and_keys_smaller(experts, start, feed):
    model = GPT(100, ModelConfig(**CONFIG, experts=experts, norm_order="deep", init=start, mlp=feed))
    alpha, gain = deepnorm(8)
    inner = 344 if feed == "swiglu" else 512
    for one in model.blocks:
        assert one.alpha == alpha
        for name, size in deviations(one).items():
            xavier = math.sqrt(2 / (128 + (inner if name in ("widen", "narrow") else 128)))
            assert size == pytest.approx(xavier * (1.0 if name in ("query", "keys") else gain), rel=0.05)


@pytest.mark.parametrize(
    "changes", [{}, {"norm_order": "deep"}, {"norm_order": "post"}, {"norm": "scale"}, {"experts": 3}]
)
@pytest.mark.parametrize("start", ["small", "zero"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_start_is_near_the_loss_of_a_guess(changes, start, tied):
    """Were it far, the first steps would go into unlearning the start."""
    model, t = (
        GPT(300, ModelConfig(depth=4, dim=64, init=start, tie_embeddings=tied, **changes)),
        torch.randint(300, (4, 33)),
    )
    parts = model.loss(t[:, :-1], t[:, 1:])
    assert abs(parts.get("nats", parts["loss"]) - math.log(300)) < 0.1


def test_one_seed_gives_one_start():
    made = []
    for _ in range(2):
        torch.manual_seed(5)
        made.append(GPT(20, ModelConfig(depth=2)).state_dict())
    assert all(torch.equal(x, made[1][name]) for name, x in made[0].items())
