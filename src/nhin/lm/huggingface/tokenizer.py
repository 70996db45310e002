"""Convert tokenizers to and from the ``tokenizer.json`` of the ``tokenizers`` library.

``bpe`` and ``byte`` become byte pairs with GPT-2's pre-tokenizer; ``char`` becomes a word list of single
letters. In nhin's own tokenizers the name of a special token in a text is ordinary text, which
``split_special_tokens`` in tokenizer_config.json asks the library for; only a file with it becomes one of
them again, with its ids in nhin's order. Every other file is kept as it is, ids included.
"""

import json
from collections.abc import Mapping
from typing import Any

from nhin.errors import CheckpointError, DataError, UsageError
from nhin.text.tokenizers import Tokenizer
from nhin.text.tokenizers.bpe import ALPHABET, BPETokenizer
from nhin.text.tokenizers.char import ByteTokenizer, CharTokenizer
from nhin.text.tokenizers.foreign import MAX_TOKENS, ForeignTokenizer

EOS = "<|endoftext|>"
MAX_BYTES = 40 * 2**20  # the library takes 20 bytes of memory for each byte
_SUPPORTED = "nhin reads byte pairs with GPT-2's pre-tokenizer, and characters as it writes them"


def to_hf_tokenizer(tokenizer: Tokenizer) -> str:
    """Return the text of a ``tokenizer.json``."""
    if isinstance(tokenizer, ForeignTokenizer):
        return json.dumps(tokenizer.file, ensure_ascii=False)
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
        "added_tokens": [{"id": tokenizer.eos_id, "content": EOS, **flags}],
        "normalizer": None,
        # Each character is a word, line ends included.
        "pre_tokenizer": {
            "type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "WordLevel",
            "vocab": {char: i for i, char in enumerate(tokenizer.chars)},
            # No word is empty, so an unknown character is an error, as in nhin.
            "unk_token": "",
        },
    }  # fmt: skip
    return json.dumps(tree, ensure_ascii=False)


def build_tokenizer_config(tokenizer: Tokenizer, context: int) -> dict[str, Any]:
    """Return the ``tokenizer_config.json`` beside it."""
    bos: str | None = EOS
    eos, splits_special = EOS, True
    if isinstance(tokenizer, ForeignTokenizer):
        words = {i: word for word, i in tokenizer.vocabulary.items()}
        eos, splits_special = words[tokenizer.eos_id], tokenizer.roles.splits_special
        bos = None if tokenizer.roles.bos_id is None else words[tokenizer.roles.bos_id]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": eos,
        "unk_token": None,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": splits_special,
    }


def build_generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the ids of the first and last token of a text, for config.json and generation_config.json."""
    bos, ends = tokenizer.eos_id, sorted(tokenizer.stop_ids)
    if isinstance(tokenizer, ForeignTokenizer):
        bos, ends = tokenizer.roles.bos_id, list(tokenizer.roles.stop_ids)
    return {"bos_token_id": bos, "eos_token_id": ends[0] if len(ends) == 1 else ends or None}


def from_hf_tokenizer(tree: Mapping[str, Any], where: str) -> tuple[Tokenizer, list[int]]:
    """Read a ``tokenizer.json``.

    Returns:
        The tokenizer, and the file's id for each of its ids.

    Raises:
        UsageError: nhin does not have this kind.
        CheckpointError: The file is damaged.
    """
    model = tree.get("model")
    if not isinstance(model, Mapping):
        raise CheckpointError(f"{where} describes no model of tokens")
    if tree.get("normalizer") is not None:
        raise UsageError(f"{where} changes texts before it splits them (normalizer); {_SUPPORTED}")
    vocab, eos_id = _read_vocab(model, where), _read_eos_id(tree, where)
    if model.get("type") == "WordLevel" and vocab and all(len(word) == 1 for word in vocab):
        _check_pre_tokenizer(tree, "Split", where)
        tokenizer: Tokenizer = CharTokenizer(vocab)
        words = [*tokenizer.chars] if isinstance(tokenizer, CharTokenizer) else []
    elif model.get("type") == "BPE":
        tokenizer = _read_bpe(tree, model, where)
        words = ["".join(ALPHABET[byte] for byte in piece) for piece in tokenizer.pieces[:-1]]
    else:
        raise UsageError(f"{where} is of the kind {str(model.get('type'))[:40]!r}; {_SUPPORTED}")
    theirs = vocab | {EOS: eos_id}
    ids = [theirs.get(word, -1) for word in (*words, EOS)]
    if sorted(ids) != list(range(tokenizer.vocab)) or len(theirs) != len(ids):
        raise UsageError(f"{where} has tokens that no merge makes, or leaves ids out; {_SUPPORTED}")
    return tokenizer, ids


def _read_vocab(model: Mapping[str, Any], where: str) -> dict[str, int]:
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or len(vocab) > MAX_TOKENS or {*map(type, vocab.values())} - {int}:
        raise CheckpointError(f"{where} has no vocabulary of at most {MAX_TOKENS} tokens with their ids")
    return vocab


def _read_eos_id(tree: Mapping[str, Any], where: str) -> int:
    """Return the id of the one token that is not part of the model."""
    added = tree.get("added_tokens")
    eos = added[0] if isinstance(added, list) and len(added) == 1 else None
    if not isinstance(eos, Mapping) or eos.get("content") != EOS or type(eos.get("id")) is not int:
        raise UsageError(f"{where} needs one added token, {EOS}, and no other; {_SUPPORTED}")
    return eos["id"]


def _check_pre_tokenizer(tree: Mapping[str, Any], kind: str, where: str) -> None:
    section = tree.get("pre_tokenizer")
    section = section if isinstance(section, Mapping) else {}
    is_changed = section.get("add_prefix_space") or section.get("use_regex") is False
    if section.get("type") != kind or is_changed:
        found = str(section.get("type"))[:40]
        raise UsageError(f"{where} splits texts with a pre-tokenizer {found!r} of another kind; {_SUPPORTED}")


def _read_bpe(tree: Mapping[str, Any], model: Mapping[str, Any], where: str) -> Tokenizer:
    """Read byte pairs; a merge is two words, in one string or in a list."""
    _check_pre_tokenizer(tree, "ByteLevel", where)
    affixes = ("continuing_subword_prefix", "end_of_word_suffix")
    for name in ("dropout", *affixes, "byte_fallback", "ignore_merges"):
        if model.get(name):
            raise UsageError(f"{where} has {name}; {_SUPPORTED}")
    merges = model.get("merges")
    if not isinstance(merges, list) or len(merges) > MAX_TOKENS:
        raise CheckpointError(f"{where} has no list of at most {MAX_TOKENS} merges")
    if not merges:
        return ByteTokenizer()
    ids, pairs = {letter: byte for byte, letter in enumerate(ALPHABET)}, []
    for merge in merges:
        words = merge.split(" ") if isinstance(merge, str) else merge
        is_list = isinstance(words, list) and len(words) == 2
        if not (is_list and all(isinstance(word, str) and word in ids for word in words)):
            raise CheckpointError(
                f"{where}: the merge {str(merge)[:40]!r} does not join two tokens that are there"
            )
        pairs.append((ids[words[0]], ids[words[1]]))
        ids.setdefault(words[0] + words[1], len(ids))
    try:
        return BPETokenizer(pairs)
    except DataError as why:
        raise UsageError(f"{where}: {why}") from why
