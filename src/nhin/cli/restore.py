"""``nhin restore``: marks put back on unmarked Vietnamese text."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nhin.errors import DataError, UsageError
from nhin.files import explain_os_error, open_atomic
from nhin.ranges import THREADS, Range

if TYPE_CHECKING:
    from nhin.decoding.mark_adapted import AdaptedMarks
    from nhin.decoding.mark_context import MarkContext
    from nhin.text.unmarked import Chooser

BLOCK = 2**20
MAX_ALTERNATIVES = 16


def restore(
    *files: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    model: Path | None = None,
    text: Annotated[tuple[Path, ...], Parameter(name="--text", negative=())] = (),
    in_place: bool = False,
    alternatives: Annotated[int | None, Range(1, MAX_ALTERNATIVES)] = None,
    digest: str | None = None,
    threads: Annotated[int, THREADS] = 1,
) -> int:
    """Put the marks back on unmarked Vietnamese: toi di hoc becomes tôi đi học.

    What is not an unmarked Vietnamese syllable stays byte for byte. Words with marks are read, and stay. The
    result goes to standard output. The model that comes with nhin looks at the words beside each syllable,
    a trained run reads the sentence.

    Args:
        files: Texts in UTF-8; standard input when none is given, or for -.
        model: A run of seq2seq-marks, or its export, instead of the model that comes with nhin. An export
            needs no torch.
        text: A text of yours with marks: the model is shifted to the words and pairs of it; repeatable.
        in_place: Write the result over each file, atomically.
        alternatives: Write a table instead: each syllable, its word, how sure that is, and so many others.
        digest: The digest that an export must have, as nhin export prints it; 16 digits are enough.
        threads: CPU threads, of a trained run or its export.
    """
    if model is not None and (text or alternatives):
        raise UsageError(
            "--text and --alternatives go with the model of nhin's own; leave out these, or --model"
        )
    if digest is not None and model is None:
        raise UsageError("--digest is of the export of a trained run; name it with --model")
    if in_place and (alternatives or not files or Path("-") in files):
        raise UsageError(
            "--in-place needs files, and writes their text: name them, and leave out --alternatives"
        )
    for path in files:
        if len(str(path)) > 1 and str(path).startswith("-") and not path.exists():
            raise UsageError(f"there is no option {path}; nhin restore --help has them")
        if path != Path("-") and (not path.exists() or path.is_dir() or (in_place and not path.is_file())):
            raise DataError(f"{path} is no file" if path.exists() else f"there is no file {path}")
    bundled = None
    if model is None:
        bundled = _load_bundled(text)
        choose = bundled.choose
    else:
        choose = _load_model(model, threads, digest)
    for path in files or (Path("-"),):
        with ExitStack() as stack:
            source = sys.stdin.buffer
            if path != Path("-"):
                stack.enter_context(explain_os_error(f"restore {path}", DataError))
                source = stack.enter_context(path.open("rb"))
            target: IO[bytes] = sys.stdout.buffer
            if in_place:  # of a link, the file that it leads to
                target = stack.enter_context(open_atomic(path.resolve(), DataError))
                Path(target.name).chmod(path.stat().st_mode)
            if alternatives and bundled is not None:
                _write_alternatives(source, target, bundled, alternatives)
            else:
                restore_stream(source, target, choose)
    sys.stdout.buffer.flush()
    return 0


def restore_stream(source: IO[bytes], target: IO[bytes], choose: "Chooser") -> None:
    """Restore a text of any length in bounded memory."""
    from nhin.text.unmarked import restore_text

    for block in read_blocks(source):
        target.write(restore_text(block, choose).encode("utf-8", "surrogateescape"))


def read_blocks(source: IO[bytes]) -> Iterator[str]:
    """Yield a text in blocks that end with a line, else with a word; bytes that are not UTF-8 are kept."""
    rest = b""
    while data := source.read(BLOCK):
        rest += data
        end = rest.rfind(b"\n") + 1
        if not end and len(rest) >= BLOCK:
            end = rest.rfind(b" ") + 1
        if not end and len(rest) >= 2 * BLOCK:
            end = len(rest)  # a megabyte without a space holds no sentence
        yield rest[:end].decode("utf-8", "surrogateescape")
        rest = rest[end:]
    yield rest.decode("utf-8", "surrogateescape")


def _write_alternatives(
    source: IO[bytes], target: IO[bytes], model: "MarkContext | AdaptedMarks", count: int
) -> None:
    """Write a line for each syllable: as it stands, its word, the confidence, and others with theirs."""
    from nhin.text.unmarked import find_sentences

    target.write(b"syllable\tword\tconfidence\tothers\n")
    for block in read_blocks(source):
        sentences = find_sentences(block)[1]
        for sentence, rows in zip(sentences, model.list_alternatives(sentences), strict=True):
            for slot, ways in zip(sentence, rows, strict=True):
                if slot.is_open:
                    others = " ".join(f"{way.word}:{way.confidence:.3f}" for way in ways[1 : count + 1])
                    row = f"{slot.word}\t{ways[0].word}\t{ways[0].confidence:.3f}\t{others}\n"
                    target.write(row.encode())


def _load_bundled(texts: tuple[Path, ...]) -> "MarkContext | AdaptedMarks":
    """Return the model that comes with nhin, adapted to texts."""
    from nhin.data.pairs.marks import read_text, split_sentences
    from nhin.decoding.mark_adapted import AdaptedMarks
    from nhin.decoding.mark_bigram import MarkBigram
    from nhin.decoding.mark_context import load_bundled

    model = load_bundled()
    if not texts:
        return model
    return AdaptedMarks.adapt(
        model, MarkBigram.count(sentence for path in texts for sentence in split_sentences(read_text(path)))
    )


def _load_model(folder: Path, threads: int, digest: str | None) -> "Chooser":
    """Return the chooser of a trained run, or of its export."""
    from nhin.reading.onnx_model import is_onnx_model
    from nhin.seq2seq.restore import MarkModel

    if is_onnx_model(folder):
        from nhin.seq2seq.onnx_model import load_exported

        return MarkModel(load_exported(folder, threads, digest)).choose
    if digest is not None:
        raise UsageError(f"--digest is of an export, and there is none in {folder}")
    import torch

    from nhin.seq2seq.loading import open_seq2seq_run

    torch.set_num_threads(threads)
    return MarkModel(open_seq2seq_run(folder)).choose
