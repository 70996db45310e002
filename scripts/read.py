"""Run ``nhin read`` on what ``make read IMAGE=...`` named; without IMAGE, on the bundled example.

IMAGE is one string, and paths may have spaces, so the longest run of words that is a path is one picture:
``IMAGE="biển số.jpg b.jpg"`` is two. Patterns (``photos/*.jpg``) are expanded.
"""

import os
import re
import shlex
import sys
from glob import glob
from pathlib import Path

from nhin.cli.app import main

EXAMPLE = Path(__file__).resolve().parent.parent / "src" / "nhin" / "examples" / "street_sign.png"


def split_paths(text: str) -> list[str]:
    """Split one string into paths; words that are no path stay together, for the error message."""
    parts = re.split(r"(\s+)", text.strip())
    result: list[str] = []
    missing: list[str] = []
    start = 0
    while start < len(parts):
        stop, paths = _longest_path(parts, start)
        if paths:
            result += _join(missing) + paths
            missing = []
        else:
            missing += parts[start:stop]
        start = stop + (1 if paths else 0)
    return result + _join(missing)


def _longest_path(parts: list[str], start: int) -> tuple[int, list[str]]:
    for stop in range(len(parts), start, -1):
        paths = _expand("".join(parts[start:stop]))
        if paths:
            return stop, paths
    return start + 1, []


def _expand(words: str) -> list[str]:
    """Return the paths that the words name as they are, without quotes, or as a pattern."""
    bare = words[1:-1] if len(words) > 1 and words[0] == words[-1] and words[0] in "'\"" else words
    if not bare.strip():
        return []
    path = os.path.expanduser(bare)  # noqa: PTH111 - pathlib would drop a leading ./
    if bare == "-" or Path(path).exists():
        return [path]
    return sorted(glob(path)) if re.search(r"[*?\[]", path) else []  # noqa: PTH207 - absolute patterns too


def _join(parts: list[str]) -> list[str]:
    words = "".join(parts).strip()
    return [words] if words else []


if __name__ == "__main__":
    paths = split_paths(os.environ.get("IMAGE", "")) or [str(EXAMPLE)]
    sys.exit(main(["read", *shlex.split(os.environ.get("ARGS", "")), "--", *paths]))
