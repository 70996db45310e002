"""Check the sizes STYLE.md sets: files up to 400 lines, functions up to 60 (over 40 is asked about)."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("src", "tests", "examples", "scripts", "benchmarks")
FILE, LONG, TOO_LONG = 400, 40, 60


def main() -> int:
    """Print every file and function that is too long; the exit code is 1 when one must shrink."""
    paths = sorted(path for place in PLACES for path in (ROOT / place).rglob("*.py"))
    findings = [finding for path in paths for finding in measure(path)]
    for must, sentence in findings:
        print(f"{'too long' if must else 'long'}: {sentence}")
    failed = any(must for must, _ in findings)
    print(f"sizes: {len(paths)} files, {'too long in places' if failed else 'all within bounds'}")
    return int(failed)


def measure(path: Path) -> Iterator[tuple[bool, str]]:
    """Yield what is long in one file, and whether it must shrink."""
    text = path.read_text("utf-8")
    where = path.relative_to(ROOT).as_posix()
    lines = len(text.splitlines())
    if lines > FILE:
        yield True, f"{where} has {lines} lines (at most {FILE})"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring(node)
            if length > LONG:
                yield length > TOO_LONG, f"{where}:{node.lineno} {node.name} has {length} lines"


def _docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a docstring: explaining is not what makes a function long."""
    if ast.get_docstring(node) is None:
        return 0
    return (node.body[0].end_lineno or 0) - node.body[0].lineno + 1


if __name__ == "__main__":
    sys.exit(main())
