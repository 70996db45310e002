"""Read the tokenizer of a folder: tokenizer.json, and the files that give single tokens their roles.

As the library does, further tokens of tokenizer_config.json and added_tokens.json are added to those of
tokenizer.json, and ``add_bos_token`` there replaces what the file puts around a text. Which ids end a sampled
text stands in generation_config.json, else in config.json.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nhin.errors import CheckpointError, UsageError
from nhin.lm.huggingface.config_json import ConfigReader, read_json, show
from nhin.lm.huggingface.tokenizer import EOS, MAX_BYTES, from_hf_tokenizer
from nhin.text.tokenizers import Tokenizer
from nhin.text.tokenizers.foreign import MAX_TOKENS, ForeignTokenizer, TokenRoles, check_file

_MAX_CONFIG_BYTES = 2**24
_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_LISTS = ("additional_special_tokens", "extra_special_tokens")
_FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def read_tokenizer(folder: Path, config: ConfigReader) -> tuple[Tokenizer, Sequence[int]]:
    """Read the tokenizer of a folder.

    Args:
        folder: Holds tokenizer.json.
        config: Its config.json.

    Returns:
        The tokenizer, and the file's id for each of its ids.

    Raises:
        UsageError: nhin does not have this kind.
        CheckpointError: A file is damaged.
    """
    path = folder / "tokenizer.json"
    tree = read_json(path, MAX_BYTES)
    settings = _read_optional(folder / "special_tokens_map.json")
    settings |= _read_optional(folder / "tokenizer_config.json")
    if settings.get("split_special_tokens"):
        with suppress(UsageError):  # it is not one of nhin's
            return from_hf_tokenizer(tree, str(path))
    try:
        check_file(tree)
        rows = config.get_int("vocab_size", MAX_TOKENS)
        vocabulary = _add_tokens(tree, settings, rows)
        _replace_post_processor(tree, settings, vocabulary)
        tokenizer = ForeignTokenizer(tree, _read_roles(folder, config, settings, vocabulary))
    except (UsageError, CheckpointError) as why:
        raise type(why)(f"{path}: {why}") from why
    return tokenizer, range(tokenizer.vocab)


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json(path, _MAX_CONFIG_BYTES) if path.exists() else {}


def _add_tokens(tree: dict[str, Any], settings: Mapping[str, Any], rows: int) -> dict[str, int]:
    """Add the further tokens of the settings to a tokenizer.json; return the id of each token by its name.

    A named special token without an id that a row of the embedding is left for stays ordinary text.
    """
    added = tree["added_tokens"] = list(tree.get("added_tokens") or [])
    vocabulary: dict[str, int] = {**tree["model"]["vocab"], **{x["content"]: x["id"] for x in added}}
    known = {x["content"] for x in added}
    size = max(vocabulary.values(), default=-1) + 1
    for token in _iter_further_tokens(settings):
        word, declared = token["content"], token.pop("id", None)
        if word in known or (word not in vocabulary and declared is None and size >= rows):
            continue
        if word not in vocabulary:
            vocabulary[word], size = size, size + 1
        if declared not in (None, vocabulary[word]):
            raise UsageError(
                f"tokenizer_config.json gives {show(word)} the id {declared}; its place is {vocabulary[word]}"
            )
        known.add(word)
        added.append({"id": vocabulary[word], **token})
    return vocabulary


def _iter_further_tokens(settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the tokens that the settings name, those with an id in its order first."""
    decoder = settings.get("added_tokens_decoder") or {}
    if not isinstance(decoder, Mapping) or not all(re.fullmatch(r"[0-9]{1,9}", i) for i in decoder):
        raise CheckpointError("added_tokens_decoder of tokenizer_config.json is no object of tokens by id")
    for i in sorted(decoder, key=int):
        yield {**_read_token(decoder[i], "added_tokens_decoder"), "id": int(i)}
    for name in _ROLES:
        if settings.get(name) is not None:
            yield _read_token(settings[name], name) | {"special": True}
    for name in _LISTS:
        extra = settings.get(name) or []
        for token in extra.values() if isinstance(extra, Mapping) else extra:
            yield _read_token(token, name) | {"special": True}


def _read_token(token: object, name: str) -> dict[str, Any]:
    """Return an added token, given as its text or as an object, with all of its flags."""
    tree = token if isinstance(token, Mapping) else {"content": token}
    flags = {flag: tree.get(flag, default) for flag, default in _FLAGS.items()}
    word = tree.get("content")
    if not isinstance(word, str) or not word or not all(isinstance(flag, bool) for flag in flags.values()):
        raise CheckpointError(f"{name} of tokenizer_config.json is {show(token)}, which is no token")
    return {"content": word, **flags}


def _replace_post_processor(
    tree: dict[str, Any], settings: Mapping[str, Any], vocabulary: Mapping[str, int]
) -> None:
    """Put the first and last token around a text where the settings say whether."""
    if not {"add_bos_token", "add_eos_token"} & settings.keys():
        return
    template: list[dict[str, Any]] = [{"Sequence": {"id": "A", "type_id": 0}}]
    tokens = {}
    for name, place in (("bos_token", 0), ("eos_token", 2)):
        word = _find_role(settings, name)
        if settings.get(f"add_{name}") and word is not None and word in vocabulary:
            template.insert(place, {"SpecialToken": {"id": word, "type_id": 0}})
            tokens[word] = {"id": word, "ids": [vocabulary[word]], "tokens": [word]}
    pair = [*template, {"Sequence": {"id": "B", "type_id": 1}}]
    tree["post_processor"] = {
        "type": "TemplateProcessing", "single": template, "pair": pair, "special_tokens": tokens,
    }  # fmt: skip


def _find_role(settings: Mapping[str, Any], name: str) -> str | None:
    return None if settings.get(name) is None else _read_token(settings[name], name)["content"]


def _read_roles(
    folder: Path, config: ConfigReader, settings: Mapping[str, Any], vocabulary: Mapping[str, int]
) -> TokenRoles:
    """Return which tokens begin and end a text; ids that no token has are left out, since none can come."""
    path = folder / "generation_config.json"
    generation, size = ConfigReader(_read_optional(path), str(path)), len({*vocabulary.values()})
    ends = generation.get_ids("eos_token_id") or config.get_ids("eos_token_id")
    stop_ids = [i for i in dict.fromkeys(ends) if i < size]
    eos_id = vocabulary.get(
        _find_role(settings, "eos_token") or "", next(iter(stop_ids), vocabulary.get(EOS))
    )
    if eos_id is None:
        raise UsageError(
            "no token ends a text: neither eos_token of tokenizer_config.json nor eos_token_id of config.json"
        )
    starts = generation.get_ids("bos_token_id") or config.get_ids("bos_token_id")
    bos_id = vocabulary.get(
        _find_role(settings, "bos_token") or "", next((i for i in starts if i < size), None)
    )
    is_split = bool(settings.get("split_special_tokens"))
    return TokenRoles(eos_id, tuple(stop_ids if ends else [eos_id]), bos_id, is_split)
