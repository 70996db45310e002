"""Turn text into token shards, block by block; the folder appears complete or not at all."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from nhin.data.text.hub import HUB, open_hub, save_documents
from nhin.data.text.manifest import FORMAT, MANIFEST, VOCABULARY, Manifest, ManifestSplits, Origin
from nhin.data.text.sources import PYTHON, CorpusSource, open_folder, open_python_library, read_text
from nhin.data.text.splits import SPLITS, CorpusStats, SplitConfig, SplitPlan, iter_blocks, plan_splits
from nhin.data.text.token_dataset import Corpus, open_tokens
from nhin.data.text.writer import TokenWriter, build_folder
from nhin.errors import DataError, UsageError
from nhin.files import write_atomic
from nhin.text.tokenizers import Tokenizer, open_tokenizer, train_tokenizer

LEARN_CHARACTERS = 2**28
_DOCUMENTS = "documents.jsonl"

OnProgress = Callable[[str, int, int], None]
"""Called with the stage, the characters done, and their total (0: not known)."""


def open_source(name: str) -> CorpusSource:
    """Open a source by its name.

    Args:
        name: A file, a folder, ``hf:NAME`` or ``hf:NAME:column`` for a data set of Hugging Face's hub, or
            ``python`` for the sources of Python's standard library (a file of that name is ``./python``).

    Raises:
        DataError: There is no such source, or it holds no text.
        MissingExtra: The hub was named and the ``datasets`` package is not installed.
    """
    if name == PYTHON:
        return open_python_library()
    if name.startswith(HUB):
        return open_hub(name)
    path = Path(name)
    if path.is_dir():
        return open_folder(path)
    if not path.exists():
        raise DataError(f"there is no file or folder {name}; a source may also be python or hf:NAME")
    if not path.is_file():
        raise DataError(f"{name} is neither a file nor a folder, and it is read more than once")
    return CorpusSource(name, lambda: iter([read_text(path)]), single=True)


def prepare(
    source: CorpusSource | str,
    tokenizer: Tokenizer | str,
    out: Path | str,
    config: SplitConfig | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Turn text into token shards in a folder; the same text and settings give the same bytes.

    The vocabulary of ``char`` comes from the whole text, so that no character of validation is unknown; byte
    pairs are learned from the training split alone (from 268 million characters of it, spread evenly, if it
    is longer). Each block is encoded by itself. The end-of-text token follows every document, except a
    single file.

    Args:
        source: A source, or the name of one for ``open_source``.
        tokenizer: One to use, or the name of one to train.
        out: The folder; an earlier preparation of the same text and settings is kept as it is.
        config: How to split the text.
        on_progress: Called with the progress.

    Returns:
        The folder.

    Raises:
        UsageError: A setting makes no sense, or the folder holds something else.
        DataError: The text is empty, too short, not text, or changes meanwhile; or the disk is full.
        CheckpointError: There is no run of which to take the tokenizer.
        MissingExtra: A package is needed that is not installed.
    """
    config, out = config or SplitConfig(), Path(out).resolve()
    on_progress = on_progress or (lambda stage, done, total: None)
    config.check()
    if isinstance(tokenizer, str):
        tokenizer = open_tokenizer(tokenizer)
    source = open_source(source) if isinstance(source, str) else source
    existing = _open_existing(out, source, _tokenizer_name(tokenizer), config)
    if existing is not None:
        _check_existing(existing, source, config, on_progress)
        return out
    with build_folder(out) as new:
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
    asked = _tokenizer_name(tokenizer)
    stats = CorpusStats(iter_blocks(_with_progress(source, "reading", 0, on_progress), config.block))
    plan, characters = plan_splits(source, stats, config), sum(stats.sizes)
    if isinstance(tokenizer, str):
        sample = _with_progress(source, "learning", characters, on_progress)
        tokenizer = train_tokenizer(tokenizer, lambda: _tokenizer_sample(sample, plan, asked))
    dtype = "uint16" if tokenizer.vocab <= 2**16 else "uint32"
    with ExitStack() as stack:
        writers = [
            stack.enter_context(TokenWriter(folder, name, dtype, config.shard_tokens)) for name in SPLITS
        ]
        encoding = _with_progress(source, "encoding", characters, on_progress)
        if _encode_blocks(encoding, plan, tokenizer, writers) != stats.sha256:
            raise DataError(f"{source.name} changed while it was read; prepare it again")
    train, *held_out = (writer.split_info() for writer in writers)
    splits = ManifestSplits(train, *(info if info.tokens else None for info in held_out))
    origin = Origin(source.name, stats.sha256, stats.documents, dict(source.skipped))
    manifest = Manifest(FORMAT, origin, asked, config, tokenizer.fingerprint, tokenizer.vocab, dtype, splits)
    _write_json(folder / VOCABULARY, tokenizer.to_dict())
    _write_json(folder / MANIFEST, asdict(manifest))


def _write_json(path: Path, tree: Any) -> None:
    write_atomic(path, json.dumps(tree, ensure_ascii=False, indent=1) + "\n", DataError)


def _encode_blocks(
    source: CorpusSource, plan: SplitPlan, tokenizer: Tokenizer, writers: Sequence[TokenWriter]
) -> str:
    """Write the tokens of each block to its split; return the SHA-256 of the text."""
    stats, begins = CorpusStats(), True
    for number, block in enumerate(iter_blocks(source, plan.block_size, plan.borders)):
        stats.add(block)
        if number < len(plan.split_ids):  # there are more only if the source changed; its SHA-256 will differ
            ids: list[int] = []
            for text, ends in block:
                ids += [*(tokenizer.start_ids if begins else ()), *tokenizer.encode(text)]
                begins = ends
                if ends and not source.single:
                    ids.append(tokenizer.eos_id)
            writers[plan.split_ids[number]].add(ids, [text for text, _ in block])
    return stats.sha256


def _tokenizer_name(tokenizer: Tokenizer | str) -> str:
    return tokenizer if isinstance(tokenizer, str) else tokenizer.fingerprint


def _open_existing(
    out: Path, source: CorpusSource, tokenizer_name: str, config: SplitConfig
) -> Corpus | None:
    """Return an earlier preparation with the same settings; None if the folder is free.

    Raises:
        UsageError: The folder holds something else.
    """
    if source.root is not None and out.is_relative_to(source.root.resolve()):
        raise UsageError(f"{out} lies in {source.root}, which is read; choose a folder outside of it")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / MANIFEST).is_file():
        raise UsageError(f"{out} is there already and holds no tokens; choose another folder")
    try:
        existing = open_tokens(out)
    except DataError as why:
        raise UsageError(f"{why}; delete {out} or choose another folder") from None
    if (existing.manifest.asked, existing.manifest.split) != (tokenizer_name, config):
        raise UsageError(f"{out} holds tokens made with other settings; choose another folder")
    return existing


def _check_existing(
    existing: Corpus, source: CorpusSource, config: SplitConfig, on_progress: OnProgress
) -> None:
    """Check that an earlier preparation is of this text and intact.

    Raises:
        UsageError: It is not.
    """
    known, folder = existing.manifest.source, existing.folder
    if source.remote:  # compared by name: hashing it would download it again
        same = known.name == source.name
    else:
        blocks = iter_blocks(_with_progress(source, "reading", 0, on_progress), config.block)
        same = known.sha256 == CorpusStats(blocks).sha256
    if not same:
        raise UsageError(f"{folder} holds tokens of another text ({known.name}); choose another folder")
    if not existing.is_intact():
        raise UsageError(f"{folder} is torn: a shard has changed; delete it or choose another folder")


def _with_progress(source: CorpusSource, stage: str, total: int, on_progress: OnProgress) -> CorpusSource:
    """Return the same source, reporting the characters read from it."""

    def documents() -> Iterator[Iterator[str]]:
        done = 0

        def count_read(document: Iterator[str]) -> Iterator[str]:
            nonlocal done
            for piece in document:
                yield piece
                done += len(piece)
                on_progress(stage, done, total)

        return map(count_read, source.documents())

    return replace(source, documents=documents)


def _tokenizer_sample(source: CorpusSource, plan: SplitPlan, tokenizer_name: str) -> Iterator[str]:
    """Yield the texts to train a tokenizer on: all for characters, the training split for byte pairs."""
    wanted = plan.split_ids >= 0 if tokenizer_name == "char" else plan.split_ids == 0
    share = min(1.0, LEARN_CHARACTERS / max(1, int(plan.sizes[wanted].sum())))
    if tokenizer_name != "char" and share < 1:
        wanted &= np.diff(np.floor(np.cumsum(wanted) * share), prepend=0) > 0
    for block, take in zip(iter_blocks(source, plan.block_size, plan.borders), wanted, strict=False):
        if take:
            yield from (text for text, _ in block)
