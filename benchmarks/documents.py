"""Draw documents with a browser: pictures, and their lines in reading order as the browser laid them out."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from document_kinds import DOCUMENT_KINDS, STYLE, DocumentText

from nhin.data.pages.page_writer import DrawnPage, PageLine
from nhin.text.letters import nfc

BROWSER = os.environ.get("NHIN_BROWSER", "chromium")
WIDTH, HEIGHT = 794, 1123
"""A4 in CSS pixels, of which there are 96 an inch."""
# A line ends where the next word stands lower, further left, or in another element of those that hold lines.
SCRIPT = """
document.fonts.ready.then(() => {
  const lines = []; let last = null;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const owner = node.parentElement.closest('p, td, th, .field, .o, .bubble');
    if (!owner) continue;
    for (const word of node.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
      const boxes = range.getClientRects(), box = boxes[0];
      if (last && last.owner === owner && Math.abs(last.y - box.y) < box.height / 2 && box.x >= last.x2) {
        last.text += ' ' + word[0]; last.x2 = box.right;
      } else {
        last = {owner, text: word[0], x1: box.x, x2: box.right, y: box.y, high: box.height,
                size: parseFloat(getComputedStyle(owner).fontSize)};
        lines.push(last);
      }
    }
  }
  const out = document.createElement('script');
  out.type = 'application/json'; out.id = 'lines';
  out.textContent = JSON.stringify(lines.map(({owner, ...line}) => line));
  document.body.append(out);
});
"""


def draw_documents(
    faces: Sequence[Path], dpis: Sequence[int], seed: int, kinds: Sequence[str] = ()
) -> Iterator[DrawnPage]:
    """Yield a page of each kind, in each face (a folder with its four styles), at each resolution."""
    for number, kind in enumerate(kinds or DOCUMENT_KINDS):
        for at, face in enumerate(faces):
            body = DOCUMENT_KINDS[kind](DocumentText(np.random.default_rng((seed, number, at))))
            for dpi in dpis:
                yield draw_document(body, face, dpi, kind)


def draw_document(body: str, face: Path, dpi: int, kind: str) -> DrawnPage:
    """Draw one document at a resolution, as high as an A4 sheet or as its text."""
    html = f"<meta charset=utf-8><style>{_write_faces(face)}{STYLE}</style>{body}<script>{SCRIPT}</script>"
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder, "page.html"), Path(folder, "page.png")
        page.write_text(html, "utf-8")
        scale = dpi / 96
        common = ("--virtual-time-budget=3000", f"--force-device-scale-factor={scale}", "--hide-scrollbars")
        dumped = _run_browser(folder, page, "--dump-dom", f"--window-size={WIDTH},{HEIGHT}", *common)
        found = re.search(r'id="lines">(.*?)</script>', dumped, re.DOTALL)
        assert found, "the browser laid out no lines"
        laid = json.loads(found[1])
        high = int(max(HEIGHT, *(line["y"] + 2 * line["high"] for line in laid)))
        _run_browser(folder, page, f"--screenshot={picture}", f"--window-size={WIDTH},{high}", *common)
        from PIL import Image

        pixels = np.asarray(Image.open(picture).convert("RGB"))
    return DrawnPage(pixels, tuple(_place_line(line, scale) for line in laid), kind)


def _place_line(line: dict, scale: float) -> PageLine:
    """Return a line of the browser in pixels; capitals are about 0.7 em tall, in the middle of the box."""
    y = line["y"] + line["high"] / 2
    center = np.array([[line["x1"], y], [line["x2"], y]], np.float32) * scale
    up = np.tile(np.array([0, -0.35 * line["size"] * scale], np.float32), (2, 1))
    return PageLine(nfc(line["text"]), center, up)


def _write_faces(folder: Path) -> str:
    """Write CSS for the four styles of a face, found by the names of its files."""
    rules = []
    for weight in (400, 700):
        for style in ("normal", "italic"):
            name = f"*_{weight}*{'Italic' if style == 'italic' else ''}.ttf"
            files = [p for p in sorted(folder.rglob(name)) if ("Italic" in p.name) == (style == "italic")]
            if files:
                rules.append(
                    f"@font-face {{ font-family: F; font-weight: {weight}; font-style: {style};"
                    f" src: url('{files[0].resolve().as_uri()}'); }}"
                )
    if not rules:
        raise SystemExit(f"{folder} holds no fonts named like Tinos_400Regular.ttf")
    return "".join(rules)


def _run_browser(home: str, page: Path, *options: str) -> str:
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        f"--user-data-dir={home}/profile", *options, page.as_uri(),
    ]  # fmt: skip
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    except FileNotFoundError:
        raise SystemExit(f"there is no browser {BROWSER}; name one with NHIN_BROWSER") from None
