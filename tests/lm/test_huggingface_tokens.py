"""Tokenizers as Hugging Face's library writes them: the same ids there, and only ours come back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import TEXT
from tokenizers import Tokenizer as Library

from nhin.errors import NhinError
from nhin.lm.huggingface.tokenizer import from_hf_tokenizer, to_hf_tokenizer
from nhin.text.tokenizers import train_tokenizer
from nhin.text.tokenizers.bpe import ALPHABET
from nhin.text.tokenizers.char import CharTokenizer

TOKENIZERS = {
    spec: train_tokenizer(spec, lambda: [TEXT * 3, "ảnh chữ\r\n\tx\u0301 🙂"])
    for spec in ("char", "byte", "bpe:300")
}


@pytest.mark.parametrize("spec", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_library_cuts_texts_into_the_same_tokens(spec, data):
    tokenizer = TOKENIZERS[spec]
    letters = (
        st.sampled_from(tokenizer.chars)
        if isinstance(tokenizer, CharTokenizer)
        else st.characters(codec="utf-8")
    )
    text = data.draw(st.text(letters, max_size=30))
    library = Library.from_str(to_hf_tokenizer(tokenizer))
    ids = library.encode(text).ids
    assert ids == tokenizer.encode(text)
    assert library.decode(ids) == text
    assert library.token_to_id("<|endoftext|>") == tokenizer.eos_id == library.get_vocab_size() - 1


def test_a_character_that_is_not_known_is_an_error_there_too():
    with pytest.raises(Exception, match="UNK"):
        Library.from_str(to_hf_tokenizer(TOKENIZERS["char"])).encode("Ω")


@pytest.mark.parametrize("spec", TOKENIZERS)
def test_tokens_of_another_order_are_put_into_ours(spec):
    tokenizer = TOKENIZERS[spec]
    tree = json.loads(to_hf_tokenizer(tokenizer))
    tree["model"]["vocab"] = {word: tokenizer.eos_id - i for word, i in tree["model"]["vocab"].items()}
    tree["added_tokens"][0]["id"] = 0
    read, ids = from_hf_tokenizer(tree, "there")
    assert read.to_dict() == tokenizer.to_dict()
    assert ids == [*range(tokenizer.eos_id, 0, -1), 0]


def test_merges_may_be_strings_and_the_end_may_stand_among_the_words_as_in_gpt2s_own_file():
    tree = json.loads(to_hf_tokenizer(TOKENIZERS["bpe:300"]))
    tree["model"]["merges"] = [" ".join(merge) for merge in tree["model"]["merges"]]
    tree["model"]["vocab"]["<|endoftext|>"] = TOKENIZERS["bpe:300"].eos_id
    read, ids = from_hf_tokenizer(tree, "there")
    assert read.to_dict() == TOKENIZERS["bpe:300"].to_dict()
    assert ids == [*range(read.vocab)]


def test_a_piece_may_be_as_long_as_gpt2s_longest():
    letters, words, merges = list(ALPHABET), ["a"], []
    for _ in range(7):
        merges.append([words[-1], words[-1]])
        words.append(2 * words[-1])
    tree = json.loads(to_hf_tokenizer(TOKENIZERS["byte"]))
    tree["model"] |= {"merges": merges, "vocab": {word: i for i, word in enumerate([*letters, *words[1:]])}}
    tree["added_tokens"][0]["id"] = 263
    assert max(map(len, from_hf_tokenizer(tree, "there")[0].pieces)) == 128


def changed(tree, path, value):
    """Set one value of a nested tree."""
    *way, last = path.split(".")
    for name in way:
        tree = tree[int(name) if name.isdigit() else name]
    tree[last] = value


@pytest.mark.parametrize(
    ("spec", "path", "value", "says"),
    [
        ("bpe:300", "normalizer", {"type": "NFC"}, "changes texts before it splits them"),
        ("bpe:300", "pre_tokenizer", {"type": "Whitespace"}, "a pre-tokenizer 'Whitespace' of another kind"),
        ("bpe:300", "pre_tokenizer", None, "a pre-tokenizer 'None'"),
        ("bpe:300", "pre_tokenizer.add_prefix_space", True, "of another kind"),
        ("bpe:300", "pre_tokenizer.use_regex", False, "of another kind"),
        ("bpe:300", "model.type", "Unigram", "is of the kind 'Unigram'"),
        ("bpe:300", "model", [], "describes no model of tokens"),
        ("bpe:300", "model.vocab", {"a": "b"}, "has no vocabulary"),
        ("bpe:300", "model.vocab", [], "has no vocabulary"),
        ("bpe:300", "model.merges", {}, "has no list of"),
        ("bpe:300", "model.merges", [["a"]], "does not join two tokens"),
        ("bpe:300", "model.merges", [["a", "yz"]], "does not join two tokens"),
        ("bpe:300", "model.merges", [[1, 2]], "does not join two tokens"),
        ("bpe:300", "model.merges", [["a", "a"]] + [["a" * 2**n] * 2 for n in range(1, 8)], "128"),
        ("bpe:300", "model.merges", [["a", "b"]], "has tokens that no merge makes"),
        ("bpe:300", "model.byte_fallback", True, "has byte_fallback"),
        ("bpe:300", "model.vocab.a", 98, "leaves ids out"),
        ("bpe:300", "added_tokens", [], "needs one added token"),
        ("bpe:300", "added_tokens.0.content", "<s>", "needs one added token"),
        ("bpe:300", "added_tokens.0.id", 5, "leaves ids out"),
        ("char", "pre_tokenizer", {"type": "ByteLevel"}, "a pre-tokenizer 'ByteLevel'"),
        ("char", "model.vocab.ab", 99, "is of the kind 'WordLevel'"),
        ("char", "model.vocab", {}, "is of the kind 'WordLevel'"),
    ],
)
def test_tokenizers_that_are_not_ours_are_refused_by_what_differs(spec, path, value, says):
    tree = json.loads(to_hf_tokenizer(TOKENIZERS[spec]))
    changed(tree, path, value)
    with pytest.raises(NhinError) as why:
        from_hf_tokenizer(tree, "there")
    assert says in str(why.value)
