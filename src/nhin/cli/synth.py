"""``nhin synth``: synthetic pictures."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nhin.cli.output import with_progress
from nhin.errors import UsageError
from nhin.files import explain_os_error, read_bytes, read_json, write_atomic
from nhin.ranges import SEED, Range

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhin.image.preprocess import Pixels

    Draw = Callable[[int, str], tuple[Pixels, str]]

LABELS, PAGES, MANIFEST = "labels.tsv", "pages.jsonl", "synth.json"
# What a kill leaves.
_HALF_WRITTEN = re.compile(r"\.(synth\.json|labels\.tsv|pages\.jsonl|\d{7,}\.(png|jpg))(\.new)?")
_MAX_BYTES = 2**30
_SAVING = {"png": {"format": "PNG", "compress_level": 3}, "jpg": {"format": "JPEG", "quality": 92}}
Paths = Annotated[list[Path] | None, Parameter(consume_multiple=True)]


def synth(
    out: Path,
    /,
    *,
    count: Annotated[int, Range(1, 10**7)] = 1000,
    seed: Annotated[int, SEED] = 0,
    fonts: Paths = None,
    words: Paths = None,
    format: Literal["png", "jpg"] = "png",
    pages: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Make pictures of words and short lines, and labels.tsv with their text; or of whole pages.

    The same settings give the same pictures. The command can be repeated after an interruption, or with a
    larger count to add pictures. Pages come with pages.jsonl: shape, text and order of the lines of each.

    Args:
        out: Folder of the pictures; new, empty, or made by this command with the same settings.
        count: Number of pictures in the folder.
        seed: Random seed.
        fonts: Folders with fonts; those of this machine when not given.
        words: Additional word lists, one word per line.
        format: File format of the pictures.
        pages: Draw whole pages: letters, newspapers, forms, receipts, menus, slides, chats, signs.
    """
    draw, stream = _open_pages(fonts, words, seed) if pages else _open_words(fonts, words, seed)
    _reserve_folder(out, {"made_by": "nhin synth", "seed": seed, "format": format, "stream": stream})
    path = out / (PAGES if pages else LABELS)
    done = _repair_labels(path)
    for index in with_progress(range(done, count), "drawing"):
        name = f"{index:07d}.{format}"
        picture, row = draw(index, name)
        _save_picture(picture, out / name, format)
        # After the picture, so that a row never names a missing one.
        with explain_os_error(f"write {path}", UsageError), path.open("ab") as labels:
            labels.write(f"{row}\n".encode())
    sys.stdout.write(f"{max(done, count)} pictures in {out}, {max(0, count - done)} of them new\n")
    return 0


def _open_words(fonts: list[Path] | None, words: list[Path] | None, seed: int) -> tuple["Draw", str]:
    """Return what draws a word or a line and its row, and the name of the stream."""
    from nhin.data.images.synthetic import SyntheticSource

    source = SyntheticSource(fonts=fonts or (), words=words or (), seed=seed)

    def draw(index: int, name: str) -> tuple["Pixels", str]:
        sample = source.sample(index)
        return sample.picture, f"{name}\t{sample.text}"

    return draw, source.fingerprint


def _open_pages(fonts: list[Path] | None, words: list[Path] | None, seed: int) -> tuple["Draw", str]:
    """Return what draws a page and its row, and the name of the stream."""
    from nhin.data.pages.page_source import PageSource

    source = PageSource(fonts or (), words or (), seed)

    def draw(index: int, name: str) -> tuple["Pixels", str]:
        page = source.sample_whole(index)
        lines = [
            {
                "text": line.text,
                "block": line.block,
                "height": round(line.height, 2),
                "center": [[round(x, 1), round(y, 1)] for x, y in line.center.tolist()],
            }
            for line in page.lines
        ]
        return page.picture, json.dumps(
            {"picture": name, "kind": page.kind, "lines": lines}, ensure_ascii=False
        )

    return draw, f"pages {source.fingerprint}"


def _reserve_folder(out: Path, manifest: dict[str, object]) -> None:
    """Claim the folder with a manifest, or refuse one with other files."""
    with explain_os_error(f"use {out}", UsageError):
        out.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in out.iterdir()}
    if MANIFEST in names:
        if read_json(out / MANIFEST, UsageError) != manifest:
            raise UsageError(f"{out} holds pictures made with other settings; choose another folder")
    elif not all(map(_HALF_WRITTEN.fullmatch, names)):
        raise UsageError(f"{out} is not empty and was not made by nhin synth; choose another folder")
    else:
        write_atomic(out / MANIFEST, json.dumps(manifest, indent=2) + "\n", UsageError)
    with explain_os_error(f"use {out}", UsageError):
        for name in filter(_HALF_WRITTEN.fullmatch, names):
            (out / name).unlink()


def _repair_labels(labels: Path) -> int:
    """Count the complete rows of a label file, and remove one that a crash left incomplete."""
    if not labels.exists():
        return 0
    data = read_bytes(labels, _MAX_BYTES, UsageError)
    complete = data[: data.rfind(b"\n") + 1]
    if complete != data:
        write_atomic(labels, complete, UsageError)
    return complete.count(b"\n")


def _save_picture(picture: "Pixels", path: Path, format: str) -> None:
    import io

    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, **_SAVING[format])
    write_atomic(path, data.getvalue(), UsageError)
