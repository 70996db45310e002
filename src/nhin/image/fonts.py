"""Find usable fonts on this machine.

A face is used only if it has a glyph for every Vietnamese letter, digit and common sign; a face that draws
lower-case letters as capitals is marked ``unicase``, since its pictures do not show case. Letters that a
face draws alike (Ẹ and Ệ in Carlito, which forgot the circumflex) do not count as its characters.
"""

import io
import os
import re
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from nhin.errors import DataError
from nhin.files import read_bytes
from nhin.text.letters import LOWER, UPPER

REQUIRED = LOWER + UPPER + "".join(chr(code) for code in range(33, 127))
_SUFFIXES = {".ttf", ".otf"}
_UNICASE_PROBE = "aegrhqmt"
_SAME_SHAPE = 0.9
_MAX_FILE_BYTES, _MAX_CHARS, _MAX_SHAPE = 64 * 2**20, 2**19, 1024


@dataclass(frozen=True, slots=True)
class Face:
    """One font file, with its family, weight (100 to 900), and characters."""

    path: str
    family: str
    weight: int
    unicase: bool
    chars: frozenset[str]


def font_dirs() -> list[Path]:
    """List the font folders of this machine; ``NHIN_FONTS`` adds some, separated as in PATH."""
    named = os.environ.get("NHIN_FONTS", "").split(os.pathsep)
    system = ["/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "C:/Windows/Fonts"]
    user = [Path.home() / name for name in (".fonts", ".local/share/fonts", "Library/Fonts")]
    # matplotlib includes DejaVu, which has every Vietnamese letter: machines without fonts still work.
    wheels = [Path(part) / "matplotlib/mpl-data/fonts/ttf" for part in sys.path if part]
    folders = [Path(name) for name in (*filter(None, named), *system, *user, *wheels)]
    return [folder for folder in folders if folder.is_dir()]


def list_font_files(folders: Iterable[str | Path]) -> list[Path]:
    """List the font files below some folders, sorted, each once."""
    paths = {path for folder in folders for path in Path(folder).rglob("*")}
    return sorted(path for path in paths if path.suffix.lower() in _SUFFIXES)


@lru_cache(maxsize=4096)
def open_face(path: str) -> Face | None:
    """Open one font file; None if it is torn, lacks a required character, or maps more than Unicode has."""
    from fontTools.ttLib import TTFont

    try:
        data = read_bytes(Path(path), _MAX_FILE_BYTES, DataError)
        with TTFont(io.BytesIO(data), lazy=True, fontNumber=0) as font:
            _check_cmap(font.reader["cmap"])  # pyright: ignore[reportOptionalSubscript]
            table = font.getBestCmap() or {}
            if not all(ord(char) in table for char in REQUIRED):
                return None
            family = font["name"].getDebugName(16) or font["name"].getDebugName(1) or Path(path).stem
            # fontTools creates the fields of a table dynamically.
            weight = int(font["OS/2"].usWeightClass) if "OS/2" in font else 400  # pyright: ignore[reportAttributeAccessIssue]
        unicase = _is_unicase(path)
        return Face(path, family, weight, unicase, frozenset(map(chr, table)) - _find_twins(path, unicase))
    except Exception:  # noqa: BLE001 - fontTools and FreeType raise anything on a torn font
        return None


def _check_cmap(table: bytes) -> None:
    """Refuse a table of characters that fontTools would expand to more of them than there can be.

    Raises:
        ValueError: It maps too many characters, some of them again and again.
    """
    count = 0
    for number in range(struct.unpack_from(">H", table, 2)[0]):
        at = struct.unpack_from(">L", table, 8 + 8 * number)[0]
        format = struct.unpack_from(">H", table, at)[0]
        if format == 4:
            segments = struct.unpack_from(">H", table, at + 6)[0] // 2
            ends = np.frombuffer(table, ">u2", segments, at + 14).astype(np.int64)
            starts = np.frombuffer(table, ">u2", segments, at + 16 + 2 * segments).astype(np.int64)
            count += int(np.maximum(ends - starts + 1, 0).sum())
        elif format in (12, 13):
            groups = struct.unpack_from(">L", table, at + 12)[0]
            rows = np.frombuffer(table, ">u4", 3 * groups, at + 16).astype(np.int64).reshape(-1, 3)
            count += int(np.maximum(rows[:, 1] - rows[:, 0] + 1, 0).sum())
        if count > _MAX_CHARS:
            raise ValueError(f"a font with {count} characters")


def find_faces(folders: Sequence[str | Path] = ()) -> tuple[Face, ...]:
    """Return every usable face below ``folders``, or on the machine if there are none.

    Raises:
        DataError: A folder does not exist, or no face has every Vietnamese letter.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise DataError(f"no folder of fonts at {folder}")
    searched = list(folders) or font_dirs()
    faces = tuple(face for path in list_font_files(searched) if (face := open_face(str(path))) is not None)
    if not faces:
        names = ", ".join(map(str, searched)) or "no folder at all"
        raise DataError(f"no font with every Vietnamese letter in {names}; name a folder with --fonts")
    return faces


@cache
def _kinds() -> dict[str, str]:
    """Read the kind of each family of ``data/words/font_kinds.txt``."""
    text = files("nhin.data").joinpath("words", "font_kinds.txt").read_text(encoding="utf-8")
    kinds, kind = {}, ""
    for line in text.splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
        elif not line.startswith("#"):
            kinds |= dict.fromkeys(line.split(), kind)
    return kinds


def font_kind(family: str) -> str:
    """Return what a family is used for: ``official``, ``text``, ``script`` or ``sign``."""
    return _kinds().get(re.sub("[^a-z0-9]", "", family.lower()), "sign")


@lru_cache(maxsize=1024)
def load_font(path: str, size: int):
    """Open a face at a pixel size, cached for the next picture."""
    from PIL import ImageFont

    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _is_unicase(path: str) -> bool:
    """Return whether most lower-case letters have the shape of their capitals."""
    pairs = [(_draw_shape(path, char), _draw_shape(path, char.upper())) for char in _UNICASE_PROBE]
    same = [float((lower * upper).sum()) > _SAME_SHAPE for lower, upper in pairs]
    return sum(same) > len(same) / 2


def _find_twins(path: str, unicase: bool) -> set[str]:
    """Return the letters that are drawn exactly as another letter; of a unicase face, but for its case."""
    groups = [set(LOWER + UPPER)]
    for size in (12, 48):  # small pictures are cheap and tell most letters apart
        font, seen = load_font(path, size), dict[tuple[int, object, bytes], set[str]]()
        for number, group in enumerate(groups):
            for char in group:
                mask, offset = font.getmask2(char)
                pixels = bytes(mask)  # pyright: ignore[reportArgumentType] - a buffer, which Pillow does not say
                seen.setdefault((number, offset, pixels), set()).add(char)
        groups = [same for same in seen.values() if len({c.lower() if unicase else c for c in same}) > 1]
    return set().union(*groups)


def _draw_shape(path: str, char: str) -> np.ndarray:
    """Draw one letter, cropped to its ink and scaled to a square, as zero-mean unit-norm pixels."""
    from PIL import Image, ImageDraw

    font = load_font(path, 48)
    box = font.getbbox(char)
    size = (max(1, int(box[2] - box[0])), max(1, int(box[3] - box[1])))
    if max(size) > _MAX_SHAPE:
        raise ValueError(f"a letter of {size[0]} x {size[1]} pixels")
    picture = Image.new("L", size)
    ImageDraw.Draw(picture).text((-box[0], -box[1]), char, 255, font=font)
    pixels = np.asarray(picture.resize((24, 24)), dtype=np.float32)
    pixels = pixels - pixels.mean()
    return pixels / max(float(np.linalg.norm(pixels)), 1e-6)
