"""Imported models take the tokenizer of their folder along: padding, further tokens, first and last ids."""

import json

import pytest
import torch
from exports import DESIGNS, made
from safetensors.torch import load_file, save_file

from nhin.cli.app import main
from nhin.errors import NhinError
from nhin.lm.huggingface.export import export_folder
from nhin.lm.huggingface.import_ import import_folder
from nhin.lm.loading import open_run
from nhin.text.tokenizers.foreign import ForeignTokenizer

SIZE, END = 266, 265  # of the tokenizer


@pytest.fixture
def there(tmp_path):
    """Return a folder as another library writes it: special tokens in texts are special."""
    run = made(tmp_path / "mine", DESIGNS["llama"], tokenizer="bpe:280")
    export_folder(run, tmp_path / "there")
    update(tmp_path / "there" / "tokenizer_config.json", split_special_tokens=False)
    return tmp_path / "there"


def update(path, **values):
    tree = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(tree | values))


def pad(there, rows):
    """Give the embedding further rows, of large numbers."""
    weights = load_file(there / "model.safetensors")
    name = "model.embed_tokens.weight"
    weights[name] = torch.cat([weights[name], torch.full((rows, weights[name].shape[1]), 9.0)])
    save_file(weights, there / "model.safetensors")
    update(there / "config.json", vocab_size=len(weights[name]))


def imported(there):
    import_folder(there, there.with_name("run"))
    return open_run(there.with_name("run"))


def test_rows_beyond_the_tokenizer_are_left_out_and_counted(there, capsys):
    mine = open_run(there.with_name("mine"))
    export_folder(mine, there.with_name("plain"))
    pad(there, 24)
    assert main(["import", str(there), "--out", str(there.with_name("run"))]) == 0
    assert f"{SIZE} tokens; 24 rows beyond them are left out\n" in capsys.readouterr().out
    run = open_run(there.with_name("run"))
    assert run.model.embedding.weight.shape == (SIZE, 16)
    export_folder(run, there.with_name("again"))
    assert json.loads((there.with_name("again") / "config.json").read_text())["vocab_size"] == SIZE


def test_a_special_token_in_a_text_is_what_it_is_there_and_ordinary_in_nhins_own(there):
    run = imported(there)
    eos = run.tokenizer.eos_id
    assert run.tokenizer.encode("a<|endoftext|>b").count(eos) == 1
    own = open_run(there.with_name("mine")).tokenizer
    assert own.eos_id == eos not in own.encode("a<|endoftext|>b")
    update(there / "tokenizer_config.json", split_special_tokens=True)
    import_folder(there, there.with_name("own"))
    assert open_run(there.with_name("own")).tokenizer.to_dict() == own.to_dict()


def test_an_export_of_an_import_has_the_same_tokenizer(there):
    update(there / "generation_config.json", eos_token_id=[END, 5], bos_token_id=3)
    run = imported(there)
    export_folder(run, there.with_name("again"))
    again = there.with_name("again")
    for name in ("config.json", "generation_config.json"):
        tree = json.loads((again / name).read_text())
        assert (tree["bos_token_id"], tree["eos_token_id"]) == (END, [END, 5])  # bos_token names the other
    import_folder(again, there.with_name("twice"))
    assert open_run(there.with_name("twice")).tokenizer.to_dict() == run.tokenizer.to_dict()


def test_several_ends_stop_a_text_and_ids_that_no_token_has_do_not(there):
    update(there / "generation_config.json", eos_token_id=[5, END, 10**6])
    tokenizer = imported(there).tokenizer
    assert (tokenizer.stop_ids, tokenizer.eos_id) == ({5, END}, END)


def test_tokens_that_other_files_add_are_added(there):
    pad(there, 8)
    words = {"<|im_end|>": True, "tool": False}
    further = {f"{SIZE + i}": {"content": word, "special": words[word]} for i, word in enumerate(words)}
    update(
        there / "tokenizer_config.json", added_tokens_decoder=further, eos_token="<|im_end|>", pad_token="[P]"
    )
    update(there / "special_tokens_map.json", additional_special_tokens=["<a>", {"content": "<b>"}])
    run = imported(there)
    assert run.tokenizer.encode("<|im_end|>tool[P]<a><b>") == [SIZE + i for i in range(5)]
    assert (run.tokenizer.vocab, run.tokenizer.eos_id) == (SIZE + 5, SIZE)
    assert run.model.embedding.weight.shape[0] == SIZE + 5


def test_a_named_token_without_a_row_stays_ordinary_text(there):
    update(there / "tokenizer_config.json", pad_token="[P]")
    assert len(imported(there).tokenizer.encode("[P]")) == 3


@pytest.mark.parametrize(("flags", "count"), [((True, False), 1), ((False, False), 0), ((True, True), 1)])
def test_the_settings_say_what_is_put_around_a_text(flags, count, there):
    update(there / "tokenizer_config.json", add_bos_token=flags[0], add_eos_token=flags[1])
    tokenizer = imported(there).tokenizer
    assert isinstance(tokenizer, ForeignTokenizer)
    ids = tokenizer.encode_prompt("the cat")
    assert (len(tokenizer.start_ids), ids.count(END)) == (count, sum(flags))


def test_samples_begin_as_the_tokenizer_says(there, capsys):
    update(there / "tokenizer_config.json", add_bos_token=True)
    run = imported(there)
    prompt = torch.tensor([[END, *run.tokenizer.encode("the")]])
    likeliest = int(run.model(prompt)[0, -1].argmax())
    command = [
        "sample",
        str(there.with_name("run")),
        "--prompt",
        "the",
        "--temperature",
        "0",
        "--tokens",
        "1",
        "--json",
    ]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ids"] == ([] if likeliest == END else [likeliest])


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("tokenizer_config.json", {"eos_token": 3}, "eos_token of tokenizer_config.json is 3"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {}}}, "no object of tokens by id"),
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {"9": {"content": "<x>"}}},
            "the id 9; its place is 266",
        ),
        ("generation_config.json", {"eos_token_id": "all"}, "eos_token_id is 'all'; an id of a token"),
        ("config.json", {"vocab_size": 256}, "vocab_size is 256, but the tokenizer has 266 tokens"),
        ("config.json", {"vocab_size": 2**40}, "vocab is 1099511627776; give 1 to"),
        ("config.json", {"vocab_size": 300}, "has shape"),
    ],
)
def test_files_that_contradict_each_other_are_refused(file, values, message, there):
    update(there / file, **values)
    with pytest.raises(NhinError) as why:
        imported(there)
    assert message in str(why.value)
    assert not there.with_name("run").exists()
