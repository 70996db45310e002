"""Bands agree with libraries written by others; `make oracles` installs them, else these tests are skipped.

``local-attention`` (lucidrains): in its exact mode, a window of W sees W keys before the query's own and so
W + 1 in all; ours sees W, so ours is asked for one more. Its looking both ways is as far on either side.
Lengths must be whole windows there. ``x-transformers``: its plain attention, with the drawn band as a mask.
"""

import pytest
import torch
from torch.testing import assert_close

from nhin.attention.masks import dense_mask
from nhin.attention.registry import build


def inputs(length, heads=3, d=8):
    torch.manual_seed(length)
    return [torch.randn(2, length, heads, d, requires_grad=True) for _ in range(3)]


def by_head(x):
    return x.transpose(1, 2)


def agree(out, want, given):
    assert_close(out, want, atol=2e-6, rtol=1e-5)
    gradients = (torch.autograd.grad(x.sin().sum(), given) for x in (out, want))
    for got, expected in zip(*gradients, strict=True):
        assert_close(got, expected, atol=5e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("length", "window"), [(96, 8), (128, 16), (64, 64)])
def test_local_attention_in_its_exact_mode_is_a_window_of_one_more(length, window, causal):
    theirs = pytest.importorskip("local_attention").LocalAttention(
        window_size=window,
        causal=causal,
        look_forward=0 if causal else 1,
        exact_windowsize=True,
        autopad=False,
        use_rotary_pos_emb=False,
        dropout=0.0,
    )
    given = inputs(length)
    want = by_head(theirs(*(by_head(x) for x in given)))
    agree(build("window", window=window + 1)(*given, causal=causal), want, given)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("window", {"window": 9}),
        ("dilated", {"window": 5, "dilation": 3}),
        ("sinks", {"window": 7, "sinks": 4}),
        ("longformer", {"window": 7, "global_tokens": 3}),
    ],
)
def test_the_drawn_band_as_a_mask_in_x_transformers_is_the_band(name, settings, causal):
    attend = pytest.importorskip("x_transformers.attend").Attend(flash=False, causal=False)
    made = build(name, **settings)
    given = inputs(150)
    mask = dense_mask(made.pattern, 150, 150, causal=causal)[None, None].expand(2, 1, -1, -1)
    want, _ = attend(*(by_head(x) for x in given), mask=mask)
    agree(made(*given, causal=causal), by_head(want), given)
