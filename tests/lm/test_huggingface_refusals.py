"""Folders in Hugging Face's formats that nhin does not support, or that are damaged: one line each."""

import json
import os
import shutil
import struct

import pytest
import torch
from exports import DESIGNS, first, made, tensors
from safetensors.torch import load_file, save_file

from nhin.cli.app import main
from nhin.lm.huggingface.export import export_folder


def refused(exported, tmp_path, change, capsys):
    """Change a copy of an export, try to import it, and return the one line that is said."""
    place = tmp_path / "there"
    shutil.copytree(exported[1], place)
    change(place)
    code = main(["import", str(place), "--out", str(tmp_path / "run")])
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert not (tmp_path / "run").exists()
    return code, captured.err


def config(**values):
    def change(place):
        path = place / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def rename(name, other):
    return lambda place: (place / name).rename(place / other)


def write(name, data):
    return lambda place: (place / name).write_bytes(data)


def index(place, **placed):
    (place / "model.safetensors").rename(place / "part.safetensors")
    names = dict.fromkeys(load_file(place / "part.safetensors"), "part.safetensors")
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names | placed}))


def doubled(place):
    """Store one tensor by its full name and by its bare one."""
    held = load_file(place / "model.safetensors")
    save_file(held | {first(held).partition(".")[2]: held[first(held)] + 1}, place / "model.safetensors")


def no_file(place):
    """Put a pipe, which would wait forever, where a shard should be."""
    index(place)
    (place / "part.safetensors").unlink()
    os.mkfifo(place / "part.safetensors")


def lying(place):
    """Claim a tensor far larger than the file."""
    head = json.dumps({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    (place / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (config(model_type="bert"), 2, "no model_type named 'bert'; known: gpt2, llama"),
        (
            config(quantization_config={"bits": 4}),
            2,
            "nhin does not know 'quantization_config' (an object of 1)",
        ),
        (config(auto_map={"AutoModel": "code.Model"}), 2, "nhin does not know 'auto_map'"),
        (config(vocab_size=7), 2, "vocab_size is 7, but the tokenizer has 20 tokens"),
        (config(vocab_size="many"), 4, "vocab_size is 'many'; a whole number"),
        (config(tie_word_embeddings="yes"), 4, "tie_word_embeddings is 'yes'; true or false"),
        (rename("config.json", "x.json"), 4, "cannot read"),
        (write("config.json", b"{"), 4, "is not JSON"),
        (write("config.json", b"[" * 100_000), 4, "is nested too deeply"),
        (write("config.json", b"[]"), 4, "holds no JSON object"),
        (write("config.json", b" " * 2_000_000), 4, "is larger than 1,048,576 bytes"),
        (rename("tokenizer.json", "x.json"), 4, "cannot read"),
        (rename("model.safetensors", "x.bin"), 2, "pickled weights (.bin), which can run code"),
        (rename("model.safetensors", "x.txt"), 4, "there is no model.safetensors"),
        (write("model.safetensors", b"nothing"), 4, "cannot read"),
        (lying, 4, "cannot read"),
        (doubled, 4, "weight twice"),
        (no_file, 4, "part.safetensors: it is not a file"),
        (tensors(lambda held: held.pop(first(held))), 4, "lacks the tensor"),
        (
            tensors(lambda held: held.update(strange=torch.ones(2))),
            4,
            "of which its config.json knows nothing",
        ),
        (tensors(lambda held: held.update({first(held): torch.ones(20, 3)})), 4, "has shape (20, 3)"),
        (tensors(lambda held: held[first(held)].fill_(torch.nan)), 4, "weight holds NaN or infinity\n"),
        (
            tensors(lambda held: held.update({first(held): torch.ones(20, 16).long()})),
            4,
            "is I64; nhin reads",
        ),
        (lambda place: index(place, strange="part.safetensors"), 4, "lacks the tensor strange"),
        (lambda place: index(place, strange="../../etc/passwd"), 4, "which is no file of this folder"),
        (lambda place: index(place, strange="gone.safetensors"), 4, "cannot read"),
        (lambda place: index(place, strange=7), 4, "which is no file of this folder"),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_line_and_leaves_nothing(
    change, code, message, exported, tmp_path, capsys
):
    got, line = refused(exported, tmp_path, change, capsys)
    assert got == code
    assert message in line


WRONG = {
    "gpt2": [
        (config(n_layer=0), 4, "n_layer is 0; a whole number from 1 on"),
        (config(n_embd=10**7), 2, "dim is 10000000; give 1 to"),
        (config(n_head=3), 3, "heads is 3, which does not divide"),
        (config(n_positions=10**9), 2, "context is 1000000000; give 1 to"),
        (
            config(n_positions=10),
            4,
            "transformer.wpe.weight has shape (20, 16); its config.json means (10, 16)",
        ),
        (config(activation_function="relu"), 2, "activation_function is 'relu'; nhin knows gelu, gelu_new"),
        (config(scale_attn_weights=False), 2, "scale_attn_weights is False"),
        (config(scale_attn_by_inverse_layer_idx=True), 2, "scale_attn_by_inverse_layer_idx is True"),
        (config(layer_norm_epsilon=0), 4, "layer_norm_epsilon is 0; a number above 0"),
        (config(resid_pdrop=1.5), 4, "resid_pdrop is 1.5; 0 or more and less than 1"),
    ],
    "llama": [
        (config(head_dim=3), 3, "head_dim is 3; rotary positions rotate pairs of channels"),
        (config(num_key_value_heads=3), 3, "kv_heads is 3, which does not divide heads 4"),
        (config(attention_bias=True), 4, "lacks the tensor model.layers.0.self_attn.q_proj.bias"),
        (config(mlp_bias=1), 4, "mlp_bias is 1; true or false"),
        (config(hidden_act="gelu"), 2, "hidden_act is 'gelu'"),
        (
            config(rope_scaling={"rope_type": "longrope"}),
            2,
            "rope_scaling: rope_type is 'longrope'; nhin knows",
        ),
        (config(rope_scaling={"type": "linear"}), 4, "rope_scaling: factor is None; a number above 0"),
        (config(rope_scaling={"type": "linear", "factor": 0.5}), 2, "factor is 0.5; give at least 1"),
        (config(rope_scaling={"type": "dynamic", "factor": 1e9}), 2, "context is 2147483648; give 1 to"),
        (config(rope_parameters={"full_attention": {"a": 1}}), 2, "nhin does not know 'full_attention'"),
        (config(rope_parameters={"rope_type": "yarn", "truncate": False}), 2, "truncate is False"),
        (config(partial_rotary_factor=0.5), 2, "partial_rotary_factor is 0.5"),
        (config(rope_scaling=3), 4, "rope_scaling is 3; an object is needed"),
        (config(rope_parameters={"rope_theta": -1.0}), 4, "rope_parameters: rope_theta is -1.0"),
        (config(rms_norm_eps=float("nan")), 4, "NaN is not a number of JSON"),
        (config(rms_norm_eps=10**400), 4, "rms_norm_eps is a number of more than 15 digits"),
        (config(max_position_embeddings=2**22, num_hidden_layers=400), 4, "tensors, too few for 400 blocks"),
        (config(intermediate_size=80), 4, "means (16, 80)"),
    ],
    "qwen3": [
        (config(use_sliding_window=True, sliding_window=8), 2, "use_sliding_window is True"),
        (
            config(layer_types=["full_attention", "sliding_attention"]),
            2,
            "layer_types has 'sliding_attention'",
        ),
        (config(attn_logit_softcapping=30.0), 2, "nhin does not know 'attn_logit_softcapping' (30.0)"),
        (config(num_local_experts=4), 2, "nhin does not know 'num_local_experts' (4)"),
    ],
}


@pytest.mark.parametrize(
    ("name", "change", "code", "message"), [(name, *row) for name, rows in WRONG.items() for row in rows]
)
def test_a_config_that_asks_for_what_nhin_lacks_is_refused_by_name(
    name, change, code, message, tmp_path, capsys
):
    run = made(tmp_path / "mine", DESIGNS[name])
    export_folder(run, tmp_path / "out")
    got, line = refused((run, tmp_path / "out"), tmp_path, change, capsys)
    assert got == code
    assert message in line
