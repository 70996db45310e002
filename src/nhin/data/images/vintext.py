"""VinText in VinAI's layout: photographs, each with a label file of one word (corners and text) per line.

::

    train_images/im0001.jpg   test_image/im1201.jpg   unseen_test_images/im1501.jpg
    labels/gt_1.txt           x1,y1,x2,y2,x3,y3,x4,y4,TEXT      (TEXT may hold commas; ### is unreadable)

The pictures may be used for research and education only; nhin contains none of them.
"""

import io
import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nhin.errors import DataError
from nhin.files import explain_os_error, read_bytes
from nhin.image.load import load_picture

SPLITS = ("train_images", "test_image", "unseen_test_images")
_UNREADABLE = "###"
_SUFFIXES = (".jpg", ".jpeg", ".png")
_TRAILING_NUMBER = re.compile(r"(\d+)$")
_MAX_SIDE = 4096
MAX_WORDS = 500_000
_MAX_LABEL, _MAX_FILE_BYTES, _MAX_CORNER = 1024, 16 * 2**20, 1e6

Corners = tuple[tuple[float, float], ...]
Word = tuple[str, str, Callable[[], NDArray[np.uint8]]]
"""The text of a word, its name, and a function that opens its crop."""


def is_vintext(path: Path) -> bool:
    """Return whether a folder has VinAI's layout, or is one of its splits."""
    return _find_labels(path) is not None


def open_vintext(path: Path) -> tuple[list[Word], int]:
    """Return the readable words of a data set or of one split, and the number of unreadable ones.

    Raises:
        DataError: A label file is missing or wrong; the message names the line.
    """
    labels = _find_labels(path)
    if labels is None:
        raise DataError(f"{path} is not VinAI's layout: {', '.join(SPLITS)} and labels")
    words: list[Word] = []
    dropped = 0
    with explain_os_error(f"read {path}", DataError):
        pictures = _list_pictures(path)
    for picture in pictures:
        if len(words) > MAX_WORDS:
            raise DataError(f"{path} has over {MAX_WORDS:,} words, the most that are read; divide it")
        name = f"{picture.parent.name}/{picture.name}"
        for number, (corners, text) in enumerate(_read_labels(_label_path(picture, labels))):
            if text in ("", _UNREADABLE):
                dropped += 1
                continue
            words.append((text, f"{name}#{number}", partial(_crop_word, picture, corners)))
    return words, dropped


def list_vintext_files(path: Path) -> list[Path]:
    """List the label files and the photographs of a data set or of one split."""
    labels = _find_labels(path)
    return [*sorted(labels.glob("*.txt") if labels else []), *_list_pictures(path)]


def _list_pictures(path: Path) -> list[Path]:
    splits = [path] if path.name in SPLITS else [path / name for name in SPLITS if (path / name).is_dir()]
    return sorted(p for split in splits for p in split.iterdir() if p.suffix.lower() in _SUFFIXES)


def _find_labels(path: Path) -> Path | None:
    """Return the folder of labels of a data set or of one split."""
    if path.name in SPLITS:
        labels = path.parent / "labels"
    elif any((path / name).is_dir() for name in SPLITS):
        labels = path / "labels"
    else:
        return None
    return labels if labels.is_dir() else None


def _label_path(picture: Path, labels: Path) -> Path:
    """Return the label file of a photograph: im0012.jpg has gt_12.txt."""
    number = _TRAILING_NUMBER.search(picture.stem)
    if number is None:
        raise DataError(f"{picture} has no number in its name, so it has no label file")
    return labels / f"gt_{int(number[1])}.txt"


def iter_lines(raw: bytes, name: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a UTF-8 file that are not blank, each after its place for error messages."""
    at = 0
    for number, data in enumerate(io.BytesIO(raw), start=1):
        try:
            line = data.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\n")
        except UnicodeDecodeError as why:
            raise DataError(f"{name} is not UTF-8 text: {why.reason} at byte {at + why.start}") from why
        at += len(data)
        if line.strip():
            yield f"{name}, line {number}", line.rstrip("\r")


def check_label(text: str, place: str) -> str:
    """Return the text of a word or a short line, or refuse it.

    Raises:
        DataError: It is longer than any line, or has a control character.
    """
    if len(text) > _MAX_LABEL:
        raise DataError(f"{place}: a label of {len(text):,} characters; a line has {_MAX_LABEL} at most")
    if not text.isprintable() and any(unicodedata.category(char) == "Cc" for char in text.strip()):
        raise DataError(f"{place}: a label with a control character: {text[:60]!r}")
    return text


def _read_labels(path: Path) -> list[tuple[Corners, str]]:
    if not path.exists():
        raise DataError(f"the label file {path} is missing")
    words = []
    for place, line in iter_lines(read_bytes(path, _MAX_FILE_BYTES, DataError), str(path)):
        parts = line.split(",", 8)
        try:
            values = [_parse_corner(part) for part in parts[:8]]
            text = check_label(parts[8], place).strip()
            words.append((tuple(zip(values[::2], values[1::2], strict=True)), text))
        except DataError:
            raise
        except (ValueError, IndexError) as why:
            raise DataError(f"{place}: expected x1,y1,...,x4,y4,TEXT, got {line[:60]!r}") from why
    return words


def _parse_corner(text: str) -> float:
    if not (math.isfinite(value := float(text)) and abs(value) <= _MAX_CORNER):
        raise ValueError(f"{text[:40]} is no place in a picture")
    return value


@lru_cache(maxsize=4)  # the words of a photograph are opened one after another
def _open_photograph(path: Path) -> NDArray[np.uint8]:
    return load_file(path)


def load_file(path: str | Path) -> NDArray[np.uint8]:
    """Open a picture of a data set, which may name a pipe or a device: reading that would never end."""
    if Path(path).exists() and not Path(path).is_file():
        raise DataError(f"{path} is not a file")
    return load_picture(path)


def _crop_word(picture: Path, corners: Corners) -> NDArray[np.uint8]:
    import cv2

    try:
        return rectify(_open_photograph(picture), corners)
    except cv2.error as why:  # such as a photograph of over 32,767 pixels in a row
        raise DataError(f"{picture}: cannot crop a word: {' '.join(str(why).split())[:120]}") from why


def rectify(photograph: NDArray[np.uint8], corners: Corners) -> NDArray[np.uint8]:
    """Warp a quadrilateral (corners clockwise from top left) to a rectangle with sides of the same length."""
    import cv2

    box = np.array(corners, np.float32)
    sides = np.linalg.norm(box - np.roll(box, -1, axis=0), axis=1)
    width = int(np.clip(round(max(sides[0], sides[2])), 1, _MAX_SIDE))
    height = int(np.clip(round(max(sides[1], sides[3])), 1, _MAX_SIDE))
    target = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    transform = cv2.getPerspectiveTransform(box, target)
    crop = cv2.warpPerspective(photograph, transform, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, np.uint8)
