"""Tokenizers as the ``tokenizers`` library writes them, with the same ids; and its files that are such.

``bpe`` and ``byte`` are byte pairs under GPT-2's cutting; ``char`` is a list of words of one letter each.
Files of others may number the same pieces in another order: what is read says which of their ids each of ours
is.
"""

import json
from collections.abc import Mapping
from typing import Any

from nhin.errors import CheckpointError, DataError, UsageError
from nhin.text.tokenizers import Tokenizer
from nhin.text.tokenizers.bpe import ALPHABET, BPETokenizer
from nhin.text.tokenizers.char import ByteTokenizer, CharTokenizer

END_TOKEN = "<|endoftext|>"
MAX_BYTES, MAX_TOKENS = 2**26, 2**20
_SUPPORTED = "nhin reads byte pairs under GPT-2's cutting, and characters as it writes them"


def to_hf_tokenizer(tokenizer: Tokenizer) -> str:
    """Return the text of a ``tokenizer.json``."""
    if isinstance(tokenizer, BPETokenizer):
        return tokenizer.to_hf()
    if isinstance(tokenizer, ByteTokenizer):
        return BPETokenizer([]).to_hf()
    assert isinstance(tokenizer, CharTokenizer)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tree = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": tokenizer.eos_id, "content": END_TOKEN, **flags}],
        "normalizer": None,
        # Each character a word, ends of lines included.
        "pre_tokenizer": {
            "type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "WordLevel",
            "vocab": {char: i for i, char in enumerate(tokenizer.chars)},
            # An unknown character is an error, as it is here: no word of ours is this.
            "unk_token": "",
        },
    }  # fmt: skip
    return json.dumps(tree, ensure_ascii=False)


def build_tokenizer_config(context: int) -> dict[str, Any]:
    """Return the ``tokenizer_config.json`` that goes with it."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_TOKEN,
        "eos_token": END_TOKEN,
        "unk_token": None,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }


def from_hf_tokenizer(tree: Mapping[str, Any], where: str) -> tuple[Tokenizer, list[int]]:
    """Read a ``tokenizer.json``.

    Returns:
        The tokenizer, and for each of its ids the one that the file gives the same piece.

    Raises:
        UsageError: It is of a kind that nhin does not have.
        CheckpointError: It is torn.
    """
    model = tree.get("model")
    if not isinstance(model, Mapping):
        raise CheckpointError(f"{where} describes no model of tokens")
    if tree.get("normalizer") is not None:
        raise UsageError(f"{where} changes texts before it cuts them (normalizer); {_SUPPORTED}")
    vocab, end = _read_vocab(model, where), _read_end_id(tree, where)
    if model.get("type") == "WordLevel" and vocab and all(len(word) == 1 for word in vocab):
        _check_pre_tokenizer(tree, "Split", where)
        tokenizer: Tokenizer = CharTokenizer(vocab)
        words = [*tokenizer.chars] if isinstance(tokenizer, CharTokenizer) else []
    elif model.get("type") == "BPE":
        tokenizer = _read_bpe(tree, model, where)
        words = ["".join(ALPHABET[byte] for byte in piece) for piece in tokenizer.pieces[:-1]]
    else:
        raise UsageError(f"{where} is of the kind {str(model.get('type'))[:40]!r}; {_SUPPORTED}")
    theirs = vocab | {END_TOKEN: end}
    ids = [theirs.get(word, -1) for word in (*words, END_TOKEN)]
    if sorted(ids) != list(range(tokenizer.vocab)) or len(theirs) != len(ids):
        raise UsageError(f"{where} has tokens that no merge makes, or leaves ids out; {_SUPPORTED}")
    return tokenizer, ids


def _read_vocab(model: Mapping[str, Any], where: str) -> dict[str, int]:
    vocab = model.get("vocab")
    if (
        not isinstance(vocab, dict)
        or len(vocab) > MAX_TOKENS
        or not all(type(i) is int for i in vocab.values())
    ):
        raise CheckpointError(f"{where} has no vocabulary of at most {MAX_TOKENS} tokens with their ids")
    return vocab


def _read_end_id(tree: Mapping[str, Any], where: str) -> int:
    """Return the id of the one token that stands beside the model's own."""
    added = tree.get("added_tokens")
    one = added[0] if isinstance(added, list) and len(added) == 1 else None
    if not isinstance(one, Mapping) or one.get("content") != END_TOKEN or type(one.get("id")) is not int:
        raise UsageError(f"{where} needs one added token, {END_TOKEN}, and no other; {_SUPPORTED}")
    return one["id"]


def _check_pre_tokenizer(tree: Mapping[str, Any], kind: str, where: str) -> None:
    cuts = tree.get("pre_tokenizer")
    found = cuts.get("type") if isinstance(cuts, Mapping) else None
    other = isinstance(cuts, Mapping) and (cuts.get("add_prefix_space") or cuts.get("use_regex") is False)
    if found != kind or other:
        raise UsageError(f"{where} cuts texts by {str(found)[:40]!r} of another sort; {_SUPPORTED}")


def _read_bpe(tree: Mapping[str, Any], model: Mapping[str, Any], where: str) -> Tokenizer:
    """Read byte pairs; merges come as two words, in one string or in a list."""
    _check_pre_tokenizer(tree, "ByteLevel", where)
    for name in (
        "dropout",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "byte_fallback",
        "ignore_merges",
    ):
        if model.get(name):
            raise UsageError(f"{where} has {name}; {_SUPPORTED}")
    merges = model.get("merges")
    if not isinstance(merges, list) or len(merges) > MAX_TOKENS:
        raise CheckpointError(f"{where} has no list of at most {MAX_TOKENS} merges")
    if not merges:
        return ByteTokenizer()
    ids, out = {letter: byte for byte, letter in enumerate(ALPHABET)}, []
    for merge in merges:
        words = merge.split(" ") if isinstance(merge, str) else merge
        if not (
            isinstance(words, list)
            and len(words) == 2
            and all(isinstance(w, str) and w in ids for w in words)
        ):
            raise CheckpointError(
                f"{where}: the merge {str(merge)[:40]!r} does not join two tokens that are there"
            )
        out.append((ids[words[0]], ids[words[1]]))
        ids.setdefault(words[0] + words[1], len(ids))
    try:
        return BPETokenizer(out)
    except DataError as why:
        raise UsageError(f"{where}: {why}") from why
