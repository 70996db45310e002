"""Exported and imported language models answer as those of ``transformers`` do, where that is installed.

It is no dependency: `make oracles` installs it, else these tests are skipped.
"""

import json

import pytest
import torch
from runs import TEXT, tiny_run
from torch.testing import assert_close

from nhin.lm.huggingface.export import export_folder
from nhin.lm.huggingface.import_ import import_folder
from nhin.lm.huggingface.tokenizer import to_hf_tokenizer
from nhin.lm.loading import open_run
from nhin.models.config import ModelConfig
from nhin.text.tokenizers import train_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")
WORDS = "the cat sang\n to a mat. "
CLASSIC = {"norm": "layer", "positions": "learned"}
OURS = {
    "gpt2": ModelConfig(depth=3, dim=24, heads=3, context=32, bias=True, **CLASSIC),
    "gpt2, no bias, a head of its own": ModelConfig(
        depth=2, dim=16, heads=2, context=32, tie_embeddings=False, **CLASSIC
    ),
    "gpt2, relu2": ModelConfig(
        depth=2, dim=16, heads=2, context=32, mlp="relu2", mlp_ratio=3, eps=1e-3, **CLASSIC
    ),
    "gpt2, tanh": ModelConfig(
        depth=2, dim=16, heads=2, context=32, mlp="gelu-tanh", hidden_dim=40, **CLASSIC
    ),
    "llama": ModelConfig(depth=3, dim=24, heads=3, context=32, mlp="swiglu"),
    "llama, grouped": ModelConfig(
        depth=2, dim=32, heads=4, kv_heads=2, context=32, mlp="swiglu", tie_embeddings=False
    ),
    "llama, far": ModelConfig(
        depth=2, dim=16, heads=2, context=32, mlp="swiglu", position={"base": 500.0}, eps=1e-2, hidden_dim=24
    ),
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("transformers")


def sharpened(model):
    """Make weights large enough that a wrong place, bend or eps shows in every digit."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * (0.3 if weight.ndim > 1 else 0.5) + (weight.ndim == 1))
    return model.eval()


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("tokenizer", ["char", "bpe:290"])
def test_an_exported_model_answers_as_it_does_here(name, tokenizer, offline, tmp_path):
    run = open_run(tiny_run(tmp_path / "run", design=OURS[name], tokenizer=tokenizer))
    sharpened(run.model)
    export_folder(run, tmp_path / "out")
    theirs = offline.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    words = offline.AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = words(WORDS)["input_ids"]
    assert ids == run.tokenizer.encode(WORDS)
    assert words.decode(ids) == WORDS
    assert (words.eos_token_id, theirs.generation_config.eos_token_id) == (run.tokenizer.eos_id,) * 2
    tokens = torch.tensor([ids])
    with torch.no_grad():
        want, got = run.model(tokens), theirs(tokens).logits
    assert want.std() > 0.1
    assert_close(got, want, atol=1e-4, rtol=0)


def made_there(transformers, name):
    """Build a model as ``transformers`` does, over tokens of a library file with ids turned round."""
    tree = json.loads(to_hf_tokenizer(train_tokenizer("bpe:290", lambda: [TEXT] * 3)))
    vocab = tree["model"]["vocab"]
    size = len(vocab) + 1
    tree["model"]["vocab"] = {word: size - 1 - i for word, i in vocab.items()}
    tree["added_tokens"][0]["id"] = 0
    if name == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=size, n_embd=24, n_layer=2, n_head=3, n_positions=40, bos_token_id=0, eos_token_id=0
        )
        return tree, transformers.GPT2LMHeadModel(config)
    config = transformers.LlamaConfig(
        vocab_size=size,
        hidden_size=24,
        intermediate_size=56,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=40,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 777.0},
        tie_word_embeddings=name == "llama tied",
    )
    return tree, transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("name", ["gpt2", "llama", "llama tied"])
@pytest.mark.parametrize("shard", ["1GB", "9KB"])
def test_a_model_made_there_answers_the_same_here(name, shard, offline, tmp_path):
    tree, theirs = made_there(offline, name)
    sharpened(theirs).tie_weights()
    theirs.save_pretrained(tmp_path / "there", max_shard_size=shard)
    assert (tmp_path / "there" / "model.safetensors").exists() == (shard == "1GB")
    (tmp_path / "there" / "tokenizer.json").write_text(json.dumps(tree))
    import_folder(tmp_path / "there", tmp_path / "run")
    run = open_run(tmp_path / "run")
    ours = run.tokenizer.encode(WORDS)
    words = offline.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "there" / "tokenizer.json"))
    ids = words(WORDS)["input_ids"]
    assert ids != ours
    with torch.no_grad():
        want, got = theirs(torch.tensor([ids])).logits, run.model(torch.tensor([ours]))
    # Our id i is their id V - 1 - i, the end of a document aside, which is last here and 0 there.
    assert want.std() > 0.1
    assert_close(got, want.flip(-1), atol=1e-4, rtol=0)


def test_a_model_of_half_precision_and_a_bare_one_are_read(offline, tmp_path):
    tree, theirs = made_there(offline, "gpt2")
    sharpened(theirs).tie_weights()
    theirs.transformer.bfloat16().save_pretrained(tmp_path / "there")
    (tmp_path / "there" / "tokenizer.json").write_text(json.dumps(tree))
    import_folder(tmp_path / "there", tmp_path / "run")
    run = open_run(tmp_path / "run")
    ours = run.tokenizer.encode(WORDS)
    ids = torch.tensor([[run.model.vocab - 1 - one for one in ours]])
    with torch.no_grad():
        want, got = theirs.float()(ids).logits, run.model(torch.tensor([ours]))
    assert_close(got, want.flip(-1), atol=1e-4, rtol=0)
