"""Llama's layout: RMS norms, rotary positions in halves, SwiGLU, grouped heads, no bias.

Our gate stands before what it lets through in one matrix, keys before values in another; there each has its
own.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nhin.errors import UsageError
from nhin.layers.feedforward import inner_width
from nhin.lm.huggingface.config import Config
from nhin.lm.huggingface.layout import Layout, Weights, in_the_way
from nhin.models.design import Design

EPS = torch.finfo(torch.float32).eps  # of torch's RMS norm that was given none
BASE = 10000.0
MOST_ANGLES = 2**30  # every layer has a table of them
_SAME = {
    "norm": "input_layernorm",
    "feed_norm": "post_attention_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.out": "self_attn.o_proj",
    "feed.narrow": "mlp.down_proj",
}
_HALVES = {
    "attention.key_value": ("self_attn.k_proj", "self_attn.v_proj"),
    "feed.widen": ("mlp.gate_proj", "mlp.up_proj"),
}


def obstacles(design: Design) -> Iterator[str]:
    """Say what of a design Llama does not have."""
    wanted: dict[str, tuple[object, ...]] = {
        "norm": ("rms",),
        "positions": ("rotary",),
        "feed": ("swiglu",),
        "bias": (False,),
    }
    yield from in_the_way(design, wanted)
    for name, value in design.position.items():
        if (name, value) != ("pairs", "half") and name not in ("base", "context"):
            yield f"position has {name} = {value!r}"


def config(design: Design) -> dict[str, Any]:
    """Return the config.json of a design."""
    dim, heads, base = design.dim or 0, design.heads or 1, float(design.position.get("base", BASE))
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": dim,
        "intermediate_size": design.inner or inner_width(dim, design.expand, design.feed),
        "num_hidden_layers": design.depth,
        "num_attention_heads": heads,
        "num_key_value_heads": design.kv_heads,
        "head_dim": dim // heads,
        "max_position_embeddings": design.context,
        "hidden_act": "silu",
        "rms_norm_eps": design.eps or EPS,
        # The one is what transformers read before version 5, the other since.
        "rope_theta": base,
        "rope_parameters": {"rope_type": "default", "rope_theta": base},
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": design.tied,
    }


def design(told: Config) -> Design:
    """Return the design that a config.json describes.

    Raises:
        UsageError: It asks for what nhin does not have; the message names it.
        CheckpointError: A value makes no sense.
    """
    told.refuse({"hidden_act": ["silu", "swish"], "attention_bias": [False], "mlp_bias": [False]})
    dim, heads = told.whole("hidden_size", 4096), told.whole("num_attention_heads", 32)
    told.refuse({"head_dim": [dim // heads]})
    depth, context = told.whole("num_hidden_layers", 32), told.whole("max_position_embeddings", 2048)
    if depth * context * dim // heads > MOST_ANGLES:
        raise UsageError(
            f"max_position_embeddings is {context}: angles of so many places would take gigabytes"
        )
    inner, eps, base = told.whole("intermediate_size", 11008), told.number("rms_norm_eps", 1e-6), _base(told)
    return Design(
        depth=depth,
        dim=dim,
        heads=heads,
        kv_heads=told.whole("num_key_value_heads", heads),
        context=context,
        position={} if base == BASE else {"base": base},
        eps=None if eps == EPS else eps,
        feed="swiglu",
        inner=None if inner == inner_width(dim, 4, "swiglu") else inner,
        tied=told.yes("tie_word_embeddings", False),
    )


def _base(told: Config) -> float:
    """Return the base of plain rotary positions, wherever this version keeps it."""
    turned = told.number("rope_theta", BASE)
    for name in ("rope_scaling", "rope_parameters"):
        part = told.part(name)
        part.refuse(
            {
                "rope_type": ["default"],
                "type": ["default"],
                "partial_rotary_factor": [1.0, 1],
                "factor": [1.0, 1],
            }
        )
        turned = part.number("rope_theta", turned)
    return turned


def outward(ours: Weights, design: Design) -> dict[str, Tensor]:
    """Return our weights by Llama's names."""
    theirs = {
        "model.embed_tokens.weight": ours["embedding.weight"],
        "model.norm.weight": ours["norm.weight"],
    }
    if not design.tied:
        theirs["lm_head.weight"] = ours["head.weight"]
    for layer in range(design.depth):
        here, there = f"blocks.{layer}", f"model.layers.{layer}"
        for name, other in _SAME.items():
            theirs[f"{there}.{other}.weight"] = ours[f"{here}.{name}.weight"]
        for name, others in _HALVES.items():
            for other, half in zip(others, ours[f"{here}.{name}.weight"].chunk(2), strict=True):
                theirs[f"{there}.{other}.weight"] = half
    return theirs


def inward(theirs: Weights, design: Design) -> dict[str, Tensor]:
    """Return Llama's weights by our names."""
    ours = {
        "embedding.weight": theirs["model.embed_tokens.weight"],
        "norm.weight": theirs["model.norm.weight"],
    }
    if not design.tied:
        ours["head.weight"] = theirs["lm_head.weight"]
    for layer in range(design.depth):
        here, there = f"blocks.{layer}", f"model.layers.{layer}"
        for name, other in _SAME.items():
            ours[f"{here}.{name}.weight"] = theirs[f"{there}.{other}.weight"]
        for name, others in _HALVES.items():
            ours[f"{here}.{name}.weight"] = torch.cat([theirs[f"{there}.{other}.weight"] for other in others])
    return ours


LLAMA = Layout("llama", obstacles, config, design, outward, inward, (".rotary_emb.inv_freq",))
