"""GPT-2's layout: the classic block with layer norms, learned positions and biases.

Its matrices stand the other way round than a linear layer's, queries, keys and values in one. A bias that our
design does not have is zeros there.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nhin.lm.huggingface.config import Config
from nhin.lm.huggingface.layout import Layout, Weights, in_the_way
from nhin.models.design import Design

EPS = 1e-5  # of torch's layer norm too
_BENDS = {"gelu": "gelu", "gelu-tanh": "gelu_new", "relu2": "relu2"}
_KNOWN = {theirs: ours for ours, theirs in _BENDS.items()} | {"gelu_pytorch_tanh": "gelu-tanh"}
_WIDE = {"attention.out": "attn.c_proj", "feed.widen": "mlp.c_fc", "feed.narrow": "mlp.c_proj"}
_NORMS = {"norm": "ln_1", "feed_norm": "ln_2"}


def obstacles(design: Design) -> Iterator[str]:
    """Say what of a design GPT-2 does not have."""
    wanted: dict[str, tuple[object, ...]] = {
        "norm": ("layer",),
        "positions": ("learned",),
        "feed": tuple(_BENDS),
    }
    yield from in_the_way(design, wanted)
    if design.kv_heads != design.heads:
        yield f"kv_heads is {design.kv_heads}, not {design.heads}, the number of heads"


def config(design: Design) -> dict[str, Any]:
    """Return the config.json of a design."""
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": design.dim,
        "n_layer": design.depth,
        "n_head": design.heads,
        "n_positions": design.context,
        "n_inner": design.inner or design.expand * (design.dim or 0),
        "activation_function": _BENDS[design.feed],
        "layer_norm_epsilon": design.eps or EPS,
        "embd_pdrop": design.dropout,
        "resid_pdrop": design.dropout,
        "attn_pdrop": 0.0,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": design.tied,
    }


def design(told: Config) -> Design:
    """Return the design that a config.json describes.

    Raises:
        UsageError: It asks for what nhin does not have; the message names it.
        CheckpointError: A value makes no sense.
    """
    told.refuse(
        {
            "scale_attn_weights": [True],
            "scale_attn_by_inverse_layer_idx": [False],
            "add_cross_attention": [False],
        }
    )
    dim, eps = told.whole("n_embd", 768), told.number("layer_norm_epsilon", EPS)
    inner = told.whole("n_inner", 4 * dim)
    return Design(
        depth=told.whole("n_layer", 12),
        dim=dim,
        heads=told.whole("n_head", 12),
        context=told.whole("n_positions", 1024),
        positions="learned",
        norm="layer",
        eps=None if eps == EPS else eps,
        feed=told.one_of("activation_function", _KNOWN, "gelu_new"),  # pyright: ignore[reportArgumentType]
        inner=None if inner == 4 * dim else inner,
        bias=True,
        tied=told.yes("tie_word_embeddings", True),
        dropout=told.share("resid_pdrop", 0.1),
    )


def outward(ours: Weights, design: Design) -> dict[str, Tensor]:
    """Return our weights by GPT-2's names."""
    theirs = {
        "transformer.wte.weight": ours["embedding.weight"],
        "transformer.wpe.weight": ours["positions.table"],
        "transformer.ln_f.weight": ours["norm.weight"],
        "transformer.ln_f.bias": ours["norm.bias"],
    }
    if not design.tied:
        theirs["lm_head.weight"] = ours["head.weight"]
    for layer in range(design.depth):
        here, there = f"blocks.{layer}", f"transformer.h.{layer}"
        for name, other in _NORMS.items():
            for kind in ("weight", "bias"):
                theirs[f"{there}.{other}.{kind}"] = ours[f"{here}.{name}.{kind}"]
        looks = [_linear(ours, f"{here}.attention.{name}") for name in ("query", "key_value")]
        theirs[f"{there}.attn.c_attn.weight"] = torch.cat([weight for weight, _ in looks], 1)
        theirs[f"{there}.attn.c_attn.bias"] = torch.cat([bias for _, bias in looks])
        for name, other in _WIDE.items():
            weight, bias = _linear(ours, f"{here}.{name}")
            theirs |= {f"{there}.{other}.weight": weight, f"{there}.{other}.bias": bias}
    return theirs


def inward(theirs: Weights, design: Design) -> dict[str, Tensor]:
    """Return GPT-2's weights by our names; the design has a bias everywhere."""
    ours = {
        "embedding.weight": theirs["transformer.wte.weight"],
        "positions.table": theirs["transformer.wpe.weight"],
        "norm.weight": theirs["transformer.ln_f.weight"],
        "norm.bias": theirs["transformer.ln_f.bias"],
    }
    if not design.tied:
        ours["head.weight"] = theirs["lm_head.weight"]
    dim = design.dim or 0
    for layer in range(design.depth):
        here, there = f"blocks.{layer}", f"transformer.h.{layer}"
        for name, other in _NORMS.items():
            for kind in ("weight", "bias"):
                ours[f"{here}.{name}.{kind}"] = theirs[f"{there}.{other}.{kind}"]
        weight, bias = (theirs[f"{there}.attn.c_attn.{kind}"] for kind in ("weight", "bias"))
        for name, place in (("query", slice(dim)), ("key_value", slice(dim, None))):
            ours[f"{here}.attention.{name}.weight"] = weight[:, place].T
            ours[f"{here}.attention.{name}.bias"] = bias[place]
        for name, other in _WIDE.items():
            ours[f"{here}.{name}.weight"] = theirs[f"{there}.{other}.weight"].T
            ours[f"{here}.{name}.bias"] = theirs[f"{there}.{other}.bias"]
    return ours


def _linear(ours: Weights, name: str) -> tuple[Tensor, Tensor]:
    """Return a linear layer as GPT-2 has it: turned, and with a bias."""
    weight = ours[f"{name}.weight"]
    bias = ours.get(f"{name}.bias")
    return weight.T, weight.new_zeros(weight.shape[0]) if bias is None else bias


GPT2 = Layout("gpt2", obstacles, config, design, outward, inward, (".attn.bias", ".attn.masked_bias"))
