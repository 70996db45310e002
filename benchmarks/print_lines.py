"""Measure how single lines of print are read: errors by kind of text, by face, by mark, by length; spaces.

    python benchmarks/print_lines.py --fonts FOLDER [--words FILE...] [--weights NAME...] [--lines N]

Two sets are drawn from a seed. ``clean`` has one line a crop, drawn by Pillow, black on white: running text,
phones, IBANs, plates, e-mails, addresses, sums and dates, in families held out from training and in Tinos,
Arimo and Cousine, the metric twins of the faces of official print. ``print`` has lines of 5 to 120 letters
as ``image.print`` reproduces them: screens, scans, faxes, receipts, photographs.

Every reader gets the same crops on one thread, and they take turns. Tesseract (``vie``, ``--psm 7``), where
it is installed, reads them from files, one process for each 64. The results go to
benchmarks/print_lines.json.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measuring import describe_machine, save_json
from PIL import Image, ImageDraw

from nhin.data.images.line_text import LineTextGenerator, draw_email, draw_url
from nhin.data.images.text_generator import (
    TextGenerator,
    choose,
    draw_date,
    draw_digits,
    draw_phone,
    draw_price,
    read_words,
)
from nhin.image.fonts import list_font_files, load_font, open_face
from nhin.image.preprocess import Pixels
from nhin.image.print import render_print
from nhin.image.render import Rng
from nhin.metrics.edit_distance import align_texts
from nhin.metrics.statistics import ratio
from nhin.reading.onnx_model import load_recognizer
from nhin.text.letters import factor, nfc

HELD_OUT = (
    "alegreya-sans bitter eb-garamond ibm-plex-serif merriweather nunito-sans noto-sans roboto-slab "
    "source-sans-3 spectral work-sans crimson-pro"
).split()
OFFICIAL = ("tinos", "arimo", "cousine")
SEED = 2026
_STYLES = ("400Regular", "400Regular_Italic", "700Bold")
_BATCH = 64


@dataclass(frozen=True, slots=True)
class PrintLine:
    """A crop of one line, its text, and the kind of text and the face it was drawn with."""

    picture: Pixels
    text: str
    kind: str
    face: str


def draw_iban(rng: Rng) -> str:
    """Draw an account number as banks print it, in fours or in one."""
    country = choose(rng, ("VN", "DE", "FR", "GB", "NL"))
    whole = country + draw_digits(rng, 14, 24)
    fours = " ".join(whole[i : i + 4] for i in range(0, len(whole), 4))
    return fours if rng.random() < 0.6 else whole


def draw_plate(rng: Rng) -> str:
    """Draw two number plates, as lists of vehicles have them."""

    def plate() -> str:
        series = choose(rng, "ABCDEFGHKLMNPSTUVXYZ") + choose(rng, ("", "", "1", "2"))
        return f"{rng.integers(11, 99)}{series}-{draw_digits(rng, 3, 3)}.{draw_digits(rng, 2, 2)}"

    return plate() if rng.random() < 0.5 else f"{plate()} {plate()}"


def make_kinds(words: Sequence[str]) -> dict[str, Callable[[Rng], str]]:
    """Return what draws a text of each kind."""
    lines = LineTextGenerator(TextGenerator([read_words(path) for path in words]))

    def running(rng: Rng) -> str:
        length = int(rng.integers(5, 121))
        text = lines.draw_words(rng, length)
        return cut_text(text[:1].upper() + text[1:], length)

    return {
        "text": running,
        "phone": lambda rng: " - ".join(draw_phone(rng) for _ in range(rng.integers(1, 3))),
        "iban": draw_iban,
        "plate": draw_plate,
        "e-mail": draw_email,
        "address": draw_url,
        "money": lambda rng: " ".join(draw_price(rng) for _ in range(rng.integers(1, 4))),
        "date": lambda rng: " ".join(draw_date(rng) for _ in range(rng.integers(1, 4))),
    }


def cut_text(text: str, length: int) -> str:
    """Cut a text at a space to at most ``length`` characters."""
    cut = text.rfind(" ", 0, length + 1) if len(text) > length else len(text)
    return text[: cut if cut > 0 else length].strip()


def find_family(fonts: Path, family: str) -> list[str]:
    """Return the files of a family in regular, italic and bold that have every Vietnamese letter."""
    paths = list_font_files([fonts / family])
    return [str(p) for p in paths if p.stem.endswith(_STYLES) and open_face(str(p)) is not None]


def draw_clean(text: str, path: str, rng: Rng) -> Pixels:
    """Draw a line black on white, at 16 to 56 pixels per em, with a narrow margin."""
    size = int(rng.integers(16, 57))
    font = load_font(path, size)
    left, top, right, bottom = font.getbbox(text)
    pad = max(1, round(0.07 * size))
    picture = Image.new("L", (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad), 255)
    ImageDraw.Draw(picture).text((pad - left, pad - top), text, 0, font=font)
    return np.asarray(picture.convert("RGB"))


def draw_clean_lines(fonts: Path, words: Sequence[str], count: int) -> list[PrintLine]:
    """Draw ``count`` clean lines of each kind, in all faces in turn."""
    faces = [(family, find_family(fonts, family)) for family in (*HELD_OUT, *OFFICIAL)]
    faces = [(family, files) for family, files in faces if files]
    out = []
    for k, (kind, draw) in enumerate(make_kinds(words).items()):
        for i in range(count * 4 if kind == "text" else count):
            rng = np.random.default_rng((SEED, k, i))
            text = nfc(draw(rng))
            family, files = faces[i % len(faces)]
            path = choose(rng, files)
            if text and not set(text) - {" "} - (face.chars if (face := open_face(path)) else set()):
                out.append(PrintLine(draw_clean(text, path, rng), text, kind, family))
    return out


def draw_print_lines(fonts: Path, words: Sequence[str], count: int) -> list[PrintLine]:
    """Draw lines of 5 to 120 letters in the held-out families as documents and pictures of them show them."""
    files = [path for family in HELD_OUT for path in find_family(fonts, family)]
    lines = LineTextGenerator(TextGenerator([read_words(path) for path in words]))
    out, i = [], 0
    while len(out) < count:
        rng = np.random.default_rng((SEED, 99, i))
        i += 1
        text = nfc(lines.draw(rng, int(rng.integers(5, 121))))
        label, path = " ".join(text.replace("\0", " ").split()), choose(rng, files)
        face = open_face(path)
        if len(label) < 5 or face is None or not face.chars.issuperset(label):
            continue
        picture = render_print(text, path, rng, lambda rng=rng: lines.draw(rng, 40).replace("\0", " "))
        if picture is not None:
            length = "5-24" if len(label) < 25 else "25-59" if len(label) < 60 else "60-120"
            out.append(PrintLine(picture, label, length, Path(path).parent.parent.name))
    return out


class LineScore:
    """Counts of errors over some lines."""

    def __init__(self) -> None:
        self.lines = self.exact = self.chars = self.edits = self.spaces = self.lost = self.invented = 0
        self.marks: Counter[str] = Counter()
        self.mark_errors: Counter[str] = Counter()

    def add(self, read: str, true: str) -> None:
        """Count one line."""
        pairs = align_texts(nfc(read), true)
        self.lines += 1
        self.exact += nfc(read) == true
        self.chars += len(true)
        self.spaces += true.count(" ")
        for got, want in pairs:
            self.edits += got != want
            self.lost += want == " " and got != " "
            self.invented += got == " " and want != " "
            if want is not None:
                parts = factor(want)
                for mark in (parts.mark, parts.tone):
                    if mark not in ("none", "level"):
                        self.marks[mark] += 1
                        self.mark_errors[mark] += got is None or mark not in (
                            factor(got).mark,
                            factor(got).tone,
                        )

    def figures(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "lines": self.lines,
            "exact": round(ratio(self.exact, self.lines), 4),
            "cer": round(ratio(self.edits, self.chars), 5),
            "chars": self.chars,
            "spaces": self.spaces,
            "spaces_lost": self.lost,
            "spaces_invented": self.invented,
        }

    def mark_figures(self) -> dict[str, list[int]]:
        """Return errors and number of each mark and tone."""
        return {mark: [self.mark_errors[mark], self.marks[mark]] for mark in sorted(self.marks)}


Read = Callable[[Sequence[Pixels]], list[str]]


def load_nhin(weights: str, mode: str) -> Read:
    """Return nhin's recognizer with one thread."""
    recognizer = load_recognizer(weights, mode=mode, threads=1)  # pyright: ignore[reportArgumentType]
    return lambda pictures: [reading.text for reading in recognizer.read(pictures)]


def read_with_tesseract(pictures: Sequence[Pixels]) -> list[str]:
    """Read crops with Tesseract, all in one process; its pages end with a form feed."""
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for i, picture in enumerate(pictures):
            # Tesseract wants a white margin.
            padded = cv2.copyMakeBorder(picture, 10, 10, 10, 10, cv2.BORDER_REPLICATE)
            names.append(f"{folder}/{i:05}.png")
            cv2.imwrite(names[-1], padded[:, :, ::-1])
        Path(folder, "list.txt").write_text("\n".join(names) + "\n")
        command = ["tesseract", f"{folder}/list.txt", "-", "-l", "vie", "--psm", "7"]
        environment = {"OMP_THREAD_LIMIT": "1", "PATH": "/usr/bin:/bin:/usr/local/bin"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    pages = done.stdout.split("\f")[: len(pictures)]
    return [" ".join(page.split()) for page in pages]


def score_lines(lines: Sequence[PrintLine], texts: Sequence[str]) -> dict[str, Any]:
    """Score the readings of all lines, by kind and by face, with the marks of the official faces."""
    total: LineScore = LineScore()
    kinds: dict[str, LineScore] = defaultdict(LineScore)
    faces: dict[str, LineScore] = defaultdict(LineScore)
    for line, text in zip(lines, texts, strict=True):
        for score in (total, kinds[line.kind], faces[line.face]):
            score.add(text, line.text)
    return {
        "all": total.figures(),
        "kinds": {kind: score.figures() for kind, score in kinds.items()},
        "faces": {face: score.figures() | {"marks": score.mark_figures()} for face, score in faces.items()},
        "marks": total.mark_figures(),
    }


def count_cpu_seconds() -> float:
    """Return the CPU time of this process and of the programs that it has run."""
    return sum(os.times()[:4])


def measure(lines: Sequence[PrintLine], readers: dict[str, Read]) -> dict[str, Any]:
    """Read all lines in batches, the readers in turn; return scores and milliseconds of CPU a line."""
    texts: dict[str, list[str]] = {name: [] for name in readers}
    seconds = dict.fromkeys(readers, 0.0)
    for start in range(0, len(lines), _BATCH):
        pictures = [line.picture for line in lines[start : start + _BATCH]]
        for name, read in readers.items():
            begin = count_cpu_seconds()
            texts[name] += read(pictures)
            seconds[name] += count_cpu_seconds() - begin
    return {
        name: score_lines(lines, texts[name]) | {"ms": round(seconds[name] * 1000 / len(lines), 1)}
        for name in readers
    }


def print_table(title: str, results: dict[str, Any], part: str) -> None:
    """Print CER and exact lines of each kind or face."""
    names = list(results)
    print(f"\n| {title} | lines | " + " | ".join(f"{name}: CER, exact" for name in names) + " |")
    print("|" + "---|" * (2 + len(names)))
    for key, first in [("all", results[names[0]]["all"]), *results[names[0]][part].items()]:
        cells = [results[name]["all"] if key == "all" else results[name][part][key] for name in names]
        row = [f"{cell['cer']:.2%}, {cell['exact']:.1%}" for cell in cells]
        print(f"| {key} | {first['lines']} | " + " | ".join(row) + " |")


def main() -> int:
    """Draw, measure, print tables, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fonts", type=Path, required=True, help="folder with a folder for each family")
    parser.add_argument("--words", action="append", default=[], help="a word list beside the bundled ones")
    parser.add_argument("--weights", nargs="+", default=["default", "slim"])
    parser.add_argument("--mode", default="beam")
    parser.add_argument(
        "--lines", type=int, default=150, help="clean lines of a kind; twice as many of print"
    )
    args = parser.parse_args()
    readers: dict[str, Read] = {f"nhin {name}": load_nhin(name, args.mode) for name in args.weights}
    if shutil.which("tesseract"):
        readers["Tesseract"] = read_with_tesseract
    sets = {
        "clean": draw_clean_lines(args.fonts, args.words, args.lines),
        "print": draw_print_lines(args.fonts, args.words, 2 * args.lines),
    }
    out: dict[str, Any] = {"machine": describe_machine(), "mode": args.mode, "seed": SEED}
    for name, lines in sets.items():
        out[name] = results = measure(lines, readers)
        print_table(f"{name}: kind", results, "kinds")
        if name == "clean":
            print_table("clean: face", results, "faces")
        for reader, result in results.items():
            spaces = result["all"]
            print(
                f"{name}, {reader}: {spaces['spaces_lost']} spaces lost and {spaces['spaces_invented']} "
                f"invented of {spaces['spaces']}; {result['ms']} CPU-ms a line; marks {result['marks']}"
            )
    save_json(Path(__file__).with_suffix(".json"), out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
