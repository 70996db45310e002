"""``nhin prepare``: tokens from text."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from nhin.cli.output import open_progress
from nhin.ranges import SEED, Range

if TYPE_CHECKING:
    from rich.progress import TaskID

    from nhin.data.text.token_dataset import Corpus


def prepare(
    source: str,
    /,
    *,
    out: Path,
    tokenizer: str = "bpe:4096",
    split: Literal["blocks", "tail"] = "blocks",
    validation: Annotated[float, Range(0, below=1)] = 0.05,
    test: Annotated[float, Range(0, below=1)] = 0.05,
    seed: Annotated[int, SEED] = 0,
) -> int:
    """Tokenize text into shards for training a language model; the same command gives the same bytes.

    If it is interrupted, the folder stays empty and the command can be repeated.

    Args:
        source: A text file, a folder of them, hf:NAME or hf:NAME:column for a data set of Hugging Face's hub
            (the only one that uses the network), or python for the source code of Python's library.
        out: Folder of the tokens; new or empty.
        tokenizer: char, byte, bpe:N for N byte pairs, learned from the training split, or run:FOLDER for that
            of a run, also of an imported one.
        split: Hold out random blocks, or the tail of the text, validation before test.
        validation: Share of the validation split, from 0 up to 1.
        test: Share of the test split, from 0 up to 1.
        seed: Which blocks are held out.
    """
    from nhin.data.text.prepare import prepare as run
    from nhin.data.text.splits import SplitConfig
    from nhin.data.text.token_dataset import open_tokens

    with open_progress() as progress:
        tasks: dict[str, TaskID] = {}

        def update(description: str, done: int, total: int) -> None:
            assert progress is not None
            if description not in tasks:
                tasks[description] = progress.add_task(description, total=total or None)
            progress.update(tasks[description], completed=done)

        on_progress = None if progress is None else update
        settings = SplitConfig(split, validation, test, seed=seed)
        folder = run(source, tokenizer, out, settings, on_progress)
    sys.stdout.write(_format_summary(open_tokens(folder), out))
    return 0


def _format_summary(corpus: "Corpus", out: Path) -> str:
    """Describe the prepared text, with a line for each split."""
    manifest = corpus.manifest
    skipped = ", ".join(f"{count} {reason}" for reason, count in manifest.source.skipped.items())
    lines = [
        f"{manifest.source.name}: {_format_count(manifest.source.documents, 'document')}"
        + (f" (left out: {skipped})" if skipped else ""),
        f"{corpus.tokenizer.name}: {manifest.vocab:,} ids",
    ]
    for name, split in corpus.splits.items():
        tokens, characters = _format_count(len(split), "token"), _format_count(split.characters, "character")
        lines.append(f"{name}: {tokens} for {characters}, {split.bytes / len(split):.2f} bytes per token")
    return "\n".join([*lines, f"all in {out}"]) + "\n"


def _format_count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
