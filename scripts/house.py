"""Check what only the whole package shows: import cycles, hidden imports, classes named twice.

    python scripts/house.py            # every offender, one a line; the exit code is 1 when there is one

Imports are read from the source, so that one inside a function or under TYPE_CHECKING counts too.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "nhin"
# What an __init__ must say beyond its folder's name.
LEAST = 60
# What of importlib reads or finds files; the rest can import what no checker sees.
HARMLESS = ("importlib.resources", "importlib.metadata", "importlib.util.find_spec")
Modules = dict[str, ast.Module]
Imports = dict[str, set[str]]


def main() -> int:
    """Print every offender; the exit code is 1 when there is one."""
    modules = parse(ROOT / "src" / PACKAGE)
    findings = [f"{law}: {finding}" for law, find in LAWS.items() for finding in find(modules)]
    for finding in findings:
        print(finding)
    print(f"house: {len(modules)} modules, {len(findings) or 'no'} offenders")
    return int(bool(findings))


def parse(folder: Path) -> Modules:
    """Parse every module below a package's folder, by dotted name; a package's is its ``__init__``."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return found


def read_imports(modules: Modules) -> Imports:
    """Return which modules each module imports; ``from package import name`` may be a module too."""
    return {name: set(_imported(name, tree, modules)) - {name} for name, tree in modules.items()}


def _imported(name: str, tree: ast.Module, modules: Modules) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative imports are refused by lint"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in modules:
                    yield inner
                elif node.module in modules:
                    yield node.module


def find_cycles(modules: Modules) -> list[str]:
    """Return one shortest cycle through each module that is in one, every cycle once."""
    imports, cycles = read_imports(modules), {}
    for name in modules:
        if path := _way_back(name, imports):
            first = path.index(min(path))
            turned = path[first:] + path[:first]
            cycles[tuple(turned)] = " -> ".join([*turned, turned[0]])
    return sorted(cycles.values())


def _way_back(start: str, imports: Imports) -> list[str]:
    """Return the shortest path of imports from a module to itself, without the last step; empty if none."""
    before = dict.fromkeys(sorted(imports[start]), start)
    queue = list(before)
    for name in queue:
        if name == start:
            path = [before[start]]
            while path[-1] != start:
                path.append(before[path[-1]])
            return path[::-1]
        for further in sorted(imports[name] - before.keys()):
            before[further] = name
            queue.append(further)
    return []


def find_hidden_imports(modules: Modules) -> list[str]:
    """Return the uses of importlib and ``__import__``, the lazy public names of the package aside."""
    found = []
    for module, tree in modules.items():
        if module == PACKAGE:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == "__import__":
                found.append(f"{module}:{node.lineno} calls __import__")
            elif isinstance(node, ast.Import | ast.ImportFrom):
                start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                for name in sorted(start + alias.name for alias in node.names):
                    if name.split(".")[0] == "importlib" and not name.startswith(HARMLESS):
                        found.append(f"{module}:{node.lineno} imports {name}")
    return found


def find_twice_named_classes(modules: Modules) -> list[str]:
    """Return the class names that occur more than once in the package, with where they do."""
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for module, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(f"{module}:{node.lineno}")
    return [f"{name} in {', '.join(where)}" for name, where in sorted(homes.items()) if len(where) > 1]


def find_empty_descriptions(modules: Modules) -> list[str]:
    """Return the packages whose docstring is shorter than a sentence that says something."""
    packages = {name for name in modules if any(other.startswith(f"{name}.") for other in modules)}
    # A package without modules is one too, and its docstring is all that it has.
    said = {name: " ".join((ast.get_docstring(modules[name]) or "").split()) for name in sorted(packages)}
    return [
        f"{name}: {text!r} ({len(text)} of {LEAST} characters)"
        for name, text in said.items()
        if len(text) < LEAST
    ]


def find_family_crossings(modules: Modules) -> list[str]:
    """Return the imports from one family (folder) of ``attention`` into another, registries aside."""
    root = f"{PACKAGE}.attention."
    families = {
        name.removeprefix(root).split(".")[0] for name in modules if name.count(".") > root.count(".")
    }

    def family(module: str) -> str:
        first = module.removeprefix(root).split(".")[0] if module.startswith(root) else ""
        return first if first in families else ""

    return [
        f"{module} imports {other}"
        for module, imported in read_imports(modules).items()
        if family(module) and not module.endswith(".registry")
        for other in sorted(imported)
        if family(other) not in ("", family(module))
    ]


LAWS = {
    "import cycle": find_cycles,
    "hidden import": find_hidden_imports,
    "class named twice": find_twice_named_classes,
    "empty description": find_empty_descriptions,
    "family imports family": find_family_crossings,
}


if __name__ == "__main__":
    sys.exit(main())
