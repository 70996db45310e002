"""Data sets of strangers: zips, label files, folders of tokens, word lists and texts, damaged and opened.

PYTHONPATH=src python scripts/fuzz/datasets.py --count 5000
"""

import io
import struct
import sys
import zipfile
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent))

import recipes
from mutate import damage_bytes, damage_json
from PIL import Image
from runner import main

from nhin.data.images.datasets import open_crops
from nhin.data.images.text_generator import read_words
from nhin.data.text.prepare import open_source
from nhin.data.text.token_dataset import open_tokens
from nhin.image.fonts import font_dirs, list_font_files, open_face

_ROW = (  #
    "a.png\tphở\n",
    "b/c.png\tbún chả\n",
    "missing.png\tx\n",
    "../a.png\tx\n",
    "a.png\t\x1b[0m\n",
    "a.png\n",
    "\x00\tx\n",
)
_FONTS = [path for path in list_font_files(font_dirs()) if path.stat().st_size < 10**6]


def _png(size: tuple[int, int] = (20, 10)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (9, 99, 200)).save(out, "PNG")
    return out.getvalue()


def make(random: Random, folder: Path) -> str:
    """Write a mutant of one kind of data set."""
    return random.choice((_zip, _zip, _zip, _labels, _vintext, _tokens, _tokens, _words, _text, _font))(
        random, folder
    )


def _zip(random: Random, folder: Path) -> str:
    out = io.BytesIO()
    kind = random.choice(("bytes", "bytes", "labels", "bomb", "method", "entries", "fields", "fields"))
    method = random.choice((0, 8, 12, 14)) if kind == "method" else random.choice((0, 8))
    labels = "".join(random.choices(_ROW[: 2 if kind != "labels" else None], k=3))
    if kind == "bomb":
        labels += random.choice(
            ("\n" * 7 * 10**7, "a.png\t" + "x" * 2 * 10**6, "a.png\tx\n" * 2 * 10**6, " " * 7 * 10**7)
        )
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("labels.tsv", labels)
        for name in ("a.png", "b/c.png"):
            archive.writestr(name, _png() if kind != "bomb" or random.random() < 0.5 else _bomb(random))
        for number in range(random.choice((10, 20_000)) if kind == "entries" else 0):
            archive.writestr(random.choice(("labels.tsv", "a.png", f"x/{number}", "../x")), b"")
    data = out.getvalue()
    if kind == "bytes":
        for _ in range(random.choice((1, 1, 3))):
            data, _what = damage_bytes(random, data)
    if kind == "fields":
        data = _damage_fields(random, data)
    (folder / "a.zip").write_bytes(data)
    return f"zip: {kind}"


def _bomb(random: Random) -> bytes:
    return random.choice((b"\0" * 7 * 10**7, _png((30_000, 4000)), _png((1, 60_000))))


def _damage_fields(random: Random, data: bytes) -> bytes:
    """Write a hostile number into a field of a header of a zip: sizes, offsets, flags, methods, counts."""
    out, signature = bytearray(data), random.choice((b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"))
    at = data.find(signature) if random.random() < 0.5 else data.rfind(signature)
    size = random.choice((2, 4))
    place = at + 4 + 2 * random.randrange(18)
    out[place : place + size] = struct.pack(
        "<I", random.choice((0, 1, 8, 9, 99, 2**16 - 1, 2**31, 2**32 - 1))
    )[:size]
    return bytes(out)


def _labels(random: Random, folder: Path) -> str:
    for name in ("a.png", "b/c.png"):
        (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "set" / name).write_bytes(damage_bytes(random, _png())[0])
    rows = "".join(random.choices(_ROW, k=random.choice((1, 5, 10_000)))).encode()
    if random.random() < 0.5:
        rows = damage_bytes(random, rows)[0]
    (folder / "set" / "labels.tsv").write_bytes(rows)
    return "labels"


def _vintext(random: Random, folder: Path) -> str:
    root = folder / "set"
    for name in ("train_images", "labels"):
        (root / name).mkdir(parents=True)
    (root / "train_images" / "im1.jpg").write_bytes(_png((60, 40)))
    numbers = [
        random.choice(("0", "9", "30", "-5", "nan", "inf", "1e9", "1e300", "x", "", "999999"))
        for _ in range(8)
    ]
    rows = ",".join(numbers) + ",phở\n1,1,9,1,9,9,1,9,bún\n"
    (root / "labels" / "gt_1.txt").write_bytes(
        damage_bytes(random, rows.encode())[0] if random.random() < 0.3 else rows.encode()
    )
    return f"vintext {numbers}"


def _tokens(random: Random, folder: Path) -> str:
    root = folder / "tokens"
    root.mkdir()
    for path in recipes.TOKENS.iterdir():
        (root / path.name).write_bytes(path.read_bytes() if path.is_file() else b"")
    name = random.choice(("manifest.json", "manifest.json", "vocabulary.json", "train-00000.npy"))
    if name.endswith("json"):
        text, what = damage_json(random, (root / name).read_text("utf-8"))
        (root / name).write_text(text, "utf-8")
    else:
        data, what = damage_bytes(random, (root / name).read_bytes())
        (root / name).write_bytes(data)
    return f"tokens {name}: {what}"


def _words(random: Random, folder: Path) -> str:
    text = "phở 12\nbún\n# x\nchả ²\n" + random.choice(
        ("", "x" * 10**6, "a 1\n" * 10**6, "é" * 500 + " 999\n", "x " + "9" * 400)
    )
    (folder / "words.txt").write_bytes(damage_bytes(random, text.encode())[0])
    return "words"


def _text(random: Random, folder: Path) -> str:
    (folder / "text").mkdir()
    for number in range(3):
        data = damage_bytes(random, ("Một con mèo. " * 50).encode())[0]
        (folder / "text" / f"{number}.txt").write_bytes(data)
    if random.random() < 0.5:
        (folder / "text" / "loop").symlink_to(folder / "text")
        (folder / "text" / "zero").symlink_to("/dev/zero")
    return "text"


def _font(random: Random, folder: Path) -> str:
    path = random.choice(_FONTS)
    data = bytearray(path.read_bytes())
    table = data.find(random.choice((b"cmap", b"glyf", b"head", b"name", b"loca", b"hmtx")))
    at = int.from_bytes(data[table + 8 : table + 12], "big") if table >= 0 else 0
    part, what = damage_bytes(random, bytes(data[at : at + 4096]))
    data[at : at + len(part)] = part
    (folder / "a.ttf").write_bytes(data)
    return f"font {path.name} {what}"


def attempt(folder: Path) -> None:
    """Open a data set and everything in it."""
    for path in (folder / "a.zip", folder / "set"):
        if path.exists():
            for crop in open_crops(path)[:5]:
                _ = crop.picture
    if (folder / "tokens").exists():
        corpus = open_tokens(folder / "tokens")
        for split in corpus.splits.values():
            corpus.tokenizer.decode(split.read(0, min(1000, len(split))).tolist())
    if (folder / "words.txt").exists():
        read_words(folder / "words.txt")
    if (folder / "text").exists():
        for document in open_source(str(folder / "text")).documents():
            for _ in document:
                pass
    if (folder / "a.ttf").exists():
        open_face(str(folder / "a.ttf"))


if __name__ == "__main__":
    recipes.prepare_tokens()
    sys.exit(main("datasets", make, attempt, 5000))
