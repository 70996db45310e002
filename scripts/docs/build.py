"""Write the pages of docs/ that are made from docstrings, Facts and measurements: `make pages`."""

import json
import sys
from pathlib import Path

import comparison_page
import mechanism_pages

from nhin.studies.claims.catalogue import CLAIMS
from nhin.studies.claims.page import format_claims_page
from nhin.studies.claims.run import load_claims
from nhin.viz.catalogue import list_entries
from nhin.viz.plots import encode_figure

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def build_pages() -> dict[str, str]:
    """Return every generated page by its path below docs/."""
    claims = load_claims(ROOT / "benchmarks" / "claims.json")
    measurements = json.loads((ROOT / "benchmarks" / "attention.json").read_text("utf-8"))
    pages = {
        f"mechanisms/{entry.name}.md": mechanism_pages.build_mechanism_page(entry)
        for entry in list_entries()
        if entry.mechanism
    }
    return pages | {
        "mechanisms/README.md": mechanism_pages.build_index_page(),
        "positions.md": mechanism_pages.build_positions_page(),
        "compare.md": comparison_page.build_comparison_page(measurements),
        "claims.md": format_claims_page(claims, CLAIMS),
    }


def main() -> int:
    """Write pages and pictures, and remove those of mechanisms that no longer exist."""
    folder = DOCS / "mechanisms"
    folder.mkdir(exist_ok=True)
    pages = build_pages()
    for path, text in pages.items():
        (DOCS / path).write_text(text, encoding="utf-8")
    pictures = {f"{entry.name}.png": entry for entry in list_entries() if entry.mechanism}
    for name, entry in pictures.items():
        (folder / name).write_bytes(encode_figure(mechanism_pages.draw_picture(entry), "png", dpi=80))
    for path in folder.iterdir():
        if f"mechanisms/{path.name}" not in pages and path.name not in pictures:
            path.unlink()
    sys.stdout.write(f"{len(pages)} pages and {len(pictures)} pictures in docs/\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
