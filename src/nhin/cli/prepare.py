"""The command that turns text into tokens."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nhin.data.text.token_dataset import Corpus

OnProgress = Callable[[str, int, int], None]


def prepare(
    source: str,
    /,
    *,
    out: Path,
    tokenizer: str = "bpe:4096",
    split: Literal["blocks", "tail"] = "blocks",
    validation: float = 0.05,
    test: float = 0.05,
    seed: int = 0,
) -> int:
    """Turn text into token shards that a language model trains on; the same command gives the same bytes.

    Stopped at any moment it leaves nothing in the folder, and can be given again.

    Args:
        source: A text file, a folder of them, hf:NAME or hf:NAME:column for a data set of Hugging Face's hub
            (the only one that uses the network), or python for the sources of Python's own library.
        out: Folder for the tokens; new or empty.
        tokenizer: char, byte, or bpe:N for N byte pairs, learned from the training split.
        split: Whether blocks from all over the text are held out, or its tail, validation before test.
        validation: Share of the text to choose by, from 0 up to 1.
        test: Share of the text to measure on once, from 0 up to 1.
        seed: Which blocks are held out.
    """
    from nhin.data.text.prepare import prepare as run
    from nhin.data.text.splits import SplitConfig
    from nhin.data.text.token_dataset import open_tokens

    with _show_progress() as seen:
        folder = run(source, tokenizer, out, SplitConfig(split, validation, test, seed=seed), seen)
    sys.stdout.write(_format_summary(open_tokens(folder), out))
    return 0


def _format_summary(corpus: "Corpus", out: Path) -> str:
    """Tell what was prepared, a line for each split."""
    manifest = corpus.manifest
    skipped = ", ".join(f"{count} {reason}" for reason, count in manifest.source.skipped.items())
    lines = [
        f"{manifest.source.name}: {_format_count(manifest.source.documents, 'document')}"
        + (f" (left out: {skipped})" if skipped else ""),
        f"{corpus.tokenizer.name}: {manifest.vocab:,} ids",
    ]
    for name, split in corpus.splits.items():
        per_token = split.bytes / len(split)
        lines.append(
            f"{name}: {_format_count(len(split), 'token')} for {_format_count(split.characters, 'character')}, "
            f"{per_token:.2f} bytes per token"
        )
    return "\n".join([*lines, f"all in {out}"]) + "\n"


def _format_count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


@contextmanager
def _show_progress() -> Iterator[OnProgress | None]:
    """Show a bar for each thing that is done to a person who watches; stay silent in a log."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    tasks: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True) as bar:

        def seen(doing: str, done: int, total: int) -> None:
            if doing not in tasks:
                tasks[doing] = bar.add_task(doing, total=total or None)
            bar.update(tasks[doing], completed=done)

        yield seen
