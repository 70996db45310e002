"""Rotary positions and T5's buckets agree with libraries written by others, where these are installed.

They are no dependency: `make oracles` installs them, else these tests are skipped.

Differences that are meant: the centre of xPos is fixed here and the middle of each text there, which cancels
in scores; dynamic NTK turns a place by the length reached there, which is what theirs does token by token.
"""

import math

import pytest
import torch
from torch.testing import assert_close

from nhin.attention.bias.t5 import T5
from nhin.attention.positions import Rotary, XPos
from nhin.attention.positions.dynamic_ntk import DynamicNTK
from nhin.attention.positions.interpolation import Interpolation
from nhin.attention.positions.llama3 import Llama3Rotary
from nhin.attention.positions.rotary_interleaved import rotary_interleaved
from nhin.attention.positions.yarn import YaRN

pytestmark = pytest.mark.filterwarnings("ignore")
D, LENGTH = 16, 40


def scores(q, k):
    return torch.einsum("bthd,bshd->bhts", q, k)


def by_head(x):
    return x.transpose(1, 2)


def heads():
    torch.manual_seed(0)
    return torch.randn(2, 2, LENGTH, 3, D)


def test_interleaved_and_interpolated_are_those_of_rotary_embedding_torch():
    theirs = pytest.importorskip("rotary_embedding_torch")
    q, _ = heads()
    plain, squeezed = (theirs.RotaryEmbedding(D, interpolate_factor=f) for f in (1.0, 4.0))
    assert_close(rotary_interleaved(D)(q), by_head(plain.rotate_queries_or_keys(by_head(q))))
    ours = Interpolation(D, pairs="interleaved", factor=4.0)
    assert_close(ours(q), by_head(squeezed.rotate_queries_or_keys(by_head(q))), atol=1e-5, rtol=1e-5)
    assert (Rotary(D)(q) - rotary_interleaved(D)(q)).abs().max() > 0.1, "the conventions are told apart"


def test_xpos_is_that_of_rotary_embedding_torch_in_scores():
    theirs = pytest.importorskip("rotary_embedding_torch").RotaryEmbedding(D, use_xpos=True)
    q, k = heads()
    want = scores(*map(by_head, theirs.rotate_queries_and_keys(by_head(q), by_head(k))))
    assert_close(scores(*XPos(D, pairs="interleaved").rotate_qk(q, k)), want, atol=1e-4, rtol=1e-4)


def hugging_face(kind, **settings):
    """Return cosines and sines by place, as their LLaMA makes them."""
    pytest.importorskip("transformers")
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = LlamaConfig(
        hidden_size=3 * D,
        num_attention_heads=3,
        max_position_embeddings=settings.pop("trained", 2048),
        rope_parameters={"rope_type": kind, "rope_theta": 10000.0, **settings},
    )

    def turn(x, start=0):
        module = LlamaRotaryEmbedding(config)
        places = torch.arange(start, start + x.shape[1])[None]
        turned, _ = apply_rotary_pos_emb(by_head(x), by_head(x), *module(x, places))
        return by_head(turned)

    return turn


@pytest.mark.parametrize(
    ("ours", "kind", "theirs"),
    [
        (Rotary(D), "default", {}),
        (Interpolation(D, factor=4.0), "linear", {"factor": 4.0}),
        (
            YaRN(D, factor=8.0, trained=512),
            "yarn",
            {"factor": 8.0, "original_max_position_embeddings": 512, "trained": 4096},
        ),
        (
            Llama3Rotary(D, factor=8.0, trained=512),
            "llama3",
            {
                "factor": 8.0,
                "original_max_position_embeddings": 512,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
            },
        ),
        (DynamicNTK(D, trained=64, factor=2.0), "dynamic", {"factor": 2.0, "trained": 64}),
    ],
)
def test_halves_linear_yarn_and_llama3_are_those_of_hugging_face(ours, kind, theirs):
    q, _ = heads()
    assert_close(ours(q), hugging_face(kind, **theirs)(q), atol=1e-5, rtol=1e-5)


def test_dynamic_ntk_is_that_of_hugging_face_token_by_token():
    turn = hugging_face("dynamic", factor=2.0, trained=16)
    q, _ = heads()
    steps = [turn(q[:, i : i + 1], start=i) for i in range(LENGTH)]
    ours = DynamicNTK(D, trained=16, factor=2.0)(q)
    assert_close(ours, torch.cat(steps, 1), atol=1e-4, rtol=1e-4)
    assert (turn(q) - torch.cat(steps, 1)).abs().max() > 0.1, "their whole pass is not their steps"


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (16, 40), (64, 500)])
def test_t5_buckets_are_those_of_hugging_face(two_sided, buckets, distance):
    """Save where their float32 logarithm falls on the wrong side of a border: then by one."""
    pytest.importorskip("transformers")
    from transformers.models.t5.modeling_t5 import T5Attention

    gaps = torch.arange(-600, 601)
    theirs = T5Attention._relative_position_bucket(-gaps, two_sided, buckets, distance)
    ours = T5(1, buckets, distance, two_sided=two_sided).bucket_of(gaps)
    unlike = (ours != theirs).nonzero().flatten()
    exact = buckets // (4 if two_sided else 2)
    wide = buckets // (2 if two_sided else 1) - exact
    for i in unlike:
        share = math.log(gaps[i].abs() / exact) / math.log(distance / exact) * wide
        assert abs(share - round(share)) < 1e-5
