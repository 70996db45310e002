"""Tokenizers by name: ``char``, ``byte`` and ``bpe:N``; learned from texts, or read back from a tree."""

from collections.abc import Callable, Iterable, Mapping

from nhin.errors import CheckpointError, NhinError, UnknownName, UsageError
from nhin.text.tokenizers.base import Streamer, Tokenizer
from nhin.text.tokenizers.pairs import BytePairs, learn_pairs
from nhin.text.tokenizers.plain import Bytes, Characters, learn_characters

__all__ = ["Streamer", "Tokenizer", "check_spec", "learn", "tokenizer_of"]

KINDS = ("char", "byte", "bpe:8192")
SMALLEST, LARGEST = 257, 2**20


def check_spec(spec: str) -> int:
    """Return how many ids a tokenizer shall learn, 0 where that is not for us to say.

    Raises:
        UnknownName: There is no such kind.
        UsageError: The number after bpe: is none, or out of bounds.
    """
    kind, colon, number = spec.partition(":")
    if spec in ("char", "byte"):
        return 0
    if kind != "bpe":
        raise UnknownName("tokenizer", spec, KINDS)
    if not colon or not (number.isascii() and number.isdigit() and len(number) <= len(str(LARGEST))):
        raise UsageError(f"byte pairs are asked for with their number, such as bpe:8192, not {spec!r}")
    if not SMALLEST <= int(number) <= LARGEST:
        raise UsageError(f"bpe:{number}: there can be {SMALLEST} to {LARGEST} byte pairs")
    return int(number)


def learn(spec: str, texts: Callable[[], Iterable[str]]) -> Tokenizer:
    """Make the tokenizer that ``spec`` names.

    Args:
        spec: ``char``, ``byte`` or ``bpe:N``, N ids in all (bytes and the end of a document among them).
        texts: Gives the texts to learn from, in pieces; not asked for bytes.

    Raises:
        UnknownName: There is no such kind.
        UsageError: N is out of bounds.
        DataError: There is no text to take characters from.
        MissingExtra: Byte pairs were asked for and the ``tokenizers`` package is not installed.
    """
    vocab = check_spec(spec)
    if spec == "byte":
        return Bytes()
    return learn_pairs(texts(), vocab) if vocab else learn_characters(texts())


def tokenizer_of(tree: object) -> Tokenizer:
    """Read back what ``as_tree`` told.

    Raises:
        CheckpointError: It is torn, foreign or of impossible size.
    """
    kind = tree.get("kind") if isinstance(tree, Mapping) else None
    made = _MAKERS.get(kind) if isinstance(kind, str) else None
    if made is None or not isinstance(tree, Mapping):
        raise CheckpointError(f"this is no tokenizer of nhin: its kind is {str(kind)[:40]!r}")
    try:
        tokenizer = made(tree)
    except NhinError as why:
        raise CheckpointError(f"the {kind} tokenizer is torn: {why}") from why
    if dict(tree) != tokenizer.as_tree():
        raise CheckpointError(f"the {kind} tokenizer is torn: it holds what nhin never writes")
    return tokenizer


def _characters(tree: Mapping[str, object]) -> Tokenizer:
    chars = tree.get("chars")
    if not isinstance(chars, str) or not chars:
        raise CheckpointError("it names no characters")
    return Characters(chars)


def _pairs(tree: Mapping[str, object]) -> Tokenizer:
    merges = tree.get("merges")
    if not isinstance(merges, list) or len(merges) > LARGEST:
        raise CheckpointError(f"it has no list of at most {LARGEST} merges")
    if not all(isinstance(m, list) and len(m) == 2 and all(type(i) is int for i in m) for m in merges):
        raise CheckpointError("a merge is not two ids")
    return BytePairs([(left, right) for left, right in merges])


_MAKERS: dict[str, Callable[[Mapping[str, object]], Tokenizer]] = {
    "char": _characters,
    "byte": lambda tree: Bytes(),
    "bpe": _pairs,
}
