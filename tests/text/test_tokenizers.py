"""Decoding restores every text; a dict from elsewhere is accepted only if it is complete and valid."""

import json
import os
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nhin.errors import CheckpointError, DataError, MissingExtra, UnknownName, UsageError
from nhin.text.tokenizers import StreamDecoder, bpe, tokenizer_from_dict, train_tokenizer
from nhin.text.tokenizers.bpe import LONGEST_PIECE, BPETokenizer

KIEU = "Trăm năm trong cõi người ta,\nChữ tài chữ mệnh khéo là ghét nhau.\r\n"
TEXT = KIEU * 3 + "the cat sat on the mat, the cat sat. " * 5 + "e\u0302\u0323 👩‍👩‍👧 \t  \n" + "-" * 200
TOKENIZERS = {spec: train_tokenizer(spec, lambda: [TEXT]) for spec in ("char", "byte", "bpe:320")}

each = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
anything = pytest.mark.parametrize(
    "tokenizer", [TOKENIZERS["byte"], TOKENIZERS["bpe:320"]], ids=["byte", "bpe"]
)


@anything
@given(text=st.text() | st.text("aát \r\n\t\u0302👩\u200d\ufeff"))
@example("\r\n \r  \n\n ")
@example("Nghiêng mình 👩‍👩‍👧‍👦 <|endoftext|>\ufffe\x00")
def test_decoding_restores_every_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 <= i < tokenizer.eos_id for i in ids)


@given(text=st.text(sorted(set(TEXT))))
def test_characters_have_one_id_each_and_are_restored(text):
    tokenizer = TOKENIZERS["char"]
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_ids_of_characters_are_in_the_order_of_code_points_and_the_end_is_last():
    tokenizer = train_tokenizer("char", lambda: ["bđ", "a"])
    assert tokenizer.encode("abđ") == [0, 1, 2]
    assert (tokenizer.eos_id, tokenizer.vocab) == (3, 4)


@each
def test_an_end_decodes_to_nothing(tokenizer):
    ids = tokenizer.encode("mat")
    assert tokenizer.eos_id == tokenizer.vocab - 1
    assert tokenizer.decode([tokenizer.eos_id, *ids, tokenizer.eos_id]) == "mat"


@each
@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_an_invalid_id_is_named(tokenizer, wrong):
    with pytest.raises(DataError, match=f"no token {wrong}:"):
        tokenizer.decode([wrong])


def test_an_unknown_character_is_named_with_its_code_point():
    with pytest.raises(UsageError, match=r"'ß' \(U\+00DF\)"):
        TOKENIZERS["char"].encode("großer")


@anything
def test_half_a_character_is_named(tokenizer):
    with pytest.raises(UsageError, match=r"U\+DC80"):
        tokenizer.encode("a\udc80")


@each
@given(data=st.data())
def test_streaming_gives_what_decoding_gives_and_never_half_a_character(tokenizer, data):
    """Also for ids that no text has: invalid UTF-8."""
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab - 1)))
    streamer = StreamDecoder(tokenizer)
    parts = [streamer.push(i) for i in ids]
    assert "".join(parts) + streamer.finish() == tokenizer.decode(ids)


def test_a_character_of_many_tokens_is_returned_when_it_is_complete():
    streamer = StreamDecoder(TOKENIZERS["byte"])
    assert [streamer.push(byte) for byte in "ệ".encode()] == ["", "", "ệ"]
    assert streamer.push(*"ệ".encode()[:2]) == ""
    assert streamer.finish() == "\ufffd"


def test_bpe_shortens_texts_and_has_the_requested_vocabulary():
    tokenizer = TOKENIZERS["bpe:320"]
    assert tokenizer.vocab == 320
    assert tokenizer.name == "bpe:320"
    assert len(tokenizer.encode(TEXT)) < 0.8 * len(TEXT.encode())
    assert max(map(len, tokenizer.pieces)) <= LONGEST_PIECE


def test_a_text_with_few_pairs_gives_fewer_ids():
    tokenizer = train_tokenizer("bpe:8192", lambda: ["ab ab", " cd"])
    assert tokenizer.pieces[256:] == (b"ab", b"")
    assert tokenizer.name == "bpe:258"


def test_no_piece_grows_without_bound():
    tokenizer = train_tokenizer("bpe:400", lambda: ["=" * 2000] * 3)
    assert LONGEST_PIECE // 2 < max(map(len, tokenizer.pieces)) <= LONGEST_PIECE
    assert tokenizer.decode(tokenizer.encode("=" * 999)) == "=" * 999


def test_two_merges_into_one_piece_have_one_id():
    merges = [(97, 98), (98, 99), (256, 99), (97, 257), (258, 100)]
    tokenizer = BPETokenizer(merges)
    assert tokenizer.pieces[256:] == (b"ab", b"bc", b"abc", b"abcd", b"")
    assert tokenizer.encode("abcd") == [259]
    stored = json.loads(tokenizer.to_hf())["model"]["merges"]
    assert bpe._merge_ids(stored) == merges


@pytest.mark.parametrize("before", [None, "true"])
def test_training_is_deterministic_and_restores_the_environment(monkeypatch, before):
    name = "TOKENIZERS_PARALLELISM"
    monkeypatch.delenv(name, raising=False) if before is None else monkeypatch.setenv(name, before)
    before = dict(os.environ)
    texts = ["the cat", " sat on the mat; ", KIEU]
    assert (
        train_tokenizer("bpe:300", lambda: texts).to_dict()
        == train_tokenizer("bpe:300", lambda: iter(texts)).to_dict()
    )
    assert dict(os.environ) == before


def test_an_error_of_the_texts_is_raised():
    def texts():
        yield "abc"
        raise DataError("the disk is gone")

    with pytest.raises(DataError, match="disk is gone"):
        train_tokenizer("bpe:300", texts)


@each
def test_a_dict_through_json_gives_the_same_tokenizer(tokenizer):
    tree = json.loads(json.dumps(tokenizer.to_dict()))
    again = tokenizer_from_dict(tree)
    assert again.fingerprint == tokenizer.fingerprint
    assert again.encode(KIEU) == tokenizer.encode(KIEU)
    assert (again.name, again.pieces) == (tokenizer.name, tokenizer.pieces)


def test_every_tokenizer_has_a_fingerprint_of_its_own():
    trees = [
        *(tokenizer.to_dict() for tokenizer in TOKENIZERS.values()),
        {"kind": "bpe", "merges": [[97, 98]]},
    ]
    trees += [{"kind": "char", "chars": "ab"}, {"kind": "char", "chars": "abc"}]
    assert len({tokenizer_from_dict(tree).fingerprint for tree in trees}) == len(trees)


DOUBLED = [[97, 97], *([i, i] for i in range(256, 300))]  # each piece twice as long: 2**45 bytes at the end
WRONG = [
    None,
    [],
    {},
    {"kind": "wordpiece"},
    {"kind": ["char"]},
    {"kind": "char"},
    {"kind": "char", "chars": ""},
    {"kind": "char", "chars": "ba"},
    {"kind": "char", "chars": "aa"},
    {"kind": "char", "chars": "a\ud800"},
    {"kind": "char", "chars": ["a"]},
    {"kind": "byte", "more": 1},
    {"kind": "bpe"},
    {"kind": "bpe", "merges": {}},
    {"kind": "bpe", "merges": [[1]]},
    {"kind": "bpe", "merges": [["a", "b"]]},
    {"kind": "bpe", "merges": [[True, 1]]},
    {"kind": "bpe", "merges": [[1, 256]]},
    {"kind": "bpe", "merges": [[-1, 5]]},
    {"kind": "bpe", "merges": [[1, 2]], "normalizer": "x"},
    {"kind": "bpe", "merges": DOUBLED},
    {"kind": "bpe", "merges": [[1, 2]] * (2**20 + 1)},
]


@pytest.mark.parametrize("tree", WRONG, ids=range(len(WRONG)))
def test_a_torn_foreign_or_huge_dict_is_refused(tree):
    with pytest.raises(CheckpointError, match="tokenizer"):
        tokenizer_from_dict(tree)


@pytest.mark.parametrize(
    "spec", ["bpe", "bpe:", "bpe:x", "bpe:256", "bpe:1048577", "bpe:-5", "bpe:٣٠٠", "bpe:" + "9" * 5000]
)
def test_a_vocabulary_out_of_range_is_refused(spec):
    with pytest.raises(UsageError):
        train_tokenizer(spec, lambda: ["text"])


@pytest.mark.parametrize("spec", ["", "chars", "char:5", "unigram:300"])
def test_an_unknown_kind_offers_the_known(spec):
    with pytest.raises(UnknownName, match="char"):
        train_tokenizer(spec, lambda: ["text"])


def test_no_text_is_refused():
    with pytest.raises(DataError, match="no text"):
        train_tokenizer("char", lambda: ["", ""])


def test_without_the_package_bpe_decodes_and_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    tokenizer = BPETokenizer([(97, 98)])
    assert tokenizer.decode([256, 99]) == "abc"
    for call in (lambda: tokenizer.encode("ab"), lambda: train_tokenizer("bpe:300", lambda: ["ab"])):
        with pytest.raises(MissingExtra, match="pip install"):
            call()


@given(text=st.text() | st.text("the catsăệ \n"))
def test_the_hugging_face_file_gives_the_same_ids_and_the_same_text(text):
    from tokenizers import Tokenizer

    ours = TOKENIZERS["bpe:320"]
    theirs = Tokenizer.from_str(ours.to_hf())
    ids = ours.encode(text)
    assert theirs.encode(text).ids == ids
    assert theirs.decode(ids) == text
    assert theirs.token_to_id("<|endoftext|>") == ours.eos_id
