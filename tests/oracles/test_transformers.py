"""Exported and imported language models answer as those of ``transformers`` do, where that is installed.

It is no dependency: `make oracles` installs it, else these tests are skipped.
"""

import pytest
import torch
from exports import DESIGNS, made
from foreign_models import MODELS, make_folder, sharpen
from runs import TEXT
from torch.testing import assert_close

from nhin.cli.app import main
from nhin.decoding.sampling import SamplingParams
from nhin.lm.generate import generate
from nhin.lm.huggingface.export import export_folder
from nhin.lm.huggingface.import_ import import_folder
from nhin.lm.loading import open_run

pytestmark = pytest.mark.filterwarnings("ignore")
WORDS = "the cat sang to a mat."
SPECIAL = "the<|endoftext|> cat\n"
PROMPTS = (WORDS, "a bird<|endoftext|>\n sang", "12345 ảnh chữ")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("transformers")


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("tokenizer", ["char", "bpe:290"])
def test_an_exported_model_answers_as_it_does_here(name, tokenizer, offline, tmp_path):
    text = TEXT + SPECIAL
    run = made(tmp_path / "run", DESIGNS[name], text=text, tokenizer=tokenizer)
    export_folder(run, tmp_path / "out")
    theirs = offline.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    words = offline.AutoTokenizer.from_pretrained(tmp_path / "out")
    # Here a special token in a text is ordinary text, and split_special_tokens says so there.
    assert words(SPECIAL)["input_ids"] == run.tokenizer.encode(SPECIAL)
    ids = words(WORDS)["input_ids"]
    assert ids == run.tokenizer.encode(WORDS)
    assert words.decode(ids) == WORDS
    assert (words.eos_token_id, theirs.generation_config.eos_token_id) == (run.tokenizer.eos_id,) * 2
    # Their dynamic NTK agrees token by token; beyond the trained length a whole text is another matter.
    tokens = torch.tensor([ids[:7] if "dynamic" in name else ids[:20]])
    with torch.no_grad():
        want, got = run.model(tokens), theirs(tokens).logits
    assert want.std() > 0.1
    assert_close(got, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_made_there_says_the_same_here_and_again_when_exported(name, offline, tmp_path):
    """Logits within 1e-4 and 50 likeliest tokens, from prompts with special tokens and first tokens."""
    theirs, words = make_folder(name, tmp_path / "there")
    done = import_folder(tmp_path / "there", tmp_path / "run")
    run = open_run(tmp_path / "run")
    export_folder(run, tmp_path / "back")
    again = offline.AutoModelForCausalLM.from_pretrained(tmp_path / "back").eval()
    words_again = offline.AutoTokenizer.from_pretrained(tmp_path / "back")
    unused = list(range(run.model.vocab, theirs.config.vocab_size))
    assert done.unused_rows == len(unused) == (45 if "padded" in name else 0)
    for prompt in PROMPTS:
        ids = words(prompt)["input_ids"]
        assert run.tokenizer.encode_prompt(prompt) == ids == words_again(prompt)["input_ids"]
        assert run.tokenizer.decode(ids) == words.decode(ids, skip_special_tokens=True)
        tokens = torch.tensor([ids])
        with torch.no_grad():
            want, got, back = theirs(tokens).logits, run.model(tokens), again(tokens).logits
            settings = {"max_new_tokens": 50, "do_sample": False, "suppress_tokens": unused or None}
            mask = torch.ones_like(tokens)
            longer = theirs.generate(tokens, attention_mask=mask, pad_token_id=0, **settings)[0].tolist()
        assert want.std() > 0.1
        assert_close(got, want[..., : run.model.vocab], atol=1e-4, rtol=0)
        assert_close(back, got, atol=1e-4, rtol=0)
        greedy = SamplingParams(temperature=0)
        text = generate(run.model, ids, tokens=50, sampling=greedy, stop=run.tokenizer.stop_ids)
        assert list(text) == longer[len(ids) :]


@pytest.mark.parametrize("name", ["gpt2", "llama with llama3 scaling", "qwen2", "qwen3, padded"])
def test_a_model_trained_on_here_goes_back(name, offline, tmp_path):
    _, words = make_folder(name, tmp_path / "there")
    import_folder(tmp_path / "there", tmp_path / "run")
    (tmp_path / "texts").mkdir()
    for i in range(40):
        (tmp_path / "texts" / f"{i}.txt").write_text(3 * TEXT)
    settings = [f"--set={x}" for x in ("schedule.steps=3", "schedule.warmup=0", "data.batch=2")]
    folders = [str(tmp_path / "run"), "--out", str(tmp_path / "on"), "--data", str(tmp_path / "texts")]
    assert main(["train", *folders, *settings, "--set=training.precision=float32"]) == 0
    before, after = open_run(tmp_path / "run"), open_run(tmp_path / "on")
    assert after.step == 3
    export_folder(after, tmp_path / "back")
    again = offline.AutoModelForCausalLM.from_pretrained(tmp_path / "back").eval()
    tokens = torch.tensor([words(WORDS)["input_ids"]])
    with torch.no_grad():
        first, trained, back = before.model(tokens), after.model(tokens), again(tokens).logits
    assert not torch.equal(first, trained)
    assert_close(back, trained, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["gpt2", "llama with llama3 scaling"])
def test_shards_half_precision_and_bare_models_are_read(name, offline, tmp_path):
    theirs, words = make_folder(name, tmp_path / "there")
    tokens = torch.tensor([words(WORDS)["input_ids"]])
    (tmp_path / "there" / "model.safetensors").unlink()
    theirs.save_pretrained(tmp_path / "there", max_shard_size="9KB")
    assert (tmp_path / "there" / "model.safetensors.index.json").exists()
    import_folder(tmp_path / "there", tmp_path / "run")
    with torch.no_grad():
        assert_close(open_run(tmp_path / "run").model(tokens), theirs(tokens).logits, atol=1e-4, rtol=0)
    half = sharpen(theirs).bfloat16()
    (half.transformer if name == "gpt2" else half).save_pretrained(tmp_path / "there", max_shard_size="1GB")
    (tmp_path / "there" / "model.safetensors.index.json").unlink(missing_ok=True)
    import_folder(tmp_path / "there", tmp_path / "half")
    with torch.no_grad():
        assert_close(
            open_run(tmp_path / "half").model(tokens), half.float()(tokens).logits, atol=1e-4, rtol=0
        )
