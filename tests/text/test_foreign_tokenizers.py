"""Tokenizers of Hugging Face, kept as their files say: ids, special tokens, first and last tokens."""

import json
from copy import deepcopy
from dataclasses import replace

import pytest
from tokenizers import Tokenizer as Library

from nhin.errors import CheckpointError, NhinError, UsageError
from nhin.text.tokenizers import tokenizer_from_dict, train_tokenizer
from nhin.text.tokenizers.foreign import PATTERNS, ForeignTokenizer, TokenRoles

TEXT = "the cat sat on the mat. a bird sang to the cat, and the cat sat still.\n"
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def special(word, number, **flags):
    return {"id": number, "content": word, **FLAGS, **flags}


def make_file(kind="Llama 3"):
    """Return a tokenizer.json with turned ids, three further tokens, and a token put before texts."""
    own = train_tokenizer("bpe:290", lambda: [TEXT] * 3)
    file = json.loads(own.to_hf())
    pattern = next(pattern for pattern, name in PATTERNS.items() if name == kind)
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    levels = file["decoder"] | {"use_regex": False}
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text, other = ({"Sequence": {"id": name, "type_id": number}} for name, number in (("A", 0), ("B", 1)))
    size = len(file["model"]["vocab"])
    file["model"]["vocab"] = {word: size - 1 - i for word, i in file["model"]["vocab"].items()}
    file["added_tokens"] = [
        special("<s>", size),
        special("</s>", size + 1),
        special("<tool>", size + 2, special=False),
    ]
    return file | {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, levels]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text],
            "pair": [begin, text, other],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [size], "tokens": ["<s>"]}},
        },
    }


FILE = make_file()
SIZE = len(FILE["model"]["vocab"])
ROLES = TokenRoles(SIZE + 1, (SIZE + 1,), SIZE)


@pytest.fixture(scope="module")
def tokenizer():
    return ForeignTokenizer(FILE, ROLES)


@pytest.mark.parametrize("text", ["the cat</s>\n sat", "<s>ảnh 12345 <tool> chữ", "", "x\u0301 🙂\r\n\t"])
def test_texts_become_the_ids_that_the_file_says(text, tokenizer):
    library = Library.from_str(json.dumps(FILE))
    assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode_prompt(text) == library.encode(text).ids
    assert tokenizer.decode(tokenizer.encode_prompt(text)) == library.decode(library.encode(text).ids)


def test_special_tokens_have_ids_in_a_text_and_no_bytes(tokenizer):
    ids = tokenizer.encode("a</s><tool>b")
    assert ids[1:3] == [SIZE + 1, SIZE + 2]
    assert tokenizer.decode(ids) == "a<tool>b"
    assert tokenizer.vocab == SIZE + 3
    split = ForeignTokenizer(FILE, replace(ROLES, splits_special=True))
    assert split.decode(split.encode("a</s><tool>b")) == "a</s><tool>b"


def test_texts_begin_and_end_as_the_roles_say(tokenizer):
    assert (tokenizer.start_ids, tokenizer.encode_prompt("")) == ((SIZE,), [SIZE])
    assert (tokenizer.eos_id, tokenizer.stop_ids) == (SIZE + 1, {SIZE + 1})
    bare = FILE | {"post_processor": None}
    assert ForeignTokenizer(bare, ROLES).start_ids == ()
    assert ForeignTokenizer(bare, ROLES).encode_prompt("") == [SIZE]
    assert ForeignTokenizer(bare, TokenRoles(3, (3, 4))).encode_prompt("") == [3]


def test_nhins_own_begin_a_text_with_the_end_of_the_one_before():
    own = train_tokenizer("bpe:290", lambda: [TEXT] * 3)
    assert (own.start_ids, own.stop_ids, own.encode_prompt("")) == ((), {own.eos_id}, [own.eos_id])
    assert own.eos_id not in own.encode_prompt("a<|endoftext|>")


def test_a_tokenizer_survives_its_way_through_json(tokenizer):
    tree = json.loads(json.dumps(tokenizer.to_dict()))
    back = tokenizer_from_dict(tree)
    assert (back.fingerprint, back.pieces, back.name) == (
        tokenizer.fingerprint,
        tokenizer.pieces,
        f"hf:{SIZE + 3}",
    )
    assert back.encode("the</s>") == tokenizer.encode("the</s>")


@pytest.mark.parametrize("key", ["file", "eos_id", "stop_ids", "bos_id", "splits_special"])
def test_a_torn_one_is_refused(key, tokenizer):
    for value in ({}, "x", -1, 10**9, [-1], [None]):
        with pytest.raises(CheckpointError, match="the hf tokenizer is torn"):
            tokenizer_from_dict(tokenizer.to_dict() | {key: value})


def test_a_character_without_a_token_is_refused_rather_than_left_out():
    file = deepcopy(FILE)
    letters = {word: i for word, i in file["model"]["vocab"].items() if word != "z"}
    file["model"]["vocab"] = {word: i for i, word in enumerate(letters)}
    for i, token in enumerate(file["added_tokens"]):
        token["id"] = len(letters) + i
    file["post_processor"] = None
    tokenizer = ForeignTokenizer(file, TokenRoles(len(letters), ()))
    assert tokenizer.decode(tokenizer.encode("cat")) == "cat"
    with pytest.raises(UsageError, match="'z'"):
        tokenizer.encode("cat z")


def change(path, value):
    """Return a copy of the file with one value changed."""
    file = tree = deepcopy(FILE)
    *way, last = path.split(".")
    for name in way:
        tree = tree[int(name) if name.isdigit() else name]
    tree[int(last) if last.isdigit() else last] = value
    return file


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.type", "Unigram", "its model is 'Unigram'"),
        ("model.byte_fallback", True, "its model has byte_fallback"),
        ("model.dropout", 0.1, "its model has dropout"),
        ("model", 3, "describes no model"),
        ("model.vocab", {"a": 2**40}, "has an id outside"),
        ("model.vocab", {"a": "0"}, "has no vocabulary"),
        ("model.vocab.a", 1000, "leaves ids out"),
        ("model.vocab.Ω", SIZE + 3, "its added token|does not stand for bytes|leaves ids out"),
        ("model.merges", {}, "has no list of"),
        ("model.merges", [["a", "nothing"]], "the library cannot read it"),
        ("normalizer", {"type": "Lowercase"}, "its normalizer is 'Lowercase'"),
        ("normalizer", {"type": "Sequence", "normalizers": 3}, "is a sequence of nothing"),
        ("pre_tokenizer", {"type": "Whitespace"}, "its pre_tokenizer is 'Whitespace'"),
        ("pre_tokenizer", None, "its BPE is not of bytes"),
        ("pre_tokenizer.pretokenizers.1.add_prefix_space", True, "puts a space before every text"),
        ("pre_tokenizer.pretokenizers.0.pattern", {"Regex": "(a+)+b"}, "splits texts by a pattern"),
        ("pre_tokenizer.pretokenizers.0.behavior", "Removed", "splits texts by a pattern"),
        ("post_processor", {"type": "Strange"}, "its post_processor is 'Strange'"),
        ("post_processor.special_tokens.<s>.ids", [99999], "there is no token 99999"),
        ("decoder", {"type": "WordPiece"}, "its decoder is 'WordPiece'"),
        ("decoder", None, "its BPE is not of bytes"),
        ("added_tokens", [3], "are no list of objects"),
        ("added_tokens.0.content", 3, "no content or no id"),
        ("added_tokens.0.id", 7, "has another id|leaves ids out"),
        ("added_tokens.0.content", "x" * 2**21, "have more than"),
        ("strange", 1, "has a section 'strange'"),
    ],
)  # fmt: skip
def test_what_nhin_does_not_know_is_refused_by_name(path, value, message):
    with pytest.raises(NhinError, match=message):
        ForeignTokenizer(change(path, value), ROLES)
