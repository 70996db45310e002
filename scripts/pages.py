"""Write the pages of docs/ that are made from docstrings, Facts and measurements: `make pages`."""

import json
import sys
from pathlib import Path

from nhin.viz import comparison, pages
from nhin.viz.catalogue import list_entries
from nhin.viz.plots import encode_figure

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def texts() -> dict[str, str]:
    """Return every generated page by its path below docs/."""
    measured = json.loads((ROOT / "benchmarks" / "attention.json").read_text("utf-8"))
    made = {
        f"mechanisms/{one.name}.md": pages.build_mechanism_page(one)
        for one in list_entries()
        if one.mechanism
    }
    return made | {
        "mechanisms/README.md": pages.build_index_page(),
        "positions.md": pages.build_positions_page(),
        "compare.md": comparison.build_comparison_page(measured),
    }


def main() -> int:
    """Write pages and pictures, and remove those of mechanisms that are gone."""
    folder = DOCS / "mechanisms"
    folder.mkdir(exist_ok=True)
    wanted = texts()
    for path, text in wanted.items():
        (DOCS / path).write_text(text, encoding="utf-8")
    pictures = {f"{one.name}.png": one for one in list_entries() if one.mechanism}
    for name, one in pictures.items():
        (folder / name).write_bytes(encode_figure(pages.draw_picture(one), "png", dpi=80))
    for path in folder.iterdir():
        if f"mechanisms/{path.name}" not in wanted and path.name not in pictures:
            path.unlink()
    sys.stdout.write(f"{len(wanted)} pages and {len(pictures)} pictures in docs/\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
