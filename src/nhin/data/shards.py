"""Text into token shards: read in blocks, never held; put in place whole, or not at all."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from nhin.data.blocks import SPLITS, Cut, Plan, Tally, cut, plan, scan
from nhin.data.corpora import Source, open_source
from nhin.data.hub import keep
from nhin.data.manifest import FORMAT, MANIFEST, VOCABULARY, Manifest, Origin, Parts
from nhin.data.tokens import Corpus, Split, open_tokens
from nhin.data.writing import Rows, beside, write_json
from nhin.errors import DataError, UsageError
from nhin.text.tokenizers import Tokenizer, check_spec, learn

__all__ = ["Corpus", "Cut", "Split", "open_tokens", "prepare"]

LEARN_CHARACTERS = 2**28
_KEPT = "documents.jsonl"

Seen = Callable[[str, int, int], None]
"""Told what is being done, how many characters of it are done, and of how many (0: not known)."""


def prepare(
    source: Source | str,
    tokenizer: Tokenizer | str,
    out: Path | str,
    how: Cut | None = None,
    seen: Seen | None = None,
) -> Path:
    """Turn text into token shards in a folder; the same text and settings give the same bytes.

    Characters are collected from the whole text, so that nothing in validation is unknown; byte pairs are
    learned from the training split alone (from 268 million characters of it, taken evenly, when there are
    more). Each block is encoded by itself. The tokenizer's end follows every document; a single file has
    none.

    Args:
        source: What ``open_source`` gives, or the name it takes.
        tokenizer: One to use, or the name of one to learn.
        out: The folder; what the same text and settings gave before is left there as it is.
        how: How to divide the text.
        seen: Told about progress.

    Returns:
        The folder.

    Raises:
        UsageError: A setting makes no sense, or the folder holds something else.
        DataError: The text is empty, too short, not text, or changes meanwhile; or the disk is full.
        MissingExtra: A package is needed that is not installed.
    """
    how, out, seen = how or Cut(), Path(out).resolve(), seen or (lambda doing, done, total: None)
    how.check()
    if isinstance(tokenizer, str):
        check_spec(tokenizer)
    source = open_source(source) if isinstance(source, str) else source
    before = _before(out, source, _asked(tokenizer), how)
    if before is not None and _same(before, source, how, seen):
        return out
    with beside(out) as new:
        if source.remote:
            source = keep(_watched(source, "fetching", 0, seen), new / _KEPT)
        _fill(new, source, tokenizer, how, seen)
        (new / _KEPT).unlink(missing_ok=True)
    return out


def _fill(new: Path, source: Source, tokenizer: Tokenizer | str, how: Cut, seen: Seen) -> None:
    """Write everything that belongs to a preparation."""
    asked = _asked(tokenizer)
    found = scan(cut(_watched(source, "reading", 0, seen), how.block))
    planned = plan(source, found, how)
    if isinstance(tokenizer, str):
        learning = _watched(source, "learning", found.characters, seen)
        tokenizer = learn(tokenizer, lambda: _to_learn(learning, planned, asked))
    dtype = "uint16" if tokenizer.vocab <= 2**16 else "uint32"
    with ExitStack() as stack:
        rows = [stack.enter_context(Rows(new, name, dtype, how.shard_tokens)) for name in SPLITS]
        encoding = _watched(source, "encoding", found.characters, seen)
        if _encode(encoding, planned, tokenizer, rows) != found.sha256:
            raise DataError(f"{source.name} changed while it was read; prepare it again")
    train, *held_out = (row.part() for row in rows)
    parts = Parts(train, *(part if part.tokens else None for part in held_out))
    origin = Origin(source.name, found.sha256, found.documents, dict(source.skipped))
    manifest = Manifest(FORMAT, origin, asked, how, tokenizer.fingerprint, tokenizer.vocab, dtype, parts)
    write_json(new / VOCABULARY, tokenizer.as_tree())
    write_json(new / MANIFEST, asdict(manifest))


def _encode(source: Source, planned: Plan, tokenizer: Tokenizer, rows: Sequence[Rows]) -> str:
    """Put the tokens of each block where it belongs; return the SHA-256 of what was read."""
    tally = Tally()
    for number, block in enumerate(cut(source, planned.size, planned.borders)):
        tally.add(block)
        if number < len(planned.parts):  # more only where a source has changed, which its SHA-256 tells
            ids = [i for text, ends in block for i in _ids(tokenizer, text, ends and not source.single)]
            rows[planned.parts[number]].add(ids, [text for text, _ in block])
    return tally.scan().sha256


def _ids(tokenizer: Tokenizer, text: str, ends: bool) -> list[int]:
    ids = tokenizer.encode(text)
    return [*ids, tokenizer.end] if ends else ids


def _asked(tokenizer: Tokenizer | str) -> str:
    return tokenizer if isinstance(tokenizer, str) else tokenizer.fingerprint


def _before(out: Path, source: Source, asked: str, how: Cut) -> Corpus | None:
    """Return what was prepared here in this way before; None when the place is free.

    Raises:
        UsageError: The place is taken.
    """
    if source.root is not None and out.is_relative_to(source.root.resolve()):
        raise UsageError(f"{out} lies in {source.root}, which is read; choose a folder outside of it")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / MANIFEST).is_file():
        raise UsageError(f"{out} is there already and holds no tokens; choose another folder")
    try:
        before = open_tokens(out)
    except DataError as why:
        raise UsageError(f"{why}; delete {out} or choose another folder") from None
    if (before.manifest.asked, before.manifest.cut) != (asked, how):
        raise UsageError(f"{out} holds tokens made with other settings; choose another folder")
    return before


def _same(before: Corpus, source: Source, how: Cut, seen: Seen) -> bool:
    """Say that a text is the one that was prepared before.

    Raises:
        UsageError: It is another, or what was prepared is torn.
    """
    known = before.manifest.source
    if source.remote:  # taken at its word: asking would be the download that was done before
        same = known.name == source.name
    else:
        same = known.sha256 == scan(cut(_watched(source, "reading", 0, seen), how.block)).sha256
    if not same:
        raise UsageError(
            f"{before.folder} holds tokens of another text ({known.name}); choose another folder"
        )
    if not before.whole():
        raise UsageError(f"{before.folder} is torn: a shard has changed; delete it or choose another folder")
    return True


def _watched(source: Source, doing: str, total: int, seen: Seen) -> Source:
    """Return the same source, telling how far it was read."""

    def documents() -> Iterator[Iterator[str]]:
        done = 0

        def told(document: Iterator[str]) -> Iterator[str]:
            nonlocal done
            for piece in document:
                yield piece
                done += len(piece)
                seen(doing, done, total)

        return map(told, source.documents())

    return replace(source, documents=documents)


def _to_learn(source: Source, planned: Plan, asked: str) -> Iterator[str]:
    """Yield the texts to learn from: all for characters, those of the training split for byte pairs."""
    wanted = planned.parts >= 0 if asked == "char" else planned.parts == 0
    share = min(1.0, LEARN_CHARACTERS / max(1, int(planned.sizes[wanted].sum())))
    if asked != "char" and share < 1:
        wanted &= np.diff(np.floor(np.cumsum(wanted) * share), prepend=0) > 0
    for block, take in zip(cut(source, planned.size, planned.borders), wanted, strict=False):
        if take:
            yield from (text for text, _ in block)
