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
from nhin.text.tokenizers.pairs import ALPHABET, BytePairs
from nhin.text.tokenizers.plain import Bytes, Characters

END = "<|endoftext|>"
MOST_BYTES, MOST_TOKENS = 2**26, 2**20
_READS = "nhin reads byte pairs under GPT-2's cutting, and characters as it writes them"


def as_library(tokenizer: Tokenizer) -> str:
    """Return the text of a ``tokenizer.json``."""
    if isinstance(tokenizer, BytePairs):
        return tokenizer.as_library()
    if isinstance(tokenizer, Bytes):
        return BytePairs([]).as_library()
    assert isinstance(tokenizer, Characters)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tree = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": tokenizer.end, "content": END, **flags}],
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


def settings(context: int) -> dict[str, Any]:
    """Return the ``tokenizer_config.json`` that goes with it."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "unk_token": None,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }


def of_library(tree: Mapping[str, Any], where: str) -> tuple[Tokenizer, list[int]]:
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
        raise UsageError(f"{where} changes texts before it cuts them (normalizer); {_READS}")
    vocab, end = _vocabulary(model, where), _end(tree, where)
    if model.get("type") == "WordLevel" and vocab and all(len(word) == 1 for word in vocab):
        _kind(tree, "Split", where)
        tokenizer: Tokenizer = Characters(vocab)
        words = [*tokenizer.chars] if isinstance(tokenizer, Characters) else []
    elif model.get("type") == "BPE":
        tokenizer = _pairs(tree, model, where)
        words = ["".join(ALPHABET[byte] for byte in piece) for piece in tokenizer.pieces[:-1]]
    else:
        raise UsageError(f"{where} is of the kind {str(model.get('type'))[:40]!r}; {_READS}")
    theirs = vocab | {END: end}
    ids = [theirs.get(word, -1) for word in (*words, END)]
    if sorted(ids) != list(range(tokenizer.vocab)) or len(theirs) != len(ids):
        raise UsageError(f"{where} has tokens that no merge makes, or leaves ids out; {_READS}")
    return tokenizer, ids


def _vocabulary(model: Mapping[str, Any], where: str) -> dict[str, int]:
    vocab = model.get("vocab")
    if (
        not isinstance(vocab, dict)
        or len(vocab) > MOST_TOKENS
        or not all(type(i) is int for i in vocab.values())
    ):
        raise CheckpointError(f"{where} has no vocabulary of at most {MOST_TOKENS} tokens with their ids")
    return vocab


def _end(tree: Mapping[str, Any], where: str) -> int:
    """Return the id of the one token that stands beside the model's own."""
    added = tree.get("added_tokens")
    one = added[0] if isinstance(added, list) and len(added) == 1 else None
    if not isinstance(one, Mapping) or one.get("content") != END or type(one.get("id")) is not int:
        raise UsageError(f"{where} needs one added token, {END}, and no other; {_READS}")
    return one["id"]


def _kind(tree: Mapping[str, Any], kind: str, where: str) -> None:
    cuts = tree.get("pre_tokenizer")
    found = cuts.get("type") if isinstance(cuts, Mapping) else None
    other = isinstance(cuts, Mapping) and (cuts.get("add_prefix_space") or cuts.get("use_regex") is False)
    if found != kind or other:
        raise UsageError(f"{where} cuts texts by {str(found)[:40]!r} of another sort; {_READS}")


def _pairs(tree: Mapping[str, Any], model: Mapping[str, Any], where: str) -> Tokenizer:
    """Read byte pairs; merges come as two words, in one string or in a list."""
    _kind(tree, "ByteLevel", where)
    for name in (
        "dropout",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "byte_fallback",
        "ignore_merges",
    ):
        if model.get(name):
            raise UsageError(f"{where} has {name}; {_READS}")
    merges = model.get("merges")
    if not isinstance(merges, list) or len(merges) > MOST_TOKENS:
        raise CheckpointError(f"{where} has no list of at most {MOST_TOKENS} merges")
    if not merges:
        return Bytes()
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
        return BytePairs(out)
    except DataError as why:
        raise UsageError(f"{where}: {why}") from why
