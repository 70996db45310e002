"""GPT-2, Llama and Qwen read from a folder as their papers say, in numpy: what an export must mean."""

import json
from math import erf

import numpy as np
from safetensors.numpy import load_file


def answer(folder, ids):
    """Return the logits of a text, from config.json and model.safetensors alone."""
    config = json.loads((folder / "config.json").read_text())
    held = {name: value.astype(np.float64) for name, value in load_file(folder / "model.safetensors").items()}
    return {"gpt2": gpt2}.get(config["model_type"], llama)(config, held, ids)


def gpt2(config, held, ids):
    """Radford et al. 2019: x W + b everywhere, norms first."""
    eps, heads = config["layer_norm_epsilon"], config["n_head"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)
        return x * held[f"{name}.weight"] + held[f"{name}.bias"]

    def linear(x, name):
        return x @ held[f"{name}.weight"] + held[f"{name}.bias"]

    x = held["transformer.wte.weight"][ids] + held["transformer.wpe.weight"][: len(ids)]
    for layer in range(config["n_layer"]):
        here = f"transformer.h.{layer}"
        q, k, v = np.split(linear(norm(x, f"{here}.ln_1"), f"{here}.attn.c_attn"), 3, -1)
        x = x + linear(attend(q, k, v, heads, heads), f"{here}.attn.c_proj")
        wide = linear(norm(x, f"{here}.ln_2"), f"{here}.mlp.c_fc")
        x = x + linear(BENDS[config["activation_function"]](wide), f"{here}.mlp.c_proj")
    head = held["transformer.wte.weight"] if config["tie_word_embeddings"] else held["lm_head.weight"]
    return norm(x, "transformer.ln_f") @ head.T


def llama(config, held, ids):
    """Touvron et al. 2023: RMS norms, pairs (i, i + D/2) turned, SwiGLU; and what Qwen 2 and 3 add to it."""
    eps, heads, groups = config["rms_norm_eps"], config["num_attention_heads"], config["num_key_value_heads"]
    width = config["head_dim"]
    angles, scale = rope(config, width, len(ids))

    def norm(x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * held[f"{name}.weight"]

    def linear(x, name):
        return x @ held[f"{name}.weight"].T + held.get(f"{name}.bias", 0)

    def turn(x, name):
        x = x.reshape(len(ids), -1, width)
        x = norm(x, name) if f"{name}.weight" in held else x
        one, two = np.split(x, 2, -1)
        turned = (one + 1j * two) * np.exp(1j * angles[:, None]) * scale
        return np.concatenate([turned.real, turned.imag], -1).reshape(len(ids), -1)

    x = held["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        here = f"model.layers.{layer}"
        y = norm(x, f"{here}.input_layernorm")
        q, k, v = (linear(y, f"{here}.self_attn.{name}_proj") for name in "qkv")
        q, k = turn(q, f"{here}.self_attn.q_norm"), turn(k, f"{here}.self_attn.k_norm")
        x = x + linear(attend(q, k, v, heads, groups), f"{here}.self_attn.o_proj")
        y = norm(x, f"{here}.post_attention_layernorm")
        gate, up = (linear(y, f"{here}.mlp.{name}_proj") for name in ("gate", "up"))
        x = x + linear(gate / (1 + np.exp(-gate)) * up, f"{here}.mlp.down_proj")
    tied = config["tie_word_embeddings"]
    return norm(x, "model.norm") @ held["model.embed_tokens.weight" if tied else "lm_head.weight"].T


def rope(config, width, length):
    """Return the angle of each pair at each position, and the scale of queries and keys."""
    said = config.get("rope_scaling") or {}
    kind, factor = said.get("rope_type"), said.get("factor")
    trained, scale = said.get("original_max_position_embeddings", config["max_position_embeddings"]), 1.0
    pairs, base, places = np.arange(width // 2), config["rope_theta"], np.arange(length)[:, None]
    speeds = base ** (-2 * pairs / width)
    turns = trained * speeds / (2 * np.pi)
    if kind == "linear":
        speeds = speeds / factor
    elif kind == "dynamic":
        grown = base * np.maximum(1, factor * (places + 1) / trained - factor + 1) ** (width / (width - 2))
        speeds = grown ** (-2 * pairs / width)
    elif kind == "llama3":
        slow, fast = said["low_freq_factor"], said["high_freq_factor"]
        kept = np.clip((turns - slow) / (fast - slow), 0, 1)
        speeds = speeds * kept + speeds / factor * (1 - kept)
    elif kind == "yarn":
        low, high = (
            rounded(width * np.log(trained / (2 * np.pi * said[name])) / (2 * np.log(base)))
            for rounded, name in ((np.floor, "beta_fast"), (np.ceil, "beta_slow"))
        )
        low, high = max(low, 0), min(high, width - 1)
        kept = 1 - np.clip((pairs - low) / max(high - low, 0.001), 0, 1)
        speeds, scale = speeds * kept + speeds / factor * (1 - kept), said["attention_factor"]
    return places * speeds, scale


def attend(q, k, v, heads, groups):
    """Vaswani et al. 2017, causally; several heads may share a key."""
    length, width = len(q), q.shape[-1] // heads
    out = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        shared = slice(head * groups // heads * width, (head * groups // heads + 1) * width)
        scores = np.where(np.tri(length) > 0, q[:, own] @ k[:, shared].T / np.sqrt(width), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out.append(weights / weights.sum(-1, keepdims=True) @ v[:, shared])
    return np.concatenate(out, -1)


BENDS = {
    "gelu": lambda x: x / 2 * (1 + np.vectorize(erf)(x / np.sqrt(2))),
    "gelu_new": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
}
