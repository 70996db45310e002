"""Check the sizes of STYLE.md: files up to 400 lines, functions up to 60 (a note from 40 on)."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "examples", "scripts", "benchmarks")
MAX_FILE, LONG, MAX_FUNCTION = 400, 40, 60


def main() -> int:
    """Print every long file and function; the exit code is 1 when one is over the limit."""
    paths = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    findings = [finding for path in paths for finding in measure(path)]
    for is_over, sentence in findings:
        print(f"{'too long' if is_over else 'long'}: {sentence}")
    failed = any(is_over for is_over, _ in findings)
    print(f"sizes: {len(paths)} files, {'some over the limit' if failed else 'all within bounds'}")
    return int(failed)


def measure(path: Path) -> Iterator[tuple[bool, str]]:
    """Yield each long part of a file, and whether it is over the limit."""
    text = path.read_text("utf-8")
    where = path.relative_to(ROOT).as_posix()
    lines = len(text.splitlines())
    if lines > MAX_FILE:
        yield True, f"{where} has {lines} lines (at most {MAX_FILE})"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - _count_docstring_lines(node)
            if length > LONG:
                yield length > MAX_FUNCTION, f"{where}:{node.lineno} {node.name} has {length} lines"


def _count_docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a docstring, which do not make a function long."""
    if ast.get_docstring(node) is None:
        return 0
    return (node.body[0].end_lineno or 0) - node.body[0].lineno + 1


if __name__ == "__main__":
    sys.exit(main())
