"""Language models go to Hugging Face's formats and back: the same logits, the same tokens, or a clear no."""

import json
import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from foreign import answer
from runs import tiny_run
from safetensors.torch import load_file, save_file

from nhin.cli.app import main
from nhin.errors import CheckpointError, UsageError
from nhin.lm.huggingface import export
from nhin.lm.huggingface.export import export_folder, select_format
from nhin.lm.huggingface.import_ import import_folder
from nhin.lm.loading import open_run
from nhin.models.config import ModelConfig, resolve

CLASSIC = ModelConfig(depth=2, dim=16, heads=2, context=20, norm="layer", positions="learned", bias=True)
MODERN = ModelConfig(depth=2, dim=16, heads=4, kv_heads=2, context=20, mlp="swiglu")
DESIGNS = {
    "gpt2": CLASSIC,
    "gpt2 plain": replace(CLASSIC, bias=False, tie_embeddings=False, mechanism="naive", dropout=0.2),
    "gpt2 tanh": replace(CLASSIC, mlp="gelu-tanh", hidden_dim=24, eps=1e-3),
    "gpt2 relu2": replace(CLASSIC, mlp="relu2", mlp_ratio=2, exits=True),
    "llama": MODERN,
    "llama wide": replace(MODERN, kv_heads=4, tie_embeddings=False, hidden_dim=24, eps=1e-2),
    "llama far": replace(MODERN, position={"base": 300.0, "pairs": "half"}, mlp_ratio=3),
}
each = pytest.mark.parametrize("name", DESIGNS)


def made(folder, design, **given):
    """Return a run whose weights are large enough to show every slip."""
    run = open_run(tiny_run(folder, design=design, **given))
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in run.model.parameters():
            weight.copy_(torch.randn_like(weight) * (0.3 if weight.ndim > 1 else 0.5) + (weight.ndim == 1))
    return run


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def exported(request, tmp_path_factory):
    """Return a run and the folder it was exported to; not to be changed."""
    folder = tmp_path_factory.mktemp(request.param)
    run = made(folder / "run", DESIGNS[request.param])
    export_folder(run, folder / "out")
    return run, folder / "out"


@each
def test_an_export_means_the_same_by_the_papers_and_comes_back_as_it_was(name, tmp_path):
    run = made(tmp_path / "run", DESIGNS[name])
    done = export_folder(run, tmp_path / "out")
    assert done.format == name.split()[0]
    ids = run.tokenizer.encode("the cat sat on it.")
    logits = run.model(torch.tensor([ids]))[0]
    np.testing.assert_allclose(answer(tmp_path / "out", ids), logits.detach(), atol=1e-4)
    import_folder(tmp_path / "out", tmp_path / "back")
    back = open_run(tmp_path / "back")
    torch.testing.assert_close(back.model(torch.tensor([ids]))[0], logits, rtol=0, atol=1e-5)
    assert back.tokenizer.to_dict() == run.tokenizer.to_dict()
    assert back.model.config.tie_embeddings == run.model.config.tie_embeddings
    export_folder(back, tmp_path / "again")
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


@each
def test_a_tied_head_is_left_out_and_its_tying_told(name, tmp_path):
    export_folder(made(tmp_path / "run", DESIGNS[name]), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    held = load_file(tmp_path / "out" / "model.safetensors")
    assert config["tie_word_embeddings"] == DESIGNS[name].tie_embeddings == ("lm_head.weight" not in held)
    assert all(tensor.dtype == torch.float32 for tensor in held.values())


def test_each_design_goes_to_the_format_that_fits_it():
    assert select_format(resolve(CLASSIC)).name == "gpt2"
    assert select_format(resolve(MODERN)).name == "llama"
    with pytest.raises(UsageError, match="not llama: norm is 'layer', not 'rms', positions is 'learned'"):
        select_format(resolve(CLASSIC), "llama")


@pytest.mark.parametrize(
    ("design", "message"),
    [
        (replace(CLASSIC, qk_norm=True), "not gpt2: qk_norm is True, not False; not llama"),
        (replace(CLASSIC, norm_order="post"), "norm_order is 'post', not 'pre'"),
        (replace(CLASSIC, final_norm=False), "final_norm is False, not True"),
        (replace(CLASSIC, experts=2), "experts is 2, not 0"),
        (replace(CLASSIC, memory=2), "memory is 2, not 0"),
        (replace(CLASSIC, mlp="swiglu"), "mlp is 'swiglu', not 'gelu' or 'gelu-tanh' or 'relu2'"),
        (replace(CLASSIC, mlp="none"), "mlp is 'none'"),
        (replace(CLASSIC, kv_heads=1), "kv_heads is 1, not 2, the number of heads"),
        (replace(CLASSIC, mechanism="window"), "mechanism is 'window', not 'softmax'"),
        (replace(CLASSIC, positions="alibi"), "mechanism is 'alibi'"),
        (replace(MODERN, bias=True), "not llama: bias is True, not False"),
        (replace(MODERN, norm="scale"), "norm is 'scale', not 'rms'"),
        (replace(MODERN, positions="rotary-interleaved"), "positions is 'rotary-interleaved', not 'rotary'"),
        (replace(MODERN, position={"pairs": "interleaved"}), "position has pairs = 'interleaved'"),
        (replace(CLASSIC, depth=0, positions="none"), "depth is 0"),
    ],
)
def test_every_setting_that_stands_in_the_way_is_named(design, message):
    with pytest.raises(UsageError, match="this model has no such format") as why:
        select_format(resolve(design))
    assert message in str(why.value)


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


def tensors(edit):
    def change(place):
        held = load_file(place / "model.safetensors")
        edit(held)
        save_file(held, place / "model.safetensors")

    return change


def first(held):
    return next(name for name in held if name.endswith(("wte.weight", "embed_tokens.weight")))


def rename(name, other):
    return lambda place: (place / name).rename(place / other)


def write(name, data):
    return lambda place: (place / name).write_bytes(data)


def index(place, **placed):
    (place / "model.safetensors").rename(place / "part.safetensors")
    names = dict.fromkeys(load_file(place / "part.safetensors"), "part.safetensors")
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names | placed}))


def lying(place):
    """Claim a tensor far larger than the file."""
    head = json.dumps({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    (place / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (config(model_type="bert"), 2, "no model_type named 'bert'; known: gpt2, llama"),
        (config(quantization_config={"bits": 4}), 2, "quantization_config is"),
        (config(vocab_size=7), 2, "vocab_size is 7, but the tokenizer has 20 tokens"),
        (config(vocab_size="many"), 4, "vocab_size is 'many'; a whole number"),
        (config(tie_word_embeddings="yes"), 4, "tie_word_embeddings is 'yes'; true or false"),
        (rename("config.json", "x.json"), 4, "cannot read"),
        (write("config.json", b"{"), 4, "is not JSON"),
        (write("config.json", b"[" * 100_000), 4, "is not JSON"),
        (write("config.json", b"[]"), 4, "holds no JSON object"),
        (write("config.json", b" " * 2_000_000), 4, "is longer than"),
        (rename("tokenizer.json", "x.json"), 4, "cannot read"),
        (rename("model.safetensors", "x.bin"), 2, "pickled weights (.bin), which can run code"),
        (rename("model.safetensors", "x.txt"), 4, "there is no model.safetensors"),
        (write("model.safetensors", b"nothing"), 4, "cannot read"),
        (lying, 4, "cannot read"),
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
        (config(n_embd=10**7), 3, "dim is 10000000; give 1 to"),
        (config(n_head=3), 3, "heads is 3, which does not divide"),
        (config(n_positions=10**9), 3, "context is 1000000000; give 1 to"),
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
        (config(num_attention_heads=5), 2, "head_dim is 4, and nhin knows nothing but 3 there"),
        (config(num_key_value_heads=3), 3, "kv_heads is 3, which does not divide heads 4"),
        (config(attention_bias=True), 2, "attention_bias is True, and nhin knows nothing but False there"),
        (config(mlp_bias=True), 2, "mlp_bias is True"),
        (config(hidden_act="gelu"), 2, "hidden_act is 'gelu'"),
        (
            config(rope_scaling={"rope_type": "llama3", "factor": 8.0}),
            2,
            "rope_scaling: rope_type is 'llama3'",
        ),
        (config(rope_scaling={"type": "linear", "factor": 2.0}), 2, "rope_scaling: type is 'linear'"),
        (config(rope_scaling=3), 4, "rope_scaling is 3; an object is needed"),
        (config(rope_parameters={"rope_theta": -1.0}), 4, "rope_parameters: rope_theta is -1.0"),
        (config(rms_norm_eps=float("nan")), 4, "rms_norm_eps is nan"),
        (config(max_position_embeddings=2**22, num_hidden_layers=400), 2, "would take gigabytes"),
        (config(intermediate_size=80), 4, "means (16, 80)"),
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_as_single(dtype, exported, tmp_path):
    run, there = exported
    shutil.copytree(there, tmp_path / "there")
    held = {name: tensor.to(dtype) for name, tensor in load_file(there / "model.safetensors").items()}
    save_file(held, tmp_path / "there" / "model.safetensors")
    import_folder(tmp_path / "there", tmp_path / "run")
    for one, two in zip(open_run(tmp_path / "run").model.parameters(), run.model.parameters(), strict=True):
        torch.testing.assert_close(one, two.to(dtype).float(), rtol=0, atol=0)


def test_shards_bare_names_and_tables_are_read(exported, tmp_path):
    run, there = exported
    shutil.copytree(there, tmp_path / "there")
    held = load_file(tmp_path / "there" / "model.safetensors")
    (tmp_path / "there" / "model.safetensors").unlink()
    held = {name.partition(".")[2]: tensor for name, tensor in held.items()}
    held |= {"h.0.attn.bias": torch.ones(1, 1, 4, 4)} if "wte.weight" in held else {}
    held |= {"lm_head.weight": held[first(held)].clone()}
    names = sorted(held)
    placed = {}
    for number, part in enumerate((names[:5], names[5:])):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        save_file({name: held[name] for name in part}, tmp_path / "there" / file)
        placed |= dict.fromkeys(part, file)
    (tmp_path / "there" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    import_folder(tmp_path / "there", tmp_path / "run")
    tokens = torch.arange(8)[None]
    assert torch.equal(open_run(tmp_path / "run").model(tokens), run.model(tokens))


@pytest.mark.parametrize("name", ["gpt2 plain", "llama", "llama wide"])
def test_tokens_numbered_otherwise_take_their_rows_along(name, tmp_path):
    run, there = made(tmp_path / "mine", DESIGNS[name]), tmp_path / "there"
    export_folder(run, there)
    tree = json.loads((there / "tokenizer.json").read_text())
    order = torch.randperm(run.model.vocab).tolist()
    tree["model"]["vocab"] = {word: order[i] for word, i in tree["model"]["vocab"].items()}
    tree["added_tokens"][0]["id"] = order[run.tokenizer.eos_id]
    (there / "tokenizer.json").write_text(json.dumps(tree))

    def turn(held):
        for name in {first(held), "lm_head.weight"} & {*held}:
            held[name][order] = held[name].clone()

    tensors(turn)(there)
    import_folder(there, tmp_path / "run")
    tokens = torch.arange(12)[None]
    torch.testing.assert_close(open_run(tmp_path / "run").model(tokens), run.model(tokens), rtol=0, atol=1e-5)


def test_an_export_replaces_an_earlier_one_and_nothing_else(exported, tmp_path):
    run, _ = exported
    out = tmp_path / "deep" / "out"
    export_folder(run, out)
    (out / "config.json").touch()
    export_folder(run, out)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "other", tmp_path / "file"):
        with pytest.raises(UsageError, match="is there already and is not an earlier export"):
            export_folder(run, place)
    assert (tmp_path / "other" / "config.json").read_text() == "{}"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_disk_that_fills_leaves_the_earlier_export(exported, tmp_path, monkeypatch):
    run, _ = exported
    export_folder(run, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_write_text", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        export_folder(run, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_commands_go_there_and_back(tmp_path, capsys):
    run = tiny_run(tmp_path / "run", design=CLASSIC, tokenizer="bpe:280")
    assert main(["export", str(run), str(tmp_path / "out")]) == 0
    assert f"{tmp_path / 'out'}: gpt2, 28 tensors" in capsys.readouterr().out
    assert main(["import", str(tmp_path / "out"), "--out", str(tmp_path / "back")]) == 0
    assert f"{tmp_path / 'back'}: gpt2," in capsys.readouterr().out
    assert main(["sample", str(tmp_path / "back"), "--tokens", "3", "--seed", "0"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["export", "RUN", "OUT", "--format", "llama"], 2, "not llama: norm is 'layer', not 'rms'"),
        (["export", "RUN", "OUT", "--whole"], 2, "--whole is for a reader"),
        (["export", "RUN", "OUT", "--crops", "3"], 2, "--crops is for a reader"),
        (["export", "nowhere", "OUT", "--format", "gpt2"], 2, "--format is for a language model"),
        (["import", "RUN", "--out", "RUN"], 2, "is there already; name a new folder"),
        (["import", "nowhere", "--out", "OUT"], 4, "there is no folder nowhere"),
    ],
)
def test_words_that_make_no_sense_are_one_line(words, code, message, tmp_path, capsys):
    places = {"RUN": tiny_run(tmp_path / "run", design=CLASSIC), "OUT": tmp_path / "out"}
    assert main([str(places.get(word, word)) for word in words]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err
    assert not (tmp_path / "out").exists()
