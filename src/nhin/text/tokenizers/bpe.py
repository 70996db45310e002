"""Byte-pair encoding: starting from bytes, the most frequent pair becomes a new id, again and again.

Ids 0 to 255 are the bytes, so nothing is unknown and decoding restores every text; each merge makes the next
id, unless its bytes have one. Text is split into words by the rule of GPT-2 before pairs are counted. Hugging
Face's ``tokenizers`` counts and applies them; only the merges are stored, so a foreign file can be checked
completely.

Source:  Sennrich et al. 2016, arXiv:1508.07909; bytes as letters: GPT-2 (Radford et al. 2019, section 2.2).
Differs: a pair is merged if it occurs at least twice, and into at most 64 bytes.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from nhin.errors import DataError, MissingExtra, explain_install
from nhin.text.tokenizers.base import Tokenizer, encode_utf8

LONGEST_PIECE = 64  # in training, in bytes
LONGEST_READ = 128  # in a file, in bytes: GPT-2 has a piece of that length
_PARALLEL = "TOKENIZERS_PARALLELISM"

Merge = tuple[int, int]


def _byte_alphabet() -> str:
    """Return the letter that stands for each byte in the library: itself where it is printable."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


ALPHABET = _byte_alphabet()


class BPETokenizer(Tokenizer):
    """Byte-pair encoding.

    Args:
        merges: Pairs of ids in the order of training; each joins earlier ids.

    Raises:
        DataError: A merge joins ids that do not exist yet, or makes a piece that is too long.
    """

    def __init__(self, merges: Sequence[Merge]) -> None:
        pieces = [bytes([byte]) for byte in range(256)]
        known = {piece: i for i, piece in enumerate(pieces)}
        for number, (left, right) in enumerate(merges):
            if not (0 <= left < len(pieces) and 0 <= right < len(pieces)):
                raise DataError(f"merge {number} joins {left} and {right}, but there are {len(pieces)} ids")
            piece = pieces[left] + pieces[right]
            if len(piece) > LONGEST_READ:
                raise DataError(f"merge {number} makes a piece of {len(piece)} bytes, over {LONGEST_READ}")
            if piece not in known:
                known[piece] = len(pieces)
                pieces.append(piece)
        self.merges = tuple(merges)
        self.pieces = (*pieces, b"")
        self.name = f"bpe:{len(self.pieces)}"

    def encode(self, text: str) -> list[int]:
        """Turn text into ids, earlier merges first."""
        encode_utf8(text)
        return self._hf_tokenizer.encode(text, add_special_tokens=False).ids

    def to_dict(self) -> dict[str, Any]:
        """Return the merges."""
        return {"kind": "bpe", "merges": [list(merge) for merge in self.merges]}

    def to_hf(self) -> str:
        """Return a Hugging Face ``tokenizer.json``, with <|endoftext|> as the end of a document."""
        tree = json.loads(self._hf_tokenizer.to_str())
        tree["decoder"] = tree["pre_tokenizer"]
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        tree["added_tokens"] = [{"id": self.eos_id, "content": "<|endoftext|>", **flags}]
        return json.dumps(tree, ensure_ascii=False)

    @cached_property
    def _hf_tokenizer(self) -> Any:
        tokenizers = import_tokenizers()
        words = [_to_letters(piece) for piece in self.pieces[:-1]]
        merges = [(words[left], words[right]) for left, right in self.merges]
        model = tokenizers.models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges)
        return _byte_level(model)


def train_bpe(texts: Iterable[str], vocab: int) -> BPETokenizer:
    """Train until there are ``vocab`` ids, or no pair occurs twice.

    Memory grows with the number of distinct words, not with the length of the texts.

    Raises:
        MissingExtra: The ``tokenizers`` package is not installed.
    """
    tokenizers = import_tokenizers()
    library = _byte_level(tokenizers.models.BPE())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab - 1,
        min_frequency=2,
        initial_alphabet=list(ALPHABET),
        max_token_length=LONGEST_PIECE,
        show_progress=False,
    )
    with _single_thread():
        library.train_from_iterator(iter(texts), trainer=trainer)
    return BPETokenizer(_merge_ids(json.loads(library.to_str())["model"]["merges"]))


def _merge_ids(pairs: Iterable[Sequence[str]]) -> list[Merge]:
    """Turn the library's merges of words into merges of ids."""
    ids = {letter: byte for byte, letter in enumerate(ALPHABET)}
    out = []
    for left, right in pairs:
        out.append((ids[left], ids[right]))
        ids.setdefault(left + right, len(ids))
    return out


def _to_letters(piece: bytes) -> str:
    return "".join(ALPHABET[byte] for byte in piece)


def _byte_level(model: Any) -> Any:
    """Return a tokenizer with GPT-2's splitting into words."""
    tokenizers = import_tokenizers()
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return library


def import_tokenizers() -> Any:
    """Import the ``tokenizers`` package, or say how to install it."""
    try:
        import tokenizers
    except ImportError as why:
        raise MissingExtra(f"BPE needs the package tokenizers: {explain_install()}") from why
    return tokenizers


@contextmanager
def _single_thread() -> Iterator[None]:
    """Keep the library to one thread, since threads do not survive a fork; then restore the environment."""
    previous = os.environ.get(_PARALLEL)
    os.environ[_PARALLEL] = "false"
    try:
        yield
    finally:
        if previous is None:
            del os.environ[_PARALLEL]
        else:
            os.environ[_PARALLEL] = previous
