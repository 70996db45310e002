"""Language models go to Hugging Face's formats and back: the same logits, the same tokens, or a clear no."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from exports import CLASSIC, DESIGNS, MODERN, first, made, tensors
from foreign import answer
from runs import tiny_run
from safetensors.torch import load_file, save_file

from nhin.cli.app import main
from nhin.errors import CheckpointError, UsageError
from nhin.lm.huggingface import export
from nhin.lm.huggingface.export import export_folder, select_format
from nhin.lm.huggingface.import_ import import_folder
from nhin.lm.loading import open_run
from nhin.models.config import resolve
from nhin.text.tokenizers import train_tokenizer

each = pytest.mark.parametrize("name", DESIGNS)


@pytest.fixture
def exported_llama(tmp_path):
    export_folder(made(tmp_path / "llama", DESIGNS["llama"]), tmp_path / "there")
    return tmp_path / "there"


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


@pytest.mark.parametrize("name", ["gpt2", "gpt2 plain", "llama", "llama wide"])
def test_a_tied_head_is_left_out_and_its_tying_told(name, tmp_path):
    export_folder(made(tmp_path / "run", DESIGNS[name]), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    held = load_file(tmp_path / "out" / "model.safetensors")
    assert config["tie_word_embeddings"] == DESIGNS[name].tie_embeddings == ("lm_head.weight" not in held)
    assert all(tensor.dtype == torch.float32 for tensor in held.values())


def test_each_design_goes_to_the_format_that_fits_it():
    assert select_format(resolve(CLASSIC)).name == "gpt2"
    assert select_format(resolve(MODERN)).name == "llama"
    qkv = resolve(replace(MODERN, bias=True, bias_parts="qkv"))
    assert select_format(qkv).name == "qwen2"
    byte = train_tokenizer("byte", tuple)
    assert select_format(qkv, tokenizer=byte).name == "llama"
    with pytest.raises(UsageError, match="not qwen2: its texts are always split as those of Qwen 2"):
        select_format(qkv, "qwen2", byte)
    with pytest.raises(
        UsageError, match="not llama: norm is 'layer', not 'rms', positions is 'learned', not"
    ):
        select_format(resolve(CLASSIC), "llama")


@pytest.mark.parametrize(
    ("design", "message"),
    [
        (replace(CLASSIC, qk_norm=True), "not gpt2: qk_norm is True, not False; not qwen2"),
        (replace(CLASSIC, norm_order="post"), "norm_order is 'post', not 'pre'"),
        (replace(CLASSIC, final_norm=False), "final_norm is False, not True"),
        (replace(CLASSIC, experts=2), "experts is 2, not 0"),
        (replace(CLASSIC, memory=2), "memory is 2, not 0"),
        (replace(CLASSIC, mlp="swiglu"), "mlp is 'swiglu', not 'gelu' or 'gelu-tanh' or 'relu2'"),
        (replace(CLASSIC, mlp="none"), "mlp is 'none'"),
        (replace(CLASSIC, kv_heads=1), "kv_heads is 1, not 2, the number of heads"),
        (replace(CLASSIC, mechanism="window"), "mechanism is 'window', not 'softmax'"),
        (replace(CLASSIC, positions="alibi"), "mechanism is 'alibi'"),
        (replace(MODERN, mlp="relu2", qk_norm=True), "not qwen3: mlp is 'relu2', not 'swiglu'"),
        (replace(MODERN, qk_norm=True, eps=1e-3), "not qwen3: eps is 0.001, and norms of queries and keys"),
        (
            replace(MODERN, qk_norm=True, qk_gain=True, bias=True),
            "the layers with a bias are all, not none or",
        ),
        (replace(CLASSIC, head_dim=4), "head_dim is 4, not None or 8"),
        (replace(MODERN, norm="scale"), "norm is 'scale', not 'rms'"),
        (
            replace(MODERN, positions="rotary-interleaved"),
            "positions is 'rotary-interleaved', not 'rotary' or",
        ),
        (replace(MODERN, position={"pairs": "interleaved"}), "position has pairs = 'interleaved'"),
        (replace(CLASSIC, depth=0, positions="none"), "depth is 0"),
    ],
)
def test_every_setting_that_stands_in_the_way_is_named(design, message):
    with pytest.raises(UsageError, match="this model has no such format") as why:
        select_format(resolve(design))
    assert message in str(why.value)


def test_tables_of_a_long_context_grow_with_the_text(exported_llama, tmp_path):
    path = exported_llama / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": 2**22}))
    import_folder(exported_llama, tmp_path / "long")
    model = open_run(tmp_path / "long").model
    rotary = model.blocks[0].attention.rotary
    assert (model.context, rotary.cos.shape[0]) == (2**22, 4096)
    assert rotary(torch.ones(1, 1, 1, 4), start=5000).isfinite().all()


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
