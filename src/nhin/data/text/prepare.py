"""Text into token shards: read in blocks, never held; put in place whole, or not at all."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from nhin.data.text.hub import save_documents
from nhin.data.text.manifest import FORMAT, MANIFEST, VOCABULARY, Manifest, ManifestSplits, Origin
from nhin.data.text.sources import CorpusSource, open_source
from nhin.data.text.splits import (
    SPLITS,
    CorpusScanner,
    SplitConfig,
    SplitPlan,
    iter_blocks,
    plan_splits,
    scan_blocks,
)
from nhin.data.text.token_dataset import Corpus, Split, open_tokens
from nhin.data.text.writer import TokenWriter, temporary_sibling, write_json
from nhin.errors import DataError, UsageError
from nhin.text.tokenizers import Tokenizer, check_spec, train_tokenizer

__all__ = ["Corpus", "Split", "SplitConfig", "open_tokens", "prepare"]

LEARN_CHARACTERS = 2**28
_DOCUMENTS = "documents.jsonl"

OnProgress = Callable[[str, int, int], None]
"""Told what is being done, how many characters of it are done, and of how many (0: not known)."""


def prepare(
    source: CorpusSource | str,
    tokenizer: Tokenizer | str,
    out: Path | str,
    config: SplitConfig | None = None,
    on_progress: OnProgress | None = None,
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
        config: How to divide the text.
        on_progress: Told about progress.

    Returns:
        The folder.

    Raises:
        UsageError: A setting makes no sense, or the folder holds something else.
        DataError: The text is empty, too short, not text, or changes meanwhile; or the disk is full.
        MissingExtra: A package is needed that is not installed.
    """
    config, out, on_progress = (
        config or SplitConfig(),
        Path(out).resolve(),
        on_progress or (lambda doing, done, total: None),
    )
    config.check()
    if isinstance(tokenizer, str):
        check_spec(tokenizer)
    source = open_source(source) if isinstance(source, str) else source
    before = _open_existing(out, source, _tokenizer_name(tokenizer), config)
    if before is not None and _is_same_text(before, source, config, on_progress):
        return out
    with temporary_sibling(out) as new:
        if source.remote:
            source = save_documents(_with_progress(source, "fetching", 0, on_progress), new / _DOCUMENTS)
        _write_dataset(new, source, tokenizer, config, on_progress)
        (new / _DOCUMENTS).unlink(missing_ok=True)
    return out


def _write_dataset(
    folder: Path,
    source: CorpusSource,
    tokenizer: Tokenizer | str,
    config: SplitConfig,
    on_progress: OnProgress,
) -> None:
    """Write everything that belongs to a preparation."""
    asked = _tokenizer_name(tokenizer)
    found = scan_blocks(iter_blocks(_with_progress(source, "reading", 0, on_progress), config.block))
    planned = plan_splits(source, found, config)
    if isinstance(tokenizer, str):
        learning = _with_progress(source, "learning", found.characters, on_progress)
        tokenizer = train_tokenizer(tokenizer, lambda: _tokenizer_sample(learning, planned, asked))
    dtype = "uint16" if tokenizer.vocab <= 2**16 else "uint32"
    with ExitStack() as stack:
        rows = [stack.enter_context(TokenWriter(folder, name, dtype, config.shard_tokens)) for name in SPLITS]
        encoding = _with_progress(source, "encoding", found.characters, on_progress)
        if _encode_blocks(encoding, planned, tokenizer, rows) != found.sha256:
            raise DataError(f"{source.name} changed while it was read; prepare it again")
    train, *held_out = (row.split_info() for row in rows)
    parts = ManifestSplits(train, *(part if part.tokens else None for part in held_out))
    origin = Origin(source.name, found.sha256, found.documents, dict(source.skipped))
    manifest = Manifest(FORMAT, origin, asked, config, tokenizer.fingerprint, tokenizer.vocab, dtype, parts)
    write_json(folder / VOCABULARY, tokenizer.to_dict())
    write_json(folder / MANIFEST, asdict(manifest))


def _encode_blocks(
    source: CorpusSource, plan: SplitPlan, tokenizer: Tokenizer, writers: Sequence[TokenWriter]
) -> str:
    """Put the tokens of each block where it belongs; return the SHA-256 of what was read."""
    tally = CorpusScanner()
    for number, block in enumerate(iter_blocks(source, plan.block_size, plan.borders)):
        tally.add(block)
        if number < len(plan.split_ids):  # more only where a source has changed, which its SHA-256 tells
            ids = [
                i for text, ends in block for i in _encode_text(tokenizer, text, ends and not source.single)
            ]
            writers[plan.split_ids[number]].add(ids, [text for text, _ in block])
    return tally.stats().sha256


def _encode_text(tokenizer: Tokenizer, text: str, ends: bool) -> list[int]:
    ids = tokenizer.encode(text)
    return [*ids, tokenizer.eos_id] if ends else ids


def _tokenizer_name(tokenizer: Tokenizer | str) -> str:
    return tokenizer if isinstance(tokenizer, str) else tokenizer.fingerprint


def _open_existing(
    out: Path, source: CorpusSource, tokenizer_name: str, config: SplitConfig
) -> Corpus | None:
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
    if (before.manifest.asked, before.manifest.cut) != (tokenizer_name, config):
        raise UsageError(f"{out} holds tokens made with other settings; choose another folder")
    return before


def _is_same_text(
    existing: Corpus, source: CorpusSource, config: SplitConfig, on_progress: OnProgress
) -> bool:
    """Say that a text is the one that was prepared before.

    Raises:
        UsageError: It is another, or what was prepared is torn.
    """
    known = existing.manifest.source
    if source.remote:  # taken at its word: asking would be the download that was done before
        same = known.name == source.name
    else:
        same = (
            known.sha256
            == scan_blocks(
                iter_blocks(_with_progress(source, "reading", 0, on_progress), config.block)
            ).sha256
        )
    if not same:
        raise UsageError(
            f"{existing.folder} holds tokens of another text ({known.name}); choose another folder"
        )
    if not existing.is_intact():
        raise UsageError(
            f"{existing.folder} is torn: a shard has changed; delete it or choose another folder"
        )
    return True


def _with_progress(source: CorpusSource, doing: str, total: int, on_progress: OnProgress) -> CorpusSource:
    """Return the same source, telling how far it was read."""

    def documents() -> Iterator[Iterator[str]]:
        done = 0

        def told(document: Iterator[str]) -> Iterator[str]:
            nonlocal done
            for piece in document:
                yield piece
                done += len(piece)
                on_progress(doing, done, total)

        return map(told, source.documents())

    return replace(source, documents=documents)


def _tokenizer_sample(source: CorpusSource, plan: SplitPlan, tokenizer_name: str) -> Iterator[str]:
    """Yield the texts to learn from: all for characters, those of the training split for byte pairs."""
    wanted = plan.split_ids >= 0 if tokenizer_name == "char" else plan.split_ids == 0
    share = min(1.0, LEARN_CHARACTERS / max(1, int(plan.sizes[wanted].sum())))
    if tokenizer_name != "char" and share < 1:
        wanted &= np.diff(np.floor(np.cumsum(wanted) * share), prepend=0) > 0
    for block, take in zip(iter_blocks(source, plan.block_size, plan.borders), wanted, strict=False):
        if take:
            yield from (text for text, _ in block)
