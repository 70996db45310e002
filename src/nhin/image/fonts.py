"""Free fonts found on this machine, each checked before it is used.

A face is used only when it has a glyph for every Vietnamese letter, digit and common sign; a face
that draws small letters as capitals is remembered as ``unicase``, since its pictures cannot tell case.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from nhin.errors import DataError
from nhin.text.letters import LOWER, UPPER

REQUIRED = LOWER + UPPER + "".join(chr(code) for code in range(33, 127))
_SUFFIXES = {".ttf", ".otf"}
_UNICASE_PROBE = "aegrhqmt"
_SAME_SHAPE = 0.9


@dataclass(frozen=True, slots=True)
class Face:
    """One font file: where it is, its family, its weight (100 to 900) and what it can tell apart."""

    path: str
    family: str
    weight: int
    unicase: bool
    chars: frozenset[str]


def font_dirs() -> list[Path]:
    """List the folders where fonts live on this machine; ``NHIN_FONTS`` adds some, split like PATH."""
    home = Path.home()
    named = [Path(part) for part in os.environ.get("NHIN_FONTS", "").split(os.pathsep) if part]
    system = [
        Path("/usr/share/fonts"),
        Path("/usr/local/share/fonts"),
        home / ".fonts",
        home / ".local/share/fonts",
        home / "Library/Fonts",
        Path("/Library/Fonts"),
        Path("C:/Windows/Fonts"),
    ]
    # matplotlib carries DejaVu, which has every Vietnamese letter: machines without fonts still work.
    wheels = [Path(part) / "matplotlib/mpl-data/fonts/ttf" for part in sys.path if part]
    return [place for place in named + system + wheels if place.is_dir()]


def list_font_files(folders: Iterable[str | Path]) -> list[Path]:
    """List font files below some folders, sorted, each once."""
    found = {
        path for folder in folders for path in Path(folder).rglob("*") if path.suffix.lower() in _SUFFIXES
    }
    return sorted(found)


@lru_cache(maxsize=4096)
def open_face(path: str) -> Face | None:
    """Open one font file; None when it is torn or lacks a required letter."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        # fontTools leaves a file open when it turns out not to be a font, so it is opened here.
        with Path(path).open("rb") as file, TTFont(file, lazy=True, fontNumber=0) as font:
            table = font.getBestCmap() or {}
            if not all(ord(char) in table for char in REQUIRED):
                return None
            family = font["name"].getDebugName(16) or font["name"].getDebugName(1) or Path(path).stem
            # fontTools makes the fields of a table when it is read, where no checker sees them.
            weight = int(font["OS/2"].usWeightClass) if "OS/2" in font else 400  # pyright: ignore[reportAttributeAccessIssue]
        return Face(path, family, weight, _is_unicase(path), frozenset(map(chr, table)))
    except (TTLibError, OSError, KeyError, AssertionError, ValueError):
        return None


def find_faces(folders: Sequence[str | Path] = ()) -> tuple[Face, ...]:
    """Return every usable face below ``folders``, or on the machine when none are named.

    Raises:
        DataError: A folder does not exist, or no face has every Vietnamese letter.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise DataError(f"no folder of fonts at {folder}")
    where = list(folders) or font_dirs()
    faces = tuple(face for path in list_font_files(where) if (face := open_face(str(path))) is not None)
    if not faces:
        looked = ", ".join(map(str, where)) or "no folder at all"
        raise DataError(f"no font with every Vietnamese letter in {looked}; name a folder with --fonts")
    return faces


@lru_cache(maxsize=1024)
def load_font(path: str, size: int):
    """Open a face at a pixel size, kept for the next picture."""
    from PIL import ImageFont

    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _is_unicase(path: str) -> bool:
    """Say whether most small letters have the shape of their capitals."""
    same = [
        _is_same_shape(_draw_shape(path, char), _draw_shape(path, char.upper())) for char in _UNICASE_PROBE
    ]
    return sum(same) > len(same) / 2


def _draw_shape(path: str, char: str) -> np.ndarray:
    """Draw one letter, cut to its ink and scaled to a square, as zero-mean unit-norm pixels."""
    from PIL import Image, ImageDraw

    font = load_font(path, 48)
    box = font.getbbox(char)
    size = (max(1, int(box[2] - box[0])), max(1, int(box[3] - box[1])))
    picture = Image.new("L", size)
    ImageDraw.Draw(picture).text((-box[0], -box[1]), char, 255, font=font)
    pixels = np.asarray(picture.resize((24, 24)), dtype=np.float32)
    pixels = pixels - pixels.mean()
    return pixels / max(float(np.linalg.norm(pixels)), 1e-6)


def _is_same_shape(one: np.ndarray, other: np.ndarray) -> bool:
    return float((one * other).sum()) > _SAME_SHAPE
