"""Tokenizers by name: ``char``, ``byte`` and ``bpe:N``; trained on texts, or read back from a dict.

Those of Hugging Face come with an imported model; ``run:FOLDER`` is the tokenizer of a run. The package
``tokenizers`` is loaded when it is first needed.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from nhin.errors import CheckpointError, NhinError, UnknownName, UsageError
from nhin.files import read_folder, read_json
from nhin.text.tokenizers.base import StreamDecoder, Tokenizer
from nhin.text.tokenizers.bpe import BPETokenizer, train_bpe
from nhin.text.tokenizers.char import ByteTokenizer, CharTokenizer, train_char
from nhin.text.tokenizers.foreign import ForeignTokenizer, TokenRoles

__all__ = [
    "StreamDecoder",
    "Tokenizer",
    "check_spec",
    "open_tokenizer",
    "tokenizer_from_dict",
    "train_tokenizer",
]

KINDS, RUN = ("char", "byte", "bpe:8192", "run:FOLDER"), "run:"
MIN_VOCAB, MAX_VOCAB = 257, 2**20


def check_spec(spec: str) -> int:
    """Return the vocabulary size that a name asks for, 0 where the texts decide it.

    Raises:
        UnknownName: There is no such kind.
        UsageError: The number after bpe: is missing or out of range.
    """
    kind, colon, number = spec.partition(":")
    if spec in ("char", "byte"):
        return 0
    if kind != "bpe":
        raise UnknownName("tokenizer", spec, KINDS)
    if not colon or not (number.isascii() and number.isdigit() and len(number) <= len(str(MAX_VOCAB))):
        raise UsageError(f"give the vocabulary size of BPE, such as bpe:8192, not {spec!r}")
    if not MIN_VOCAB <= int(number) <= MAX_VOCAB:
        raise UsageError(f"bpe:{number}: give a vocabulary of {MIN_VOCAB} to {MAX_VOCAB}")
    return int(number)


def train_tokenizer(spec: str, texts: Callable[[], Iterable[str]]) -> Tokenizer:
    """Train a tokenizer.

    Args:
        spec: ``char``, ``byte`` or ``bpe:N``; N is the vocabulary size, with bytes and end of document.
        texts: Returns the training texts, in pieces; not called for bytes.

    Raises:
        UnknownName: There is no such kind.
        UsageError: N is out of range.
        DataError: There is no text to take characters from.
        MissingExtra: BPE needs the ``tokenizers`` package, which is not installed.
    """
    vocab = check_spec(spec)
    if spec == "byte":
        return ByteTokenizer()
    return train_bpe(texts(), vocab) if vocab else train_char(texts())


def open_tokenizer(spec: str) -> Tokenizer | str:
    """Return the tokenizer of the run that a name says, or the name itself where one is to be trained.

    Raises:
        UnknownName: There is no such kind.
        UsageError: The number after bpe: is out of range.
        CheckpointError: There is no such run, or its tokenizer is damaged.
    """
    if not spec.startswith(RUN):
        check_spec(spec)
        return spec
    folder = Path(spec.removeprefix(RUN))
    # A training may replace its checkpoint meanwhile.
    tree = read_folder(folder / "checkpoint", lambda path: read_json(path / "tokenizer.json"))
    return tokenizer_from_dict(read_json(folder / "tokenizer.json") if tree is None else tree)


def tokenizer_from_dict(tree: object) -> Tokenizer:
    """Build a tokenizer from the result of ``Tokenizer.to_dict``.

    Raises:
        CheckpointError: It is torn, foreign or too large.
    """
    kind = tree.get("kind") if isinstance(tree, Mapping) else None
    build = _FROM_DICT.get(kind) if isinstance(kind, str) else None
    if build is None or not isinstance(tree, Mapping):
        raise CheckpointError(f"this is no tokenizer of nhin: its kind is {str(kind)[:40]!r}")
    try:
        tokenizer = build(tree)
    except NhinError as why:
        raise CheckpointError(f"the {kind} tokenizer is torn: {why}") from why
    if dict(tree) != tokenizer.to_dict():
        raise CheckpointError(f"the {kind} tokenizer is torn: it contains what nhin never writes")
    return tokenizer


def _char_from_dict(tree: Mapping[str, object]) -> Tokenizer:
    chars = tree.get("chars")
    if not isinstance(chars, str) or not chars:
        raise CheckpointError("it has no characters")
    return CharTokenizer(chars)


def _bpe_from_dict(tree: Mapping[str, object]) -> Tokenizer:
    merges = tree.get("merges")
    if not isinstance(merges, list) or len(merges) > MAX_VOCAB:
        raise CheckpointError(f"it has no list of at most {MAX_VOCAB} merges")
    if not all(isinstance(m, list) and len(m) == 2 and all(type(i) is int for i in m) for m in merges):
        raise CheckpointError("a merge is not two ids")
    return BPETokenizer([(left, right) for left, right in merges])


def _hf_from_dict(tree: Mapping[str, object]) -> Tokenizer:
    file, stop_ids, splits = tree.get("file"), tree.get("stop_ids"), tree.get("splits_special")
    eos_id, bos_id = tree.get("eos_id"), tree.get("bos_id")
    if not (isinstance(file, dict) and isinstance(stop_ids, list) and isinstance(splits, bool)):
        raise CheckpointError(
            "it has no file, no list of ids that end a text, or does not say what it splits"
        )
    if not (type(eos_id) is int and (bos_id is None or type(bos_id) is int)):
        raise CheckpointError("the end or the beginning of a text is no id")
    if not all(type(i) is int for i in stop_ids):
        raise CheckpointError("an id that ends a text is no whole number")
    return ForeignTokenizer(file, TokenRoles(eos_id, tuple(stop_ids), bos_id, splits))


_FROM_DICT: dict[str, Callable[[Mapping[str, object]], Tokenizer]] = {
    "char": _char_from_dict,
    "byte": lambda tree: ByteTokenizer(),
    "bpe": _bpe_from_dict,
    "hf": _hf_from_dict,
}
