"""A tokenizer.json of Hugging Face, kept as it is: its own ids, splitting, special tokens and first token.

The ``tokenizers`` package applies it. Only kinds are accepted whose tokens stand for bytes (byte-level BPE)
or single characters, so that ``decode`` works as for all tokenizers, and only patterns of splitting that are
known: a regular expression of a stranger may take forever on a short text.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

from nhin.errors import CheckpointError, UsageError
from nhin.text.tokenizers.base import Tokenizer, describe_char, encode_utf8
from nhin.text.tokenizers.bpe import ALPHABET, import_tokenizers

MAX_TOKENS, MAX_ADDED = 2**19, 2**20
BYTES = {letter: byte for byte, letter in enumerate(ALPHABET)}
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PATTERNS = {
    rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+|{_SYMBOLS}|\s+(?!\S)|\s+": "GPT-2",
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_SYMBOLS}[\r\n]*|{_SPACES}": "Llama 3",
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_SYMBOLS}[\r\n]*|{_SPACES}": "Qwen 2",
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*"
    rf"|{_SPACES}": "Qwen 3.5",
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    rf"{_CONTRACTIONS}?|\p{{N}}{{1,3}}|{_SYMBOLS}[\r\n/]*|{_SPACES}": "GPT-4o",
    r"[\s\S]": "single characters",
}
_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD"}
_SPLITTERS = {"ByteLevel", "Split", "Digits"}
_PROCESSORS = {"ByteLevel", "TemplateProcessing", "BertProcessing", "RobertaProcessing"}
_SPLITS = {("Isolated", False), ("Removed", True)}  # both keep all of the text
_NESTED = ("normalizers", "pretokenizers", "processors", "decoders")
_SECTIONS = {
    "version",
    "truncation",
    "padding",
    "added_tokens",
    "normalizer",
    "pre_tokenizer",
    "post_processor",
}
_SECTIONS |= {"decoder", "model"}


@dataclass(frozen=True, slots=True)
class TokenRoles:
    """What single tokens are for.

    Args:
        eos_id: Ends a document in a training text.
        stop_ids: End a sampled text.
        bos_id: Begins a text where there is no other token; None for ``eos_id``.
        splits_special: Whether special tokens in a text are read as ordinary characters.
    """

    eos_id: int
    stop_ids: tuple[int, ...]
    bos_id: int | None = None
    splits_special: bool = False


class ForeignTokenizer(Tokenizer):
    """A tokenizer of Hugging Face.

    Args:
        file: The parsed ``tokenizer.json``.
        roles: What single tokens are for.

    Raises:
        UsageError: It is of a kind that nhin does not have.
        CheckpointError: It is damaged.
        MissingExtra: The ``tokenizers`` package is not installed.
    """

    def __init__(self, file: Mapping[str, Any], roles: TokenRoles) -> None:
        self.file = {**file, "truncation": None, "padding": None}
        self.roles = roles
        check_file(self.file)
        self._library = _load_library(self.file)
        self._library.encode_special_tokens = roles.splits_special
        self.pieces = tuple(_read_pieces(self.file, self._library, {roles.eos_id, *roles.stop_ids}))
        self._letters = _find_letters(self.file["model"], self.pieces)
        self.name = f"hf:{len(self.pieces)}"
        for i in (roles.eos_id, *roles.stop_ids, *self.start_ids, roles.bos_id or 0):
            if not 0 <= i < len(self.pieces):
                raise CheckpointError(f"there is no token {i}: the tokenizer has 0 to {len(self.pieces) - 1}")

    @property
    def vocabulary(self) -> dict[str, int]:
        """The id of each token, by its name in the file."""
        return self._library.get_vocab(with_added_tokens=True)

    @property
    def splitting(self) -> str | None:
        """Whose known pattern splits texts into words; None for ByteLevel's own and for several."""
        parts = _list_parts(self.file, "pre_tokenizer", _SPLITTERS)
        names = [PATTERNS[part["pattern"]["Regex"]] for part in parts if part.get("type") == "Split"]
        return names[0] if len(names) == 1 else None

    @property
    def eos_id(self) -> int:
        """The id that ends a document."""
        return self.roles.eos_id

    @property
    def stop_ids(self) -> frozenset[int]:
        """The ids that end a sampled text."""
        return frozenset(self.roles.stop_ids)

    @property
    def start_ids(self) -> tuple[int, ...]:
        """The ids that its post-processor puts before a text."""
        text = next((piece.decode() for piece in self.pieces if piece.isascii() and piece), "")
        encoding = self._call_library(text, special=True)
        is_added = zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        return tuple(i for i, _ in takewhile(lambda entry: entry[1], is_added))

    def encode(self, text: str) -> list[int]:
        """Turn text into ids as the file says, special tokens in it too, without those around it."""
        return self._call_library(text, special=False).ids

    def encode_prompt(self, text: str) -> list[int]:
        """Return the ids of a text to continue, with those that the file puts around it."""
        bos = self.roles.eos_id if self.roles.bos_id is None else self.roles.bos_id
        return self._call_library(text, special=True).ids or [bos]

    def to_dict(self) -> dict[str, Any]:
        """Return the file and the roles."""
        return {"kind": "hf", "file": self.file, **asdict(self.roles), "stop_ids": [*self.roles.stop_ids]}

    def _call_library(self, text: str, *, special: bool) -> Any:
        encode_utf8(text)
        if self._letters is not None:
            _check_letters(text, self._letters)
        return self._library.encode(text, add_special_tokens=special)


def check_file(file: Mapping[str, Any]) -> None:
    """Refuse a tokenizer.json that is damaged, or of a kind that nhin does not have.

    Raises:
        UsageError: Its tokens are neither bytes nor characters, or it has a part that nhin does not know.
        CheckpointError: A part is of the wrong type, or too large.
    """
    for name in file:
        if name not in _SECTIONS:
            raise UsageError(f"it has a section {name[:40]!r}, which nhin does not know")
    model = file.get("model")
    if not isinstance(model, Mapping):
        raise CheckpointError("it describes no model of tokens")
    kind = model.get("type")
    if kind not in ("BPE", "WordLevel"):
        raise UsageError(
            f"its model is {str(kind)[:40]!r}; nhin knows BPE of bytes, and WordLevel of characters"
        )
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(name):
            raise UsageError(f"its model has {name}, which nhin does not know")
    _check_entries(file, model)
    splitters = _list_parts(file, "pre_tokenizer", _SPLITTERS)
    for part in splitters:
        _check_splitter(part)
    decoders = [part.get("type") for part in _list_parts(file, "decoder", {"ByteLevel", "Fuse"})]
    _list_parts(file, "normalizer", _NORMALIZERS)
    _list_parts(file, "post_processor", _PROCESSORS)
    kinds = [part.get("type") for part in splitters]
    if kind == "BPE" and (
        kinds[-1:] != ["ByteLevel"] or kinds.count("ByteLevel") > 1 or decoders != ["ByteLevel"]
    ):
        raise UsageError(
            "its BPE is not of bytes: nhin needs ByteLevel, last of the pre-tokenizers, and as decoder"
        )
    if kind == "WordLevel" and (kinds != ["Split"] or decoders != ["Fuse"]):
        raise UsageError(
            "its WordLevel is not of characters: nhin needs a Split into them, and Fuse as decoder"
        )


def _check_entries(file: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Check the types and the number of tokens and merges, before the library builds its tables."""
    vocab, merges, added = model.get("vocab"), model.get("merges", []), file.get("added_tokens") or []
    if not isinstance(vocab, dict) or len(vocab) > MAX_TOKENS or {*map(type, vocab.values())} - {int}:
        raise CheckpointError(f"it has no vocabulary of at most {MAX_TOKENS} tokens with their ids")
    if not isinstance(merges, list) or len(merges) > MAX_TOKENS:
        raise CheckpointError(f"it has no list of at most {MAX_TOKENS} merges")
    if not isinstance(added, list) or not all(isinstance(x, Mapping) for x in added):
        raise CheckpointError("its added tokens are no list of objects")
    if not all(
        isinstance(x.get("content"), str) and x["content"] and type(x.get("id")) is int for x in added
    ):
        raise CheckpointError("an added token has no content or no id")
    ids = [*vocab.values(), *(x["id"] for x in added)]
    if not all(0 <= i < MAX_TOKENS for i in ids):
        raise CheckpointError(f"it has an id outside of 0 to {MAX_TOKENS - 1}")
    if sum(len(x["content"]) for x in added) > MAX_ADDED:
        raise CheckpointError(f"its added tokens have more than {MAX_ADDED:,} characters")


def _check_splitter(part: Mapping[str, Any]) -> None:
    """Refuse a pre-tokenizer that changes the text, or whose pattern is not known."""
    if part.get("add_prefix_space"):
        raise UsageError("it puts a space before every text (add_prefix_space), which nhin does not")
    if part.get("type") != "Split":
        return
    pattern = part.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, Mapping) else None
    if regex not in PATTERNS or (part.get("behavior"), part.get("invert")) not in _SPLITS:
        known = ", ".join(PATTERNS.values())
        raise UsageError(f"it splits texts by a pattern that nhin does not know; known are those of {known}")


def _list_parts(file: Mapping[str, Any], name: str, known: Collection[str]) -> list[Mapping[str, Any]]:
    """Return the parts of a section in order, those of sequences one by one."""
    waiting, parts = [file.get(name)], []
    while waiting:
        part = waiting.pop(0)
        if part is None:
            continue
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "Sequence":
            inner = next((part[key] for key in _NESTED if key in part), None)
            if not isinstance(inner, list):
                raise CheckpointError(f"its {name} is a sequence of nothing")
            waiting[:0] = inner
        elif kind in known:
            parts.append(part)
        else:
            raise UsageError(f"its {name} is {str(kind)[:40]!r}; nhin knows {', '.join(sorted(known))}")
    return parts


def _load_library(file: Mapping[str, Any]) -> Any:
    tokenizers = import_tokenizers()
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(file))
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as why:  # noqa: BLE001 - a failure inside the library is no Exception
        raise CheckpointError(f"the library cannot read it: {' '.join(str(why).split())[:120]}") from None


def _read_pieces(file: Mapping[str, Any], library: Any, ends: Collection[int]) -> Iterator[bytes]:
    """Yield the bytes of each id; special tokens and added ones that end a text have none."""
    words = {i: word for word, i in library.get_vocab(with_added_tokens=True).items()}
    if sorted(words) != list(range(library.get_vocab_size(with_added_tokens=True))):
        raise UsageError("it leaves ids out, or gives two tokens one id")
    added = {x["content"]: bool(x.get("special")) for x in file.get("added_tokens") or []}
    for token in file.get("added_tokens") or []:
        if library.token_to_id(token["content"]) != token["id"]:
            raise UsageError(
                f"its added token {token['content'][:40]!r} has another id than its place gives it"
            )
    is_bytes = file["model"]["type"] == "BPE"
    for i in range(len(words)):
        word = words[i]
        if word in added:
            yield b"" if added[word] or i in ends else word.encode()
        elif is_bytes and all(letter in BYTES for letter in word):
            yield bytes(BYTES[letter] for letter in word)
        elif not is_bytes and len(word) == 1:
            yield word.encode()
        else:
            raise UsageError(
                f"its token {word[:40]!r} does not stand for {'bytes' if is_bytes else 'a character'}"
            )


def _check_letters(text: str, letters: Collection[bytes]) -> None:
    """Refuse a character that the library would leave out in silence."""
    for char in dict.fromkeys(text):
        data = char.encode()
        if not (data in letters or all(bytes([byte]) in letters for byte in data)):
            raise UsageError(f"{describe_char(char)} has no token of this tokenizer")


def _find_letters(model: Mapping[str, Any], pieces: Sequence[bytes]) -> frozenset[bytes] | None:
    """Return the bytes or characters that have a token; None where none lacks one."""
    if model.get("unk_token"):
        return None
    letters = frozenset(pieces)
    every = {bytes([byte]) for byte in range(256)}
    return None if model["type"] == "BPE" and every <= letters else letters
